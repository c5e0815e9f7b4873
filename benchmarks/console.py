"""`python -m benchmarks.console`: how long every page of the console takes over ten million records and ten thousand keys.

Asks, in one process and through Django's test client, for every page of the console and every GET of the REST API, as
an operator and as the owner of the largest tenant. What is made for it stays in the directory that --state-dir names.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine

MOST_MS, MOST_QUERIES = 300, 30
QUICK_MS = 150  # a page that takes less is not asked again
SHOWN = 25
OWNER = "sample-1-0"
FILLED = "filled"
REPORTS = tuple(f"/api/v1/usage?group_by={name}" for name in ("project", "api_key", "end_user", "deployment"))
EXPORTS = (".csv", "format=csv", "limit=50000", "tollgate.yaml")
POSTGRES_OPTIONS = " -c max_parallel_workers_per_gather=0 -c idle_in_transaction_session_timeout=0"
CONTROL = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A page, asked for several times by somebody."""

    address: str
    whom: str
    status: int
    milliseconds: Sequence[float]  # by the clock
    busy: Sequence[float]  # milliseconds of CPU, of this process and of its backend of PostgreSQL
    queries: int
    is_judged_by_cpu: bool = False

    @property
    def median(self) -> float:
        """The middle one of its times."""
        return median(self.busy if self.is_judged_by_cpu else self.milliseconds)

    @property
    def is_export(self) -> bool:
        """Whether it is a file, or a report of all keys as programs fetch it: nobody waits for it as for a page."""
        return _is_export(self.address, self.whom)

    @property
    def is_missed(self) -> bool:
        """Whether it takes too long, or asks too much."""
        return not self.is_export and (self.status != 200 or self.median > MOST_MS or self.queries > MOST_QUERIES)


def _is_export(address: str, whom: str) -> bool:
    is_of_keys = address.startswith(REPORTS) and whom == "operator" and "tenant=" not in address
    return is_of_keys or any(part in address for part in EXPORTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 1 when a page misses and --check was given."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("DEBUG", "0")
    with _installation(options.state_dir):
        _fill(options.state_dir / FILLED, small=options.small, processes=options.processes)
        if options.fill_only:
            return 0
        visits = list(_visits(options))
    text = report(visits, load=os.getloadavg()[1], shown=options.rows)
    print(text)
    if options.output:
        options.output.write_text(text)
    return 1 if options.check and any(visit.is_missed for visit in visits) else 0


@contextmanager
def _installation(state_dir: Path) -> Iterator[None]:
    from gateway_site.embedded import embedded_stores
    from gateway_site.node.state import keep_secrets, make_state_dir, read_environment, write_environment

    make_state_dir(state_dir)
    write_environment(state_dir, read_environment(state_dir) | keep_secrets(state_dir))
    if "DATABASE_URL" in os.environ:  # stores that run already
        _set_up(state_dir, os.environ["DATABASE_URL"], os.environ["VALKEY_URL"])
        yield
        return
    with embedded_stores(state_dir / "stores", durable=False) as (database_url, valkey_url):
        _set_up(state_dir, database_url, valkey_url)
        yield


def _set_up(state_dir: Path, database_url: str, valkey_url: str) -> None:
    from gateway_site.node.state import read_environment

    os.environ |= read_environment(state_dir) | {
        "DATABASE_URL": database_url,
        "VALKEY_URL": valkey_url,
        "TOLLGATE_STATE_DIR": str(state_dir),
        "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
    }
    import django
    from django.conf import settings
    from django.core.management import call_command

    django.setup()
    settings.ALLOWED_HOSTS = ["testserver"]
    # The CPU of others than the backend would not be counted, and a busy machine lets us wait.
    database: Any = settings.DATABASES["default"]
    database["OPTIONS"]["options"] += POSTGRES_OPTIONS
    call_command("migrate", verbosity=0)


def _fill(mark: Path, *, small: bool, processes: int) -> None:
    from benchmarks.console_data import SMALL, Size, fill

    if not mark.exists():
        fill(SMALL if small else Size(), processes)
        mark.touch()


# --- Asking ------------------------------------------------------------------------------------------------------


def _visits(options: argparse.Namespace) -> Iterator[Visit]:
    from benchmarks.console_pages import Places
    from tenants.models import Tenant, User

    operator, _ = User.objects.get_or_create(username="operator", defaults={"is_staff": True, "is_superuser": True})
    places = Places(Tenant.objects.get(slug="sample-1"))
    for whom, user in (("operator", operator), ("owner", User.objects.get(username=OWNER))):
        if options.whom in (None, whom):
            yield from _of_visitor(whom, user, places, options)


def _of_visitor(whom: str, user: Any, places: Any, options: argparse.Namespace) -> Iterator[Visit]:
    from django.test import Client

    client = Client(raise_request_exception=False)
    client.force_login(user)
    waiting = places.addresses()
    client.get("/admin/", secure=True)  # which loads the console, and notes the session
    gc.collect()
    gc.freeze()
    asked = 0
    while waiting:
        address = waiting.pop(0)
        if options.only and not any(part in address for part in options.only):
            continue
        answer, queries = _counted(client, address)
        if queries > MOST_QUERIES:  # what is read once in a process
            answer, queries = _counted(client, address)
        waiting[:0] = places.of_list(address, answer.response)
        if answer.response.status_code == 200 or answer.response.status_code >= 500:
            visit = _visit(client, address, whom, options, answer, queries)
            if visit.is_missed:
                print(f"{whom}: {visit.median:.0f} ms, {visit.queries} queries: {address}", file=sys.stderr)
            yield visit
        asked += 1
        if asked % 100 == 0:
            print(f"{whom}: {asked} addresses, {len(waiting)} to go", file=sys.stderr)


def _visit(client: Any, address: str, whom: str, options: argparse.Namespace, first: "Answer", queries: int) -> Visit:
    """Ask again and again, unless the first answer was quick, or has no limit: exports took most of the time."""
    is_slow = first.busy > QUICK_MS or (first.milliseconds > QUICK_MS and not options.busy)
    is_repeated = is_slow and not _is_export(address, whom)
    asked = [_ask(client, address) for _ in range(options.repeat)] if is_repeated else [first]
    return Visit(
        address=address,
        whom=whom,
        status=first.response.status_code,
        milliseconds=[each.milliseconds for each in asked],
        busy=[each.busy for each in asked],
        queries=queries,
        is_judged_by_cpu=options.busy,
    )


def _counted(client: Any, address: str) -> "tuple[Answer, int]":
    """Ask, and return how many queries the answer took."""
    from django.db import connection, reset_queries

    connection.force_debug_cursor = True
    reset_queries()
    answer = _ask(client, address)
    connection.force_debug_cursor = False
    return answer, sum(not each["sql"].startswith(CONTROL) for each in connection.queries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a request."""

    response: Any
    milliseconds: float
    busy: float


def _ask(client: Any, address: str) -> Answer:
    """Ask, and undo what the answer has changed."""
    from django.db import connection, transaction

    connection.ensure_connection()
    backend = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    cookies = deepcopy(client.cookies)
    with transaction.atomic():
        started, cpu = time.perf_counter(), time.process_time() + _seconds(backend)
        response = client.get(address, secure=True)
        if response.streaming:
            for _ in response.streaming_content:
                pass
        ended, busy = time.perf_counter(), time.process_time() + _seconds(backend)
        transaction.set_rollback(True)
    client.cookies = cookies  # of a session that is as it was
    return Answer(response=response, milliseconds=1000 * (ended - started), busy=1000 * (busy - cpu))


def _seconds(schedule: Path) -> float:
    """Return how long a process was on a CPU; zero where it runs on another machine."""
    return int(schedule.read_text().split()[0]) / 1e9 if schedule.exists() else 0.0


# --- The report --------------------------------------------------------------------------------------------------


def report(visits: Sequence[Visit], *, load: float, shown: int = SHOWN) -> str:
    """Return all that was found, as Markdown."""
    pages = [visit for visit in visits if not visit.is_export]
    exports = [visit for visit in visits if visit.is_export]
    missed = [visit for visit in pages if visit.is_missed]
    failed = [visit for visit in visits if visit.status >= 500]
    parts = [
        "# The console over ten million records",
        f"{machine.describe()}; load average of five minutes {load:.1f}",
        f"{len(pages)} pages were asked for, {len(missed)} missed {MOST_MS} ms or {MOST_QUERIES} queries"
        f"{f', {len(failed)} failed' if failed else ''}. The median page takes {_median(pages):.0f} ms, 99 of 100 take"
        f" {_share(pages, 0.99):.0f} ms at most.",
        _table(pages, shown, lambda visit: visit.median),
        "## Most queries",
        _table(pages, 10, lambda visit: visit.queries),
    ]
    if exports:
        parts += ["## Exports, which have no limit", _table(exports, 10, lambda visit: visit.median)]
    return "\n\n".join(parts) + "\n"


def _table(visits: Sequence[Visit], shown: int, rank: Callable[[Visit], float]) -> str:
    rows: list[tuple[str, ...]] = [
        ("Page", "As", "Median", "Slowest", "CPU", "Queries", "Verdict"),
        ("---", "---", *4 * ("---:",), "---"),
    ]
    for visit in sorted(visits, key=rank, reverse=True)[:shown]:
        verdict = "" if visit.is_export else "missed" if visit.is_missed else "met"
        if visit.status >= 500:
            verdict = "failed"
        numbers = (median(visit.milliseconds), max(visit.milliseconds), median(visit.busy))
        times = [f"{number:.0f} ms" for number in numbers]
        rows.append((f"`{visit.address}`", visit.whom, *times, str(visit.queries), verdict))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _median(visits: Sequence[Visit]) -> float:
    return median(visit.median for visit in visits) if visits else 0.0


def _share(visits: Sequence[Visit], share: float) -> float:
    times = sorted(visit.median for visit in visits)
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="where everything is kept; fourteen GB")
    parser.add_argument("--small", action="store_true", help="fill it with a thousandth: a look, not a measurement")
    parser.add_argument("--fill-only", action="store_true", help="make what is missing, and ask for nothing")
    parser.add_argument("--processes", type=int, default=2, help="that make records (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="how often each page is timed (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="addresses with one of these in them")
    parser.add_argument("--whom", choices=("operator", "owner"), help="only as one of them")
    parser.add_argument("--rows", type=int, default=SHOWN, help="pages in the table (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="a file for the report")
    parser.add_argument(
        "--busy", action="store_true", help="the machine has other work: judge by CPU time, not by the clock"
    )
    parser.add_argument("--check", action="store_true", help="exit code 1 when a page misses")
    return parser


if __name__ == "__main__":
    sys.exit(main())
