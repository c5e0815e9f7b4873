"""The console's first page: what operators see, what members see, and how it asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from gateway_site.console.attention import of_the_gateway
from providers.models import Provider
from tenants.models import (
    AlertIncident,
    AlertRule,
    ApiKey,
    Budget,
    BudgetAlert,
    BudgetSpend,
    Member,
    Tenant,
    User,
)
from tenants.services import create_key
from tests.gateway_site.facts import deployment, facts, report
from tests.gateway_site.people import member_browser
from tests.gateway_site.records import write_record

pytestmark = pytest.mark.django_db

PAGE = "/admin/"
MOST_QUERIES = 30


def use(tenant: Tenant, **given: Any) -> None:
    values = {
        "provider": "anthropic",
        "latency_ms": 1_200,
        "first_token_ms": 300,
        "input_tokens": 1_234,
        "output_tokens": 10,
        "cost": Decimal("7.25"),
        "cost_price": Decimal("3.5"),
    }
    write_record(tenant, **values | given)


def budget(tenant: Tenant, spent: str) -> Budget:
    made = Budget.objects.create(tenant=tenant, amount=Decimal(10), period="total")
    BudgetSpend.objects.create(
        counter=f"{made.pk}.0:0", budget_id=made.pk, starts_at=datetime.fromtimestamp(0, UTC), spent=Decimal(spent)
    )
    return made


@pytest.fixture
def charlie() -> Tenant:
    return Tenant.objects.create(slug="charlie", name="Charlie")


# --- Operators -------------------------------------------------------------------------------------------------


def test_it_shows_what_happened_and_what_it_earned(console, tenant):
    use(tenant)
    use(tenant, outcome="upstream_failed", cost=Decimal(0), cost_price=Decimal(0))
    page = console.get(PAGE)
    text = page.content.decode()
    for part in ("acme", "smart", "anthropic", "7.25", "3.75", "50.0%", "1.2", "As a table", "home.js"):
        assert part in text, part
    assert {card["label"] for card in page.context["cards"]} >= {"Requests", "Spend", "Margin", "Tokens", "Error rate"}


def test_currencies_stand_side_by_side(console, tenant):
    use(tenant)
    use(tenant)
    use(tenant, currency="EUR", cost=Decimal(3))
    text = console.get(PAGE).content.decode()
    assert "14.50" in text
    assert "3.00 EUR" in text
    assert "17.50" not in text


def test_a_new_gateway_says_what_to_do(console):
    text = console.get(PAGE).content.decode()
    assert "No requests yet" in text
    assert "<canvas" not in text


def test_a_calm_gateway_says_so(console, tenant):
    use(tenant)
    assert "nothing needs attention" in console.get(PAGE).content.decode()


@pytest.mark.parametrize(
    "query",
    ["range=1h", "range=30d&by=provider", "range=month&order=errors", "from=2026-01-01&to=2026-01-31", "tenant=acme"],
)
def test_views_can_be_shared(console, tenant, query):
    use(tenant)
    assert console.client.get(f"{PAGE}?{query}").status_code == 200


def test_a_wrong_address_is_told_and_shows_the_usual(console, tenant):
    use(tenant)
    text = console.get(PAGE, range="<b>9y").content.decode()
    assert "range: &#x27;&lt;b&gt;9y&#x27; is none of" in text
    assert "Requests and errors" in text


def test_names_of_models_are_only_text(console, tenant):
    use(tenant, alias="</script><b>bold", provider="")
    text = console.get(PAGE, by="model").content.decode()
    assert "</script><b>bold" not in text
    assert "<b>bold" not in text


@pytest.mark.parametrize("query", ["", "range=30d&by=model", "range=1h&by=provider", "tenant=acme&model=smart"])
def test_it_asks_few_times_and_never_for_records(console, tenant, charlie, query):
    use(tenant)
    use(charlie, currency="EUR", cost_status="unpriced")
    budget(tenant, "9")
    with CaptureQueriesContext(connection) as asked:
        assert console.client.get(f"{PAGE}?{query}").status_code == 200
    assert len(asked) <= MOST_QUERIES
    assert not [each["sql"] for each in asked if "tenants_usagerecord" in each["sql"]]


def test_operators_without_the_right_see_no_numbers(tenant):
    use(tenant)
    staff = User.objects.create_user("erin", is_staff=True)
    client = Client()
    client.force_login(staff)
    page = client.get(PAGE)
    assert page.status_code == 200
    assert "7.25" not in page.content.decode()
    staff.user_permissions.add(Permission.objects.get(codename="view_usageday"))
    assert "7.25" in client.get(PAGE).content.decode()


# --- What needs attention --------------------------------------------------------------------------------------


def test_it_tells_what_the_database_knows(console, tenant):
    use(tenant, alias="new-model", cost_status="unpriced")
    Provider.objects.create(slug="idle", adapter="openai", is_enabled=False)
    made = budget(tenant, "10")
    alert = {"tenant": tenant, "budget": made, "threshold": 90, "spent": 9, "limit": 10}
    BudgetAlert.objects.create(counter="a", given_up_at=timezone.now(), **alert)
    text = console.get(PAGE).content.decode()
    for part in ("new-model", "Price them", "provider idle", "Spent: a budget of acme", "1 given up", "Open alerts"):
        assert part in text, part
    assert "<code>manage.py rerate</code>" in text


def test_what_is_wrong_with_the_gateway_leads_to_its_place():
    ill = report(
        revision=3,
        deployments=[
            deployment("claude-eu", breaker="open", consecutive_failures=5),
            deployment("mini", "openai", probe="unreachable"),
        ],
    )
    notices = {notice.message: notice for notice in of_the_gateway(facts(ill, beat_at=None))}
    found = " ".join(notices)
    for part in ("breaker of deployment claude-eu", "probe of deployment mini", "Revision 7", "No scheduled task"):
        assert part in found
    [breaker] = [notice for message, notice in notices.items() if "claude-eu" in message]
    assert breaker.link.endswith("?q=claude-eu")
    assert all(bool(notice.link) == bool(notice.link_text) for notice in notices.values())


def test_a_healthy_gateway_needs_nothing():
    assert list(of_the_gateway(facts())) == []


# --- Members ---------------------------------------------------------------------------------------------------


def test_members_see_their_own_figures_alone(tenant, charlie):
    use(tenant)
    use(charlie, alias="only-charlies", cost=Decimal("99.99"))
    budget(charlie, "9.5")
    Provider.objects.create(slug="idle", adapter="openai", is_enabled=False)
    page = member_browser(tenant, "dana").get(PAGE)
    text = page.content.decode()
    assert "7.25" in text
    for part in ("only-charlies", "99.99", "charlie", "Margin", "anthropic", "3.5 ", "3.75", "idle"):
        assert part not in text, part


@pytest.mark.parametrize("role", Member.Role.values)
def test_charlie_sees_nothing_of_acmes_whatever_they_ask(tenant, charlie, role):
    use(tenant, alias="only-acmes")
    budget(tenant, "9.5")
    create_key(tenant=tenant, name="acmes-key", expires_at=timezone.now() + timedelta(days=1))
    client = member_browser(charlie, "dana", role)
    for query in ("", "?tenant=acme", "?by=tenant", "?model=only-acmes&range=30d", "?provider=anthropic"):
        page = client.get(PAGE + query)
        assert page.status_code == 200
        assert page.context["view"].tenant == ""
        text = page.content.decode()
        for part in ("7.25", "acmes-key", "Tenants</h2>", "/tenants/budget/"):
            assert part not in text.replace('href="/admin/tenants/budget/"', ""), (query, part)
        assert page.context["is_empty"]


def test_members_are_told_of_keys_that_expire_and_budgets_that_end(tenant):
    use(tenant)
    budget(tenant, "9.5")
    key, _ = create_key(tenant=tenant, name="ci")
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() + timedelta(days=3, hours=1))
    text = member_browser(tenant, "dana").get(PAGE).content.decode()
    assert "API key ci expires in 3 days" in text
    assert "Nearly spent" in text
    assert "95%" in text


@pytest.mark.parametrize(("role", "may"), [("owner", True), ("viewer", False)])
def test_members_are_asked_for_what_their_role_lets_them_do(tenant, role, may):
    use(tenant)
    create_key(tenant=tenant, name="ci", expires_at=timezone.now() + timedelta(days=3))
    rule = AlertRule.objects.create(tenant=tenant, name="Errors", metric="error_rate", threshold=5)
    facts = {"severity": "warning", "began_at": timezone.now(), "value": 7, "worst": 7, "last": 7}
    AlertIncident.objects.create(tenant=tenant, rule=rule, title="Errors", **facts)
    text = member_browser(tenant, "dana", role).get(PAGE).content.decode()
    for part in ("give them another in time", "make one, or revoke one", "acknowledge it, or silence its rule"):
        assert (part in text) is may, part


def test_a_members_page_asks_few_times_and_never_for_records(tenant):
    use(tenant)
    client = member_browser(tenant, "dana")
    with CaptureQueriesContext(connection) as asked:
        client.get(PAGE)
    assert len(asked) <= MOST_QUERIES
    assert not [each["sql"] for each in asked if "tenants_usagerecord" in each["sql"]]
