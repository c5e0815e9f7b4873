"""Who gets in at the REST API, with which scopes, and that charlie finds and changes nothing of another tenant's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core import serializers
from django.test import Client
from django.utils import timezone

from providers.models import Deployment, ModelPrice, Provider
from routing.models import ModelAlias, Route, RouteTarget
from tenants.api_tokens import create_token
from tenants.models import (
    AlertChannel,
    AlertIncident,
    AlertRule,
    AlertSilence,
    ApiKey,
    ApiToken,
    Budget,
    Invitation,
    Member,
    Project,
    RateLimit,
    Tenant,
    User,
)
from tenants.scopes import SCOPES
from tests.gateway_site.control_plane.asking import MARK, Api, body_for, fields_of, fill, operations

pytestmark = pytest.mark.django_db


# --- Who asks --------------------------------------------------------------------------------------------------


def test_nobody_gets_in_without_a_token() -> None:
    for method, path in operations():
        response = Api().ask(method, fill(path, {}), {} if method != "get" else None)
        assert response.status_code in {401, 403}, (method, path)


def test_tokens_that_are_over_are_refused(operator: User, acme: Tenant) -> None:
    token, secret = create_token(name="t", scopes=["*"], created_by=operator)
    assert Api(secret).get("/tenants").status_code == 200
    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert Api(secret).get("/tenants").status_code == 401
    ApiToken.objects.filter(pk=token.pk).update(expires_at=None)
    token.refresh_from_db()
    token.revoke()
    refused = Api(secret).get("/tenants")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_token")
    for nonsense in ("tgat_" + "x" * 40, "tg_" + "x" * 40, "", "tgat_", "tgat_" + "x" * 4000):
        assert Api(nonsense).get("/tenants").status_code == 401


def test_an_operators_token_ends_with_its_makers_place(operator: User, alice: Api) -> None:
    operator.is_active = False
    operator.save()
    assert alice.get("/tenants").status_code == 401
    operator.is_active, operator.is_superuser = True, False
    operator.save()
    assert alice.get("/tenants").status_code == 403
    operator.user_permissions.add(Permission.objects.get(codename="view_tenant"))
    assert alice.get("/tenants").status_code == 200
    operator.delete()
    assert alice.get("/tenants").status_code == 401


def test_its_last_use_is_noted(operator: User) -> None:
    token, secret = create_token(name="t", scopes=["*"], created_by=operator)
    Api(secret).get("/tenants")
    token.refresh_from_db()
    assert token.last_used_at is not None
    before = token.last_used_at
    Api(secret).get("/tenants")
    token.refresh_from_db()
    assert token.last_used_at == before


def test_a_token_is_stronger_than_the_session_beside_it(operator: User, acme: Tenant) -> None:
    client = Client(headers={"authorization": f"Bearer {create_token(name='t', scopes=['*'], tenant=acme)[1]}"})
    client.force_login(operator)
    assert Api(client=client).get("/providers").status_code == 403


def test_a_session_needs_the_csrf_token(operator: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    assert Api(client=client).get("/tenants").status_code == 200
    assert Api(client=client).post("/tenants", {"slug": "x", "name": "X"}).status_code == 403
    assert not Tenant.objects.exists()


AREA = {
    "tenants": "tenants",
    "projects": "tenants",
    "members": "tenants",
    "api-keys": "keys",
    "invitations": "invitations",
    "api-tokens": "tokens",
    "alert-rules": "alerts",
    "alert-channels": "alerts",
    "alert-silences": "alerts",
    "alert-incidents": "alerts",
    "rate-limits": "limits",
    "budgets": "limits",
    "providers": "providers",
    "deployments": "providers",
    "prices": "prices",
    "routes": "routes",
    "aliases": "routes",
    "revisions": "revisions",
    "usage": "usage",
    "usage-records": "usage",
    "audit-events": "audit",
    "dry-run": "routes",
}


def test_each_area_has_its_scope(operator: User, site: dict[str, Any]) -> None:
    """What is of an area is refused to a token with all scopes but the area's; what writes, to one that only reads."""
    tokens = {}
    for area in set(AREA.values()):
        others = [scope for scope in SCOPES if scope != "*" and not scope.startswith(f"{area}:")]
        tokens[area] = Api(create_token(name=area, scopes=others, created_by=operator)[1])
    reads = [scope for scope in SCOPES if scope.endswith(":read")]
    reader = Api(create_token(name="reader", scopes=reads, created_by=operator)[1])
    for method, path in operations():
        kind = path.split("/")[1]
        body = None if method in {"get", "delete"} else body_for(method, path)
        assert tokens[AREA[kind]].ask(method, fill(path, site), body).status_code == 403, (method, path)
        if method != "get" and kind != "dry-run":
            assert reader.ask(method, fill(path, site), body).status_code == 403, (method, path)


# --- Charlie ---------------------------------------------------------------------------------------------------


def snapshot() -> list[str]:
    """All that could be changed of anybody's; without what charlie's own sign-in writes."""
    models = [Tenant, Project, ApiKey, RateLimit, Budget, Member, Provider, Deployment, ModelPrice, Route, RouteTarget]
    models += [AlertChannel, AlertRule, AlertSilence, AlertIncident, Invitation]
    rows = [row for model in (*models, ModelAlias) for row in model.objects.order_by("pk")]
    return [serializers.serialize("json", [row]) for row in rows]


def test_charlie_finds_and_changes_nothing_of_another_tenant(charlie: Api, site: dict[str, Any]) -> None:
    before = snapshot()
    for method, path in operations():
        asked = fill(path, site)
        if method == "get":
            answers = [charlie.get(asked)]
            answers += [
                charlie.get(f"{asked}?tenant={MARK}-acme"),
                charlie.get(f"{asked}?tenant_id={site['tenants'].pk}"),
            ]
        else:
            body = None if method == "delete" else body_for(method, path)
            answers = [charlie.ask(method, asked, body)]
            if path.count("/") > 1 and "{ref}" in path:
                named = path.replace("{ref}", str(getattr(site[path.split("/")[1]], "slug", "x")))
                answers.append(charlie.ask(method, named, body))
        for answer in answers:
            assert "7777" not in answer.content.decode()
            if answer.status_code < 400:
                assert MARK not in answer.content.decode(), (method, path)
                assert "{" not in path, (method, path)
    assert snapshot() == before


def test_charlie_cannot_tell_what_is_hidden_from_what_is_not_there(charlie: Api, site: dict[str, Any]) -> None:
    for kind in ("projects", "api-keys", "rate-limits", "budgets", "audit-events", "alert-rules", "alert-channels"):
        hidden, missing = charlie.get(f"/{kind}/{site[kind].pk}"), charlie.get(f"/{kind}/987654321")
        assert hidden.status_code == missing.status_code == 404
        assert hidden.content.decode().replace(str(site[kind].pk), "N") == missing.content.decode().replace(
            "987654321", "N"
        )
    taken = charlie.post("/projects", {"tenant": f"{MARK}-acme", "slug": "x"})
    unknown = charlie.post("/projects", {"tenant": "nobody-at-all", "slug": "x"})
    assert taken.content.decode().replace(f"{MARK}-acme", "N") == unknown.content.decode().replace("nobody-at-all", "N")


def test_charlie_makes_things_of_their_own_tenant(charlie: Api, charlies: Tenant, site: dict[str, Any]) -> None:
    made = charlie.post("/projects", {"slug": "own"})
    assert (made.status_code, made.json()["tenant"]) == (201, "charlies")
    assert charlie.post("/api-keys", {"name": "own", "project": f"{MARK}-web"}).status_code == 422
    assert charlie.post("/api-keys", {"name": "own", "project": site["projects"].pk}).status_code == 422
    assert charlie.post("/api-keys", {"name": "own", "project": "own"}).status_code == 201
    assert [key["name"] for key in charlie.get("/api-keys").json()["items"]] == ["own"]


def test_the_last_owner_stays(bob: Api, acme: Tenant) -> None:
    owner = Member.objects.create(tenant=acme, user=User.objects.create_user("bob"), role="owner")
    assert bob.patch(f"/members/{owner.pk}", {"role": "viewer"}).status_code == 409
    assert bob.delete(f"/members/{owner.pk}").status_code == 409
    Member.objects.create(tenant=acme, user=User.objects.create_user("dora"), role="owner")
    assert bob.delete(f"/members/{owner.pk}").status_code == 204


def test_bob_sets_what_owners_set_and_nothing_else(bob: Api, acme: Tenant) -> None:
    assert bob.patch(f"/tenants/{acme.slug}", {"name": "Better"}).json()["name"] == "Better"
    assert fields_of(bob.patch(f"/tenants/{acme.slug}", {"unpriced_policy": "floor"})) == {"unpriced_policy"}
    assert fields_of(bob.patch(f"/tenants/{acme.slug}", {"models": ["*"]})) == {"models"}
    assert "unpriced_policy" not in bob.get(f"/tenants/{acme.slug}").json()
    assert bob.post("/tenants", {"slug": "x", "name": "X"}).status_code == 403
    assert bob.post("/rate-limits", {"kind": "requests", "amount": 1, "per": "day"}).status_code == 403
    assert bob.get("/providers").status_code == 403
    assert fields_of(bob.post("/api-keys", {"name": "fast", "priority": "high"})) == {"priority"}
    events = bob.get("/audit-events").json()["items"]
    assert events[0]["actor"] == "bobs"
    assert not any("remote_address" in event for event in events)


# --- The document ----------------------------------------------------------------------------------------------


def test_the_document_describes_everything() -> None:
    operations()
    from gateway_site.control_plane_api import control_plane

    schema = control_plane.get_openapi_schema()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            assert operation["tags"], path
            answers = {str(status) for status in operation["responses"]}
            assert answers & {"200", "201", "204"}, (method, path)
    names = [operation["operationId"] for methods in schema["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))
    bodies = {name for name in schema["components"]["schemas"] if name.endswith("Create")}
    assert all(schema["components"]["schemas"][name].get("examples") for name in bodies)


def test_the_document_is_for_operators(operator: User) -> None:
    client = Client()
    client.force_login(operator)
    assert client.get("/api/openapi.json").status_code == 200
    assert client.get("/api/docs").status_code == 200


def test_the_document_is_sent_once_to_who_keeps_it(operator: User) -> None:
    client = Client()
    client.force_login(operator)
    first = client.get("/api/openapi.json")
    assert first["cache-control"] == "private, no-cache"
    assert client.get("/api/openapi.json", headers={"if-none-match": first["etag"]}).status_code == 304
    assert client.get("/api/openapi.json", headers={"if-none-match": '"another"'}).json() == first.json()
    stranger = Client().get("/api/openapi.json", headers={"if-none-match": first["etag"]})
    assert (stranger.status_code, stranger.has_header("etag")) == (302, False)
