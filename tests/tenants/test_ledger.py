"""From the usage stream to the ledger: everything once, whatever happens in between."""

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from django.db import connection, connections, transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDay, TruncHour
from django.utils import timezone

from tenants.ledger import (
    CONSUMER,
    DRAIN_LOCK,
    GROUP,
    REFUSED_STREAM,
    Drained,
    Pending,
    drain,
    drain_lock,
    partition_name,
    pending_spend,
    spend_by_counter,
    write_records,
)
from tenants.limits.admission import USAGE_STREAM
from tenants.models import BudgetSpend, Tenant, UsageDay, UsageEndUserDay, UsageHour, UsageRecord
from tenants.models.ledger import TOKEN_FIELDS
from tenants.tasks import DAYS_AHEAD, drain_usage, make_partitions
from tenants.usage_event import LossRecord, UsageEvent, encode, loss_records

pytestmark = pytest.mark.django_db(transaction=True)

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


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


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


# --- Records and rollups -------------------------------------------------------------------------------------


def test_a_record_holds_what_the_event_said(client, alice):
    sent = event(
        tenant_id=alice.pk,
        api_key_id=7,
        correlation_id="trace-1",
        project="chatbot",
        end_user='dora\t"\\N"\nü',
        route="smart",
        provider="openai",
        deployment="large",
        model="gpt-5",
        is_streamed=True,
        error_code="late",
        attempts=[{"deployment": "large", "ms": 12, "result": "ok"}],
        dialect_upstream="anthropic_messages",
        input_tokens=0,
        output_tokens=3_000_000_000,
        cost=Decimal("0.0000000001"),
        cost_price=Decimal("1234567890.0123456789"),
        written_off=Decimal("0.000000001"),
        reported_cost=Decimal("0.02"),
        units={"images": 2, "seconds": "1.5"},
        service_tier="flex",
        budgets=["7.0:0", '8.1:1773446400:dora\t"\\N",{}\nü', "9.0:0:"],
        corrects="0" * 31 + "1",
        first_token_ms=90,
        overhead_us=1_234,
        revision=5,
        worker="here-1",
    )
    append(client, sent)
    assert drain(client) == Drained(events=1, records=1)
    record = UsageRecord.objects.get()
    assert record.request_id.hex == sent.request_id
    assert record.corrects == UUID(int=1)
    assert record.started_at == NOON
    for name in UsageEvent.__struct_fields__:
        if name not in {"request_id", "started_at", "corrects", "replaces_lost"}:
            assert getattr(record, name) == getattr(sent, name), name


def test_a_record_holds_what_its_translation_lost(client):
    seed = LossRecord(path="seed", weight="degrades", why="the upstream has no seed")
    label = LossRecord(path='messages[0]."\\N"\t', weight="cosmetic", why="nobody reads it")
    append(client, event(alias="lossy", losses=[seed, label]), event(alias="whole"))
    drain(client)
    assert UsageRecord.objects.get(alias="lossy").losses == [
        {"path": "seed", "weight": "degrades", "why": "the upstream has no seed"},
        {"path": 'messages[0]."\\N"\t', "weight": "cosmetic", "why": "nobody reads it"},
    ]
    assert UsageRecord.objects.get(alias="whole").losses == []
    assert UsageRecord.objects.get(alias="whole").dialect_upstream == ""


def test_a_record_holds_how_its_route_was_decided(client):
    trace = {"route": "smart", "targets": [{"deployment": "large", "why": "first", "weight": 0.5}, {"quoted": "a\0b"}]}
    append(client, event(trace=trace), event(NOON + timedelta(seconds=1)))
    assert drain(client).records == 2
    found = list(UsageRecord.objects.order_by("started_at").values_list("trace", flat=True))
    trace["targets"][1] = {"quoted": "a\N{REPLACEMENT CHARACTER}b"}
    assert found == [trace, None]
    assert UsageRecord.objects.filter(trace__isnull=True).count() == 1


def test_a_field_with_a_name_that_cannot_be_stored_is_billed_nevertheless(client):
    append(client, event(losses=loss_records([("a\0b", "degrades", "the upstream's format has no such field")])))
    assert drain(client).records == 1
    assert not client.exists(REFUSED_STREAM)


def test_what_was_not_reported_is_not_zero(client):
    append(client, event(input_tokens=0))
    drain(client)
    record = UsageRecord.objects.get()
    assert record.input_tokens == 0
    assert record.output_tokens is None
    assert record.cost_price is None


def test_rollups_are_the_exact_sums_of_the_records(client):
    append(client, *random_events(1_500, seed=7))
    assert drain(client).records == 1_500
    assert_rollups_are_exact()
    assert UsageHour.objects.aggregate(total=Sum("requests"))["total"] == 1_500


def test_rollups_stay_exact_over_many_small_drains(client):
    for seed in range(6):
        append(client, *random_events(60, seed=seed, days=1))
        assert drain(client).records == 60
    assert UsageRecord.objects.count() == 360
    assert_rollups_are_exact()


def test_ten_thousand_events_arrive(client):
    append(client, *random_events(10_000, seed=11))
    assert drain(client) == Drained(events=10_000, records=10_000)
    assert is_empty(client)
    assert_rollups_are_exact()


def test_a_drain_can_be_told_to_stop(client):
    append(client, *random_events(4_500, seed=3))
    assert drain(client, limit=2_000) == Drained(events=2_000, records=2_000)
    assert client.xlen(USAGE_STREAM) == 2_500
    assert drain(client).records == 2_500


def test_nothing_to_drain_is_no_trouble(client):
    assert drain(client) == Drained(events=0, records=0)


# --- Days ----------------------------------------------------------------------------------------------------


def tables_of_records() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, count(*) FROM tenants_usagerecord GROUP BY 1")
        return dict(cursor.fetchall())


def partitions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'tenants_usagerecord'::regclass"
        )
        return {name for (name,) in cursor.fetchall()}


def test_events_across_midnight_go_to_their_days(client):
    midnight = datetime(2027, 5, 1, tzinfo=UTC)
    moments = [midnight - timedelta(microseconds=1), midnight, midnight + timedelta(hours=23, minutes=59)]
    append(client, *(event(moment) for moment in moments))
    drain(client)
    assert tables_of_records() == {"tenants_usagerecord_20270430": 1, "tenants_usagerecord_20270501": 2}
    assert sorted(UsageHour.objects.values_list("starts_at", flat=True)) == [
        midnight - timedelta(hours=1),
        midnight,
        midnight + timedelta(hours=23),
    ]
    assert dict(UsageDay.objects.values_list("starts_at", "requests")) == {midnight - timedelta(days=1): 1, midnight: 2}


def test_days_begin_at_midnight_utc_whatever_the_session_thinks(client):
    append(client, *(event(datetime(2027, 6, 1, hour, tzinfo=UTC)) for hour in (0, 11, 13, 23)))
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'Pacific/Auckland'")
    try:
        drain(client)
    finally:
        connection.close()
    assert tables_of_records() == {"tenants_usagerecord_20270601": 4}
    assert UsageDay.objects.get().starts_at == datetime(2027, 6, 1, tzinfo=UTC)


def test_partitions_of_the_next_days_are_made_ahead():
    make_partitions()
    today = timezone.now().date()
    ahead = {partition_name(today + timedelta(days=days)) for days in range(DAYS_AHEAD + 1)}
    assert ahead <= partitions()
    make_partitions()


def test_a_partition_is_named_after_its_day():
    assert partition_name(date(2026, 1, 2)) == "tenants_usagerecord_20260102"


# --- Translation ---------------------------------------------------------------------------------------------


def test_translated_and_lossy_records_are_found_by_their_index(client):
    loss = [LossRecord(path="seed", weight="degrades", why="the upstream has no seed")]
    append(
        client,
        event(alias="never-asked"),
        event(alias="passed-through", dialect_upstream="openai_chat"),
        event(alias="translated", dialect_upstream="anthropic_messages"),
        event(alias="lossy", dialect_upstream="anthropic_messages", losses=loss),
        event(alias="quirk", dialect_upstream="openai_chat", losses=loss),
    )
    drain(client)
    for found, aliases in (
        (UsageRecord.objects.translated(), {"translated", "lossy"}),
        (UsageRecord.objects.lossy(), {"lossy", "quirk"}),
    ):
        assert {record.alias for record in found} == aliases
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        plan = found.filter(started_at__gte=NOON - timedelta(days=7))[:51].explain()
        connection.close()
        table = partition_name(NOON.date())
        assert f"Index Scan using {table}_started_at_request_id_idx on {table}" in plan, plan


# --- Once ----------------------------------------------------------------------------------------------------


def test_draining_the_same_events_again_changes_nothing(client):
    events = random_events(200, seed=5)
    append(client, *events)
    drain(client)
    before = rollups(UsageHour), rollups(UsageDay)
    append(client, *events)
    assert drain(client) == Drained(events=200, records=0)
    assert (rollups(UsageHour), rollups(UsageDay)) == before
    assert UsageRecord.objects.count() == 200


def test_an_event_that_comes_twice_in_one_batch_counts_once(client):
    events = random_events(50, seed=6)
    append(client, *events, *events)
    assert drain(client) == Drained(events=100, records=50)
    assert_rollups_are_exact()


def test_old_and_new_events_in_one_batch_add_only_the_new(client):
    old, new = random_events(40, seed=8, days=1), random_events(40, seed=9, days=1)
    append(client, *old)
    drain(client)
    append(client, *(each for pair in zip(old, new, strict=True) for each in pair))
    assert drain(client) == Drained(events=80, records=40)
    assert_rollups_are_exact()


def test_a_crash_between_commit_and_acknowledgement_counts_once(client):
    events = random_events(100, seed=4)
    append(client, *events)
    drain(client)
    append(client, *events)  # as if the acknowledgement had never been sent: they are committed, and read and pending
    client.xreadgroup(GROUP, CONSUMER, {USAGE_STREAM: ">"})
    append(client, event())
    assert drain(client) == Drained(events=101, records=1)
    assert is_empty(client)
    assert_rollups_are_exact()


def test_a_crash_before_the_commit_loses_nothing(client):
    append(client, *random_events(100, seed=4))
    client.xgroup_create(USAGE_STREAM, GROUP, id="0")
    client.xreadgroup(GROUP, CONSUMER, {USAGE_STREAM: ">"}, count=60)
    assert drain(client) == Drained(events=100, records=100)
    assert is_empty(client)
    assert_rollups_are_exact()


def test_two_drains_at_once_count_once(valkey_url, client):
    append(client, *random_events(3_000, seed=12))

    def run() -> Drained:
        with redis.Redis.from_url(valkey_url) as own_client:
            return drain(own_client)

    outcomes = all_at_once(run, run, run)
    assert sum(outcome.records for outcome in outcomes) + drain(client).records == 3_000
    assert UsageRecord.objects.count() == 3_000
    assert is_empty(client)
    assert_rollups_are_exact()


def test_a_drain_does_nothing_while_another_is_at_it(client):
    append(client, event())
    others: list[Drained] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [DRAIN_LOCK])
        try:
            others += all_at_once(lambda: drain(client))
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [DRAIN_LOCK])
    assert others == [Drained(events=0, records=0)]
    assert drain(client).records == 1


def test_the_task_drains(client):
    append(client, *random_events(20, seed=1))
    drain_usage()
    assert UsageRecord.objects.count() == 20
    assert is_empty(client)


def test_several_writes_may_be_one_transaction():
    events = random_events(30, seed=1)
    with transaction.atomic():
        assert [write_records(events[:10]), write_records(events), write_records([])] == [10, 20, 0]
    assert_rollups_are_exact()


# --- Money ---------------------------------------------------------------------------------------------------


def test_each_budget_counter_gets_the_cost_of_its_records_once(client):
    charged = event(cost=Decimal("0.000000001"), budgets=["7.2:1773446400", "8.0:0"])
    append(client, charged, event(cost=Decimal("0.25"), budgets=["8.0:0"]), event(cost=Decimal(9)))
    drain(client)
    append(client, charged)
    drain(client)
    assert spend() == {"7.2:1773446400": Decimal("0.000000001"), "8.0:0": Decimal("0.250000001")}
    day = BudgetSpend.objects.get(counter="7.2:1773446400")
    assert (day.budget_id, day.starts_at) == (7, datetime(2026, 3, 14, tzinfo=UTC))
    assert BudgetSpend.objects.get(counter="8.0:0").starts_at == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "end_user", ["dora", "a:b:c", "7.0:0", "1.5", "'; --", 'x","9.0:0', "{}", "\\", "\n\t\r", "ü" * 200]
)
def test_an_end_user_cannot_charge_anothers_counter_by_its_name(client, end_user):
    counter = f"7.0:1773446400:{end_user}"
    append(client, event(cost=Decimal(1), end_user=end_user, budgets=[counter]))
    assert drain(client).records == 1
    assert list(BudgetSpend.objects.values_list("counter", "budget_id", "starts_at", "spent")) == [
        (counter, 7, datetime(2026, 3, 14, tzinfo=UTC), Decimal(1))
    ]
    assert spend_by_counter([7], NOON) == {counter: Decimal(1)}


def test_an_event_with_a_counter_that_is_none_is_set_aside(client):
    append(client, event(budgets=["seven"]), event(budgets=["7.0:0"]))
    assert drain(client).records == 1
    assert client.xlen(REFUSED_STREAM) == 1
    assert spend() == {"7.0:0": 0}


def test_the_ledgers_own_sums_leave_out_other_budgets_and_earlier_records(client):
    append(client, event(cost=Decimal(1), budgets=["1.0:0", "2.0:0"]), event(cost=Decimal(2), budgets=["11.0:0"]))
    append(client, event(NOON + timedelta(days=1), cost=Decimal(4), budgets=["1.0:0"]))
    drain(client)
    assert spend_by_counter([1], NOON) == {"1.0:0": Decimal(5)}
    assert spend_by_counter([1, 11], NOON + timedelta(seconds=1)) == {"1.0:0": Decimal(4)}
    assert spend_by_counter([], NOON) == {}


def test_a_correction_costs_and_is_no_request(client):
    original = event(cost=Decimal(3), budgets=["1.0:0"])
    append(
        client, original, event(outcome="correction", corrects=original.request_id, cost=Decimal(-1), budgets=["1.0:0"])
    )
    assert drain(client).records == 2
    assert spend() == {"1.0:0": Decimal(2)}
    assert UsageDay.objects.aggregate(Sum("requests"), Sum("cost")) == {"requests__sum": 1, "cost__sum": Decimal(2)}
    assert_rollups_are_exact()


# --- Requests that were lost, and came back ------------------------------------------------------------------


def lost_and_found(**facts: Any) -> tuple[UsageEvent, UsageEvent]:
    lost = event(
        outcome="lost",
        status=500,
        end_user="dora",
        budgets=["1.0:0"],
        started_at=NOON.timestamp() + facts.pop("late", 0),
    )
    return lost, event(request_id=lost.request_id, replaces_lost=True, cost=Decimal(2), budgets=["1.0:0"], **facts)


@pytest.mark.parametrize("late", [0, 0.25, 86_400])
@pytest.mark.parametrize("together", [True, False])
def test_a_late_settle_takes_the_place_of_the_lost_record(client, together, late):
    lost, found = lost_and_found(late=late)
    append(client, lost)
    if not together:
        assert drain(client).records == 1
    append(client, found, event())
    drain(client)
    for _ in range(2):
        assert UsageRecord.objects.get(request_id=lost.request_id).outcome == "served"
        assert not UsageDay.objects.filter(outcome="lost").exists()
        assert not UsageHour.objects.filter(outcome="lost").exists()
        assert not UsageEndUserDay.objects.exists()
        assert spend() == {"1.0:0": Decimal(2)}
        assert_rollups_are_exact()
        append(client, lost)  # the same once more, as after a crash
        drain(client)
        append(client, found, found)
        assert drain(client).records == 0


def test_lost_records_of_others_stay(client):
    lost, found = lost_and_found()
    append(client, lost, event(outcome="lost", status=500))
    drain(client)
    append(client, found)
    drain(client)
    assert UsageDay.objects.get(outcome="lost").requests == 1
    assert_rollups_are_exact()


def test_a_late_settle_replaces_no_record_of_a_request_that_ended(client):
    ended = event(cost=Decimal(5), budgets=["1.0:0"])
    again = event(request_id=ended.request_id, replaces_lost=True, cost=Decimal(7), budgets=["1.0:0"])
    append(client, ended, again)
    assert drain(client).records == 1
    assert spend() == {"1.0:0": Decimal(5)}


# --- What waits ----------------------------------------------------------------------------------------------


def test_what_waits_in_the_stream_is_summed_per_counter(client):
    assert pending_spend(client) == Pending()
    waiting = event(cost=Decimal("0.5"), budgets=["1.0:0", "2.0:0"])
    append(
        client, waiting, waiting, event(cost=Decimal("0.25"), budgets=["2.0:0"]), b"not json", event(request_id="none")
    )
    pending = pending_spend(client)
    assert pending.spend == {"1.0:0": Decimal("0.5"), "2.0:0": Decimal("0.75")}
    assert pending.events == 2
    assert pending.last_id == client.xrange(USAGE_STREAM)[-1][0]
    drain(client)
    assert spend() == pending.spend
    assert pending_spend(client) == Pending()


def test_what_the_ledger_has_already_does_not_wait(client):
    """A drain may end between its commit and the deletion of the entries."""
    lost, found = lost_and_found()
    stored = random_events(50, seed=3)
    append(client, lost, *stored)
    drain(client)
    append(client, *stored, lost, found)
    assert pending_spend(client).spend == {"1.0:0": Decimal(2)}
    drain(client)
    append(client, lost, found)
    assert pending_spend(client).spend == {}


def test_spent_and_waiting_are_everything_whatever_a_drain_has_done(client):
    append(client, *random_events(2_500, seed=21))
    everything = dict(pending_spend(client).spend)
    drain(client, limit=2_000)
    with drain_lock(waits=True):
        pending = pending_spend(client)
        assert pending.events == 500
        assert {name: spend().get(name, 0) + pending.spend.get(name, 0) for name in COUNTERS} == everything


# --- What cannot be stored -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unreadable",
    [
        b"not json",
        b"{}",
        b"",
        b'{"request_id":',
        encode(event()).replace(b'"status":200', b'"status":"fine"'),
        encode(event(request_id="not-a-uuid")),
        encode(event(started_at=1e18)),
        encode(event(end_user="a\0b")),
        encode(event(attempts=[{"error": "a\0b"}])),
        encode(event(project="x" * 64)),
        encode(event(input_tokens=2**63)),
        encode(event(latency_ms=2**31)),
        encode(event(cost=Decimal(10) ** 10)),
        encode(event(cost=Decimal("NaN"))),
        encode(event(cost_price=Decimal("sNaN"))),
        encode(event(written_off=Decimal("Infinity"))),
        encode(event(budgets=["1.0:0:a\0b"])),
        encode(event(budgets=["1.0:0:" + "x" * 300])),
    ],
    ids=lambda blob: blob[:12].decode() or "nothing",
)
def test_an_event_that_cannot_be_stored_is_set_aside_and_holds_up_no_other(client, unreadable):
    before, after = random_events(9, seed=1), random_events(14, seed=2)
    append(client, *before, unreadable, *after)
    assert drain(client) == Drained(events=24, records=23)
    assert is_empty(client)
    assert [fields for _, fields in client.xrange(REFUSED_STREAM)] == [{b"event": unreadable}]
    assert_rollups_are_exact()


def test_several_that_cannot_be_stored_are_set_aside_together(client):
    wrong = [event(request_id=f"wrong-{number}") for number in range(5)]
    right = random_events(200, seed=1)
    for each in wrong:
        right.insert(random.Random(each.request_id).randrange(len(right)), each)
    append(client, *right)
    assert drain(client) == Drained(events=205, records=200)
    assert client.xlen(REFUSED_STREAM) == 5
    assert_rollups_are_exact()


def test_an_entry_without_an_event_is_set_aside(client):
    client.xadd(USAGE_STREAM, {"something": "else"})
    append(client, event())
    assert drain(client) == Drained(events=2, records=1)
    assert [fields for _, fields in client.xrange(REFUSED_STREAM)] == [{b"something": b"else"}]


def test_entries_that_were_deleted_while_they_were_pending_hold_up_nothing(client):
    append(client, *random_events(3, seed=1))
    client.xgroup_create(USAGE_STREAM, GROUP, id="0")
    client.xreadgroup(GROUP, CONSUMER, {USAGE_STREAM: ">"})
    first, *_ = client.xrange(USAGE_STREAM)
    client.xdel(USAGE_STREAM, first[0])
    assert drain(client).records == 2
    assert drain(client) == Drained(events=0, records=0)
    assert is_empty(client)


def test_events_of_a_newer_version_are_read_as_far_as_they_are_known(client):
    append(client, encode(event(alias="smart")).replace(b'{"', b'{"from_the_future":[1],"', 1))
    assert drain(client).records == 1
    assert UsageRecord.objects.get().alias == "smart"


# --- Tenants -------------------------------------------------------------------------------------------------


def test_charlie_sees_nothing_of_alices(client, alice: Tenant, charlie: Tenant):
    append(client, *random_events(60, seed=1, tenants=(alice.pk,)), *random_events(5, seed=2, tenants=(charlie.pk,)))
    drain(client)
    for model in (UsageRecord, UsageHour, UsageDay):
        assert model.objects.for_tenant(alice).exists()
        assert {row.tenant_id for row in model.objects.for_tenant(charlie)} == {charlie.pk}
    assert UsageRecord.objects.for_tenant(alice).count() == 60
    assert UsageRecord.objects.for_tenant(charlie).count() == 5
    assert UsageDay.objects.for_tenant(charlie).aggregate(total=Sum("requests"))["total"] == 5


def test_the_same_request_id_of_two_tenants_is_one_request(client, alice: Tenant, charlie: Tenant):
    """Ids are the gateway's own; whoever repeats one cannot add to another's bill."""
    original = event(tenant_id=alice.pk, cost=Decimal(1))
    append(client, original, event(request_id=original.request_id, tenant_id=charlie.pk, cost=Decimal(99)))
    assert drain(client).records == 1
    assert not UsageRecord.objects.for_tenant(charlie).exists()


def test_records_outlive_their_tenant(client, alice: Tenant):
    append(client, event(tenant_id=alice.pk))
    drain(client)
    pk = alice.pk
    alice.members.all().delete()
    alice.delete()
    assert UsageRecord.objects.for_tenant(pk).count() == 1
