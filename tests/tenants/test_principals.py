"""From a key's rows to its principal."""

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


def test_by_default_responses_are_stored_for_thirty_days(alice: Tenant):
    principal = principal_of(create_key(tenant=alice, name="ci")[0])
    assert (principal.stores_responses, principal.response_retention_days) == (True, 30)
