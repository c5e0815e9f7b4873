"""Events for the ledger's tests, and the proof that its sums are those of its records."""

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import redis
from django.db import connections, transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDay, TruncHour

from tenants.ledger import GROUP, spend_by_counter, write_records
from tenants.limits.scripts import USAGE_STREAM
from tenants.models import BudgetSpend, UsageDay, UsageEndUserDay, UsageHour, UsageRecord
from tenants.models.ledger import TOKEN_FIELDS
from tenants.usage_event import UsageEvent, encode

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
ROLLUP_KEYS = (
    "tenant_id",
    "project",
    "api_key_id",
    "alias",
    "provider",
    "deployment",
    "outcome",
    "cost_status",
    "currency",
)
SUMS = (*TOKEN_FIELDS, "cost", "cost_price", "written_off", "latency_ms", "first_token_ms")
COUNTERS = ("1.0:0", "2.3:1773446400", "2.3:1773446400:dora", '3.0:1772323200:o\'hara "x", {y}')


def event(moment: datetime = NOON, **facts: Any) -> UsageEvent:
    defaults: dict[str, Any] = {
        "request_id": uuid4().hex,
        "started_at": moment.timestamp(),
        "tenant_id": 1,
        "api_key_id": 1,
        "dialect": "openai_chat",
        "alias": "smart",
        "status": 200,
        "outcome": "served",
        "cost_status": "exact",
        "latency_ms": 250,
    }
    return UsageEvent(**{**defaults, **facts})


def random_events(number: int, *, seed: int, tenants: tuple[int, ...] = (1, 2), days: int = 3) -> list[UsageEvent]:
    dice = random.Random(seed)

    def maybe(value: Any) -> Any:
        return value if dice.random() < 0.8 else None

    def money() -> Decimal:
        return Decimal(dice.randrange(10**11)) / 10**10

    return [
        event(
            NOON + timedelta(seconds=dice.randrange(days * 86_400)),
            request_id=UUID(int=dice.getrandbits(128)).hex,
            tenant_id=(tenant := dice.choice(tenants)),
            api_key_id=tenant * 10 + dice.randrange(2),
            project=dice.choice(("", "chatbot")),
            alias=dice.choice(("smart", "cheap")),
            deployment=dice.choice(("", "large", "small")),
            outcome=dice.choice(("served", "client_gone", "cut", "rejected")),
            cost_status=dice.choice(("exact", "estimated", "unpriced")),
            end_user=dice.choice(("", "dora", 'o\'hara "x", {y}\\')),
            currency=dice.choice(("USD", "EUR")),
            latency_ms=dice.randrange(100_000),
            first_token_ms=maybe(dice.randrange(5_000)),
            cost=money(),
            cost_price=maybe(money()),
            written_off=money(),
            budgets=dice.sample(COUNTERS, dice.randrange(3)),
            attempts=[{"deployment": "large", "result": "ok"}],
            **{name: maybe(dice.randrange(10**6)) for name in TOKEN_FIELDS},
        )
        for _ in range(number)
    ]


def write(*events: UsageEvent) -> None:
    """Have them in the ledger, without Valkey."""
    with transaction.atomic():
        write_records(events)


def append(client: redis.Redis, *events: UsageEvent | bytes) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for each in events:
            pipeline.xadd(USAGE_STREAM, {"event": each if isinstance(each, bytes) else encode(each)})
        pipeline.execute()


def sums_of_records(period: type[TruncHour]) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = (
        UsageRecord.objects.annotate(starts_at=period("started_at", tzinfo=UTC))
        .values("starts_at", *ROLLUP_KEYS)
        .annotate(requests=Count("pk", filter=Q(corrects=None)), first_tokens=Count("first_token_ms"))
        .annotate(**{f"sum_{name}": Sum(name) for name in SUMS})
        .order_by()
    )
    return {
        tuple(row[name] for name in ("starts_at", *ROLLUP_KEYS)): {
            "requests": row["requests"],
            "first_tokens": row["first_tokens"],
            **{name: row[f"sum_{name}"] or 0 for name in SUMS},
        }
        for row in rows
    }


def rollups(model: type[UsageHour] | type[UsageDay]) -> dict[tuple[Any, ...], dict[str, Any]]:
    fields = ("requests", "first_tokens", *SUMS)
    return {
        tuple(row[name] for name in ("starts_at", *ROLLUP_KEYS)): {name: row[name] for name in fields}
        for row in model.objects.values()
    }


END_USER_KEYS = ("tenant_id", "project", "api_key_id", "end_user", "alias", "currency")
END_USER_SUMS = (*TOKEN_FIELDS, "cost", "cost_price", "written_off")


def end_user_rollups() -> dict[tuple[Any, ...], list[Any]]:
    fields = ("requests", "errors", "unpriced", *END_USER_SUMS)
    return {
        tuple(row[name] for name in ("day", *END_USER_KEYS)): [row[name] for name in fields]
        for row in UsageEndUserDay.objects.values()
    }


def sums_by_end_user() -> dict[tuple[Any, ...], list[Any]]:
    failed = Q(outcome__in=["upstream_failed", "cut", "rejected", "shutdown", "gateway_failed", "lost"])
    rows = (
        UsageRecord.objects.exclude(end_user="")
        .annotate(day=TruncDay("started_at", tzinfo=UTC))
        .values("day", *END_USER_KEYS)
        .annotate(requests=Count("pk", filter=Q(corrects=None)), errors=Count("pk", filter=failed))
        .annotate(unpriced=Count("pk", filter=Q(cost_status="unpriced", corrects=None)))
        .annotate(**{f"sum_{name}": Sum(name) for name in END_USER_SUMS})
        .order_by()
    )
    return {
        (row["day"].date(), *(row[name] for name in END_USER_KEYS)): [
            row["requests"],
            row["errors"],
            row["unpriced"],
            *(row[f"sum_{name}"] or 0 for name in END_USER_SUMS),
        ]
        for row in rows
    }


def spend() -> dict[str, Decimal]:
    return dict(BudgetSpend.objects.values_list("counter", "spent"))


def assert_rollups_are_exact() -> None:
    assert rollups(UsageHour) == sums_of_records(TruncHour)
    assert rollups(UsageDay) == sums_of_records(TruncDay)
    assert end_user_rollups() == sums_by_end_user()
    assert spend() == spend_by_counter([1, 2, 3], NOON - timedelta(days=30))


def is_empty(client: redis.Redis) -> bool:
    return client.xlen(USAGE_STREAM) == 0 and client.xpending(USAGE_STREAM, GROUP)["pending"] == 0


def all_at_once[T](*calls: Callable[[], T]) -> list[T]:
    """Call each in a thread with connections of its own."""
    outcomes: list[T] = []

    def run(call: Callable[[], T]) -> None:
        try:
            outcomes.append(call())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def lost_and_found(**facts: Any) -> tuple[UsageEvent, UsageEvent]:
    lost = event(
        outcome="lost",
        status=500,
        end_user="dora",
        budgets=["1.0:0"],
        started_at=NOON.timestamp() + facts.pop("late", 0),
    )
    return lost, event(request_id=lost.request_id, replaces_lost=True, cost=Decimal(2), budgets=["1.0:0"], **facts)
