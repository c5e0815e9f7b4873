"""What members and operators must not get by a side door, and what they expect to work. Charlie owns another tenant."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.cache import cache
from django.test import Client

from routing.models import ModelAlias, Route
from tenants.api_tokens import create_token
from tenants.audit import audit
from tenants.models import (
    AlertRule,
    ApiKey,
    AuditEvent,
    Budget,
    CreditTopUp,
    Invitation,
    Member,
    Project,
    RateLimit,
    Tenant,
    User,
)
from tenants.models.alert_rule import MOST_OF_A_TENANT
from tenants.services import create_key
from tenants.single_sign_on import METHODS, SIGN_IN_BY_IT, THERE_IS_NONE
from tenants.standing import ACTS_AS
from tests.gateway_site.admin.browsing import Console
from tests.gateway_site.people import browser, make_member, member_browser

pytestmark = pytest.mark.django_db


def program(tenant: Tenant | None = None, maker: User | None = None, name: str = "ci") -> Client:
    _, secret = create_token(name=name, scopes=["*"], tenant=tenant, created_by=maker)
    return Client(headers={"authorization": f"Bearer {secret}"})


def sent(client: Client, method: str, url: str, **body: Any) -> Any:
    return getattr(client, method)(url, json.dumps(body), content_type="application/json")


def words(response: Any) -> str:
    return str(response.content.decode())


# --- Projects ----------------------------------------------------------------------------------------------


def test_an_owner_deletes_a_project_with_its_limits_and_is_told_of_them_first(bob: Client, acme: Tenant):
    project = Project.objects.create(tenant=acme, slug="web", name="Website")
    RateLimit.objects.create(tenant=acme, project=project, kind="requests", amount=600, per="minute")
    Budget.objects.create(tenant=acme, project=project, amount=500)
    url = f"/admin/tenants/project/{project.pk}/delete/"
    asked = words(bob.get(url))
    assert "600 requests per minute" in asked
    assert "500 USD" in asked
    assert bob.post(url, {"post": "yes"}).status_code == 302
    for model in (Project, RateLimit, Budget):
        assert not model.objects.exists(), model


def test_a_project_with_keys_in_use_stays_and_names_them(bob: Client, acme: Tenant):
    project = Project.objects.create(tenant=acme, slug="web")
    create_key(tenant=acme, name="ci", project=project)
    url = f"/admin/tenants/project/{project.pk}/delete/"
    assert "API key: ci" in words(bob.get(url))
    assert "API key: ci" in words(bob.post(url, {"post": "yes"}))
    assert sent(program(acme), "delete", f"/api/v1/projects/{project.pk}").status_code == 409
    assert Project.objects.exists()


@pytest.mark.parametrize("way", ["page", "list", "api"])
def test_keys_that_are_over_do_not_keep_a_project(bob: Client, acme: Tenant, way: str):
    project = Project.objects.create(tenant=acme, slug="web")
    revoked, _ = create_key(tenant=acme, name="old", project=project)
    revoked.revoke()
    tried, _ = create_key(tenant=acme, name="tried", project=project, purpose=ApiKey.Purpose.PLAYGROUND)
    if way == "page":
        bob.post(f"/admin/tenants/project/{project.pk}/delete/", {"post": "yes"})
    elif way == "list":
        chosen = {"action": "delete_selected", "_selected_action": [project.pk], "post": "yes"}
        bob.post("/admin/tenants/project/", chosen)
    else:
        sent(program(acme), "delete", f"/api/v1/projects/{project.pk}")
    assert not Project.objects.exists()
    for key in (revoked, tried):
        key.refresh_from_db()
        assert (key.project, key.status == "active") == (None, False)


@pytest.mark.parametrize("role", ["developer", "viewer"])
def test_only_owners_delete_projects(acme: Tenant, role: str):
    project = Project.objects.create(tenant=acme, slug="web")
    someone = member_browser(acme, role, role)
    assert someone.post(f"/admin/tenants/project/{project.pk}/delete/", {"post": "yes"}).status_code == 403


def test_charlie_deletes_no_project_of_acme_s(charlie: Client, acme: Tenant):
    project = Project.objects.create(tenant=acme, slug="web")
    assert charlie.post(f"/admin/tenants/project/{project.pk}/delete/", {"post": "yes"}).status_code == 302
    chosen = {"action": "delete_selected", "_selected_action": [project.pk], "post": "yes"}
    charlie.post("/admin/tenants/project/", chosen)
    assert Project.objects.exists()


# --- Top-ups -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Member.Role.values)
def test_members_see_what_was_paid_into_their_credit(acme: Tenant, charlie: Client, role: str):
    credit = Budget.objects.create(tenant=acme, amount=120, period="credit")
    CreditTopUp.objects.create(tenant=acme, budget=credit, amount=20, currency="USD", note="Invoice 7")
    url = f"/admin/tenants/budget/{credit.pk}/change/"
    page = words(member_browser(acme, role, role).get(url))
    assert "20 USD" in page
    assert "Invoice 7" in page
    assert "Invoice 7" not in words(charlie.get(url, follow=True))


def test_numbers_that_are_only_shown_can_be_read(acme: Tenant, charlie: Client):
    budget = Budget.objects.create(tenant=acme, amount=Decimal("1500.25"), period="month")
    limit = RateLimit.objects.create(tenant=acme, kind="tokens", amount=2_000_000, per="minute")
    viewer = member_browser(acme, "dora", "viewer")
    pages = f"/admin/tenants/budget/{budget.pk}/change/", f"/admin/tenants/ratelimit/{limit.pk}/change/"
    money, tokens = (words(viewer.get(page)) for page in pages)
    assert "1500.25" in money
    assert "1500.250" not in money
    assert ">2,000,000<" in re.sub(r"\s", "", tokens)
    assert "2,000,000 tokens per minute" in words(viewer.get("/admin/tenants/ratelimit/"))
    assert not any("1500.25" in words(charlie.get(page, follow=True)) for page in pages)


# --- Single sign-on ----------------------------------------------------------------------------------------


def require_sso(client: Client, tenant: Tenant) -> Any:
    """Tick the box on the tenant's page and send what the page holds."""
    return Console(client).submit(f"/admin/tenants/tenant/{tenant.pk}/change/", requires_sso="on")


def is_required(tenant: Tenant) -> bool:
    return Tenant.objects.get(pk=tenant.pk).requires_sso


def test_nobody_requires_single_sign_on_where_there_is_none(bob: Client, console: Any, acme: Tenant):
    for client in (bob, console.client):
        assert THERE_IS_NONE in words(require_sso(client, acme))
    assert sent(program(acme), "patch", "/api/v1/tenants/acme", requires_sso=True).status_code == 422
    assert not is_required(acme)


def test_an_owner_with_a_password_cannot_lock_everybody_out(bob: Client, acme: Tenant, settings: Any):
    settings.OIDC_ISSUER = "https://id.example.com"
    assert SIGN_IN_BY_IT in words(require_sso(bob, acme))
    answer = sent(program(acme), "patch", "/api/v1/tenants/acme", requires_sso=True)
    assert answer.json()["error"]["fields"] == [{"field": "requires_sso", "message": SIGN_IN_BY_IT}]
    assert not is_required(acme)


def test_an_owner_who_has_come_by_single_sign_on_requires_it(acme: Tenant, settings: Any):
    settings.OIDC_ISSUER = "https://id.example.com"
    olive = browser(make_member(acme, "olive"), **{METHODS: [{"method": "socialaccount", "at": 1.0}]})
    assert require_sso(olive, acme).status_code == 302
    assert is_required(acme)
    assert sent(program(acme), "patch", "/api/v1/tenants/acme", requires_sso=True).status_code == 200  # as it is


@pytest.mark.parametrize("session", [{}, {ACTS_AS: 0}], ids=["operator", "acting"])
def test_operators_require_it_for_a_tenant(alice: User, acme: Tenant, settings: Any, session: dict[str, int]):
    settings.OIDC_ISSUER = "https://id.example.com"
    client = browser(alice, **dict.fromkeys(session, acme.pk))
    assert require_sso(client, acme).status_code == 302
    assert is_required(acme)


# --- The audit trail ---------------------------------------------------------------------------------------


def test_an_owner_does_not_learn_operators_fields_from_the_trail(bob: Client, acme: Tenant, alice: User):
    acme.unpriced_policy, acme.floor_input, acme.floor_output, acme.name = "floor", 7, 7, "Acme Inc"
    acme.save()
    key, _ = create_key(tenant=acme, name="ci", priority="high", may_trace=True)
    audit("request_stopped", acme, request_id="r", worker="node-1:42")
    whole = AuditEvent.objects.filter(tenant=acme, action="changed").latest("pk")
    assert {"floor_input", "name"} <= set(whole.changes)
    trail = words(bob.get("/admin/tenants/auditevent/"))
    pages = [words(bob.get(f"/admin/tenants/auditevent/{event.pk}/change/")) for event in AuditEvent.objects.all()]
    told = program(acme).get("/api/v1/audit-events")
    for text in (trail, *pages, words(told)):
        for secret in ("floor", "Floor", "may_trace", "May trace", "node-1:42"):
            assert secret not in text
    assert "Acme Inc" in trail
    assert "Acme Inc" in words(told)
    assert key.name in words(told)
    by_operator = words(program(maker=alice).get("/api/v1/audit-events?tenant=acme"))
    assert "floor_input" in by_operator
    assert "node-1:42" in by_operator


# --- Members who leave -------------------------------------------------------------------------------------


def test_who_removes_a_member_is_told_which_secrets_they_have_seen(bob: Client, acme: Tenant):
    make_member(acme, "dora")
    dora = Member.objects.get(user__username="dora")
    create_token(name="terraform", scopes=["*"], tenant=acme, created_by=dora.user)
    create_key(tenant=acme, name="batch", created_by=dora.user)
    create_key(tenant=acme, name="over", created_by=dora.user)[0].revoke()
    page = words(bob.post(f"/admin/tenants/member/{dora.pk}/delete/", {"post": "yes"}, follow=True))
    assert "API tokens: terraform; API keys: batch. Revoke or rotate what must not." in page


# --- Operators among themselves ------------------------------------------------------------------------------


@pytest.fixture
def eve(db: None) -> User:
    """She keeps the users, and is no superuser."""
    eve = User.objects.create_user("eve", "eve@example.com", is_staff=True)
    names = [f"{verb}_{model}" for verb in ("view", "add", "change", "delete") for model in ("user", "group")]
    eve.user_permissions.set(Permission.objects.filter(codename__in=names))
    return eve


def test_who_keeps_the_users_does_not_make_themselves_a_superuser(eve: User):
    group = Group.objects.create(name="Everything")
    group.permissions.set(Permission.objects.all())
    changes = {"is_superuser": "on", "groups": str(group.pk), "first_name": "Eve"}
    assert Console(browser(eve)).submit(f"/admin/tenants/user/{eve.pk}/change/", **changes).status_code == 302
    eve.refresh_from_db()
    assert (eve.first_name, eve.is_superuser, list(eve.groups.all())) == ("Eve", False, [])


def test_who_keeps_the_users_does_not_take_the_account_of_who_may_more(eve: User, alice: User):
    other = User.objects.create_user("frank", is_staff=True)
    other.user_permissions.set(Permission.objects.filter(codename="change_provider"))
    client, new = browser(eve), {"password1": "a new long password", "password2": "a new long password"}
    for target in (alice, other):
        assert client.post(f"/admin/tenants/user/{target.pk}/password/", new).status_code == 403
        assert client.post(f"/admin/tenants/user/{target.pk}/delete/", {"post": "yes"}).status_code == 403
        client.post(f"/admin/tenants/user/{target.pk}/change/", {"username": "mine", "email": "eve@example.com"})
        assert User.objects.get(pk=target.pk).username == target.username
    dora = User.objects.create_user("dora")
    assert client.post(f"/admin/tenants/user/{dora.pk}/password/", new).status_code == 302


def test_who_keeps_the_groups_gives_theirs_no_permission(eve: User):
    group = Group.objects.create(name="Keepers")
    eve.groups.add(group)
    every = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    data = {"name": "Keepers of users", "permissions": every}
    assert browser(eve).post(f"/admin/auth/group/{group.pk}/change/", data).status_code == 302
    group.refresh_from_db()
    assert (group.name, list(group.permissions.all())) == ("Keepers of users", [])


# --- Too much ------------------------------------------------------------------------------------------------


def test_nobody_is_pestered_with_invitations(bob: Client, charlie: Client, settings: Any, mailoutbox: Any):
    settings.EMAIL_HOST = "mail.example.com"
    cache.clear()
    fields = {"email": "victim@example.com", "role": "viewer"}
    assert bob.post("/admin/tenants/invitation/add/", fields).status_code == 302
    url = f"/admin/tenants/invitation/{Invitation.objects.get().pk}/send_again/"
    pages = [bob.post(url) for _ in range(6)]
    assert len(mailoutbox) == 5
    assert "too many within the hour" in words(pages[-1])
    assert charlie.post("/admin/tenants/invitation/add/", fields).status_code == 200  # another tenant's owner no more
    assert charlie.post("/admin/tenants/invitation/add/", fields | {"email": "dora@example.com"}).status_code == 302
    assert mailoutbox[-1].to == ["dora@example.com"]


def test_a_tenant_s_name_writes_no_headers_of_e_mails(acme: Tenant, settings: Any, mailoutbox: Any):
    settings.EMAIL_HOST = "mail.example.com"
    cache.clear()
    renamed = sent(program(acme), "patch", "/api/v1/tenants/acme", name="Acme\r\nBcc: everybody@example.com")
    assert renamed.status_code in {200, 422}
    made = sent(program(acme, name="again"), "post", "/api/v1/invitations", email="dave@example.com")
    assert made.status_code == 201
    assert all("\n" not in mail.subject and mail.bcc == [] for mail in mailoutbox)


def test_a_tenant_has_so_many_alert_rules_and_no_more(bob: Client, acme: Tenant, alice: User):
    rules = [AlertRule(tenant=acme, name=f"{number}") for number in range(MOST_OF_A_TENANT)]
    AlertRule.objects.bulk_create(rules)
    bobs = program(acme)
    answer = sent(bobs, "post", "/api/v1/alert-rules", name="one more")
    assert (answer.status_code, f"at most {MOST_OF_A_TENANT} rules" in words(answer)) == (422, True)
    assert sent(bobs, "patch", f"/api/v1/alert-rules/{rules[0].pk}", name="x").status_code == 200
    assert sent(program(maker=alice), "post", "/api/v1/alert-rules", name="the operators'").status_code == 201


@pytest.mark.parametrize("object_id", ["abc", "-1", "99999999999999999999", "1~2", "_5F", "%00"])
def test_addresses_that_nobody_made_lead_nowhere(console: Any, bob: Client, object_id: str):
    for client in (console.client, bob):
        for model in (
            "apikey",
            "tenant",
            "budget",
            "invitation",
            "apitoken",
            "alertincident",
            "alertchannel",
            "project",
        ):
            for view in ("change", "delete", "history"):
                status = client.get(f"/admin/tenants/{model}/{object_id}/{view}/").status_code
                assert status in {302, 403, 404}, (model, view)


def test_numbers_that_nobody_could_count_to_are_no_numbers(bob: Client):
    endless = "9" * 5000
    autocomplete = {"app_label": "tenants", "model_name": "budget", "field_name": "project", "tenant": endless}
    assert bob.get("/admin/autocomplete/", autocomplete).status_code in {200, 403}
    assert bob.post("/terms", {"version": endless}).status_code == 409
    assert bob.get("/admin/connect", {"key": endless, "tenant": endless}, follow=True).status_code == 200


@pytest.mark.parametrize(
    "forged", ["x", "1 OR 1=1", "\0", "9" * 30, "9" * 5000], ids=["word", "sql", "nul", "wide", "endless"]
)
def test_what_is_the_key_of_nothing_is_refused_as_a_choice(console: Any, bob: Client, charlie: Client, forged: str):
    console.get("/admin/")  # which loads the others
    pages = [page for page in admin.site._registry.values() if page.autocomplete_fields]
    assert len(pages) > 8
    for page in pages:
        url = f"/admin/{page.opts.app_label}/{page.opts.model_name}/add/"
        for client in (console.client, bob, charlie):
            reply = client.post(url, dict.fromkeys(page.autocomplete_fields, forged))
            assert reply.status_code in {200, 403}, url
            if reply.status_code == 200:
                form = reply.context["adminform"].form
                assert {*page.autocomplete_fields} & {*form.fields} <= {*form.errors}, url


def test_so_it_is_in_rows_and_in_the_forms_of_other_pages(console: Any, bob: Client, charlie: Client):
    route = Route.objects.create(name="smart")
    alias = ModelAlias.objects.create(name="smart", route=route)
    row = {"targets-TOTAL_FORMS": "1", "targets-INITIAL_FORMS": "0", "targets-0-deployment": "x"}
    moved = {"action": "lead_elsewhere", "_selected_action": alias.pk, "route": "x"}
    for client, status in ((console.client, 200), (bob, 403), (charlie, 403)):
        assert client.post("/admin/routing/route/add/", {"name": "fast", **row}).status_code == status
        assert client.post("/admin/dry-run", {"key": "x", "operation": "chat"}).status_code == status
        assert client.post("/admin/routing/modelalias/", moved).status_code == status
        for page in ("connect", "playground"):
            assert client.get(f"/admin/{page}", {"tenant": "x", "key": "x"}, follow=True).status_code == 200
