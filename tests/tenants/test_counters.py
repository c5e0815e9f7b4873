"""Budgets' counters against the ledger: counted anew, proved, mended; and reservations that nobody renews, swept."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import time
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connection

from gateway_site.infra.valkey import StoreUnavailable, ThreadValkey
from tenants import counters, ledger_proof
from tenants.ledger import drain
from tenants.limits.periods import counter_name, slot_start
from tenants.limits.scripts import COUNTED
from tenants.models import Budget, BudgetSpend, Tenant, UsageDay, UsageRecord
from tests.tenants.ledger_events import append, event

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        yield client


@pytest.fixture
def alice() -> Tenant:
    return Tenant.objects.create(slug="alice", name="Alice", timezone="Asia/Kolkata")


@pytest.fixture
def month(alice: Tenant) -> Budget:
    return Budget.objects.create(tenant=alice, amount=Decimal(10), period="month")


def counter_of(budget: Budget, *, end_user: str = "", resets: int | None = None) -> str:
    start = slot_start(budget.period, time(), budget.tenant.timezone)
    return counter_name(budget.pk, budget.resets if resets is None else resets, start, end_user)


def use(client: redis.Redis, budget: Budget, dollars: str, **facts: Any) -> None:
    """Let a request be settled: its event waits in the stream, and Valkey has charged it if budgets are counted."""
    counter = facts.pop("counter", None) or counter_of(budget, end_user=facts.get("end_user", ""))
    values = {"tenant_id": budget.tenant_id, "cost": Decimal(dollars), "budgets": [counter]}
    append(client, event(datetime.now(UTC), **values | facts))
    if client.exists(COUNTED):
        found = counters.Slot.of(counter, Decimal(dollars))
        client.hincrby(found.key, found.slot, found.spent)


def spent(client: redis.Redis, counter: str) -> Decimal:
    found = counters.Slot.of(counter, Decimal(0))
    return Decimal(int(client.hget(found.key, found.slot) or 0)) / 10**9


def test_what_was_spent_is_counted_from_the_ledger_and_from_what_waits(client, month):
    use(client, month, "1.5")
    drain(client)
    client.delete(COUNTED)
    use(client, month, "0.25")
    assert counters.rebuild(client) == 1
    assert spent(client, counter_of(month)) == Decimal("1.75")
    assert client.exists(COUNTED)
    assert counters.rebuild(client) == 0  # once


def test_a_workers_own_connection_counts_as_well(client, month, valkey_url):
    use(client, month, "0.5")
    connection = ThreadValkey(valkey_url)
    assert counters.rebuild(connection) == 1
    connection.close()
    assert spent(client, counter_of(month)) == Decimal("0.5")


def test_a_worker_is_told_when_there_is_no_valkey():
    with pytest.raises(StoreUnavailable):
        ThreadValkey("redis://127.0.0.1:1/0")


def test_end_users_have_counters_of_their_own(client, alice):
    each = Budget.objects.create(tenant=alice, amount=1, period="day", per_end_user=True)
    for name in ("dora", "emil: the 2nd"):
        use(client, each, "0.5", end_user=name)
    drain(client)
    client.flushdb()
    assert counters.rebuild(client) == 2
    assert spent(client, counter_of(each, end_user="emil: the 2nd")) == Decimal("0.5")


def test_what_was_spent_before_a_reset_or_in_an_earlier_period_is_over(client, month):
    use(client, month, "1")
    use(
        client, month, "2", counter=counter_name(month.pk, 0, slot_start("month", time() - 40 * 86_400, "Asia/Kolkata"))
    )
    drain(client)
    month.resets = 1
    month.save()
    client.flushdb()
    assert counters.rebuild(client) == 0


def test_the_days_of_a_rolling_budget_are_counted_one_by_one(client, alice):
    rolling = Budget.objects.create(tenant=alice, amount=1, period="rolling", rolling_days=3)
    for days in (0, 2, 3):
        start = slot_start("rolling", time() - days * 86_400, "Asia/Kolkata")
        use(client, rolling, "0.1", counter=counter_name(rolling.pk, 0, start))
    drain(client)
    client.flushdb()
    assert counters.rebuild(client) == 2


def test_it_proves_that_all_say_the_same(client, month):
    client.set(COUNTED, 1)
    for _ in range(3):
        use(client, month, "0.000000001")
    drain(client)
    use(client, month, "0.1")
    assert counters.verify(client, fixes=False) == []
    assert list(ledger_proof.verify(fixes=False)) == []


def test_a_counter_that_differs_is_found_and_mended(client, month):
    client.set(COUNTED, 1)
    use(client, month, "1")
    found = counters.Slot.of(counter_of(month), Decimal(0))
    client.hincrby(found.key, found.slot, 5)
    client.hset(found.key, "held", 7)
    said = [str(difference) for difference in counters.verify(client, fixes=True)]
    assert said == [
        f"Valkey, spent on {counter_of(month)}: 1.000000005, should be 1",
        f"Valkey, held of {month.pk}.0: 0.000000007, should be 0",
    ]
    assert counters.verify(client, fixes=False) == []


def test_what_is_summed_up_wrongly_is_summed_up_again(client, month):
    use(client, month, "1")
    use(client, month, "1", end_user="dora", counter=counter_of(month))
    drain(client)
    UsageDay.objects.update(cost=5)
    BudgetSpend.objects.update(spent=7)
    said = {str(difference) for difference in ledger_proof.verify(fixes=True)}
    today = datetime.now(UTC).date()
    assert f"tenants_usageday of {today}, tenant {month.tenant_id}, cost: 5, should be 2" in said
    assert f"budget counter {counter_of(month)}: 7, should be 2" in said
    assert list(ledger_proof.verify(fixes=False)) == []
    assert UsageDay.objects.get().cost == 2


def test_a_record_that_no_rollup_has_is_found(client, month):
    use(client, month, "1")
    drain(client)
    UsageDay.objects.all().delete()
    assert any("requests: 0, should be 1" in str(difference) for difference in ledger_proof.verify(fixes=False))


def test_counters_whose_records_were_dropped_are_left_alone(client, alice):
    credit = Budget.objects.create(tenant=alice, amount=10, period="credit")
    Budget.objects.update(created_at=datetime.now(UTC) - timedelta(days=400))
    use(client, credit, "3", counter=counter_name(credit.pk, 0, 0))
    drain(client)
    BudgetSpend.objects.update(spent=100)  # most of it was spent when records were kept that are gone
    assert list(ledger_proof.verify(fixes=True)) == []


def test_the_command_says_what_differs_and_mends_it(client, month, valkey_url, settings):
    settings.VALKEY_URL = valkey_url
    use(client, month, "1")
    drain(client)
    output = io.StringIO()
    call_command("verify_ledger", stdout=output)
    assert output.getvalue() == "Counters, ledger and rollups say the same.\n"
    UsageRecord.objects.update(cost=2)
    with pytest.raises(CommandError, match="numbers differ; --fix sums them up again"):
        call_command("verify_ledger", stdout=output)
    call_command("verify_ledger", "--fix", stdout=output)
    assert spent(client, counter_of(month)) == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(cost) FROM tenants_usagehour")
        assert cursor.fetchone() == (Decimal(2),)
