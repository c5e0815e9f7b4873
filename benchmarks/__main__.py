"""`python -m benchmarks`: start everything, measure, print the table, write it down, stop everything."""

import argparse
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import machine
from benchmarks.bench import FULL, QUICK, Bench, Subject
from benchmarks.gateway import installed, new_key
from benchmarks.processes import BenchmarkError, free_port, serving
from benchmarks.report import SIMULATOR, Finding, Report
from benchmarks.scenarios import SCENARIOS
from gateway_site.node.state import StateError


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0; 1 when a target is missed and --check was given; 2 when measuring failed."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # through every `finally`
    _allow_many_files()
    try:
        with started(options) as bench:
            findings = list(_measure(bench, options.only or list(SCENARIOS)))
    except (BenchmarkError, StateError) as error:
        print(error, file=sys.stderr)
        return 2
    report = Report(heading=machine.describe(), findings=findings, remarks=_remarks(options))
    text = report.markdown()
    print(text)
    options.output.write_text(text, encoding="utf-8")
    return 1 if options.check and report.missed() else 0


@contextmanager
def started(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the simulator, and the installation that the gateway's workers are started from."""
    with ExitStack() as stack:
        state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollgate-benchmarks-")))
        simulator = stack.enter_context(_simulator(state_dir))
        key = new_key()
        gateway = None
        if not options.references_only:
            gateway = stack.enter_context(
                installed(simulator_url=simulator.url, key=key, state_dir=state_dir, with_worker=options.with_worker)
            )
        yield Bench(
            simulator=simulator,
            gateway=gateway,
            key=key,
            effort=QUICK if options.quick else FULL,
            state_dir=state_dir,
        )


@contextmanager
def _simulator(state_dir: Path) -> Iterator[Subject]:
    port = free_port()
    command = [sys.executable, "-m", "providers.simulator", "--port", str(port)]
    with serving(command, port=port, log=state_dir / "simulator.log") as service:
        yield Subject.of(service, name=SIMULATOR)


def _measure(bench: Bench, names: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        started_at = time.monotonic()
        yield from SCENARIOS[name](bench)
        print(f"{name}: {time.monotonic() - started_at:.0f} s", file=sys.stderr)


def _remarks(options: argparse.Namespace) -> list[str]:
    if options.quick:
        return ["A quick run: one short repetition each. Good for a look, not for a comparison."]
    return []


def _allow_many_files() -> None:
    """A thousand streams are two thousand sockets in the gateway; children inherit the limit."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = list(SCENARIOS)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="one short repetition of each")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--with-worker", action="store_true", help="run a Celery worker beside the gateway")
    parser.add_argument("--references-only", action="store_true", help="no gateway: simulator and floor")
    return parser


if __name__ == "__main__":
    sys.exit(main())
