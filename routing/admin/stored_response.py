"""Stored responses: that they are there, never what is in them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Length
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from gateway_site.infra.admin import LedgerAdmin, badge
from gateway_site.infra.words import dialect_name
from routing.models import StoredResponse
from tenants.admin.scope import ScopedMixin
from tenants.models import ApiKey, Tenant


@admin.register(StoredResponse)
class StoredResponseAdmin(ScopedMixin, LedgerAdmin):
    """Uncounted and unjoined like the ledger; the body is not even read."""

    operator_fields = ("tenant", "tenant_name")
    list_display = ("response_id", "tenant_name", "api_key_name", "deployment", "place", "size", "expires")
    list_filter = (("tenant", AutocompleteSelectFilter),)
    search_fields = ("response_id__exact",)
    search_help_text = "A whole response id"
    fieldsets = (
        (None, {"fields": ("response_id", ("place", "size"))}),
        ("Who", {"fields": (("tenant_name", "api_key_name"),)}),
        ("Where", {"fields": (("deployment", "format"),)}),
        ("When", {"fields": (("created_at", "expires_at"),)}),
    )
    readonly_fields = ("place", "size", "tenant_name", "api_key_name", "format")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        tenants = Tenant.objects.filter(pk=OuterRef("tenant_id")).order_by().values("slug")
        keys = ApiKey.objects.filter(pk=OuterRef("api_key_id")).order_by().values("name")
        named = {"tenant_slug": Subquery(tenants), "key_name": Subquery(keys), "body_size": Length("body")}
        return super().get_queryset(request).defer("body").annotate(**named)

    @display(description="Tenant")
    def tenant_name(self, response: Any) -> str:
        return response.tenant_slug

    @display(description="API key")
    def api_key_name(self, response: Any) -> str:
        return response.key_name or f"deleted ({response.api_key_id})"

    @display(description="Kept")
    def place(self, response: StoredResponse) -> str:
        return badge("Upstream", "info") if response.is_native else badge("Here, encrypted", "success")

    @display(description="Format")
    def format(self, response: StoredResponse) -> str:
        return dialect_name(response.dialect)

    @display(description="Size")
    def size(self, response: Any) -> str:
        return "" if response.is_native else filesizeformat(response.body_size)

    @display(description="Expires")
    def expires(self, response: StoredResponse) -> str:
        return f"{response.expires_at:%Y-%m-%d %H:%M} UTC"
