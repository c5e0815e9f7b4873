"""Hourly and daily sums, and those of end users."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from gateway_site.infra.admin import badge
from tenants.admin.ledger import UsageAdmin
from tenants.admin.rollup_filters import (
    AliasFilter,
    DaysFilter,
    DeploymentFilter,
    EndUserDaysFilter,
    HoursFilter,
    ProviderFilter,
)
from tenants.dashboard_words import amount
from tenants.models import UsageDay, UsageEndUserDay, UsageHour

TOKENS = (
    ("input_tokens", "output_tokens"),
    ("cache_read_tokens", "reasoning_tokens"),
    ("cache_write_5m_tokens", "cache_write_1h_tokens"),
)


class SumsAdmin(UsageAdmin):
    """What many requests add up to."""

    amount = staticmethod(amount)


class RollupAdmin(SumsAdmin):
    """Hourly and daily sums."""

    list_display: tuple[str, ...] = (
        "period",
        "caller",
        "served_by",
        "outcome_label",
        "requests",
        "tokens",
        "price",
    )
    search_fields = ()
    fieldsets = (
        (None, {"fields": (("period", "outcome_label"), "requests")}),
        ("Who", {"fields": (("tenant_name", "project"), "api_key_name")}),
        ("What", {"fields": (("alias", "deployment"), "provider")}),
        ("Cost", {"fields": (("price", "cost_status_label"), "own_price", *TOKENS)}),
        ("Time", {"fields": (("latency", "first_token"),)}),
    )
    readonly_fields = (
        "period",
        "outcome_label",
        "tenant_name",
        "api_key_name",
        "price",
        "cost_status_label",
        "own_price",
        "latency",
        "first_token",
    )

    @display(description="Mean latency")
    def latency(self, rollup: Any) -> str | None:
        return f"{rollup.latency_ms / rollup.requests:,.0f} ms" if rollup.requests else None

    @display(description="Mean time to first token")
    def first_token(self, rollup: Any) -> str | None:
        return f"{rollup.first_token_ms / rollup.first_tokens:,.0f} ms" if rollup.first_tokens else None


ROLLUP_FILTERS = (
    ("tenant", AutocompleteSelectFilter),
    ("api_key", AutocompleteSelectFilter),
    ("outcome", ChoicesDropdownFilter),
    ("cost_status", ChoicesDropdownFilter),
    AliasFilter,
    ProviderFilter,
    DeploymentFilter,
)


@admin.register(UsageHour)
class UsageHourAdmin(RollupAdmin):
    list_filter = (HoursFilter, *ROLLUP_FILTERS)

    @display(description="Hour (UTC)")
    def period(self, rollup: UsageHour) -> str:
        return f"{rollup.starts_at:%Y-%m-%d %H:%M}"


@admin.register(UsageDay)
class UsageDayAdmin(RollupAdmin):
    list_filter = (DaysFilter, *ROLLUP_FILTERS)

    @display(description="Day (UTC)")
    def period(self, rollup: UsageDay) -> str:
        return f"{rollup.starts_at:%Y-%m-%d}"


@admin.register(UsageEndUserDay)
class UsageEndUserDayAdmin(SumsAdmin):
    list_display = ("period", "end_user", "caller", "alias", "requests", "failed", "tokens", "sold")
    list_filter = (
        EndUserDaysFilter,
        ("tenant", AutocompleteSelectFilter),
        ("api_key", AutocompleteSelectFilter),
        AliasFilter,
    )
    search_fields = ("end_user",)
    search_help_text = "A whole end user"
    fieldsets = (
        (None, {"fields": (("period", "end_user"), ("requests", "errors"))}),
        ("Who", {"fields": (("tenant_name", "project"), ("api_key_name", "alias"))}),
        ("Cost", {"fields": (("sold", "bought"), "unpriced", *TOKENS)}),
    )
    readonly_fields = ("period", "tenant_name", "api_key_name", "sold", "bought")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Whole names only: anything fuzzier would read the table."""
        return queryset.filter(end_user=search_term) if search_term else queryset, False

    @display(description="Day (UTC)")
    def period(self, rollup: UsageEndUserDay) -> str:
        return f"{rollup.day:%Y-%m-%d}"

    @display(description="Errors")
    def failed(self, rollup: UsageEndUserDay) -> str:
        return badge(f"{rollup.errors:,}", "danger") if rollup.errors else "0"

    @display(description="Cost")
    def sold(self, rollup: UsageEndUserDay) -> str:
        return self.money(rollup.cost, rollup)

    @display(description="What we pay")
    def bought(self, rollup: UsageEndUserDay) -> str:
        return self.money(rollup.cost_price, rollup)
