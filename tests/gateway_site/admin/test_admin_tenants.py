"""Tenants, keys, limits and budgets, as an operator makes them."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from django.utils import timezone

from tenants.models import ApiKey, Budget, Member, Project, RateLimit, Tenant, User
from tenants.services import create_key, has_secret
from tests.gateway_site.admin.browsing import change, rows

TENANTS = "/admin/tenants/tenant/"
KEYS = "/admin/tenants/apikey/"
SECRET = re.compile(r"tg_[A-Za-z0-9]{40}")


@pytest.fixture
def other(db) -> Tenant:
    return Tenant.objects.create(slug="globex", name="Globex")


@pytest.fixture
def key(tenant) -> ApiKey:
    return create_key(tenant=tenant, name="ci")[0]


def history(item) -> str:
    return change(item).replace("/change/", "/history/")


def secrets_in(response) -> set[str]:
    return set(SECRET.findall(response.content.decode()))


# --- Tenants -----------------------------------------------------------------------------------------------


def test_it_makes_a_tenant_with_everything_on_one_page(console):
    bob = User.objects.create_user("bob")
    response = console.submit(
        f"{TENANTS}add/",
        name="Acme",
        slug="acme",
        timezone="Europe/Berlin",
        allowed_models="claude-*, gpt-5-mini\nsmart",
        **rows("projects", {"slug": "web"}),
        **rows("members", {"user": bob.pk, "role": "owner"}),
        **rows("ratelimits", {"kind": "requests", "amount": "600", "per": "minute"}),
        **rows(
            "budgets",
            {"amount": "500", "currency": "EUR", "period": "month", "is_hard": "on", "alert_at": "50, 80,100"},
        ),
    )
    assert response.status_code == 302
    made = Tenant.objects.get()
    assert made.allowed_models == ["claude-*", "gpt-5-mini", "smart"]
    assert Project.objects.get().tenant == made
    assert Member.objects.get().user == bob
    assert str(RateLimit.objects.get()) == "600 requests per minute"
    assert Budget.objects.get().alert_at == [50, 80, 100]


def test_no_models_means_all_of_them(console, tenant):
    Tenant.objects.update(allowed_models=["smart"])
    console.submit(change(tenant), allowed_models=" ,\n")
    tenant.refresh_from_db()
    assert tenant.allowed_models is None


def test_it_sets_how_long_a_tenant_s_responses_are_stored(console, tenant, errors):
    assert (tenant.stores_responses, tenant.response_retention_days) == (True, 30)
    fields = console.fields(change(tenant))
    assert (fields["stores_responses"], fields["response_retention_days"]) == ("on", "30")
    fields.pop("stores_responses")  # a box that is not ticked
    console.client.post(change(tenant), fields | {"response_retention_days": "7", "_save": "Save"})
    tenant.refresh_from_db()
    assert (tenant.stores_responses, tenant.response_retention_days) == (False, 7)
    for days in ("0", "366"):
        assert "response_retention_days" in errors(console.submit(change(tenant), response_retention_days=days))


def test_it_sets_what_a_tenant_gets_without_valkey_and_without_a_route(console, tenant, errors):
    assert console.submit(change(tenant), without_valkey="refuse", allows_catalogue="on").status_code == 302
    tenant.refresh_from_db()
    assert (tenant.without_valkey, tenant.allows_catalogue) == ("refuse", True)
    assert list(errors(console.submit(change(tenant), without_valkey="hope"))) == ["without_valkey"]


def test_it_sets_a_key_s_priority_and_whether_it_may_trace(console, tenant, errors):
    made = console.submit(f"{KEYS}add/", tenant=str(tenant.pk), name="ci", priority="high", may_trace="on")
    assert made.status_code == 200
    key = ApiKey.objects.get()
    assert (key.priority, key.may_trace) == ("high", True)
    assert console.submit(change(key), priority="low").status_code == 302
    key.refresh_from_db()
    assert (key.priority, key.may_trace) == ("low", True)
    assert list(errors(console.submit(change(key), priority="urgent"))) == ["priority"]


def test_wrong_input_names_the_field(console, errors):
    response = console.submit(
        f"{TENANTS}add/",
        name="",
        slug="acme",
        timezone="Europe/Bielefeld",
        **rows("ratelimits", {"kind": "concurrency", "amount": "0", "per": "minute"}),
        **rows("budgets", {"amount": "-1", "currency": "EUR", "period": "month", "alert_at": "fifty"}),
    )
    expected = {"name", "timezone", "ratelimits-0-amount", "ratelimits-0-per"}
    assert set(errors(response)) == expected | {"budgets-0-amount", "budgets-0-alert_at"}


def test_a_limit_cannot_bind_another_tenant_s_project(console, tenant, other, errors):
    foreign = Project.objects.create(tenant=other, slug="theirs")
    response = console.submit(
        change(tenant),
        **rows("ratelimits", {"kind": "requests", "amount": "1", "per": "minute", "project": foreign.pk}),
    )
    assert set(errors(response)) == {"ratelimits-0-project"}


def test_a_limit_cannot_bind_another_tenant_s_key(console, tenant, other, errors):
    foreign, _ = create_key(tenant=other, name="theirs")
    limit = {"tenant": tenant.pk, "api_key": foreign.pk, "kind": "requests", "amount": "1", "per": "minute"}
    response = console.submit("/admin/tenants/ratelimit/add/", **limit)
    assert errors(response) == {"api_key": ["This belongs to another tenant."]}


def test_a_tenant_s_page_leaves_the_keys_limits_alone(console, tenant, key):
    project = Project.objects.create(tenant=tenant, slug="web")
    RateLimit.objects.create(tenant=tenant, api_key=key, kind="requests", amount=1, per="minute")
    RateLimit.objects.create(tenant=tenant, project=project, kind="requests", amount=2, per="minute")
    fields = console.fields(change(tenant))
    assert (fields["ratelimits-TOTAL_FORMS"], fields["ratelimits-0-amount"]) == ("1", "2")
    assert console.submit(change(tenant), name="Renamed", **{"ratelimits-0-amount": "3"}).status_code == 302
    assert list(RateLimit.objects.order_by("pk").values_list("amount", flat=True)) == [1, 3]


def test_it_suspends_with_a_reason_and_resumes(console, tenant):
    console.confirm(reverse("admin:tenants_tenant_suspend", args=[tenant.pk]), reason="Unpaid")
    tenant.refresh_from_db()
    assert (tenant.is_suspended, tenant.suspended_reason) == (True, "Unpaid")
    page = console.get(change(tenant)).content.decode()
    assert "Suspended" in page
    assert "/resume/" in page
    assert "/suspend/" not in page
    console.confirm(reverse("admin:tenants_tenant_resume", args=[tenant.pk]))
    tenant.refresh_from_db()
    assert not tenant.is_suspended


def test_it_suspends_many(console, tenant, other):
    tenant.suspend("Unpaid")
    response = console.act(TENANTS, "suspend_selected", tenant, other)
    assert "1 tenant suspended." in response.content.decode()
    tenant.refresh_from_db()
    assert tenant.suspended_reason == "Unpaid"
    assert not Tenant.objects.filter(suspended_at__isnull=True).exists()
    console.act(TENANTS, "resume_selected", tenant, other)
    assert not Tenant.objects.filter(suspended_at__isnull=False).exists()


# --- API keys ----------------------------------------------------------------------------------------------


def test_a_new_key_is_shown_once(console, tenant, alice):
    project = Project.objects.create(tenant=tenant, slug="web")
    response = console.submit(
        f"{KEYS}add/", tenant=tenant.pk, project=project.pk, name="ci", allowed_models="claude-*\nsmart"
    )
    assert response.status_code == 200
    (secret,) = secrets_in(response)
    made = ApiKey.objects.get()
    assert has_secret(made, secret)
    assert (made.project, made.created_by, made.allowed_models) == (project, alice, ["claude-*", "smart"])
    assert "no-store" in response["Cache-Control"]

    for url in (KEYS, change(made), history(made), change(tenant), "/admin/"):
        page = console.get(url)
        assert secret not in page.content.decode()
        assert made.digest not in page.content.decode()
    assert made.hint in console.get(KEYS).content.decode()
    assert secret not in str([session.get_decoded() for session in Session.objects.all()])
    assert "messages" not in response.cookies


def test_sending_the_form_again_makes_no_second_key(console, tenant, errors):
    fields = {"tenant": tenant.pk, "name": "ci"}
    console.submit(f"{KEYS}add/", **fields)
    again = console.submit(f"{KEYS}add/", **fields)
    assert "already exists" in str(errors(again))
    assert not secrets_in(again)
    assert ApiKey.objects.count() == 1


def test_a_key_s_project_belongs_to_its_tenant(console, tenant, other, errors):
    foreign = Project.objects.create(tenant=other, slug="theirs")
    response = console.submit(f"{KEYS}add/", tenant=tenant.pk, project=foreign.pk, name="ci")
    assert set(errors(response)) == {"project"}
    assert not ApiKey.objects.exists()


def test_projects_are_offered_of_the_key_s_tenant(console, tenant, other):
    for owner in (tenant, other):
        Project.objects.create(tenant=owner, slug=f"web-of-{owner.slug}")
    query = {"app_label": "tenants", "model_name": "apikey", "field_name": "project", "tenant": str(tenant.pk)}
    results = console.get("/admin/autocomplete/", **query).json()["results"]
    assert [result["text"] for result in results] == ["web-of-acme"]


def test_a_key_stays_with_its_tenant(console, key, other):
    url = change(key)
    assert console.submit(url, tenant=other.pk, name="renamed").status_code == 302
    key.refresh_from_db()
    assert (key.tenant.slug, key.name) == ("acme", "renamed")


def test_a_name_that_is_taken_is_refused(console, tenant, key, errors):
    second, _ = create_key(tenant=tenant, name="second")
    response = console.submit(change(second), name=key.name)
    assert "already exists" in str(errors(response))


def test_changing_a_key_keeps_its_secret(console, tenant):
    key, secret = create_key(tenant=tenant, name="ci")
    console.submit(change(key), allowed_models="smart", expires_at_0="2030-01-01", expires_at_1="12:00:00")
    key.refresh_from_db()
    assert has_secret(key, secret)
    assert key.allowed_models == ["smart"]
    assert key.expires_at is not None


def test_a_key_gets_limits_of_its_own(console, key):
    console.submit(
        change(key),
        **rows("ratelimits", {"kind": "tokens", "amount": "1000", "per": "minute"}),
        **rows("budgets", {"amount": "1.5", "currency": "USD", "period": "day"}),
    )
    limit, budget = RateLimit.objects.get(), Budget.objects.get()
    assert limit.scope == budget.scope == "api_key"
    assert limit.tenant == key.tenant
    assert budget.amount == Decimal("1.5")


def test_it_revokes_one_and_many(console, tenant, key):
    second, _ = create_key(tenant=tenant, name="second")
    console.confirm(reverse("admin:tenants_apikey_revoke", args=[key.pk]))
    key.refresh_from_db()
    revoked_at = key.revoked_at
    assert revoked_at is not None
    console.act(KEYS, "revoke_selected", key, second)
    key.refresh_from_db()
    second.refresh_from_db()
    assert key.revoked_at == revoked_at
    assert second.status == "revoked"
    assert "Revoked" in console.client.get(history(second), follow=True).content.decode()


def test_a_dialog_goes_back_to_where_it_was_opened(console, key):
    url = reverse("admin:tenants_apikey_revoke", args=[key.pk])
    list_of_active = "http://testserver/admin/tenants/apikey/?status=active"
    headers = {"HX-Request": "true", "HX-Current-URL": list_of_active}
    response = console.client.post(url, {"_form_submitted": "True"}, headers=headers)
    assert response["HX-Redirect"] == list_of_active
    headers["HX-Current-URL"] = "https://evil.example.com/"
    response = console.client.post(url, {"_form_submitted": "True"}, headers=headers)
    assert response["HX-Redirect"] == KEYS


@pytest.mark.parametrize("status", ["active", "revoked", "expired"])
def test_keys_are_filtered_by_status(console, tenant, status):
    create_key(tenant=tenant, name="active")
    create_key(tenant=tenant, name="revoked")[0].revoke()
    create_key(tenant=tenant, name="expired", expires_at=timezone.now() - timedelta(days=1))
    found = console.get(KEYS, status=status).context["cl"].result_list
    assert [key.name for key in found] == [status]


# --- Users -------------------------------------------------------------------------------------------------


def test_it_makes_a_user_and_changes_the_password(console):
    url = "/admin/tenants/user/add/"
    fields = {"username": "bob", "password1": "bob's long password", "password2": "bob's long password"}
    assert console.submit(url, usable_password="true", **fields).status_code == 302
    bob = User.objects.get(username="bob")
    assert bob.check_password("bob's long password")
    assert not bob.is_staff
    console.client.post(
        f"/admin/tenants/user/{bob.pk}/password/",
        {"usable_password": "true", "password1": "other long one", "password2": "other long one"},
    )
    bob.refresh_from_db()
    assert bob.check_password("other long one")
