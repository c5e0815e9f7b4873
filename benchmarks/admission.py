"""What admission and settling cost a worker: three limits and two budgets on every request, against a real Valkey.

Run as a process of its own, it prints microseconds of CPU per request (user and system), what waits for Valkey left out.
"""

import argparse
import asyncio
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import uvloop

from gateway_site.infra.valkey import HotValkey
from tenants.limits.admission import Admission, Request
from tenants.limits.journal import Journal
from tenants.limits.scripts import COUNTED, SCRIPTS, USAGE_STREAM
from tenants.limits.spool import Spool
from tenants.principal import BudgetRule, Principal, Rule
from tenants.usage_event import UsageEvent, encode

AT_ONCE = 32
FAR = 9_000_000 * 10**9  # nanos
SCOPE = {"scope": "tenant", "scope_name": "bench"}

PRINCIPAL = Principal(
    key_id=1,
    key_name="bench",
    key_prefix="tg_bench",
    tenant_id=1,
    tenant="bench",
    rules=(
        Rule(id=900_001, kind="requests", amount=100_000_000, window_ms=60_000, scope="api_key", scope_name="bench"),
        Rule(id=900_002, kind="tokens", amount=10**12, window_ms=86_400_000, scope="tenant", scope_name="bench"),
        Rule(id=900_003, kind="concurrency", amount=100_000, scope="tenant", scope_name="bench"),
    ),
    budgets=(
        BudgetRule(
            id=900_004, amount=FAR, currency="USD", period="month", timezone="UTC", scope="tenant", scope_name="bench"
        ),
        BudgetRule(
            id=900_005, amount=FAR, currency="USD", period="day", timezone="UTC", scope="project", scope_name="bench"
        ),
    ),
)


def event_of(request_id: str, budgets: list[str], **facts: object) -> UsageEvent:
    """Return the event of a request that was served."""
    return UsageEvent(
        request_id=request_id,
        started_at=time.time(),
        tenant_id=1,
        api_key_id=1,
        dialect="openai_chat",
        alias="bench-chat",
        provider="simulator",
        deployment="bench-chat",
        status=200,
        outcome="served",
        cost_status="exact",
        latency_ms=12,
        input_tokens=250,
        output_tokens=40,
        cost=Decimal("0.000142500"),
        budgets=budgets,
    )


async def ask(admission: Admission, number: int) -> None:
    """Admit and settle one request."""
    request_id = f"{number:032x}"
    request = Request(
        request_id=request_id,
        alias="bench-chat",
        end_user="",
        dialect="openai_chat",
        started_at=time.time(),
        tokens=750,
        money={"USD": 1_000_000},
        if_lost=encode(event_of(request_id, [])),
    )
    reservation = await admission.reserve(PRINCIPAL, request)
    await admission.settle_soon(reservation, event_of(request_id, reservation.counters("USD")), tokens=290)


async def measure(valkey_url: str, requests: int) -> float:
    """Return microseconds of CPU per request."""
    with tempfile.TemporaryDirectory() as folder:
        valkey = HotValkey(valkey_url, scripts=SCRIPTS)
        await valkey.open()
        await valkey.call("SET", COUNTED, "1")
        admission = Admission(valkey, Spool(Path(folder), "bench"), Journal(Path(folder), "bench"))
        numbers = iter(range(requests + AT_ONCE))

        async def work() -> None:
            for number in numbers:
                await ask(admission, number)

        await ask(admission, next(numbers))
        started = time.process_time()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        while not admission.is_idle:
            await asyncio.sleep(0.001)
        spent = time.process_time() - started
        await valkey.call("DEL", USAGE_STREAM)
        await valkey.aclose()
    return spent / requests * 1e6


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admission")
    parser.add_argument("--valkey", required=True)
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    print(f"{uvloop.run(measure(options.valkey, options.requests)):.1f}")


if __name__ == "__main__":
    main()
