"""API keys. A new key's secret is in the answer to the form that made it, and nowhere else, ever."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from gateway_site.infra.admin import Admin, ReadOnlyMixin, TableRows, badge
from tenants.admin.limits import BudgetRows, RateLimitRows
from tenants.admin.scope import TenantOwnedMixin, without_shortcuts
from tenants.models import ApiKey
from tenants.services import create_key

CHOSEN = ("tenant", "project", "name", "allowed_models", "expires_at", "priority", "may_trace")
STATUS_KINDS = {"active": "success", "revoked": "danger", "expired": "warning"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCall:
    """A first request to try a new key with."""

    path: str = "/v1/chat/completions"
    model: str = "your-model"
    headers: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def curl(self, *, origin: str, secret: str) -> str:
        """The request as one command for a shell."""
        body = {"model": self.model, **self.extra, "messages": [{"role": "user", "content": "Say hello."}]}
        headers = (f"Authorization: Bearer {secret}", "Content-Type: application/json", *self.headers)
        lines = [
            f"curl {origin}{self.path}",
            *(f'-H "{header}"' for header in headers),
            f"-d {_quoted(body)}",
        ]
        return " \\\n  ".join(lines)


def _quoted(body: dict[str, Any]) -> str:
    text = json.dumps(body, ensure_ascii=False).replace("'", r"'\''")
    return f"'{text}'"


class KeyStatusFilter(DropdownFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("revoked", "Revoked"), ("expired", "Expired")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "active":
                return queryset.active()
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
            case "expired":
                return queryset.filter(Q(revoked_at__isnull=True) & Q(expires_at__lte=timezone.now()))
        return queryset


class KeyColumns:
    """Columns of keys, in their own list and among a tenant's rows."""

    @display(description="Key")
    def key_hint(self, key: ApiKey) -> str:
        return key.hint

    @display(description="Status")
    def status_label(self, key: ApiKey) -> str:
        return badge(key.status.capitalize(), STATUS_KINDS[key.status])


@admin.register(ApiKey)
class ApiKeyAdmin(KeyColumns, TenantOwnedMixin, Admin):
    list_display = ("name", "key_hint", "status_label", "tenant", "project", "expires_at", "created_at")
    list_select_related = ("tenant", "project")
    list_filter = (("tenant", AutocompleteSelectFilter), KeyStatusFilter)
    search_fields = ("name", "prefix", "last_four", "tenant__slug", "tenant__name")
    search_help_text = "Name, tenant, or how a key begins or ends"
    ordering = ("-pk",)
    autocomplete_fields = ("tenant", "project")
    readonly_fields = ("key_hint", "status_label", "revoked_at", "created_at", "created_by")
    actions = ("revoke_selected",)
    actions_row = ("revoke",)
    actions_detail = ("revoke",)
    fieldsets = (
        (None, {"fields": (("key_hint", "status_label"),)}),
        (None, {"fields": ("tenant", "project", "name")}),
        ("What it may do", {"fields": ("allowed_models", "expires_at", ("priority", "may_trace"))}),
        ("History", {"fields": (("created_at", "created_by"), "revoked_at")}),
    )
    add_fieldsets = (
        (None, {"fields": ("tenant", "project", "name")}),
        ("What it may do", {"fields": ("allowed_models", "expires_at", ("priority", "may_trace"))}),
    )
    inlines = (RateLimitRows, BudgetRows)

    def get_inlines(self, request: HttpRequest, obj: ApiKey | None) -> Any:
        """Limits come with the key's own page: making one is short, and its answer shows the secret."""
        return self.inlines if obj is not None else ()

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        form_field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name in self.autocomplete_fields:
            without_shortcuts(form_field)
        return form_field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        chosen: dict[str, Any] = {name: form.cleaned_data[name] for name in CHOSEN}
        key, secret = create_key(**chosen | {"created_by": request.user})
        obj.pk = key.pk
        obj.refresh_from_db()
        obj.new_secret = secret  # lives as long as this request

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the secret in this answer, so that it passes through no session and no URL."""
        call = self.example_call(obj)
        context = {
            **self.admin_site.each_context(request),
            "title": "Copy this key now",
            "opts": self.opts,
            "key": obj,
            "secret": obj.new_secret,
            "curl": call.curl(origin=request.build_absolute_uri("/").rstrip("/"), secret=obj.new_secret),
        }
        return TemplateResponse(request, "admin/tenants/apikey/created.html", context)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """A new key leads to the page with its secret, whichever button makes it: offer one."""
        if kwargs.get("add"):
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, **kwargs)

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[UnfoldAction]:
        """A key is revoked once."""
        is_revoked = ApiKey.objects.filter(pk=object_id, revoked_at__isnull=False).exists()
        return [] if is_revoked else super().get_actions_detail(request, object_id)

    def example_call(self, key: ApiKey) -> ExampleCall:
        """A first request to show; routing's admin knows which models there are."""
        return ExampleCall()

    @action(
        description="Revoke",
        icon="block",
        permissions=["change"],
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Revoke this key?",
            "description": "Requests with it are refused from now on. This cannot be undone.",
            "form_submit_text": "Revoke",
        },
    )
    def revoke(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self.act(request, [self.load(request, object_id)], ApiKey.revoke, "Revoked")
        return self.leave_dialog(request)

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        self.act(request, queryset.filter(revoked_at__isnull=True), ApiKey.revoke, "Revoked")


class ApiKeyRows(KeyColumns, ReadOnlyMixin, TableRows):
    """A tenant's keys; they are made on a page of their own, which shows the secret."""

    model = ApiKey
    fields = readonly_fields = ("page", "key_hint", "status_label", "project", "expires_at")
    tab = True
    per_page = 10

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("project").order_by("-pk")

    @display(description="Name")
    def page(self, key: ApiKey) -> str:
        url = reverse(f"{self.admin_site.name}:tenants_apikey_change", args=[key.pk])
        return format_html('<a href="{}" class="text-link">{}</a>', url, key.name)
