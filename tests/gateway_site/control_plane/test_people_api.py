"""Invitations and API tokens over REST: bob owns Acme, dora develops there, charlie owns another tenant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from tenants.api_tokens import create_token, user_of
from tenants.invitations import find, invite
from tenants.models import ApiToken, Invitation, Tenant
from tests.gateway_site.people import member_browser

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme(db: None) -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def bob(acme: Tenant) -> Any:
    return person(acme, "bob")


@pytest.fixture
def charlie(db: None) -> Any:
    return person(Tenant.objects.create(slug="charlies"), "charlie")


def person(tenant: Tenant, name: str, role: str = "owner") -> Any:
    return asking(member_browser(tenant, name, role))


def program(tenant: Tenant, *scopes: str) -> Any:
    _, secret = create_token(name=f"for {scopes}", scopes=scopes or ["*"], tenant=tenant)
    return asking(Client(headers={"authorization": f"Bearer {secret}"}))


def asking(client: Client) -> Any:
    def ask(method: str, path: str, **body: Any) -> Any:
        data = {} if method == "get" else {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(client, method)(f"/api/v1/{path}", **data)

    return ask


def token_in(link: str) -> str:
    return link.rstrip("/").rpartition("/")[2]


# --- Invitations ---------------------------------------------------------------------------------------------


def test_where_no_e_mails_are_sent_the_link_is_told_once(acme: Tenant):
    ask = program(acme, "invitations:write")
    made = ask("post", "invitations", email="Dave@Example.com", role="viewer")
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    told = made.json()
    assert (told["email"], told["role"], told["state"], told["tenant"]) == (
        "dave@example.com",
        "viewer",
        "waiting",
        "acme",
    )
    assert find(token_in(told["link"])) == Invitation.objects.get()
    assert "link" not in ask("get", f"invitations/{told['id']}").json()
    again = ask("post", f"invitations/{told['id']}/send-again").json()
    assert find(token_in(told["link"])) is None
    assert find(token_in(again["link"])) == Invitation.objects.get()


def test_where_e_mails_are_sent_nobody_is_told_the_link(acme: Tenant, settings: Any, mailoutbox: Any):
    settings.EMAIL_HOST = "mail.example.com"
    cache.clear()
    made = program(acme)("post", "invitations", email="dave@example.com").json()
    assert "link" not in made
    assert made["mailed_at"]
    assert mailoutbox[0].to == ["dave@example.com"]


def test_an_address_is_invited_once(acme: Tenant, bob: Any):
    assert bob("post", "invitations", email="dave@example.com").status_code == 201
    for email in ("dave@example.com", "Dave@example.com", "bob@example.com"):
        answer = bob("post", "invitations", email=email)
        assert (answer.status_code, answer.json()["error"]["fields"][0]["field"]) == (409, "email")
    assert bob("post", "invitations", email="no address").status_code == 422
    assert bob("post", "invitations", email="x@example.com", role="god").status_code == 422


def test_an_invitation_is_withdrawn_for_good(acme: Tenant, bob: Any):
    made = bob("post", "invitations", email="dave@example.com").json()
    assert bob("post", f"invitations/{made['id']}/withdraw").json()["state"] == "withdrawn"
    for verb in ("withdraw", "send-again"):
        assert bob("post", f"invitations/{made['id']}/{verb}").status_code == 409


def test_who_manages_members_does_not_make_owners_by_inviting_them(acme: Tenant):
    for scope in ("tenants:write", "invitations:read"):
        answer = program(acme, scope)("post", "invitations", email="me@example.com", role="owner")
        assert (answer.status_code, "invitations:write" in answer.json()["error"]["message"]) == (403, True)


@pytest.mark.parametrize("role", ["developer", "viewer"])
def test_only_owners_invite_and_make_tokens(acme: Tenant, role: str):
    dora = person(acme, "dora", role)
    assert dora("post", "invitations", email="x@example.com").status_code == 403
    assert dora("post", "api-tokens", name="x", scopes=["*"]).status_code == 403
    assert dora("get", "api-tokens").status_code == 403


def test_charlie_finds_none_of_acme_s(acme: Tenant, charlie: Any):
    invitation = invite(tenant=acme, email="dave@example.com", role="viewer", by=None).invitation
    token, _ = create_token(name="ci", scopes=["*"], tenant=acme)
    operators, _ = create_token(name="ops", scopes=["*"])
    asked = [f"invitations/{invitation.pk}{verb}" for verb in ("", "/withdraw", "/send-again")]
    asked += [f"api-tokens/{each.pk}{verb}" for each in (token, operators) for verb in ("", "/revoke")]
    for path in asked:
        method = "post" if path.count("/") == 2 else "get"
        assert charlie(method, path).status_code == 404, path
    for path in ("invitations", "api-tokens"):
        assert charlie("get", path).json()["items"] == []
    assert charlie("post", "invitations", email="x@example.com", tenant="acme").status_code == 422
    assert charlie("post", "api-tokens", name="x", scopes=["*"], tenant="acme").status_code == 422
    invitation.refresh_from_db()
    assert (invitation.is_open, ApiToken.objects.filter(revoked_at=None).count()) == (True, 2)


# --- Tokens --------------------------------------------------------------------------------------------------


def test_an_owner_makes_a_token_for_their_tenant_and_revokes_it(acme: Tenant, bob: Any):
    made = bob("post", "api-tokens", name="terraform", scopes=["keys:write"]).json()
    user = user_of(made["secret"])
    assert user is not None
    assert (user.token.tenant, user.token.scopes, made["created_by"]) == (acme, ["keys:write"], "bob")
    assert "secret" not in bob("get", f"api-tokens/{made['id']}").json()
    assert bob("post", f"api-tokens/{made['id']}/revoke").json()["status"] == "revoked"
    assert user_of(made["secret"]) is None


def test_nobody_gives_a_scope_that_they_do_not_have(acme: Tenant, bob: Any):
    for scopes in (["providers:write"], ["keys:read", "made up"]):
        answer = bob("post", "api-tokens", name="x", scopes=scopes)
        assert answer.json()["error"]["fields"][0]["field"] == f"scopes[{len(scopes) - 1}]", answer.content
    assert bob("post", "api-tokens", name="x", scopes=[]).status_code == 422
    assert not ApiToken.objects.exists()


def test_a_token_makes_no_tokens(acme: Tenant):
    answer = program(acme)("post", "api-tokens", name="heir", scopes=["*"])
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        403,
        "A token makes no tokens: sign in to the console.",
    )
    assert ApiToken.objects.count() == 1


def test_a_token_revokes_tokens_where_its_scope_says_so(acme: Tenant):
    other, _ = create_token(name="other", scopes=["*"], tenant=acme)
    assert program(acme, "tokens:read")("post", f"api-tokens/{other.pk}/revoke").status_code == 403
    assert program(acme, "tokens:write")("post", f"api-tokens/{other.pk}/revoke").status_code == 200
    other.refresh_from_db()
    assert other.status == "revoked"
