"""A tenant's page: what this month was, how budgets stand, what needs attention; quick, however many keys there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tenants.budgets import window
from tenants.models import Budget, Project, Tenant, UsageOverviewDay
from tenants.models.limits import BudgetSpend
from tenants.services import create_key, rotate_key
from tests.gateway_site.admin.browsing import member_console

pytestmark = pytest.mark.django_db

MANY_KEYS = """
INSERT INTO tenants_apikey (tenant_id, name, digest, prefix, priority, may_trace, created_at,
    pepper_id, last_four, previous_pepper_id, previous_prefix, previous_last_four, purpose)
SELECT %s, 'key ' || n, md5(n::text) || md5('x' || n), 'tg_x', 'normal', false, now(), '', '', '', '', '', ''
FROM generate_series(1, 10000) AS n
"""


def page_of(tenant: Tenant) -> str:
    return f"/admin/tenants/tenant/{tenant.pk}/change/"


def used(tenant: Tenant, *, at: datetime, **facts: Any) -> None:
    given = {"requests": 10, "input_tokens": 500, "cost": Decimal(2), **facts}
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    UsageOverviewDay.objects.create(starts_at=day, tenant_id=tenant.pk, alias="smart", **given)


def spend(budget: Budget, amount: str) -> None:
    first, _ = window(budget, timezone.now())
    BudgetSpend.objects.create(
        counter=f"{budget.pk}.{budget.resets}:{first}",
        budget_id=budget.pk,
        starts_at=datetime.fromtimestamp(first, UTC),
        spent=Decimal(amount),
    )


def notices(response: Any) -> str:
    return " ".join(notice["text"] for notice in response.context["notices"])


def test_it_tells_of_this_month(console, tenant):
    now = datetime.now(UTC)
    used(tenant, at=now)
    used(tenant, at=now, currency="EUR", cost=Decimal("0.5"))
    used(tenant, at=now.replace(day=1) - timedelta(days=1), cost=Decimal(900))
    response = console.get(page_of(tenant))
    figures = {figure["name"]: figure["value"] for figure in response.context["figures"]}
    assert figures["Spent"] == "0.50 EUR, 2.00 USD"
    assert (figures["Requests"], figures["Tokens"]) == ("20", "1,000")
    assert "900" not in figures["Spent"]
    assert response.context["overview"].requests_by_day[-1] == (now.date(), 20)


def test_another_tenant_s_usage_is_not_in_it(console, tenant):
    charlie = Tenant.objects.create(slug="charlie", name="Charlie")
    used(charlie, at=datetime.now(UTC), cost=Decimal(77))
    assert console.get(page_of(tenant)).context["overview"].month.requests == 0
    assert console.get(page_of(charlie)).context["overview"].month.requests == 10


def test_budgets_are_bars(console, tenant):
    project = Project.objects.create(tenant=tenant, slug="web")
    whole = Budget.objects.create(tenant=tenant, amount=Decimal(50))
    part = Budget.objects.create(tenant=tenant, project=project, amount=Decimal(10), period="day")
    spend(whole, "45")
    spend(part, "10")
    first, second = console.get(page_of(tenant)).context["burns"]
    assert (first["owner"], first["share"], first["tone"]) == ("web", 100, "danger")
    assert (second["owner"], second["share"], second["tone"]) == ("whole tenant", 90, "warning")
    assert (second["spent"], second["left"]) == ("45.00 USD", "5.00 USD")
    text = notices(console.get(page_of(tenant)))
    assert "1 budget is used up." in text
    assert "1 budget is close to the end." in text


def test_it_says_what_needs_attention(console, tenant):
    assert "no budget" in notices(console.get(page_of(tenant)))
    assert "no key that works" in notices(console.get(page_of(tenant)))
    assert "Nobody owns it" in notices(console.get(page_of(tenant)))
    key, _ = create_key(tenant=tenant, name="ci", expires_at=timezone.now() + timedelta(days=3))
    rotate_key(key=key, until=timezone.now() + timedelta(hours=1))
    used(tenant, at=datetime.now(UTC), requests=100, errors=10, unpriced=10)
    tenant.suspend("bill unpaid")
    text = notices(console.get(page_of(tenant)))
    for part in (
        "bill unpaid",
        "1 key is about to expire",
        "1 key is being rotated",
        "10% of",
        "10 requests of this month",
    ):
        assert part in text, part


def test_no_key_of_a_suspended_tenant_works(console, tenant):
    create_key(tenant=tenant, name="ci")
    tenant.suspend("bill unpaid")
    figures = {figure["name"]: figure["value"] for figure in console.get(page_of(tenant)).context["figures"]}
    assert (figures["Keys that work"], figures["Failed"]) == ("0", "\N{EN DASH}")
    assert "Tenant suspended" in console.get("/admin/tenants/apikey/").content.decode()


@pytest.mark.parametrize("role", ["owner", "developer", "viewer"])
def test_members_see_their_own(tenant, role):
    used(tenant, at=datetime.now(UTC))
    response = member_console(tenant, "bob", role).get(page_of(tenant))
    assert response.context["overview"].month.requests == 10
    assert "tenant=" not in next(
        each["url"] for each in response.context["actions"] if each["title"] == "Connect a tool"
    )
    assert ("Playground" in [each["title"] for each in response.context["actions"]]) == (role != "viewer")


def test_charlie_sees_nothing_of_it(tenant):
    charlie = member_console(Tenant.objects.create(slug="charlie", name="Charlie"), "charlie", "owner")
    response = charlie.get(page_of(tenant))
    assert response.status_code in {302, 403, 404}
    assert "overview" not in (response.context or {})


def test_ten_thousand_keys_are_paged_and_never_listed_in_a_field(console, tenant, django_assert_max_num_queries):
    with connection.cursor() as cursor:
        cursor.execute(MANY_KEYS, [tenant.pk])
    Budget.objects.create(tenant=tenant, amount=Decimal(5))
    console.get(page_of(tenant))  # what is looked up once
    with django_assert_max_num_queries(30):
        response = console.get(page_of(tenant))
    assert response.content.count(b"tg_x") <= 20
    assert len(response.content) < 600_000
