"""Two tenants with something of everything, marked in every text; and every address that the control plane answers at."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from django.utils.regex_helper import normalize

from providers.models import Deployment, Provider
from routing.models import Route
from tenants.ledger import ensure_partition
from tenants.models import Member, Tenant, UsageRecord, User

LOGIN = "/admin/login/"
MAKES_SOMEBODY_ELSE = {"/admin/logout/", "/admin/acting/stop/"}

# --- Tenants -----------------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {  # fields whose values have to make sense
    "currency": "USD",
    "floor_currency": "USD",
    "timezone": "UTC",
    "alert_at": [80],
    "scopes": ["usage:read"],
    "status": 200,
    "kind": "requests",
    "per": "minute",
    "threshold": 80,
    "spent": Decimal(9),
    "cost_price": Decimal("0.0073107310"),
    "reported_cost": Decimal("0.0073107311"),
    "worker": "zqx9worker",
}


@dataclass
class Marked:
    """A tenant with one object of every kind, whose texts hold `mark` and whose numbers begin with `first`."""

    mark: str
    first: int
    objects: dict[type[models.Model], Any] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)

    @property
    def tenant(self) -> Tenant:
        found: Tenant = self.objects[Tenant]
        return found

    def make(self) -> Marked:
        """Make it, with a user for each role."""
        for role in Member.Role.values:
            name = f"{self.mark}-{role}"
            self.users[role] = User.objects.create_user(name, f"{name}@example.com", first_name=name)
        ensure_partition(timezone.now().date())
        for model in (Tenant, *owned_models()):
            self._make(model)
        others = [Member(tenant=self.tenant, user=self.users[role], role=role) for role in ("developer", "viewer")]
        Member.objects.bulk_create(others)
        return self

    def state(self) -> dict[str, list[Any]]:
        """All that the database says of it."""
        found = {"tenant": list(Tenant.objects.filter(pk=self.tenant.pk).values())}
        for model in owned_models():
            rows = model._base_manager.filter(tenant=self.tenant.pk).order_by("pk").values()
            found[model._meta.label] = list(rows)
        return found

    def _make(self, model: type[models.Model]) -> None:
        if model in self.objects:
            return
        given = {each.name: self._value(model, each) for each in model._meta.concrete_fields}
        self.objects[model] = model(**given)
        model._base_manager.bulk_create([self.objects[model]])

    def _value(self, model: type[models.Model], each: Any) -> Any:
        if each.primary_key:
            number = self.first + len(self.objects)
            return uuid.UUID(int=number << 64) if isinstance(each, models.UUIDField) else number
        if each.remote_field is not None:
            return self._related(model, each)
        if each.name in VALUES and not (each.name == "kind" and not each.choices):
            return VALUES[each.name]
        if each.choices:
            return "owner" if each.name == "role" else each.choices[0][0]
        if each.has_default() and each.get_default() not in ("", None, [], {}):
            return each.get_default()
        return self._plain(each)

    def _plain(self, each: Any) -> Any:
        text = f"{self.mark}-{each.name}"
        match each:
            case models.EmailField():
                return f"{self.mark}@example.com"
            case models.CharField() | models.TextField():
                return text[: each.max_length or 200]
            case models.JSONField():
                return _json(each.name, text)
            case models.BinaryField():
                return text.encode()
            case models.BooleanField():
                return False
            case models.UUIDField() | models.DateTimeField() if each.null:
                return None
            case models.DateTimeField():
                return timezone.now()
            case models.DateField():
                return timezone.now().date()
            case models.DecimalField() | models.IntegerField():
                return None if each.null and each.name in {"project_id"} else 1
        return [self.mark] if isinstance(each.base_field, models.CharField) else []

    def _related(self, model: type[models.Model], each: Any) -> Any:
        if each.related_model is User:
            return self.users["owner"]
        if each.related_model is Tenant:
            return self.tenant if each.name == "tenant" else None
        if each.related_model is Route:
            return Route.objects.get_or_create(name="smart")[0]
        if each.name in {"project", "api_key"} and model._meta.model_name in {"ratelimit", "budget"}:
            return None
        self._make(each.related_model)
        return self.objects[each.related_model]


def _json(name: str, text: str) -> Any:
    known: dict[str, Any] = {
        "losses": [{"path": text, "weight": "degrades", "why": text}],
        "attempts": [{"deployment": "zqx9upstream", "result": "answered", "status": 200, "milliseconds": 1}],
        "trace": {"candidates": [{"deployment": "zqx9upstream"}], "attempts": [{"deployment": "zqx9upstream"}]},
        "redactions": {},
        "units": {},
    }
    return known.get(name, {text: text})


def owned_models() -> list[type[models.Model]]:
    """Every model whose rows belong to a tenant."""
    return [model for model in apps.get_models() if _has_tenant(model)]


def _has_tenant(model: type[models.Model]) -> bool:
    return any(each.name == "tenant" and each.related_model is Tenant for each in model._meta.concrete_fields)


def make_upstream() -> None:
    """What operators have, and no tenant sees: marked with zqx9."""
    provider = Provider.objects.create(slug="zqx9provider", name="zqx9provider", adapter="openai_compatible")
    Deployment.objects.create(slug="zqx9deployment", provider=provider, model="zqx9model")


# --- Addresses ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """One address of the control plane, with names where its parameters stand."""

    form: str  # with %(name)s
    names: tuple[str, ...]
    page: Any  # the ModelAdmin that it belongs to, or None
    methods: tuple[str, ...]

    def addresses(self, marked: Marked) -> Iterator[str]:
        """With the parameters of somebody's objects."""
        if not self.names:
            yield self.form
        elif self.names == ("content_type_id", "object_id"):
            for model, item in marked.objects.items():
                yield self.form % {"content_type_id": ContentType.objects.get_for_model(model).pk, "object_id": item.pk}
        elif self.page is not None:
            item = marked.objects.get(self.page.model)
            yield self.form % dict.fromkeys(self.names, 1 if item is None else item.pk)
        elif "app_label" in self.names:
            for label in sorted({model._meta.app_label for model in admin.site._registry}):
                yield self.form % dict.fromkeys(self.names, label)
        elif self.names == ("request_id",):
            yield self.form % {"request_id": marked.objects[UsageRecord].pk}
        else:
            words = self.form.replace("-", "").replace("_", "")
            meant = [item for model, item in marked.objects.items() if model._meta.model_name in words]
            for item in meant or marked.objects.values():
                yield self.form % dict.fromkeys(self.names, item.pk)


def places() -> list[Place]:
    """Everything below the root, by the resolver: the console and its API, and what is added to them."""
    reverse("admin:index")
    found = [place for place in _places(get_resolver(), "/") if place.form not in MAKES_SOMEBODY_ELSE]
    return list({place.form: place for place in found}.values())


def _places(resolver: URLResolver, prefix: str) -> Iterator[Place]:
    for each in resolver.url_patterns:
        (form, _), *_others = normalize(each.pattern.regex.pattern)  # type: ignore[union-attr]
        if isinstance(each, URLResolver):
            yield from _places(each, prefix + form)
        else:
            yield _place(prefix + form, each)


def _place(form: str, pattern: URLPattern) -> Place:
    form = re.sub(r"%\(_(\d+)\)s", r"%(unnamed_\1)s", form)
    methods = ("get", "post", "put", "patch", "delete") if form.startswith("/api/v1/") else ("get", "post")
    names = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", form)))
    return Place(form=form, names=names, page=getattr(pattern.callback, "model_admin", None), methods=methods)


def autocompletes() -> Iterator[dict[str, str]]:
    """Every field of every model that an autocomplete could be asked for."""
    for model in apps.get_models():
        for each in model._meta.get_fields():
            if each.is_relation:
                named = {"app_label": model._meta.app_label, "model_name": model._meta.model_name or ""}
                yield named | {"field_name": each.name}


# --- What comes back ---------------------------------------------------------------------------------------


class Visitor:
    """Somebody with a browser, who signs in again wherever they are asked to."""

    def __init__(self, user: User, **session: Any) -> None:
        self.user, self.session = user, session
        self.client = Client(raise_request_exception=True)
        self._sign_in()

    def _sign_in(self) -> None:
        self.client.force_login(self.user)
        session = self.client.session
        session.update(self.session)
        session.save()

    def ask(self, method: str, address: str, data: Any = None) -> tuple[Any, str]:
        """Return an answer and all its text, with the cookies."""
        response = self._ask(method, address, data)
        if response.status_code == 302 and response.url.startswith(LOGIN):
            self._sign_in()
            response = self._ask(method, address, data)
        return response, _text(response)

    def _ask(self, method: str, address: str, data: Any) -> Any:
        if address.startswith("/api/") and method != "get":
            return getattr(self.client, method)(address, json.dumps(data or {}), content_type="application/json")
        return getattr(self.client, method)(address, data)


def _text(response: Any) -> str:
    body = b"".join(response.streaming_content) if response.streaming else response.content
    headers = " ".join(f"{name}: {value}" for name, value in response.headers.items())
    return f"{headers} {response.cookies.output()} {body.decode(errors='replace')}"


def is_refused(response: HttpResponse) -> bool:
    """Whether nothing was shown and nothing done."""
    return not 200 <= response.status_code < 300
