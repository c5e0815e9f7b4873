"""The command palette (Ctrl+K): pages, what can be begun, and objects by their names, as far as whoever asks may see them.

Every search starts at the queryset of the object's own page, so that what a tenant owns is found by that tenant only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Model, Q
from django.http import HttpRequest
from django.urls import reverse
from unfold.dataclasses import SearchResult

from gateway_site.console.navigation import navigation
from providers.models import Deployment, Provider
from routing.models import ModelAlias, Route
from tenants.admin.scope import standing_in
from tenants.models import ApiKey, Project, Tenant, UsageRecord

MOST_PER_KIND = 6
SHORTEST = 2  # letters before objects are looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """Something that can be begun."""

    title: str
    icon: str
    url: str  # its name
    permission: str
    words: str = ""  # by which it is found, too
    is_for_operators: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Objects that are found by their names."""

    model: type[Model]
    title: str  # a field
    more: str  # another, which tells it from its like
    fields: tuple[str, ...]
    icon: str
    word: str


VERBS = (
    Verb(
        title="New tenant", icon="add", url="admin:tenants_tenant_add", permission="tenants.add_tenant", words="create"
    ),
    Verb(
        title="New API key",
        icon="add",
        url="admin:tenants_apikey_add",
        permission="tenants.add_apikey",
        words="create",
        is_for_operators=False,
    ),
    Verb(
        title="New provider",
        icon="add",
        url="admin:providers_provider_add",
        permission="providers.add_provider",
        words="create upstream",
    ),
    Verb(
        title="New deployment",
        icon="add",
        url="admin:providers_deployment_add",
        permission="providers.add_deployment",
        words="create model",
    ),
    Verb(title="New route", icon="add", url="admin:routing_route_add", permission="routing.add_route", words="create"),
    Verb(
        title="Price a model",
        icon="sell",
        url="admin:providers_modelprice_add",
        permission="providers.add_modelprice",
        words="new price create",
    ),
    Verb(
        title="Import prices",
        icon="upload_file",
        url="admin:providers_modelprice_import_prices",
        permission="providers.add_modelprice",
    ),
    Verb(
        title="Unpriced models",
        icon="money_off",
        url="admin:providers_modelprice_unpriced_models",
        permission="providers.view_modelprice",
    ),
)

KINDS = (
    Kind(
        model=Tenant,
        title="name",
        more="slug",
        fields=("name__icontains", "slug__icontains"),
        icon="apartment",
        word="Tenant",
    ),
    Kind(
        model=ApiKey,
        title="name",
        more="prefix",
        fields=("name__icontains", "prefix__istartswith"),
        icon="key",
        word="API key",
    ),
    Kind(
        model=Project,
        title="name",
        more="slug",
        fields=("name__icontains", "slug__icontains"),
        icon="folder",
        word="Project",
    ),
    Kind(
        model=Provider,
        title="slug",
        more="name",
        fields=("slug__icontains", "name__icontains"),
        icon="cloud",
        word="Provider",
    ),
    Kind(
        model=Deployment,
        title="slug",
        more="model",
        fields=("slug__icontains", "model__icontains"),
        icon="deployed_code",
        word="Deployment",
    ),
    Kind(model=Route, title="name", more="strategy", fields=("name__icontains",), icon="alt_route", word="Route"),
    Kind(model=ModelAlias, title="name", more="route__name", fields=("name__icontains",), icon="label", word="Alias"),
)


def find(request: HttpRequest, term: str) -> list[SearchResult]:
    """Return what a term leads to: a request first, then verbs and pages, then objects."""
    wanted = " ".join(term.split())[:100]
    if not wanted or "\0" in wanted:
        return []
    found = [*_request(request, wanted), *_verbs(request, wanted), *_pages(request, wanted)]
    if len(wanted) >= SHORTEST:
        for kind in KINDS:
            found += _objects(request, kind, wanted)
    return found


def _request(request: HttpRequest, wanted: str) -> Iterator[SearchResult]:
    """A request by its id, as the header x-request-id has it."""
    try:
        request_id = UUID(wanted)
    except ValueError:
        return
    page: Any = admin.site._registry[UsageRecord]
    if page.has_view_permission(request) and page.get_queryset(request).filter(pk=request_id).exists():
        url = reverse("admin:tenants_usagerecord_change", args=[request_id])
        yield SearchResult(title=str(request_id), description="Request", link=url, icon="receipt_long")


def _verbs(request: HttpRequest, wanted: str) -> Iterator[SearchResult]:
    is_operator = standing_in(request).is_operator
    for verb in VERBS:
        text = f"{verb.title} {verb.words}".lower()
        is_meant = all(word in text for word in wanted.lower().split())
        if is_meant and (is_operator or not verb.is_for_operators) and request.user.has_perm(verb.permission):
            yield SearchResult(title=verb.title, description="Action", link=reverse(verb.url), icon=verb.icon)


def _pages(request: HttpRequest, wanted: str) -> Iterator[SearchResult]:
    for group in navigation(request):
        for item in group["items"]:
            if wanted.lower() in f"{item['title']} {group['title']}".lower() and item["permission"](request):
                description = str(group["title"] or "Console")
                yield SearchResult(
                    title=str(item["title"]), description=description, link=str(item["link"]), icon=str(item["icon"])
                )


def _objects(request: HttpRequest, kind: Kind, wanted: str) -> Iterable[SearchResult]:
    page: Any = admin.site._registry.get(kind.model)
    if page is None or not page.has_view_permission(request):
        return
    lookup = Q()
    for field in kind.fields:
        lookup |= Q(**{field: wanted})
    rows = page.get_queryset(request).filter(lookup).order_by(kind.title, "pk").values_list("pk", kind.title, kind.more)
    name = f"admin:{kind.model._meta.app_label}_{kind.model._meta.model_name}_change"
    for pk, title, more in rows[:MOST_PER_KIND]:
        description = kind.word if not more or more == title else f"{kind.word} {more}"
        yield SearchResult(title=title or more, description=description, link=reverse(name, args=[pk]), icon=kind.icon)
