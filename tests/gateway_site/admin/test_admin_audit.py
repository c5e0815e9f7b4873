"""The audit trail's pages and those of API tokens: alice operates, bob owns a tenant, charlie owns another one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tenants.admin.api_token import ApiTokenAdmin
from tenants.api_tokens import create_token, user_of
from tenants.models import ApiToken, AuditEvent, Project, Tenant, User
from tests.gateway_site.people import member_browser

pytestmark = pytest.mark.django_db

TRAIL = "/admin/tenants/auditevent/"
TOKENS = "/admin/tenants/apitoken/"


def secret_in(response: Any) -> str:
    found = re.search(r"tgat_[A-Za-z0-9]{40}", response.content.decode())
    assert found, response.content.decode()
    return found[0]


def test_it_shows_who_changed_what_through_the_console(console: Any, tenant: Tenant) -> None:
    page = f"/admin/tenants/tenant/{tenant.pk}/change/"
    assert console.submit(page, name="Another name").status_code == 302
    event = AuditEvent.objects.filter(action="changed", object_type="tenants.tenant").latest("pk")
    assert (event.actor, event.via, event.changes["name"]) == ("alice", "console", ["Acme", "Another name"])
    assert event.remote_address == "127.0.0.1"
    listed = console.get(TRAIL).content.decode()
    assert "alice" in listed
    assert "Another name" in listed
    shown = console.get(f"{TRAIL}{event.pk}/change/").content.decode()
    assert "Acme" in shown
    assert "127.0.0.1" in shown


@pytest.mark.parametrize(
    "query",
    [
        {"action": "created"},
        {"object_type": "tenants.project"},
        {"actor": "alice"},
        {"via__exact": "command"},
        {"object_id": "1", "period": "all"},
    ],
    ids=lambda query: next(iter(query)),
)
def test_it_filters(console: Any, tenant: Tenant, query: dict[str, str]) -> None:
    Project.objects.create(tenant=tenant, slug="web")
    assert console.get(TRAIL, **query).status_code == 200


def test_it_writes_times_and_lists_as_people_do(console: Any, tenant: Tenant) -> None:
    tenant.suspend()
    tenant.allowed_models = ["smart", "fast"]
    tenant.save()
    listed = console.get(TRAIL).content.decode()
    assert re.search(r"suspended at: none → [-\d]{10} [:\d]{8} UTC", listed)
    assert "allowed models: none → smart, fast" in listed


def test_an_objects_history_is_its_trail(console: Any, tenant: Tenant) -> None:
    project = Project.objects.create(tenant=tenant, slug="web")
    response = console.get(f"/admin/tenants/project/{project.pk}/history/")
    assert response.status_code == 302
    listed = console.get(response.url).content.decode()
    assert listed.count("field-when") == 1


def test_nobody_changes_it_in_the_console(console: Any, tenant: Tenant) -> None:
    event = AuditEvent.objects.latest("pk")
    assert console.get(f"{TRAIL}add/").status_code == 403
    assert console.client.post(f"{TRAIL}{event.pk}/delete/", {"post": "yes"}).status_code == 403


def test_owners_see_their_own_trail_only(bob: Client, charlie: Client, tenant: Tenant) -> None:
    Project.objects.create(tenant=tenant, slug="very-own-project")
    event = AuditEvent.objects.filter(object_type="tenants.project").latest("pk")
    assert "very-own-project" in bob.get(TRAIL).content.decode()
    shown = bob.get(f"{TRAIL}{event.pk}/change/")
    assert shown.status_code == 200
    assert "remote_address" not in shown.content.decode()
    assert "very-own-project" not in charlie.get(TRAIL, {"period": "all"}).content.decode()
    assert charlie.get(f"{TRAIL}{event.pk}/change/").status_code in {302, 403, 404}
    assert "very-own-project" not in charlie.get(TRAIL, {"tenant__id__exact": tenant.pk}, follow=True).content.decode()


# --- API tokens ------------------------------------------------------------------------------------------------


def test_alice_makes_a_token_that_is_shown_once(console: Any) -> None:
    response = console.client.post(f"{TOKENS}add/", {"name": "ci", "scopes": ["tenants:read", "audit:read"]})
    secret = secret_in(response)
    token = ApiToken.objects.get()
    assert (token.scopes, token.tenant, token.created_by.username) == (["tenants:read", "audit:read"], None, "alice")
    page = console.get(f"{TOKENS}{token.pk}/change/").content.decode()
    assert secret not in page
    assert "Tenants: read, Audit: read" in page
    assert 'name="_save"' not in page  # there is nothing to change
    assert user_of(secret).has_perm("tenants.view_tenant")
    assert not user_of(secret).has_perm("tenants.change_tenant")


def test_alice_revokes_a_token(console: Any, alice: User) -> None:
    token, secret = create_token(name="ci", scopes=["*"], created_by=alice)
    console.act(TOKENS, "revoke_selected", token)
    assert user_of(secret) is None
    assert AuditEvent.objects.latest("pk").action == "revoked"


def test_an_owners_token_is_of_their_tenant(bob: Client, tenant: Tenant) -> None:
    response = bob.post(f"{TOKENS}add/", {"name": "mine", "scopes": ["keys:write"]})
    user = user_of(secret_in(response))
    assert user.standing.tenant == tenant
    assert user.has_perm("tenants.add_apikey")
    assert not user.has_perm("tenants.add_project")


@pytest.mark.parametrize("scope", ["providers:read", "limits:write", "prices:write", "revisions:read"])
def test_an_owner_gives_no_more_than_they_have(bob: Client, scope: str) -> None:
    response = bob.post(f"{TOKENS}add/", {"name": "greedy", "scopes": [scope]})
    assert response.status_code == 200
    assert not ApiToken.objects.exists()


def test_an_owner_cannot_make_a_token_for_another_tenant(bob: Client, tenant: Tenant) -> None:
    other = Tenant.objects.create(slug="other", name="Other")
    bob.post(f"{TOKENS}add/", {"name": "mine", "scopes": ["keys:read"], "tenant": other.pk})
    assert ApiToken.objects.filter(tenant=other).count() == 0


def test_charlie_sees_and_revokes_no_token_of_others(charlie: Client, tenant: Tenant, alice: User) -> None:
    for token, secret in (
        create_token(name="first-token", scopes=["*"], tenant=tenant, created_by=alice),
        create_token(name="first-token", scopes=["*"], created_by=alice),
    ):
        assert "first-token" not in charlie.get(TOKENS).content.decode()
        assert charlie.get(f"{TOKENS}{token.pk}/change/").status_code in {302, 403, 404}
        charlie.post(TOKENS, {"action": "revoke_selected", "_selected_action": [str(token.pk)]})
        assert user_of(secret) is not None


def test_everything_of_a_form_is_there(console: Any) -> None:
    fields = console.get(f"{TOKENS}add/").content.decode()
    assert "Everything" in fields
    assert ApiTokenAdmin.add_fieldsets


def test_a_viewer_has_no_trail_and_no_tokens(tenant: Tenant, errors: Callable[..., Any]) -> None:
    client = member_browser(tenant, "vera", "viewer")
    assert client.get(TRAIL).status_code == 403
    assert client.get(TOKENS).status_code == 403
