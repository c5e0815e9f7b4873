"""Every page that `benchmarks.console` asks for: all addresses of the control plane, and lists as people narrow them."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model
from django.utils import timezone

from providers.models import Deployment, ModelPrice, Provider
from routing.models import ConfigRevision, HealthEvent, ModelAlias, Route, StoredResponse
from tenants.models import (
    AlertChannel,
    AlertIncident,
    AlertRule,
    AlertSilence,
    ApiKey,
    Budget,
    LegalAcceptance,
    LegalDocument,
    RequestBody,
    Tenant,
    UsageRecord,
    User,
)

crawl: Any = import_module("tests.gateway_site.admin.crawl")
ASK_OTHERS = ("test-connection", "/models/", "/sso/")  # how long these take is an upstream's matter
API = "/api/v1/"
API_OBJECTS = {"prices": ModelPrice, "aliases": ModelAlias, "revisions": ConfigRevision, "deployments": Deployment}
TERMS = ("s", "sa", "sample-1", "sample-17", "project-3", "key", "smart", "upstream-12", "nothing-is-called-so")
SEARCHES = ("sample-1", "sample-123", "nothing-is-called-so")
TEXTS = {  # what people type into the filters that are texts
    "alias": "smart",
    "provider": "openai",
    "deployment": "mini",
    "project": "project-1",
    "end_user": "user-3",
    "status": "502",
    "error_code": "upstream_error",
    "cost": "0.15",
    "duration": "10.9",
    "first_token": "2.7",
    "actor": "sample-1-0",
    "object_id": "1",
    "model": "smart",
}
REPORT_GROUPS = ("tenant", "project", "api_key", "end_user", "model", "provider", "deployment", "day", "hour")


class Places:
    """All addresses, with one tenant's objects where they name some."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.key = ApiKey.objects.filter(tenant=tenant).order_by("pk")[0]
        self.record = UsageRecord.objects.filter(tenant=tenant).order_by("-started_at")[0]
        self.marked = crawl.Marked(mark=tenant.slug, first=0, objects=dict(self._objects()))
        today = timezone.now().date()
        self.month, self.all = ({"from": str(today - timedelta(days=days)), "to": str(today)} for days in (29, 59))

    def _objects(self) -> Iterator[tuple[type[Model], Any]]:
        yield Tenant, self.tenant
        for model in crawl.owned_models():
            if model not in {UsageRecord, StoredResponse}:
                yield model, model._base_manager.filter(tenant=self.tenant).order_by("pk").first()
        body = RequestBody.objects.filter(tenant=self.tenant).first()
        yield UsageRecord, self.record if body is None else UsageRecord.objects.get(pk=body.pk)
        yield StoredResponse, StoredResponse.objects.filter(tenant=self.tenant).first()
        for model in (
            Provider,
            Deployment,
            ModelPrice,
            Route,
            HealthEvent,
            LegalDocument,
            LegalAcceptance,
            User,
            Group,
        ):
            yield model, model._base_manager.order_by("-pk").first()
        for other in (AlertRule, AlertChannel, AlertSilence, AlertIncident, Budget):
            yield other, other._base_manager.filter(tenant=self.tenant).order_by("pk").first()
        yield ConfigRevision, ConfigRevision.objects.order_by("-number").first()

    def addresses(self) -> list[str]:
        """Return all of them, once."""
        found = [*self._plain(), *self._narrowed()]
        return [each for each in dict.fromkeys(found) if not any(part in each for part in ASK_OTHERS)]

    def _plain(self) -> Iterator[str]:
        for place in crawl.places():
            if place.form == "/admin/%(url)s":
                continue
            if place.form.startswith(API) and place.names in {("ref",), ("number",)}:
                yield from self._of_api(place)
            else:
                known = {model: item for model, item in self.marked.objects.items() if item is not None}
                yield from place.addresses(crawl.Marked(mark="", first=0, objects=known))

    def _of_api(self, place: Any) -> Iterator[str]:
        kind = place.form.removeprefix(API).partition("/")[0]
        model = API_OBJECTS.get(kind) or next(
            (each for each in self.marked.objects if f"{each._meta.model_name}s" == kind.replace("-", "")), None
        )
        item = self.marked.objects.get(model) if model is not None else None
        if item is not None:
            yield place.form % dict.fromkeys(place.names, getattr(item, "number", item.pk))

    # --- Addresses with questions ------------------------------------------------------------------------------

    def _narrowed(self) -> Iterator[str]:
        yield from self._homes()
        yield from self._reports("/admin/usage")
        yield from self._reports(f"{API}usage")
        yield from self._records()
        yield from self._of_lists_of_api()
        yield from (f"/admin/search/?{urlencode({'s': term})}" for term in (*TERMS, str(self.record.pk)))
        for named in crawl.autocompletes():
            for term in ("", "sample-1", "nothing-is-called-so"):
                yield f"/admin/autocomplete/?{urlencode({**named, 'term': term})}"
        for query in ({"tenant": self.tenant.slug}, {"tenant": self.tenant.slug, "model": "smart"}):
            yield f"/admin/connect?{urlencode(query)}"
            yield f"/admin/playground?{urlencode(query)}"

    def _homes(self) -> Iterator[str]:
        spans: list[Mapping[str, str]] = [{"range": name} for name in ("1h", "24h", "7d", "30d", "month")]
        spans.append({"range": "custom", **self.all})
        whose: list[Mapping[str, str]] = [{}, {"tenant": self.tenant.slug}, {"model": "smart"}, {"provider": "openai"}]
        for span in spans:
            for narrowed in whose:
                yield f"/admin/?{urlencode({**span, **narrowed})}"
            for more in ({"by": "model"}, {"by": "provider"}, {"order": "errors"}, {"order": "requests"}):
                yield f"/admin/?{urlencode({**span, **more})}"

    def _reports(self, path: str) -> Iterator[str]:
        for group in REPORT_GROUPS:
            for order in ("key", "cost"):
                yield f"{path}?{urlencode({'group_by': group, 'order': order})}"
                yield f"{path}?{urlencode({'group_by': group, 'order': order, **self.all})}"
            for narrowed in ({"tenant": self.tenant.slug}, {"api_key": self.key.pk}, {"model": "smart"}):
                yield f"{path}?{urlencode({'group_by': group, **narrowed})}"
        yield f"{path}?{urlencode({'group_by': 'end_user', 'tenant': self.tenant.slug, 'order': 'cost', **self.all})}"
        yield f"{path}?{urlencode({'group_by': 'model', 'end_user': 'user-3', 'tenant': self.tenant.slug})}"

    def _records(self) -> Iterator[str]:
        """Requests as they are looked for: several filters at once, rare ones, and those of nobody."""
        tenant, key = {"tenant__id__exact": self.tenant.pk}, {"api_key__id__exact": self.key.pk}
        queries: list[Mapping[str, Any]] = [
            {"status": "5xx", "duration": "9"},
            {"error_code": "nothing"},
            {"cost": "0.19"},
            {"cost": "5"},
            {"cost": "0.5"},
            {"duration": "100"},
            {"duration": "20"},
            {"first_token": "50"},
            {"end_user": "nobody"},
            {"alias": "cheap", "duration": "10.9"},
            {"alias": "embed", "provider": "openai", "streamed": "yes"},
            {"translation": "lossy", "alias": "smart"},
            {"attempts": "several", "duration": "1"},
            {"status": "499"},
            {"status": "429"},
            {"project": "project-1", "streamed": "yes"},
            {**self.all, "alias": "cheap", "cost": "0.1"},
            {**self.all, "duration": "20"},
            {**self.all, "translation": "lossy", "attempts": "several"},
            {**self.all, "translation": "lossy", "owner": "gateway"},
            {**self.all, "attempts": "fallback", "owner": "upstream", "cost": "0.15"},
            {**self.all, "attempts": "several", "duration": "60"},
            {**self.all, "outcome__exact": "cut", "alias": "embed"},
            {**self.all, "outcome__exact": "served", "project": "project-1"},
        ]
        for query in queries:
            yield f"/admin/tenants/usagerecord/?{urlencode(query)}"
            yield f"/admin/tenants/usagerecord/?{urlencode({**query, **tenant})}"
            yield f"/admin/tenants/usagerecord/?{urlencode({**query, 'period': 'all'})}"
        yield f"/admin/tenants/usagerecord/?{urlencode({**key, 'cost': '0.5', 'period': 'all'})}"

    def _of_lists_of_api(self) -> Iterator[str]:
        forms = [place.form for place in crawl.places() if place.form.startswith(API) and not place.names]
        for form in forms:
            for query in ({"limit": 200}, {"tenant": self.tenant.slug}, {"tenant": self.tenant.slug, "limit": 200}):
                if not form.endswith("/usage"):
                    yield f"{form}?{urlencode(query)}"
        for query in (
            {"model": "smart"},
            {"end_user": "user-3"},
            {"status": 429},
            {"outcome": "lost"},
            {"deployment": "x"},
        ):
            yield f"{API}usage-records?{urlencode(query)}"
            yield f"{API}usage-records?{urlencode({**query, 'from': self.all['from']})}"
        yield f"{API}usage-records?{urlencode({'tenant': self.tenant.slug, 'status': 429, 'from': self.all['from']})}"
        for query in ({"actor": "sample-1-0"}, {"action": "revoked"}, {"actor": "nobody"}, {"via": "task"}):
            yield f"{API}audit-events?{urlencode(query)}"

    # --- What a list offers ------------------------------------------------------------------------------------

    def of_list(self, address: str, response: Any) -> list[str]:
        """Return the same list narrowed by each of its filters, searched, sorted and on other pages."""
        changes = (getattr(response, "context_data", None) or {}).get("cl")
        if changes is None or "?" in address:
            return []
        found = [*self._filtered(changes), *_searched(changes), *_sorted(changes), *_paged(changes)]
        return [f"{address}{query}" for query in dict.fromkeys(found)]

    def _filtered(self, changes: Any) -> Iterator[str]:
        for spec in changes.filter_specs:
            for name in (each for each in spec.expected_parameters() if not each.endswith("__isnull")):
                for value in self._values(spec, name):
                    yield f"?{urlencode({name: value})}"

    def _values(self, spec: Any, name: str) -> Iterable[Any]:
        remote = getattr(getattr(spec, "field", None), "remote_field", None)
        if remote is not None:
            item = self.marked.objects.get(remote.model)
            return () if item is None else (item.pk,)
        if getattr(spec, "lookup_choices", None):
            return [each[0] for each in spec.lookup_choices]
        if name in {"from", "to"}:
            return (self.month[name],)
        choices = getattr(getattr(spec, "field", None), "flatchoices", ())
        if choices:
            return [value for value, _ in choices]
        return (TEXTS[name],) if name in TEXTS else ("1",)


def _searched(changes: Any) -> Iterator[str]:
    if changes.search_fields or type(changes.model_admin).get_search_results is not admin.ModelAdmin.get_search_results:
        yield from (f"?{urlencode({'q': term})}" for term in SEARCHES)


def _sorted(changes: Any) -> Iterator[str]:
    for number, name in enumerate(changes.list_display):
        if name in changes.sortable_by and changes.get_ordering_field(name) is not None:
            yield f"?o={number}"
            yield f"?o=-{number}"


def _paged(changes: Any) -> Iterator[str]:
    if getattr(changes, "older", None):
        yield changes.older
    elif changes.multi_page:
        yield "?p=2"
        yield f"?p={changes.paginator.num_pages}"
