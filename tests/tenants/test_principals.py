"""From a key's rows to its principal."""

from decimal import Decimal

import pytest

from tenants.models import Tenant
from tenants.principals import principal_of
from tenants.services import create_key

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("is_stored", "days"), [(True, 30), (False, 7)])
def test_it_knows_whether_and_how_long_its_tenant_stores_responses(alice: Tenant, is_stored: bool, days: int):
    alice.stores_responses, alice.response_retention_days = is_stored, days
    alice.save()
    key, _ = create_key(tenant=alice, name="ci")
    principal = principal_of(key)
    assert (principal.stores_responses, principal.response_retention_days) == (is_stored, days)


def test_it_knows_what_its_tenant_wants_without_valkey_and_without_a_route(alice: Tenant, charlie: Tenant):
    alice.without_valkey, alice.allows_catalogue = Tenant.WithoutValkey.REFUSE, True
    alice.save()
    found = [principal_of(create_key(tenant=tenant, name="ci")[0]) for tenant in (alice, charlie)]
    assert [(each.refuses_without_valkey, each.allows_catalogue) for each in found] == [(True, True), (False, False)]


@pytest.mark.parametrize(("priority", "rank"), [("low", 0), ("normal", 1), ("high", 2)])
def test_it_knows_its_place_in_queues_and_whether_it_may_trace(alice: Tenant, priority: str, rank: int):
    principal = principal_of(create_key(tenant=alice, name="ci", priority=priority, may_trace=True)[0])
    assert (principal.priority, principal.may_trace) == (rank, True)


def test_by_default_a_key_goes_in_the_middle_and_traces_nothing(alice: Tenant):
    principal = principal_of(create_key(tenant=alice, name="ci")[0])
    assert (principal.priority, principal.may_trace) == (1, False)


def test_by_default_responses_are_stored_for_thirty_days(alice: Tenant):
    principal = principal_of(create_key(tenant=alice, name="ci")[0])
    assert (principal.stores_responses, principal.response_retention_days) == (True, 30)


def test_it_knows_the_floor_of_its_tenant_and_of_no_other(alice: Tenant, charlie: Tenant):
    alice.unpriced_policy, alice.floor_currency = Tenant.UnpricedPolicy.FLOOR, "EUR"
    alice.floor_input, alice.floor_output = Decimal(3), Decimal("9.5")
    alice.save()
    found, other = (principal_of(create_key(tenant=tenant, name="ci")[0]) for tenant in (alice, charlie))
    assert (found.bills_floor, found.refuses_unpriced) == (True, False)
    assert (found.floor_input, found.floor_output, found.floor_currency) == (3, Decimal("9.5"), "EUR")
    assert (other.bills_floor, other.floor_input) == (False, None)
