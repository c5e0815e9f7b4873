"""Budgets in the console: made, topped up, increased, reset; how they stand, and who was told."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tenants.limits.periods import counter_name, slot_start
from tenants.models import Budget, BudgetAlert, BudgetSpend, CreditTopUp, Project, Tenant, User
from tests.gateway_site.admin.browsing import change, rows

BUDGETS = "/admin/tenants/budget/"
ALERTS = "/admin/tenants/budgetalert/"
SECRET = re.compile(r"whsec_[A-Za-z0-9_-]{43}")


def action(name: str, item: Any) -> str:
    return reverse(f"admin:{item._meta.app_label}_{item._meta.model_name}_{name}", args=[item.pk])


def budget(tenant: Tenant, **values: Any) -> Budget:
    return Budget.objects.create(tenant=tenant, **{"amount": Decimal(10), "period": "month"} | values)


def spend(budget: Budget, amount: str, end_user: str = "") -> str:
    start = slot_start(budget.period, timezone.now().timestamp(), budget.tenant.timezone)
    name = counter_name(budget.pk, budget.resets, start, end_user)
    moment = datetime.fromtimestamp(start, UTC)
    BudgetSpend.objects.create(counter=name, budget_id=budget.pk, starts_at=moment, spent=Decimal(amount))
    return name


@pytest.fixture
def other(db: None) -> Tenant:
    return Tenant.objects.create(slug="charlie", name="Charlie")


# --- Forms -------------------------------------------------------------------------------------------------


def test_it_makes_a_rolling_budget_with_an_increase(console, tenant):
    response = console.submit(
        f"{BUDGETS}add/",
        tenant=tenant.pk,
        amount="25.5",
        currency="EUR",
        period="rolling",
        rolling_days="7",
        is_hard="on",
        alert_at="80, 100",
        increase="5",
        increase_until_0="2030-01-01",
        increase_until_1="12:00:00",
        model="smart",
        per_end_user="on",
    )
    assert response.status_code == 302
    made = Budget.objects.get()
    assert str(made) == "25.5 EUR in 7 days"
    assert (made.increase, made.increase_until) == (5, datetime(2030, 1, 1, 12, tzinfo=UTC))
    assert (made.model, made.per_end_user, made.alert_at) == ("smart", True, [80, 100])


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"amount": "-1"}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "Infinity"}, "amount"),
        ({"amount": "ten"}, "amount"),
        ({"amount": "9000000001"}, "amount"),
        ({"currency": "UDS"}, "currency"),
        ({"period": "year"}, "period"),
        ({"period": "rolling"}, "rolling_days"),
        ({"rolling_days": "7"}, "rolling_days"),
        ({"period": "rolling", "rolling_days": "400"}, "rolling_days"),
        ({"increase": "5"}, "increase_until"),
        ({"increase": "-5"}, "increase"),
        ({"alert_at": "0"}, "alert_at"),
        ({"alert_at": "80, 80"}, "alert_at"),
        ({"alert_at": "eighty"}, "alert_at"),
    ],
)
def test_wrong_input_names_the_field(console, tenant, errors, values, field):
    given = {"tenant": tenant.pk, "amount": "10", "currency": "USD", "period": "month"} | values
    assert set(errors(console.submit(f"{BUDGETS}add/", **given))) == {field}
    assert not Budget.objects.exists()


def test_budgets_that_overlap_are_refused_at_the_period(console, tenant, other, errors):
    given = {"amount": "10", "currency": "USD", "period": "month"}
    assert console.submit(f"{BUDGETS}add/", tenant=tenant.pk, **given).status_code == 302
    assert set(errors(console.submit(f"{BUDGETS}add/", tenant=tenant.pk, **given))) == {"period"}
    assert console.submit(f"{BUDGETS}add/", tenant=other.pk, **given).status_code == 302


def test_rows_that_are_new_together_must_not_overlap_either(console, tenant, errors):
    project = Project.objects.create(tenant=tenant, slug="web")
    row = {"amount": "1", "currency": "USD", "period": "month"}
    new = rows("budgets", row, row | {"project": project.pk}, row)
    assert set(errors(console.submit(change(tenant), **new))) == {"budgets-2-period"}
    assert not Budget.objects.exists()
    assert console.submit(change(tenant), **new, **{"budgets-2-rolling_days": "7"}).status_code == 200
    new |= {"budgets-2-period": "rolling", "budgets-2-rolling_days": "7"}
    assert console.submit(change(tenant), **new).status_code == 302
    assert Budget.objects.count() == 3


def test_a_new_amount_keeps_what_was_spent(console, tenant):
    monthly = budget(tenant)
    spend(monthly, "4")
    assert console.submit(change(monthly), amount="20").status_code == 302
    page = console.get(change(monthly)).content.decode()
    assert "16.00 of 20.00 USD" in page
    monthly.refresh_from_db()
    assert monthly.resets == 0


# --- How they stand ----------------------------------------------------------------------------------------


def test_the_page_and_the_list_say_what_is_spent_and_left(console, tenant, other):
    monthly, credit, charlies = budget(tenant), budget(tenant, period="credit"), budget(other)
    each = budget(tenant, per_end_user=True)
    spend(monthly, "2.5")
    spend(each, "3", "ann")
    spend(each, "4", "ben")
    listed = console.get(BUDGETS).content.decode()
    for text in (listed, console.get(change(monthly)).content.decode()):
        assert "2.50 USD" in text
        assert "7.50 of 10.00 USD" in text
    assert "7.00 USD by 2 end users, at most 4.00 by one" in listed
    assert "10 USD of prepaid credit" in listed
    assert "Never" in console.get(change(credit)).content.decode()
    assert "10.00 of 10.00 USD" in console.get(change(charlies)).content.decode()


# --- Actions -----------------------------------------------------------------------------------------------


def test_it_tops_credit_up_and_keeps_who_paid_what(console, tenant, alice):
    credit = budget(tenant, period="credit")
    console.confirm(action("top_up", credit), amount="2.5", note="Invoice 7")
    credit.refresh_from_db()
    assert credit.amount == Decimal("12.5")
    top_up = CreditTopUp.objects.get()
    assert (top_up.amount, top_up.note, top_up.by) == (Decimal("2.5"), "Invoice 7", alice)
    page = console.get(change(credit)).content.decode()
    for part in ("2.5 USD", "Invoice 7", "/top_up/"):
        assert part in page
    assert "/reset/" not in page
    history = console.client.get(change(credit).replace("/change/", "/history/"), follow=True).content.decode()
    assert "alice" in history
    assert "amount" in history.lower()


def test_it_increases_for_a_time(console, tenant):
    monthly, until = budget(tenant), timezone.now().replace(microsecond=0) + timedelta(days=2)
    fields = {"until_0": f"{until:%Y-%m-%d}", "until_1": f"{until:%H:%M:%S}"}
    console.confirm(action("increase_for_a_time", monthly), amount="5", **fields)
    monthly.refresh_from_db()
    assert (monthly.increase, monthly.increase_until) == (5, until)
    assert "15.00 of 15.00 USD" in console.get(change(monthly)).content.decode()


def test_it_resets(console, tenant, other):
    monthly, charlies = budget(tenant), budget(other)
    for each in (monthly, charlies):
        spend(each, "4")
    console.confirm(action("reset", monthly))
    monthly.refresh_from_db()
    assert monthly.resets == 1
    page = console.get(change(monthly)).content.decode()
    assert "10.00 of 10.00 USD" in page
    assert "1 times" in page
    assert "/top_up/" not in page
    assert "6.00 of 10.00 USD" in console.get(change(charlies)).content.decode()


@pytest.mark.parametrize(
    ("period", "name", "fields", "sentence"),
    [
        ("credit", "top_up", {"amount": "-5"}, "Give an amount above 0"),
        ("credit", "top_up", {"amount": "NaN"}, "Enter a number"),
        ("credit", "top_up", {}, "This field is required"),
        ("month", "increase_for_a_time", {"amount": "5"}, "This field is required"),
        (
            "month",
            "increase_for_a_time",
            {"amount": "5", "until_0": "2020-01-01", "until_1": "00:00"},
            "ends in the future",
        ),
        (
            "month",
            "increase_for_a_time",
            {"amount": "9000000000", "until_0": "2030-01-01", "until_1": "00:00"},
            "holds at most",
        ),
    ],
)
def test_a_dialog_says_what_is_wrong_and_does_nothing(console, tenant, period, name, fields, sentence):
    made = budget(tenant, period=period)
    response = console.confirm(action(name, made), **fields)
    assert response.status_code == 200
    assert sentence in response.content.decode()
    stored = Budget.objects.get(pk=made.pk)
    assert (stored.amount, stored.increase, stored.resets) == (10, 0, 0)


@pytest.mark.parametrize(
    ("period", "name", "sentence"),
    [("credit", "reset", "topped up, not reset"), ("month", "top_up", "Only prepaid credit is topped up")],
)
def test_what_a_budget_does_not_have_is_refused_though_somebody_calls_it(console, tenant, period, name, sentence):
    made = budget(tenant, period=period)
    console.confirm(action(name, made), amount="5")
    assert sentence in console.get(BUDGETS).content.decode()
    stored = Budget.objects.get(pk=made.pk)
    assert (stored.amount, stored.resets) == (10, 0)


def test_looking_is_not_changing(console, tenant):
    """Who may only view sees how a budget stands, and no button works for them."""
    made = budget(tenant, period="credit")
    viewer = User.objects.create_user("vera", password="vera's long password", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_budget"))
    client = Client()
    client.force_login(viewer)
    assert client.get(BUDGETS).status_code == 200
    assert "10.00 of 10.00 USD" in client.get(change(made)).content.decode()
    for name in ("reset", "top_up", "increase_for_a_time"):
        assert client.post(action(name, made), {"_form_submitted": "True", "amount": "5"}).status_code == 403


def test_an_action_needs_a_form_of_ours(alice, tenant):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    made = budget(tenant)
    assert client.get(action("reset", made)).status_code == 200
    assert client.post(action("reset", made), {"_form_submitted": "True"}).status_code == 403
    assert client.post(action("new_webhook_secret", tenant)).status_code == 403
    assert not Tenant.objects.get(pk=tenant.pk).has_alert_secret


# --- Alerts ------------------------------------------------------------------------------------------------


def alert(of: Budget, **values: Any) -> BudgetAlert:
    given: dict[str, Any] = {"threshold": 80, "spent": Decimal(9), "limit": Decimal(10), "counter": f"{of.pk}.0:0:ann"}
    return BudgetAlert.objects.create(tenant=of.tenant, budget=of, **given | values)


def test_alerts_say_who_was_told_and_why_somebody_was_not(console, tenant, other):
    failed = alert(budget(tenant), error="Webhook: It answered 503.", given_up_at=timezone.now())
    alert(budget(other), delivered_at=timezone.now())
    page = console.get(ALERTS).content.decode()
    for part in ("80%", "9.00 of 10.00 USD", "It answered 503.", "Given up", "Delivered", "Charlie"):
        assert part in page
    found = console.get(ALERTS, told="given_up").context["cl"].result_list
    assert [each.pk for each in found] == [failed.pk]
    for url in (change(failed), change(failed.budget)):
        assert "Given up" in console.get(url).content.decode()
    assert "ann" in console.get(change(failed)).content.decode()


def test_an_alert_is_sent_again_when_somebody_asks(console, tenant):
    failed = alert(budget(tenant), given_up_at=timezone.now(), tries=9)
    console.confirm(action("try_again", failed))
    failed.refresh_from_db()
    assert (failed.state, failed.tries) == ("waiting", 0)


@pytest.mark.parametrize("what", ["budget", "tenant"])
def test_alerts_and_top_ups_are_not_in_the_way_of_deleting(console, tenant, what):
    made = budget(tenant, period="credit")
    alert(made)
    console.confirm(action("top_up", made), amount="1")
    url = reverse(f"admin:tenants_{what}_delete", args=[made.pk if what == "budget" else tenant.pk])
    assert console.client.post(url, {"post": "yes"}).status_code == 302
    assert not BudgetAlert.objects.exists()


def test_a_tenant_says_who_is_to_be_told(console, tenant, errors):
    told = {"alert_emails": "a@example.com, b@example.com", "alert_webhook": "https://example.com/hook?x=1"}
    assert console.submit(change(tenant), **told).status_code == 302
    tenant.refresh_from_db()
    assert (tenant.alert_emails, tenant.alert_webhook) == (["a@example.com", "b@example.com"], told["alert_webhook"])
    wrong = {"alert_emails": "nobody", "alert_webhook": "http://10.0.0.1/"}
    assert set(errors(console.submit(change(tenant), **wrong))) == {"alert_emails", "alert_webhook"}


def test_a_webhook_s_secret_is_shown_once(console, tenant, other):
    url = action("new_webhook_secret", tenant)
    asked = console.get(url)
    assert not SECRET.search(asked.content.decode())
    assert not Tenant.objects.get(pk=tenant.pk).has_alert_secret
    made = console.client.post(url)
    (secret,) = set(SECRET.findall(made.content.decode()))
    assert "no-store" in made["Cache-Control"]
    assert Tenant.objects.get(pk=tenant.pk).alert_secret == secret
    for page in (url, change(tenant), change(tenant).replace("/change/", "/history/")):
        assert secret not in console.get(page).content.decode()
    again = console.client.post(url).content.decode()
    assert secret not in again
    assert Tenant.objects.get(pk=tenant.pk).alert_secret != secret
    assert not Tenant.objects.get(pk=other.pk).has_alert_secret
