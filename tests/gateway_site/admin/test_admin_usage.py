"""The page /admin/usage: what it shows, to whom, and where its links lead."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from tenants.admin import usage
from tenants.models import Tenant, User
from tenants.report_question import GROUPS
from tests.gateway_site.records import write_record

pytestmark = pytest.mark.django_db

PAGE = "/admin/usage"


def use(tenant: Tenant, **facts: Any) -> None:
    values = {
        "input_tokens": 1_234,
        "cost": Decimal("0.5"),
        "cost_price": Decimal("0.2"),
    }
    write_record(tenant, **values | facts)


def test_it_shows_what_was_used_and_earned(console, tenant):
    use(tenant)
    use(tenant, currency="EUR", cost=Decimal(3), written_off=Decimal("0.125"))
    text = console.get(PAGE, group_by="tenant").content.decode()
    for part in ("acme", "1,234", "0.3", "2.80", "0.125", "USD", "EUR", "Usage report"):
        assert part in text
    assert "3.5" not in text


def test_it_says_of_which_days_it_tells(console):
    page = console.get(PAGE, to="2026-11-22").content.decode()
    assert "From 2026-10-24 to 2026-11-22 in UTC, both days included." in page
    assert 'placeholder="2026-10-24"' in page


@pytest.mark.parametrize("group_by", GROUPS)
def test_every_report_opens_also_when_nothing_was_used(console, group_by):
    page = console.get(PAGE, group_by=group_by)
    assert page.status_code == 200
    assert "Nothing was used" in page.content.decode()


def test_what_clients_call_themselves_is_only_text(console, tenant):
    use(tenant, end_user="<script>alert(1)</script>", alias="<b>bold</b>")
    for group_by in ("end_user", "model"):
        text = console.get(PAGE, group_by=group_by).content.decode()
        assert "<script>alert(1)" not in text
        assert "<b>bold" not in text
        assert "&lt;" in text


def test_charlies_report_has_nothing_of_acmes(console, tenant):
    charlie = Tenant.objects.create(slug="charlie")
    use(tenant, end_user="only-acmes")
    use(charlie, end_user="only-charlies")
    text = console.get(PAGE, group_by="end_user", tenant="charlie").content.decode()
    assert "only-charlies" in text
    assert "only-acmes" not in text


def test_it_exports_what_it_shows(console, tenant):
    use(tenant, end_user="dora & co")
    page = console.get(PAGE, group_by="end_user", end_user="dora & co")
    answer = console.client.get(page.context["as_csv"])
    assert answer.status_code == 200
    assert answer["content-type"].startswith("text/csv")
    assert "dora & co" in answer.content.decode()
    assert console.client.get(page.context["as_json"]).json()["rows"][0]["end_user"] == "dora & co"


def test_it_is_paged(console, tenant, monkeypatch):
    for number in range(3):
        use(tenant, end_user=f"user-{number}")
    shown, page = [], console.get(PAGE, group_by="end_user")
    assert page.context["next"] is None
    monkeypatch.setattr(usage, "ROWS", 2)
    page = console.get(PAGE, group_by="end_user")
    shown += [row["end_user"] for row in page.context["report"].rows]
    page = console.client.get(PAGE + page.context["next"])
    shown += [row["end_user"] for row in page.context["report"].rows]
    assert page.context["first"] == "?group_by=end_user"
    assert shown == ["user-0", "user-1", "user-2"]


def test_a_parameter_that_makes_no_sense_is_named_and_kept_in_its_field(console):
    page = console.get(PAGE, tenant="<nobody>")
    assert page.status_code == 422
    text = page.content.decode()
    assert "Tenant: there is no tenant &#x27;&lt;nobody&gt;&#x27;" in text
    assert 'value="&lt;nobody&gt;"' in text
    assert text.count("errors group") == 1


def test_a_deleted_tenant_is_named_by_its_number(console):
    use(Tenant(pk=2**40))
    assert f"deleted ({2**40})" in console.get(PAGE, group_by="tenant").content.decode()


def test_only_staff_that_may_view_usage_sees_it_and_its_link(console):
    assert f'href="{reverse("usage")}"' in console.get("/admin/").content.decode()
    eve = Client()
    user = User.objects.create_user("eve", is_staff=True)
    eve.force_login(user)
    assert eve.get(PAGE).status_code == 403
    assert f'href="{reverse("usage")}"' not in eve.get("/admin/").content.decode()
    user.user_permissions.add(Permission.objects.get(codename="view_usageday"))
    assert eve.get(PAGE).status_code == 200
    assert Client().get(PAGE).status_code == 302


# --- Of everybody ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group_by", "days"), [("project", 5), ("api_key", 5), ("deployment", 5), ("end_user", 1)])
def test_keys_of_all_tenants_are_told_for_few_days(console, tenant, group_by, days):
    use(tenant, end_user="dora")
    question = console.get(PAGE, group_by=group_by).context["report"].question
    assert (question.ends - question.begins).days == days
    refused = console.get(PAGE, **{"group_by": group_by, "from": f"{question.begins.date() - timedelta(days=1)}"})
    assert refused.status_code == 422
    assert "choose a tenant or a shorter time, or export it" in refused.content.decode()
    month = console.get(PAGE, group_by=group_by, tenant=tenant.slug).context["report"].question
    assert (month.ends - month.begins).days == 30


def test_exports_are_of_the_same_days_as_the_page(console, tenant):
    use(tenant)
    page = console.get(PAGE, group_by="api_key")
    question = page.context["report"].question
    for name in ("as_csv", "as_json"):
        assert f"from={question.begins:%Y-%m-%d}" in page.context[name]
    assert console.client.get(page.context["as_json"]).json()["from"][:10] == f"{question.begins:%Y-%m-%d}"


def test_charlie_is_told_of_their_own_keys_for_a_month_and_of_nobody_elses(charlie, tenant):
    use(tenant, end_user="only-acmes")
    for group_by in ("api_key", "end_user"):
        report = charlie.get(PAGE, {"group_by": group_by}).context["report"]
        assert (report.question.ends - report.question.begins).days == 30
        assert report.rows == []
