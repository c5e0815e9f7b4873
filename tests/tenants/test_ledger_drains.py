"""Every event is in the ledger once, whatever happens while it is drained; what cannot be stored holds up no other."""

import random
from decimal import Decimal

import pytest
import redis
from django.db import connection, transaction

from tenants.ledger import CONSUMER, DRAIN_LOCK, GROUP, REFUSED_STREAM, Drained, drain, write_records
from tenants.limits.scripts import USAGE_STREAM
from tenants.models import Tenant, UsageDay, UsageEndUserDay, UsageHour, UsageRecord
from tenants.tasks import drain_usage
from tenants.usage_event import encode
from tests.tenants.ledger_events import (
    all_at_once,
    append,
    assert_rollups_are_exact,
    event,
    is_empty,
    lost_and_found,
    random_events,
    rollups,
    spend,
)

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_the_same_request_id_of_two_tenants_is_one_request(client, alice: Tenant, charlie: Tenant):
    """Ids are the gateway's own; whoever repeats one cannot add to another's bill."""
    original = event(tenant_id=alice.pk, cost=Decimal(1))
    append(client, original, event(request_id=original.request_id, tenant_id=charlie.pk, cost=Decimal(99)))
    assert drain(client).records == 1
    assert not UsageRecord.objects.for_tenant(charlie).exists()


# --- Requests that were lost, and came back ------------------------------------------------------------------


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
