"""The REST API below /api/v1: alice operates, bob's token is of a tenant, charlie is of another tenant and sees nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core import serializers
from django.db import transaction
from django.test import Client
from django.utils import timezone

from providers.models import Deployment, ModelPrice, Provider
from routing.models import ModelAlias, Route, RouteTarget
from tenants.api_tokens import create_token
from tenants.ledger import write_records
from tenants.models import (
    ApiKey,
    ApiToken,
    AuditEvent,
    Budget,
    Member,
    Project,
    RateLimit,
    Tenant,
    UsageRecord,
    User,
)
from tenants.scopes import SCOPES
from tenants.services import create_key
from tenants.usage_event import UsageEvent

pytestmark = pytest.mark.django_db

V1 = "/api/v1"
MARK = "very-private"  # in every name of the first tenant's things


class Api:
    """A program with a token, or a browser with a session."""

    def __init__(self, secret: str = "", client: Client | None = None) -> None:
        self.client = client or Client(headers={"authorization": f"Bearer {secret}"} if secret else {})

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        data = {"data": json.dumps(body), "content_type": "application/json"} if body is not None else {}
        return getattr(self.client, method)(f"{V1}{path}", **data, headers=headers)

    def __getattr__(self, method: str) -> Any:
        return lambda path, body=None, **headers: self.ask(method, path, body, **headers)


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("alice", password="alice's long password")


@pytest.fixture
def alice(operator: User) -> Api:
    return Api(create_token(name="terraform", scopes=["*"], created_by=operator)[1])


@pytest.fixture
def acme() -> Tenant:
    return Tenant.objects.create(slug=f"{MARK}-acme", name=f"{MARK} Acme")


@pytest.fixture
def bob(acme: Tenant) -> Api:
    return Api(create_token(name="bobs", scopes=["*"], tenant=acme)[1])


@pytest.fixture
def charlies() -> Tenant:
    return Tenant.objects.create(slug="charlies", name="Charlie's")


@pytest.fixture(params=["token", "session"])
def charlie(request: pytest.FixtureRequest, charlies: Tenant) -> Api:
    if request.param == "token":
        return Api(create_token(name="charlies", scopes=["*"], tenant=charlies)[1])
    user = User.objects.create_user("charlie")
    Member.objects.create(tenant=charlies, user=user, role="owner")
    client = Client()
    client.force_login(user)
    return Api(client=client)


@pytest.fixture
def site(acme: Tenant) -> dict[str, Any]:
    """Something of every kind, and how the paths of the API call it."""
    project = Project.objects.create(tenant=acme, slug=f"{MARK}-web")
    key, _ = create_key(tenant=acme, name=f"{MARK}-ci", project=project)
    limit = RateLimit.objects.create(tenant=acme, kind="requests", amount=7777, per="minute", model=MARK)
    budget = Budget.objects.create(tenant=acme, amount=Decimal(10), model=MARK)
    member = Member.objects.create(tenant=acme, user=User.objects.create_user(f"{MARK}-dora"), role="developer")
    provider = Provider.objects.create(slug=f"{MARK}-openai", adapter="openai")
    deployment = Deployment.objects.create(slug=f"{MARK}-large", provider=provider, model="m")
    price = ModelPrice.objects.create(deployment=deployment, input=1)
    route = Route.objects.create(name=f"{MARK}-route")
    RouteTarget.objects.create(route=route, deployment=deployment)
    alias = ModelAlias.objects.create(name=f"{MARK}-smart", tenant=acme, route=route)
    return {
        "tenants": acme,
        "projects": project,
        "members": member,
        "api-keys": key,
        "rate-limits": limit,
        "budgets": budget,
        "providers": provider,
        "deployments": deployment,
        "prices": price,
        "routes": route,
        "aliases": alias,
        "audit-events": AuditEvent.objects.filter(tenant=acme).latest("pk"),
        "usage-records": record_of(acme),
    }


def record_of(tenant: Tenant) -> Any:
    event = UsageEvent(
        request_id=uuid4().hex,
        started_at=datetime.now(UTC).timestamp(),
        tenant_id=tenant.pk,
        api_key_id=tenant.pk,
        end_user=MARK,
        dialect="openai_chat",
        alias="smart",
        provider="openai",
        deployment="large",
        status=200,
        outcome="served",
        cost_status="exact",
        latency_ms=1,
        cost=Decimal("0.000000002"),
        cost_price=Decimal("0.000000001"),
    )
    with transaction.atomic():
        write_records([event])
    return UsageRecord.objects.get(tenant_id=tenant.pk)


def fields_of(response: Any) -> set[str]:
    assert response.status_code in {409, 422}, response.content
    return {each["field"] for each in response.json()["error"]["fields"]}


def operations() -> list[tuple[str, str]]:
    admin.site.each_context  # noqa: B018  # the console's models are registered with its first page
    from gateway_site.control_plane_api import control_plane

    paths = control_plane.get_openapi_schema()["paths"]
    return [(method, path.removeprefix(V1)) for path, methods in paths.items() for method in methods]


def fill(path: str, site: dict[str, Any]) -> str:
    """A path with the ids of the first tenant's things in it."""
    kind = path.split("/")[1]
    pk = site[kind].pk if kind in site else uuid4() if "request_id" in path else 1
    for name in ("{ref}", "{number}", "{request_id}"):
        path = path.replace(name, str(pk))
    return path


# --- Round trips -----------------------------------------------------------------------------------------------

BODIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tenants": (
        {"slug": "fresh", "name": "Fresh", "alerts": {"emails": ["a@example.com"]}},
        {"timezone": "Europe/Berlin"},
    ),
    "projects": ({"tenant": f"{MARK}-acme", "slug": "fresh"}, {"name": "Fresh"}),
    "members": ({"tenant": f"{MARK}-acme", "user": "erin", "role": "viewer"}, {"role": "owner"}),
    "rate-limits": ({"tenant": f"{MARK}-acme", "kind": "requests", "amount": 5, "per": "minute"}, {"amount": 6}),
    "budgets": ({"tenant": f"{MARK}-acme", "amount": "10.50", "per": "day"}, {"amount": "11"}),
    "providers": (
        {"slug": "fresh", "adapter": "openai", "credential": "sk-fresh-secret", "timeouts": {"connect": 3}},
        {"breaker": {"failures": 9}},
    ),
    "deployments": ({"slug": "fresh", "provider": f"{MARK}-openai", "model": "gpt"}, {"tags": ["eu"]}),
    "prices": (
        {"deployment": f"{MARK}-large", "side": "cost", "input": "0.25", "effective_from": "2990-01-01T00:00:00Z"},
        {"output": "2"},
    ),
    "routes": (
        {"name": "acme/fresh", "targets": [{"deployment": f"{MARK}-large", "weight": 5}]},
        {"cache": {"ttl": 60}},
    ),
    "aliases": ({"alias": "fresh-*", "route": f"{MARK}-route", "tenant": None}, {"route": f"{MARK}-route"}),
}


@pytest.mark.parametrize("kind", BODIES)
def test_it_makes_changes_and_deletes(alice: Api, site: dict[str, Any], kind: str) -> None:
    User.objects.create_user("erin")
    body, change = BODIES[kind]
    made = alice.post(f"/{kind}", body)
    assert made.status_code == 201, made.content
    pk = made.json()["id"]
    assert made["Location"] == f"{V1}/{kind}/{pk}"
    assert contains(made.json(), {name: value for name, value in body.items() if name not in {"credential", "amount"}})
    changed = alice.patch(f"/{kind}/{pk}", change)
    assert changed.status_code == 200, changed.content
    assert contains(changed.json(), change)
    assert alice.get(f"/{kind}/{pk}").json() == changed.json()
    assert pk in {item["id"] for item in alice.get(f"/{kind}").json()["items"]}
    assert alice.delete(f"/{kind}/{pk}").status_code == 204
    assert alice.get(f"/{kind}/{pk}").status_code == 404
    actions = AuditEvent.objects.filter(actor="terraform", via="api_token", object_id=str(pk)).order_by("pk")
    assert [action for action in actions.values_list("action", flat=True)][:1] == ["created"]
    assert actions.last().action == "deleted"


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(name in whole and contains(whole[name], value) for name, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(contains(one, other) for one, other in zip(whole, part, strict=True))
    return bool(whole == part or (isinstance(part, str) and str(whole).startswith(part.removesuffix("Z"))))


@pytest.mark.parametrize(
    ("kind", "ref"),
    [
        ("tenants", f"{MARK}-acme"),
        ("providers", f"{MARK}-openai"),
        ("deployments", f"{MARK}-large"),
        ("routes", f"{MARK}-route"),
    ],
)
def test_it_finds_by_slug_and_by_id(alice: Api, site: dict[str, Any], kind: str, ref: str) -> None:
    assert (
        alice.get(f"/{kind}/{ref}").json()["id"] == site[kind].pk == alice.get(f"/{kind}/{site[kind].pk}").json()["id"]
    )


def test_a_put_says_all_and_can_be_repeated(alice: Api) -> None:
    body = {"name": "Fresh", "timezone": "Europe/Berlin"}
    assert alice.put("/tenants/fresh", body).status_code == 201
    again = alice.put("/tenants/fresh", {"name": "Fresh"})
    assert (again.status_code, again.json()["timezone"], again.json()["slug"]) == (200, "UTC", "fresh")
    assert alice.put("/tenants/fresh", {"name": "Fresh"}).json() == again.json()


def test_a_put_keeps_secrets_and_switches(alice: Api) -> None:
    alice.put("/providers/p", {"adapter": "openai", "credential": "sk-very-secret", "enabled": False})
    assert alice.put("/providers/p", {"adapter": "openai"}).json()["has_credential"] is True
    assert alice.get("/providers/p").json()["enabled"] is False
    alice.patch("/providers/p", {"credential": None})
    assert alice.get("/providers/p").json()["has_credential"] is False


def test_a_route_keeps_the_rows_of_targets_that_stay(alice: Api, site: dict[str, Any]) -> None:
    Deployment.objects.create(slug="second", provider=site["providers"], model="m2")
    targets = [{"deployment": f"{MARK}-large"}, {"deployment": "second", "priority": 1}]
    before = RouteTarget.objects.get().pk
    shown = alice.patch(f"/routes/{site['routes'].pk}", {"targets": targets}).json()["targets"]
    assert [target["deployment"] for target in shown] == [f"{MARK}-large", "second"]
    assert RouteTarget.objects.filter(pk=before).exists()
    alice.patch(f"/routes/{site['routes'].pk}", {"targets": targets[1:]})
    assert [target.deployment.slug for target in RouteTarget.objects.all()] == ["second"]


# --- Secrets ---------------------------------------------------------------------------------------------------


def test_a_keys_secret_is_shown_once(alice: Api, acme: Tenant) -> None:
    made = alice.post("/api-keys", {"tenant": acme.slug, "name": "ci", "models": ["smart"]})
    secret = made.json()["secret"]
    assert secret.startswith("tg_")
    assert made["Cache-Control"] == "no-store"
    pk = made.json()["id"]
    assert "secret" not in alice.get(f"/api-keys/{pk}").json()
    rotated = alice.post(f"/api-keys/{pk}/rotate", {"until": "2990-01-01T00:00:00Z"})
    assert rotated.json()["secret"] not in {secret, None}
    assert alice.post(f"/api-keys/{pk}/revoke").json()["status"] == "revoked"
    assert alice.post(f"/api-keys/{pk}/rotate", {}).status_code == 409
    assert alice.patch(f"/api-keys/{pk}", {"name": "other"}).status_code == 409
    told = str(list(AuditEvent.objects.values_list("changes", "detail")))
    assert secret not in told
    assert rotated.json()["secret"] not in told


def test_credentials_are_written_and_never_read(alice: Api) -> None:
    body = {
        "slug": "p",
        "adapter": "openai",
        "credential": "sk-very-secret",
        "proxy": "http://user:very-secret@proxy.example.com:3128",
        "headers": {"x-auth": "very-secret"},
    }
    made = alice.post("/providers", body)
    assert made.status_code == 201, made.content
    assert made.json()["headers"] == ["x-auth"]
    told = [made, alice.get("/providers"), alice.get("/providers/p"), alice.get("/audit-events")]
    assert not any("very-secret" in response.content.decode() for response in told)
    provider = Provider.objects.get()
    assert provider.headers == {"x-auth": "very-secret"}


# --- What is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/tenants", {"slug": "x", "name": "X", "nmae": "Y"}, "nmae"),
        ("/tenants", {"slug": "x"}, "name"),
        ("/tenants", {"slug": "no blanks", "name": "X"}, "slug"),
        ("/tenants", {"slug": "x", "name": "X\0"}, "name"),
        ("/tenants", {"slug": "x", "name": "X", "timezone": "Mars/Base"}, "timezone"),
        ("/tenants", {"slug": "x", "name": "X", "floor": {"input": "-1"}}, "floor.input"),
        ("/tenants", {"slug": "x", "name": "X", "floor": {"inptu": "1"}}, "floor.inptu"),
        ("/tenants", {"slug": "x", "name": "X", "translation_policy": "maybe"}, "translation_policy"),
        ("/projects", {"slug": "x"}, "tenant"),
        ("/projects", {"tenant": "nobody", "slug": "x"}, "tenant"),
        ("/rate-limits", {"tenant": f"{MARK}-acme", "kind": "requests", "amount": True, "per": "minute"}, "amount"),
        ("/rate-limits", {"tenant": f"{MARK}-acme", "kind": "requests", "amount": 1}, "per"),
        ("/rate-limits", {"tenant": f"{MARK}-acme", "kind": "requests", "amount": 10**30, "per": "day"}, "amount"),
        ("/budgets", {"tenant": f"{MARK}-acme", "amount": "NaN"}, "amount"),
        ("/budgets", {"tenant": f"{MARK}-acme", "amount": 1, "per": "rolling"}, "days"),
        ("/api-keys", {"tenant": f"{MARK}-acme", "name": "x", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ("/api-keys", {"tenant": f"{MARK}-acme", "name": "x", "project": "none"}, "project"),
        ("/providers", {"slug": "x", "adapter": "openai_compatible"}, "base_url"),
        ("/providers", {"slug": "x", "adapter": "openai", "timeouts": {"connect": 0}}, "timeouts.connect"),
        ("/deployments", {"slug": "x", "model": "m"}, "provider"),
        ("/prices", {"deployment": f"{MARK}-large"}, "input"),
        ("/routes", {"name": "x", "targets": [{"deployment": "none"}]}, "targets[0].deployment"),
        (
            "/routes",
            {"name": "x", "targets": [{"deployment": f"{MARK}-large", "conditions": {"moon": "full"}}]},
            "targets[0].conditions",
        ),
        ("/routes", {"name": "x", "targets": [{"deployment": f"{MARK}-large", "wieght": 1}]}, "targets[0].wieght"),
        ("/aliases", {"alias": "two words", "route": f"{MARK}-route"}, "alias"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_names_the_field_that_is_wrong(
    alice: Api, site: dict[str, Any], path: str, body: dict[str, Any], field: str
) -> None:
    response = alice.post(path, body)
    assert response.status_code == 422, response.content
    assert field in fields_of(response)


def test_what_is_there_already_is_a_conflict(alice: Api, site: dict[str, Any]) -> None:
    assert alice.post("/tenants", {"slug": f"{MARK}-acme", "name": "X"}).status_code == 409
    assert alice.post("/api-keys", {"tenant": f"{MARK}-acme", "name": f"{MARK}-ci"}).status_code == 409
    used = alice.delete(f"/deployments/{MARK}-large")
    assert (used.status_code, used.json()["error"]["code"]) == (409, "conflict")
    assert "in use" in used.json()["error"]["message"]


def test_a_price_that_has_begun_stays(alice: Api, site: dict[str, Any]) -> None:
    assert alice.patch(f"/prices/{site['prices'].pk}", {"input": "2"}).status_code == 409
    assert alice.delete(f"/prices/{site['prices'].pk}").status_code == 409


def test_nothing_moves_to_another_tenant(alice: Api, site: dict[str, Any], charlies: Tenant) -> None:
    assert fields_of(alice.patch(f"/projects/{site['projects'].pk}", {"tenant": "charlies"})) == {"tenant"}
    assert alice.patch(f"/projects/{site['projects'].pk}", {"tenant": f"{MARK}-acme"}).status_code == 200


def test_changes_can_be_guarded(alice: Api, acme: Tenant) -> None:
    tag = alice.get(f"/tenants/{acme.slug}")["ETag"]
    first = alice.patch(f"/tenants/{acme.slug}", {"name": "One"}, if_match=tag)
    assert first.status_code == 200, first.content
    late = alice.patch(f"/tenants/{acme.slug}", {"name": "Two"}, if_match=tag)
    assert (late.status_code, late.json()["error"]["code"]) == (412, "changed_meanwhile")
    assert alice.delete(f"/tenants/{acme.slug}", None, if_match=first["ETag"]).status_code == 204


def test_unknown_parameters_are_refused_by_name(alice: Api) -> None:
    assert fields_of(alice.get("/tenants?limti=3")) == {"limti"}
    assert fields_of(alice.get("/tenants?limit=0")) == {"limit"}
    assert fields_of(alice.get("/tenants?after=nonsense")) == {"after"}
    assert fields_of(alice.get("/audit-events?form=2020-01-01")) == {"form"}


# --- Lists -----------------------------------------------------------------------------------------------------


def pages(api: Api, path: str) -> Iterator[list[Any]]:
    following: str | None = f"{path}{'&' if '?' in path else '?'}limit=2"
    while following:
        response = api.get(following)
        yield response.json()["items"]
        link = response.get("Link", "")
        following = link[1 : link.index(">")].removeprefix(V1) if link else None


def test_lists_go_on_where_they_ended(alice: Api) -> None:
    for number in range(5):
        Tenant.objects.create(slug=f"t{number}", name="T")
    found = list(pages(alice, "/tenants"))
    assert [len(page) for page in found] == [2, 2, 1]
    assert [item["slug"] for page in found for item in page] == [f"t{number}" for number in range(5)]
    events = [item["id"] for page in pages(alice, "/audit-events?object_type=tenants.tenant") for item in page]
    assert events == sorted(events, reverse=True)
    assert len(events) == 5


def test_lists_are_narrowed(alice: Api, site: dict[str, Any], charlies: Tenant) -> None:
    Project.objects.create(tenant=charlies, slug="other")
    assert [item["slug"] for item in alice.get("/projects?tenant=charlies").json()["items"]] == ["other"]
    assert alice.get("/rate-limits?api_key=nonsense").json()["items"] == []


def test_a_page_runs_few_queries(alice: Api, acme: Tenant, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        create_key(tenant=acme, name=f"k{number}")
        Budget.objects.create(tenant=acme, amount=1, model=f"m{number}")
    for kind in ("api-keys", "budgets", "tenants", "audit-events"):
        with django_assert_max_num_queries(6):
            assert alice.get(f"/{kind}").status_code == 200


# --- Verbs -----------------------------------------------------------------------------------------------------


def test_tenants_are_suspended_and_resumed(alice: Api, bob: Api, acme: Tenant) -> None:
    assert bob.post(f"/tenants/{acme.slug}/suspend", {}).status_code == 403
    shown = alice.post(f"/tenants/{acme.slug}/suspend", {"reason": "unpaid"}).json()
    assert (shown["suspended"], shown["suspended_reason"]) == (True, "unpaid")
    assert AuditEvent.objects.latest("pk").action == "suspended"
    assert alice.post(f"/tenants/{acme.slug}/resume").json()["suspended"] is False


def test_budgets_are_reset_topped_up_and_increased(alice: Api, acme: Tenant, site: dict[str, Any]) -> None:
    path = f"/budgets/{site['budgets'].pk}"
    assert alice.get(path).json()["standing"] == {"spent": "0", "left": "10", "limit": "10"} | {
        "resets_at": alice.get(path).json()["standing"]["resets_at"]
    }
    assert alice.post(f"{path}/reset").status_code == 200
    assert alice.post(f"{path}/top-up", {"amount": "5"}).status_code == 409
    assert fields_of(alice.post(f"{path}/increase", {"amount": "5", "until": "2001-01-01T00:00:00Z"})) == {"until"}
    raised = alice.post(f"{path}/increase", {"amount": "5", "until": "2990-01-01T00:00:00Z"})
    assert raised.json()["standing"]["limit"] == "15"
    credit = alice.post("/budgets", {"tenant": acme.slug, "amount": "1", "per": "credit"}).json()["id"]
    assert alice.post(f"/budgets/{credit}/top-up", {"amount": "2.50", "note": "paid"}).json()["amount"] == "3.5"


def test_revisions_are_published_and_rolled_back(alice: Api, site: dict[str, Any]) -> None:
    first = alice.post("/revisions", {"note": "first"}).json()
    assert first["is_new"]
    Route.objects.create(name="another")
    second = alice.post("/revisions", {}).json()["number"]
    shown = alice.get(f"/revisions/{second}").json()
    assert any("another" in line for line in shown["diff"])
    assert shown["is_served"]
    assert [each["number"] for each in alice.get("/revisions").json()["items"]] == [second, first["number"]]
    back = alice.post(f"/revisions/{first['number']}/roll-back").json()
    assert alice.get(f"/revisions/{back['number']}").json()["is_pinned"]
    assert alice.post(f"/revisions/{second}/publish").status_code == 409
    assert alice.get("/revisions/999").status_code == 404


def test_a_tokens_maker_does_not_approve_its_changes(
    alice: Api, operator: User, site: dict[str, Any], settings: Any
) -> None:
    settings.CONFIG_PUBLISHING = "four_eyes"
    assert alice.patch(f"/deployments/{MARK}-large", {"region": "eu"}).status_code == 200
    draft = alice.post("/revisions", {}).json()["draft"]
    assert alice.post(f"/revisions/{draft}/publish").status_code == 409
    client = Client()
    client.force_login(operator)
    refused = Api(client=client).post(f"/revisions/{draft}/publish")
    assert (refused.status_code, "changes of yours" in refused.content.decode()) == (409, True)


def test_single_requests_are_told(alice: Api, bob: Api, site: dict[str, Any]) -> None:
    record = site["usage-records"]
    [listed] = alice.get("/usage-records").json()["items"]
    assert (listed["cost"], listed["cost_price"]) == ("0.000000002", "0.000000001")
    assert "attempts" in alice.get(f"/usage-records/{record.pk}").json()
    own = bob.get(f"/usage-records/{record.pk}").json()
    assert not {"cost_price", "attempts", "trace", "worker"} & set(own)
    assert alice.get("/usage-records?status=500").json()["items"] == []


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


def body_for(method: str, path: str) -> dict[str, Any]:
    """A body that is sound, so that nothing but the right to send it is missing."""
    kind = path.split("/")[1]
    if path.endswith(("top-up", "increase")):
        return {"amount": "1"} | ({"until": "2990-01-01T00:00:00Z"} if path.endswith("increase") else {})
    if kind == "dry-run":
        return {"key": 1, "model": "smart"}
    if path.count("/") > 2 or kind == "revisions" or method == "patch":
        return {}
    return {"name": "x", "tenant": f"{MARK}-acme"} if kind == "api-keys" else BODIES[kind][0]


# --- Charlie ---------------------------------------------------------------------------------------------------


def snapshot() -> list[str]:
    """All that could be changed of anybody's; without what charlie's own sign-in writes."""
    models = [Tenant, Project, ApiKey, RateLimit, Budget, Member, Provider, Deployment, ModelPrice, Route, RouteTarget]
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
    for kind in ("projects", "api-keys", "rate-limits", "budgets", "audit-events"):
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
