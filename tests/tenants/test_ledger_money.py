"""What budgets are charged: the cost of their records, once, and what still waits in the stream."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db.models import Sum

from tenants.ledger import REFUSED_STREAM, Pending, drain, drain_lock, pending_spend, spend_by_counter
from tenants.limits.scripts import USAGE_STREAM
from tenants.models import BudgetSpend, Tenant, UsageDay
from tests.tenants.ledger_events import (
    COUNTERS,
    NOON,
    append,
    assert_rollups_are_exact,
    event,
    lost_and_found,
    random_events,
    spend,
)

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_charlies_counter_gets_nothing_of_alices_requests(client, alice: Tenant, charlie: Tenant):
    append(client, event(tenant_id=alice.pk, cost=Decimal(1), budgets=["1.0:0"]))
    assert pending_spend(client).spend == {"1.0:0": Decimal(1)}
    append(client, event(tenant_id=charlie.pk, cost=Decimal(2), budgets=["2.0:0"]))
    drain(client)
    assert spend() == {"1.0:0": Decimal(1), "2.0:0": Decimal(2)}
    assert spend_by_counter([2], NOON) == {"2.0:0": Decimal(2)}


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
