"""The REST API below /api/v1: what it makes, changes, lists and refuses. What is alice's and bob's is not charlie's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from providers.models import Deployment, Provider
from routing.models import RouteTarget
from tenants.models import AuditEvent, Budget, Project, Tenant, User
from tenants.services import create_key
from tests.gateway_site.control_plane.asking import BODIES, MARK, V1, Api, fields_of

pytestmark = pytest.mark.django_db


# --- Round trips -----------------------------------------------------------------------------------------------


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


def test_a_route_warns_of_what_has_no_effect_yet(alice: Api, charlie: Api, site: dict[str, Any]) -> None:
    url = f"/routes/{site['routes'].pk}"
    assert alice.get(url).json()["warnings"] == []
    warned = alice.patch(url, {"cache": {"semantic": True}}).json()
    assert warned["cache"]["semantic"] is True
    assert warned["warnings"] == ["cache.semantic is stored and has no effect yet: this version keeps no answers."]
    assert charlie.get(url).status_code in {403, 404}


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
