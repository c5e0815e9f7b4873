"""Coarse sums with histograms of latencies: counted once, whatever becomes of a batch."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import connection, transaction

from tenants.latency import GROWTH, LAST_BUCKET, bounds, percentile, percentiles
from tenants.ledger import OVERVIEWS, TOTALS, USAGE_STREAM, drain, write_records
from tenants.ledger_proof import verify
from tenants.models import Tenant, UsageOverviewDay, UsageOverviewHour, UsageTotalDay
from tenants.models.ledger import ALL_TENANTS
from tenants.usage_event import UsageEvent, encode
from tests.tenants.ledger_events import event, write

pytestmark = pytest.mark.django_db
STARTED = datetime(2026, 3, 12, 9, 30, tzinfo=UTC)


def event_of(tenant: Tenant, **facts: Any) -> UsageEvent:
    values = {
        "tenant_id": tenant.pk,
        "provider": "anthropic",
        "latency_ms": 1_000,
        "first_token_ms": 100,
        "input_tokens": 10,
        "cost": Decimal("0.5"),
        "cost_price": Decimal("0.2"),
    }
    return event(STARTED, **values | facts)


def histogram(table: type[Any], tenant_id: int, kind: str = "latency") -> dict[int, int]:
    """What the rows of a tenant, or of all, hold together."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT array_lower({kind}, 1) + place - 1, sum(count)::bigint FROM {table._meta.db_table}"
            f" CROSS JOIN LATERAL unnest({kind}) WITH ORDINALITY AS of_row (count, place)"
            " WHERE tenant_id = %s AND count > 0 GROUP BY 1",
            [tenant_id],
        )
        return dict(cursor.fetchall())


def total(counts: dict[int, int]) -> int:
    return sum(counts.values())


# --- Percentiles -----------------------------------------------------------------------------------------------


def test_buckets_are_a_tenth_wide_and_touch_each_other():
    for bucket in range(1, LAST_BUCKET):
        low, high = bounds(bucket)
        assert high / low == pytest.approx(GROWTH)
        assert bounds(bucket + 1)[0] == high


def test_it_has_no_percentiles_of_nothing():
    assert percentile({}, 50) is None
    assert percentiles({7: 0}) == {50: None, 95: None, 99: None}


@pytest.mark.parametrize("times", [[120], [1, 5_000], list(range(1, 4_000)), [700] * 99 + [90_000]], ids=len)
@pytest.mark.parametrize("per_cent", [50, 95, 99])
def test_percentiles_are_right_within_a_tenth(alice, times, per_cent):
    write(*(event_of(alice, latency_ms=each) for each in times))
    exact = sorted(times)[max(0, -(-len(times) * per_cent // 100) - 1)]
    found = percentile(histogram(UsageOverviewDay, alice.pk), per_cent)
    assert found is not None
    assert exact / GROWTH - 1 <= found <= exact * GROWTH + 1


@pytest.mark.parametrize("milliseconds", [0, 1, 2_000_000_000])
def test_no_time_is_too_short_or_too_long(alice, milliseconds):
    write(event_of(alice, latency_ms=milliseconds))
    [bucket] = histogram(UsageOverviewHour, alice.pk)
    assert 1 <= bucket <= LAST_BUCKET


# --- Sums ------------------------------------------------------------------------------------------------------


def test_each_request_is_in_its_tenants_row_and_in_that_of_all(alice, charlie):
    write(event_of(alice), event_of(alice, outcome="upstream_failed"), event_of(charlie, cost_status="unpriced"))
    for table in (UsageOverviewHour, UsageOverviewDay):
        rows = {row.tenant_id: row for row in table.objects.all()}
        assert rows.keys() == {ALL_TENANTS, alice.pk, charlie.pk}
        assert [rows[key].requests for key in (ALL_TENANTS, alice.pk, charlie.pk)] == [3, 2, 1]
        assert [rows[key].errors for key in (ALL_TENANTS, alice.pk, charlie.pk)] == [1, 1, 0]
        assert rows[charlie.pk].unpriced == 1
        assert rows[ALL_TENANTS].cost == Decimal("1.5")
        assert rows[ALL_TENANTS].cost_price == Decimal("0.6")
    assert set(UsageTotalDay.objects.values_list("tenant_id", "requests")) == {(alice.pk, 2), (charlie.pk, 1)}


def test_charlie_is_not_in_what_alice_sees(alice, charlie):
    write(event_of(charlie, latency_ms=50_000))
    assert not UsageOverviewDay.objects.for_tenant(alice.pk).exists()
    assert histogram(UsageOverviewDay, alice.pk) == {}


def test_batches_add_up(alice):
    for milliseconds in (100, 100, 9_000, 20):
        write(event_of(alice, latency_ms=milliseconds))
    found = histogram(UsageOverviewHour, ALL_TENANTS)
    assert total(found) == 4
    assert max(found.values()) == 2


def test_what_has_no_first_token_has_no_time_to_it(alice):
    write(event_of(alice, first_token_ms=None), event_of(alice))
    assert total(histogram(UsageOverviewDay, alice.pk, "first_token")) == 1
    assert total(histogram(UsageOverviewDay, alice.pk)) == 2


def test_corrections_and_lost_requests_have_no_latency(alice):
    correction = {"outcome": "correction", "corrects": uuid.uuid4().hex, "cost": Decimal("-0.1")}
    write(event_of(alice, outcome="lost"), event_of(alice, **correction))
    row = UsageOverviewDay.objects.for_tenant(alice).get()
    assert (row.requests, row.errors, row.cost) == (1, 1, Decimal("0.4"))
    assert histogram(UsageOverviewDay, alice.pk) == histogram(UsageOverviewDay, alice.pk, "first_token") == {}


def test_a_lost_request_that_ends_after_all_is_counted_as_what_it_was(alice):
    lost = event_of(alice, outcome="lost", cost=Decimal(0), provider="")
    write(lost)
    write(event_of(alice, request_id=lost.request_id, replaces_lost=True))
    row = UsageOverviewDay.objects.for_tenant(alice).get()  # that of the lost one is gone
    assert (row.requests, row.errors, row.provider) == (1, 0, "anthropic")
    assert total(histogram(UsageOverviewDay, alice.pk)) == 1
    assert UsageTotalDay.objects.get().errors == 0


def test_what_is_drained_twice_counts_once(alice, valkey_url):
    made = [event_of(alice, latency_ms=number) for number in range(1, 40)]
    with redis.Redis.from_url(valkey_url) as client:
        for _ in range(2):
            for each in made:
                client.xadd(USAGE_STREAM, {"event": encode(each)})
            drain(client)
    assert UsageOverviewDay.objects.for_tenant(alice).get().requests == 39
    assert total(histogram(UsageOverviewDay, ALL_TENANTS)) == 39


def test_what_is_rolled_back_counts_nothing(alice):
    with transaction.atomic():
        write_records([event_of(alice)])
        transaction.set_rollback(True)
    assert not UsageOverviewDay.objects.exists()


def test_the_proof_finds_what_is_wrong_and_mends_it(alice, charlie):
    write(event_of(alice, latency_ms=40), event_of(alice, latency_ms=4_000), event_of(charlie))
    assert _differences() == []
    before = histogram(UsageOverviewDay, ALL_TENANTS)
    UsageOverviewDay.objects.filter(tenant_id=ALL_TENANTS).update(requests=9, latency=[])
    UsageTotalDay.objects.all().delete()
    assert _differences(fixes=True)
    assert _differences() == []
    assert histogram(UsageOverviewDay, ALL_TENANTS) == before


def _differences(fixes: bool = False) -> list[Any]:
    names = [rollup.table for rollup in (*OVERVIEWS, *TOTALS)]
    found: Iterable[Any] = verify(fixes=fixes, since=date(2026, 3, 1))
    return [each for each in found if any(name in each.what for name in names)]
