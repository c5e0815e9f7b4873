"""The audit trail: newest first, and a page per event that shows what was before and what is now."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import BooleanField, OuterRef, QuerySet, Subquery, Value
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    FieldTextFilter,
)
from unfold.decorators import display

from gateway_site.infra.admin import Admin, RecentFilter, badge
from gateway_site.infra.table import table
from tenants.admin.keyset import KeysetAdmin
from tenants.admin.scope import ScopedMixin, standing_in
from tenants.admin.trace import words
from tenants.audit import CREATED, DELETED, watched_models
from tenants.models import AuditEvent, Tenant
from tenants.roles import PERMISSIONS

KINDS = {
    "created": "success",
    "deleted": "danger",
    "revoked": "danger",
    "suspended": "danger",
    "switched_off": "warning",
    "sign_in_failed": "warning",
    "acted_as_owner": "warning",
    "request_stopped": "warning",
    "body_opened": "warning",
    "rolled_back": "warning",
}
ACTIONS = (
    "created",
    "changed",
    "deleted",
    "revoked",
    "rotated",
    "suspended",
    "resumed",
    "switched_on",
    "switched_off",
    "published",
    "rolled_back",
    "signed_in",
    "signed_out",
    "sign_in_failed",
    "acted_as_owner",
    "stopped_acting",
    "connection_tested",
    "configuration_applied",
    "configuration_exported",
    "request_stopped",
    "body_opened",
    "accepted",
    "withdrawn",
)
OPERATORS_DETAILS = frozenset({"worker"})
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
SHOWN, LONGEST = 3, 40  # changes in the list, and characters of a value there


class AtFilter(RecentFilter):
    field = "at"
    default = "31d"


class ActionFilter(DropdownFilter):
    title = parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(action, words(action).capitalize()) for action in ACTIONS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(action=value) if (value := self.value()) else queryset


class KindFilter(DropdownFilter):
    title = "kind of object"
    parameter_name = "object_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = {model._meta.label_lower: model._meta.verbose_name for model in watched_models()}
        names |= {"routing.configrevision": "revision"}
        chosen = [(name, _first_up(str(label))) for name, label in names.items()]
        return sorted(chosen, key=lambda choice: choice[1].lower())

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(object_type=value) if (value := self.value()) else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(ScopedMixin, KeysetAdmin):
    list_display = ("when", "who", "action_label", "what", "fields_changed", "tenant_name")
    list_display_links = ("when",)
    list_filter = (
        AtFilter,
        ("tenant", AutocompleteSelectFilter),
        ActionFilter,
        KindFilter,
        ("via", ChoicesDropdownFilter),
        ("actor", FieldTextFilter),
        ("object_id", FieldTextFilter),
    )
    search_fields = ()
    fieldsets = (
        (None, {"fields": (("when", "action_label"), ("about", "tenant_name"))}),
        ("What changed", {"fields": ("change_table",)}),
        ("More", {"fields": ("detail_table",)}),
        ("By whom", {"fields": (("by", "via"), ("place", "remote_address"), "correlation_id")}),
    )
    operator_fields = ("remote_address", "tenant_name")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("when", "by", "action_label", "about", "tenant_name", "change_table", "detail_table", "place", "via")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without the parts that have nothing to show."""
        told = (("What changed", told_changes(obj)), ("More", told_detail(obj)))
        empty = {name for name, content in told if not content}
        return [part for part in super().get_fieldsets(request, obj) if part[0] not in empty]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the tenant's name, for it may be gone."""
        names = Tenant.objects.filter(pk=OuterRef("tenant_id")).order_by().values("slug")
        places = Tenant.objects.filter(pk=OuterRef("acting_for_id")).order_by().values("slug")
        found = super().get_queryset(request)
        whole = Value(standing_in(request).is_operator, output_field=BooleanField())
        return found.annotate(tenant_slug=Subquery(names), acting_for_slug=Subquery(places), is_told_whole=whole)

    @display(description="When (UTC)")
    def when(self, event: AuditEvent) -> str:
        return f"{event.at:%Y-%m-%d %H:%M:%S}"

    @display(description="Who", header=True)
    def who(self, event: Any) -> list[str]:
        return [event.actor or "Nobody signed in", self._way(event)]

    def _way(self, event: Any) -> str:
        return f"in {event.acting_for_slug}'s place" if event.acting_for_id else event.get_via_display()

    @display(description="Action")
    def action_label(self, event: AuditEvent) -> str:
        return badge(words(event.action).capitalize(), KINDS.get(event.action, "info"))

    @display(description="Object", header=True)
    def what(self, event: AuditEvent) -> list[Any]:
        return [event.object_repr or "-", kind_of(event)]

    @display(description="Who")
    def by(self, event: AuditEvent) -> str:
        return event.actor or "Nobody signed in"

    @display(description="Object")
    def about(self, event: AuditEvent) -> SafeString:
        """What it is about, leading to its page; one that is gone has none, and that page says so."""
        name = f"{kind_of(event)} {event.object_repr}".strip() or "-"
        place = event.object_type.replace(".", "_")
        try:
            url = reverse(f"admin:{place}_change", args=[event.object_id])
        except NoReverseMatch:
            return format_html("{}", name)
        return format_html('<a href="{}" class="text-link">{}</a>', url, name)

    @display(description="Changes")
    def fields_changed(self, event: AuditEvent) -> str:
        """What changed in a word; of new and deleted objects only the fields' names."""
        is_change = event.action not in {CREATED, DELETED}
        parts = [_short(name, *pair) if is_change else words(name) for name, pair in _pairs(event)]
        return ", ".join(parts[:SHOWN]) + (f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else "")

    @display(description="Tenant")
    def tenant_name(self, event: Any) -> str:
        if event.tenant_id is None:
            return "-"
        return event.tenant_slug or f"deleted ({event.tenant_id})"

    @display(description="In the place of")
    def place(self, event: Any) -> str:
        return f"an owner of {event.acting_for_slug or event.acting_for_id}" if event.acting_for_id else "-"

    @display(description="Before and after")
    def change_table(self, event: AuditEvent) -> SafeString:
        rows = ((words(name), _value(before, "-"), _value(after, "+")) for name, (before, after) in _pairs(event))
        return table(("Field", "Before", "After"), rows)

    @display(description="Details")
    def detail_table(self, event: AuditEvent) -> SafeString:
        return table(("", ""), ((words(name), _value(value, "")) for name, value in told_detail(event).items()))


def _pairs(event: AuditEvent) -> Iterable[tuple[str, list[Any]]]:
    return ((name, pair) for name, pair in told_changes(event).items() if isinstance(pair, list) and len(pair) == 2)


def told_changes(event: Any, *, whole: bool | None = None) -> dict[str, Any]:
    """What changed, as far as its reader may see it of the object: members learn no operators' fields from the trail."""
    if getattr(event, "is_told_whole", False) if whole is None else whole:
        return dict(event.changes)
    hidden = _operators_of(event.object_type)
    return {} if hidden is None else {name: pair for name, pair in event.changes.items() if name not in hidden}


def told_detail(event: Any, *, whole: bool | None = None) -> dict[str, Any]:
    """The same of what else there is to say: which worker it was is no member's business."""
    if getattr(event, "is_told_whole", False) if whole is None else whole:
        return dict(event.detail)
    return {name: value for name, value in event.detail.items() if name not in OPERATORS_DETAILS}


def _operators_of(kind: str) -> frozenset[str] | None:
    """The fields of a kind of object that only operators see; None: all of them, for members have no page of it."""
    try:
        model = apps.get_model(kind)
    except (LookupError, ValueError):
        return None
    page = admin.site._registry.get(model)
    may_view = f"{model._meta.app_label}.view_{model._meta.model_name}" in PERMISSIONS["owner"]
    return frozenset(page.operator_fields) if may_view and isinstance(page, ScopedMixin) else None


def _short(name: str, before: Any, after: Any) -> str:
    told = [_text(value) or "none" for value in (before, after)]
    is_short = all(len(text) <= LONGEST for text in told)
    return f"{words(name)}: {told[0]} → {told[1]}" if is_short else words(name)


def _text(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, str):
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S} UTC" if MOMENT.fullmatch(value) else value
    is_list = isinstance(value, list) and all(isinstance(each, str | int) for each in value)
    return ", ".join(map(_text, value)) if is_list else json.dumps(value, ensure_ascii=False)


def _value(value: Any, sign: str) -> SafeString:
    """A value in the colour of what was taken away, or of what came."""
    colours = {"-": "text-red-700 dark:text-red-400", "+": "text-green-700 dark:text-green-400"}
    text = _text(value)
    if not text:
        return format_html('<span class="text-subtle">{}</span>', "none")
    return format_html('<code class="break-words audit-value {}">{}</code>', colours.get(sign, ""), text)


def kind_of(event: AuditEvent) -> str:
    """What the object is, as people call it."""
    try:
        return _first_up(str(apps.get_model(event.object_type)._meta.verbose_name))
    except (LookupError, ValueError):
        return event.object_type


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- The history of one object -------------------------------------------------------------------------------


def history(page: Admin, request: HttpRequest, object_id: str) -> HttpResponse | None:
    """Lead from an object's page to what the trail says of it; None where there is none for whoever asks."""
    if page.model not in watched_models() or not request.user.has_perm("tenants.view_auditevent"):
        return None
    found = page.load(request, object_id)
    query = {"object_type": page.model._meta.label_lower, "object_id": found.pk, "period": "all"}
    if isinstance(found, Tenant) and standing_in(request).is_operator:
        query = {"tenant__id__exact": found.pk, "period": "all"}
    return HttpResponseRedirect(f"{reverse('admin:tenants_auditevent_changelist')}?{urlencode(query)}")


Admin.history = history  # the base of all pages is below the trail, and only knows that there may be one
