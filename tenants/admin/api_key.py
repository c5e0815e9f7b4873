"""API keys. A new key's secret is in the answer to the form that made it, and nowhere else, ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from gateway_site.infra.admin import Admin, OneSaveMixin, QuietChangeList, ReadOnlyMixin, TableRows, badge
from tenants.admin.key_actions import ExpiresKeys, RotatesKeys
from tenants.admin.limits import BudgetRows, RateLimitRows
from tenants.admin.scope import NoShortcutsMixin, TenantOwnedMixin
from tenants.dashboard_words import amount
from tenants.key_facts import KeyFacts, key_facts
from tenants.models import ApiKey, UsageDay
from tenants.services import create_key

CHOSEN = ("tenant", "project", "name", "allowed_models", "expires_at", "priority", "may_trace")
SOON = timedelta(days=14)
SHOWN_RULES = 2
STATUS_KINDS = {"active": "success", "revoked": "danger", "expired": "warning"}


class KeyStatusFilter(DropdownFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("active", "Active"),
            ("expiring", f"Expiring within {SOON.days} days"),
            ("overlapping", "Rotated, both secrets work"),
            ("revoked", "Revoked"),
            ("expired", "Expired"),
            ("playground", "Of the playground"),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "playground":
            return queryset.exclude(purpose="")
        return self._of(queryset.of_programs())

    def _of(self, queryset: Any) -> Any:
        now = timezone.now()
        match self.value():
            case "active":
                return queryset.active()
            case "expiring":
                return queryset.expiring_before(now + SOON)
            case "overlapping":
                return queryset.active().filter(previous_until__gt=now)
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
            case "expired":
                return queryset.filter(Q(revoked_at__isnull=True) & Q(expires_at__lte=now))
        return queryset


class KeyColumns:
    """Columns of keys, in their own list and among a tenant's rows."""

    @display(description="Key")
    def key_hint(self, key: ApiKey) -> str:
        return key.hint

    @display(description="Status")
    def status_label(self, key: ApiKey) -> str:
        if key.status == "active" and key.tenant.is_suspended:
            return badge("Tenant suspended", "danger")
        labels = [badge(key.status.capitalize(), STATUS_KINDS[key.status])]
        if key.is_overlapping:
            labels.append(badge("Rotating", "info"))
        elif key.status == "active" and key.expires_at is not None and key.expires_at <= timezone.now() + SOON:
            labels.append(badge("Expires soon", "warning"))
        return format_html_join(" ", "{}", ((label,) for label in labels))

    @display(description="Last used")
    def last_used(self, key: Any) -> str:
        return ago(self.facts(key).last_used)

    @display(description="Spent this month")
    def spent_this_month(self, key: Any) -> str:
        return money(self.facts(key).spent)

    @display(description="Own limits")
    def own_limits(self, key: Any) -> str:
        rules = self.facts(key).rules
        shown = "; ".join(rules[:SHOWN_RULES])
        return f"{shown}; {len(rules) - SHOWN_RULES} more" if len(rules) > SHOWN_RULES else shown or "None"

    def facts(self, key: Any) -> KeyFacts:
        """What is known of it; lists have looked that up for the whole page."""
        if not hasattr(key, "facts"):
            key.facts = key_facts([key], timezone.now())[key.pk]
        return key.facts


class KeyChangeList(QuietChangeList):
    """Reads what is known of all keys of a page at once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = with_facts(self.result_list)  # type: ignore[has-type]


def with_facts(keys: Iterable[Any]) -> list[Any]:
    """Give keys what is known of them."""
    shown = list(keys)
    found = key_facts(shown, timezone.now())
    for key in shown:
        key.facts = found[key.pk]
    return shown


def ago(day: date | None) -> str:
    """A day of UTC, as people say it."""
    if day is None:
        return "Never"
    days = (timezone.now().astimezone(UTC).date() - day).days
    return {0: "Today", 1: "Yesterday"}.get(days, f"{day:%Y-%m-%d}")


def money(spent: Mapping[str, Decimal]) -> str:
    """Amounts, never added up over currencies."""
    return ", ".join(f"{amount(each)} {currency}" for currency, each in spent.items()) or "Nothing"


@admin.register(ApiKey)
class ApiKeyAdmin(KeyColumns, RotatesKeys, ExpiresKeys, OneSaveMixin, NoShortcutsMixin, TenantOwnedMixin, Admin):
    operator_fields = ("tenant", "priority", "may_trace")
    list_display = (
        *("name", "key_hint", "status_label", "tenant", "project"),
        *("last_used", "spent_this_month", "own_limits", "expires_at"),
    )
    list_select_related = ("tenant", "project")
    list_filter = (("tenant", AutocompleteSelectFilter), KeyStatusFilter)
    search_fields = ("name", "prefix", "last_four", "tenant__slug", "tenant__name")
    search_help_text = "Name, how a key begins or ends, or tenant"
    ordering = ("-pk",)
    autocomplete_fields = ("tenant", "project")
    readonly_fields = (
        *("key_hint", "status_label", "previous_secret", "last_used", "spent_this_month"),
        *("revoked_at", "created_at", "creator"),
    )
    actions = ("revoke_selected", "expire_selected")
    actions_list = ("export_csv",)
    csv_fields = (
        "name",
        "prefix",
        "tenant__slug",
        "project__slug",
        "expires_at",
        "revoked_at",
        "created_at",
    )
    actions_row = ("rotate", "revoke")
    actions_detail = ("rotate", "end_overlap", "revoke")
    fieldsets = (
        (None, {"fields": (("key_hint", "status_label"), ("last_used", "spent_this_month"))}),
        (None, {"fields": ("tenant", "project", "name")}),
        ("What it may do", {"fields": ("allowed_models", "expires_at", ("priority", "may_trace"))}),
        ("History", {"fields": (("created_at", "creator"), "revoked_at")}),
    )
    add_fieldsets = (
        (None, {"fields": ("tenant", "project", "name")}),
        ("What it may do", {"fields": ("allowed_models", "expires_at", ("priority", "may_trace"))}),
    )
    inlines = (RateLimitRows, BudgetRows)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeyChangeList]:
        return KeyChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Nobody chooses the playground's own keys anywhere; the list has a filter for them."""
        searched: tuple[Any, bool] = super().get_search_results(request, queryset, search_term)
        found, may_have_duplicates = searched
        return (found if self.is_list(request) else found.of_programs()), may_have_duplicates

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        """With the secret before the last rotation, where there was one."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or not obj.previous_hint:
            return fieldsets
        (_, first), *others = fieldsets
        return [(None, {**first, "fields": (*first["fields"], "previous_secret")}), *others]

    @display(description="Secret before")
    def previous_secret(self, key: ApiKey) -> str:
        if key.previous_until is None:
            return ""
        verb = "works until" if key.is_overlapping else "stopped at" if key.status == "active" else "was valid until"
        return f"{key.previous_hint} {verb} {key.previous_until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

    def get_inlines(self, request: HttpRequest, obj: ApiKey | None) -> Any:
        """Limits come with the key's own page: making one is short, and its answer shows the secret."""
        return self.inlines if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        chosen: dict[str, Any] = {name: form.cleaned_data[name] for name in CHOSEN if name in form.cleaned_data}
        key, secret = create_key(**chosen | {"tenant": obj.tenant, "created_by": request.user})
        obj.pk = key.pk
        obj.refresh_from_db()
        obj.new_secret = secret  # lives as long as this request

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return self.show_secret(request, obj, obj.new_secret)

    def show_secret(self, request: HttpRequest, key: ApiKey, secret: str) -> HttpResponse:
        title = "Copy the new secret now" if key.previous_hint else "Copy this key now"
        words = {"key": key, "secret": secret, **self.settings_with(request, key, secret)}
        return self.show_once(request, "admin/tenants/apikey/created.html", title, **words)

    def settings_with(self, request: HttpRequest, key: ApiKey, secret: str) -> dict[str, Any]:
        """What tools need, with the secret in it; routing's admin knows which models there are."""
        return {}

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[UnfoldAction]:
        """A key is revoked once, and what is not being rotated has no overlap to end."""
        key = ApiKey.objects.filter(pk=object_id).first()
        if key is None or key.revoked_at is not None:
            return []
        found = super().get_actions_detail(request, object_id)
        return [each for each in found if key.is_overlapping or not each.action_name.endswith("_end_overlap")]

    @display(description="Created by")
    def creator(self, key: ApiKey) -> str:
        return str(key.created_by or "")

    @action(description="Rotate", icon="autorenew", permissions=["change"])
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self.load(request, object_id)
        if key.revoked_at is not None:
            self.message_user(request, "A revoked key stays revoked; make a new one.", "error")
            return HttpResponseRedirect(reverse(f"{self.admin_site.name}:tenants_apikey_change", args=[key.pk]))
        return self.rotation_page(request, key)

    @action(
        description="End the overlap",
        icon="timer_off",
        permissions=["change"],
        dialog={
            "title": "Stop the old secret?",
            "description": "Requests with the secret before the last rotation are refused from now on.",
            "form_submit_text": "Stop it",
        },
    )
    def end_overlap(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self.act(request, [self.load(request, object_id)], ApiKey.end_overlap, "Freed of its old secret")
        return self.leave_dialog(request)

    @action(
        description="Revoke",
        icon="block",
        permissions=["change"],
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Revoke this key?",
            "description": "Requests with it are refused from now on, old secret and new. This cannot be undone.",
            "form_submit_text": "Revoke",
            "variant": "danger",
        },
    )
    def revoke(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self.act(request, [self.load(request, object_id)], ApiKey.revoke, "Revoked")
        return self.leave_dialog(request)

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        self.act(request, queryset.filter(revoked_at__isnull=True), ApiKey.revoke, "Revoked")

    @admin.action(description="Set when selected API keys expire", permissions=["change"])
    def expire_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        return self.expiry_page(request, queryset)


class ApiKeyRows(KeyColumns, ReadOnlyMixin, TableRows):
    """A tenant's keys; they are made on a page of their own, which shows the secret."""

    model = ApiKey
    template = "admin/edit_inline/read_only.html"
    fields = readonly_fields = ("page", "key_hint", "status_label", "project", "used", "expires_at")
    tab = True
    per_page = 10

    def get_queryset(self, request: HttpRequest) -> Any:
        day = UsageDay.objects.filter(api_key=OuterRef("pk"), requests__gt=0).order_by("-starts_at").values("starts_at")
        found: Any = super().get_queryset(request)
        found = found.of_programs().select_related("tenant", "project")
        return found.annotate(used_on=Subquery(day[:1])).order_by("-pk")

    @display(description="Last used")
    def used(self, key: Any) -> str:
        return ago(key.used_on.astimezone(UTC).date() if key.used_on is not None else None)

    @display(description="Name")
    def page(self, key: ApiKey) -> str:
        url = reverse(f"{self.admin_site.name}:tenants_apikey_change", args=[key.pk])
        return format_html('<a href="{}" class="text-link">{}</a>', url, key.name)
