"""From the usage stream to the ledger: records, their sums by hour, day and end user, and whose they are."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from tenants.ledger import REFUSED_STREAM, Drained, drain, partition_name
from tenants.limits.scripts import USAGE_STREAM
from tenants.models import Tenant, UsageDay, UsageHour, UsageRecord
from tenants.tasks import DAYS_AHEAD, make_partitions
from tenants.usage_event import LossRecord, UsageEvent, loss_records
from tests.tenants.ledger_events import NOON, append, assert_rollups_are_exact, event, is_empty, random_events

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_records_outlive_their_tenant(client, alice: Tenant):
    append(client, event(tenant_id=alice.pk))
    drain(client)
    pk = alice.pk
    alice.members.all().delete()
    alice.delete()
    assert UsageRecord.objects.for_tenant(pk).count() == 1
