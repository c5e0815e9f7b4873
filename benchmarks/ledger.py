"""`python -m benchmarks.ledger`: how fast usage gets from Valkey into the ledger, and what that takes.

Everything, PostgreSQL and Valkey too, is kept on one core, so events per second are those of one core. On a machine
that does other things as well, the CPU time per event is the number that can be compared.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

TARGET = 10_000
CHUNK = 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 1 when a core drains less than the target and --check was given."""
    options = _parser().parse_args(arguments)
    os.sched_setaffinity(0, {options.core})
    with tempfile.TemporaryDirectory(prefix="tollgate-ledger-") as folder, _stores(Path(folder)) as valkey_url:
        rates = [_measure(valkey_url, options.events, seed) for seed in range(options.repeat)]
    best = max(rates)
    print(f"best: {best:,.0f} events/s of CPU on one core (target {TARGET:,})")
    return 1 if options.check and best < TARGET else 0


@contextmanager
def _stores(folder: Path) -> Iterator[str]:
    from cryptography.fernet import Fernet

    from gateway_site.embedded import embedded_stores

    with embedded_stores(folder / "stores") as (database_url, valkey_url):
        os.environ |= {
            "DATABASE_URL": database_url,
            "VALKEY_URL": valkey_url,
            "TOLLGATE_STATE_DIR": str(folder),
            "SECRET_KEY": secrets.token_urlsafe(50),
            "TOLLGATE_SECRETS_KEY": Fernet.generate_key().decode(),
            "TOLLGATE_KEY_PEPPER": secrets.token_urlsafe(32),
            "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
        }
        import django
        from django.core.management import call_command
        from django.db import connection

        django.setup()
        call_command("migrate", verbosity=0)
        yield valkey_url
        connection.close()


def _measure(valkey_url: str, events: int, seed: int) -> float:
    """Fill the stream, drain it, print what it took; returns events per second of CPU time."""
    import redis

    from tenants.ledger import drain

    with redis.Redis.from_url(valkey_url) as client:
        _fill(client, events, seed)
        before, started = _cpu_by_program(), time.perf_counter()
        drained = drain(client)
        seconds = time.perf_counter() - started
    assert drained.records == events, drained
    after = _cpu_by_program()
    used = {name: (after[name] - before.get(name, 0.0)) / events * 1e6 for name in after}
    parts = ", ".join(
        f"{name} {microseconds:.1f}" for name, microseconds in sorted(used.items()) if microseconds >= 0.1
    )
    total = sum(used.values())
    print(
        f"{events:,} events: {events / seconds:,.0f}/s on the clock; CPU per event {total:.1f} µs ({parts})", flush=True
    )
    return 1e6 / total


def _fill(client: Any, events: int, seed: int) -> None:
    from tenants.ledger import USAGE_STREAM
    from tenants.sample_usage import Caller, sample_events
    from tenants.usage_event import encode

    callers = [
        Caller(tenant_id=1 + number // 5, api_key_id=1 + number, end_users=100 if number % 2 else 0)
        for number in range(50)
    ]
    pipeline = client.pipeline(transaction=False)
    # An hour of a busy day: what a drain that has fallen behind finds.
    today = int(time.time()) // 86_400
    for number, event in enumerate(sample_events(callers, day=today, count=24 * events, seed=seed)):
        if number == events:
            break
        pipeline.xadd(USAGE_STREAM, {"event": encode(event)})
        if number % CHUNK == CHUNK - 1:
            pipeline.execute()
    pipeline.execute()


def _cpu_by_program() -> dict[str, float]:
    """Return the CPU seconds so far of this process and of its children, by program."""
    seconds: dict[str, float] = {}
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        times = process.cpu_times()
        name = "drain" if process.pid == this.pid else process.name().split(":")[0].removesuffix("-server")
        seconds[name] = seconds.get(name, 0.0) + times.user + times.system
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--events", type=int, default=50_000, help="in each repetition; 50000 when not given")
    parser.add_argument("--repeat", type=int, default=3, help="how often; 3 when not given")
    parser.add_argument(
        "--core", type=int, default=max(os.sched_getaffinity(0)), help="which core; the last when not given"
    )
    parser.add_argument("--check", action="store_true", help=f"exit code 1 below {TARGET} events/s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
