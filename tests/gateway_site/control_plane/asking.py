"""How the tests of the REST API ask, and of whose things: every name of the first tenant's has the mark."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from django.contrib import admin
from django.test import Client

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
    "alert-channels": (
        {"tenant": f"{MARK}-acme", "name": "fresh", "emails": ["a@example.com"]},
        {"emails": ["b@example.com"]},
    ),
    "alert-rules": ({"tenant": f"{MARK}-acme", "name": "fresh", "window": 30}, {"enabled": False}),
    "alert-silences": (
        {"tenant": f"{MARK}-acme", "reason": "fresh", "ends_at": "2990-01-01T00:00:00Z"},
        {"reason": "Upgrade"},
    ),
    "aliases": ({"alias": "fresh-*", "route": f"{MARK}-route", "tenant": None}, {"route": f"{MARK}-route"}),
}
ONLY_MADE: dict[str, dict[str, Any]] = {  # and never changed, or never deleted
    "api-keys": {"name": "x", "tenant": f"{MARK}-acme"},
    "api-tokens": {"name": "x", "tenant": f"{MARK}-acme", "scopes": ["usage:read"]},
    "invitations": {"email": "x@example.com", "tenant": f"{MARK}-acme"},
}


def body_for(method: str, path: str) -> dict[str, Any]:
    """A body that is sound, so that nothing but the right to send it is missing."""
    kind = path.split("/")[1]
    if path.endswith(("top-up", "increase")):
        return {"amount": "1"} | ({"until": "2990-01-01T00:00:00Z"} if path.endswith("increase") else {})
    if kind == "dry-run":
        return {"key": 1, "model": "smart"}
    if path.count("/") > 2 or kind == "revisions" or method == "patch":
        return {}
    return ONLY_MADE[kind] if kind in ONLY_MADE else BODIES[kind][0]
