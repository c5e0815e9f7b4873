"""Rate limits and budgets: as rows of a tenant, project or key, and all of them in a list."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from gateway_site.infra.admin import Admin, TableRows, plain
from tenants.admin.scope import TenantOwnedMixin, without_shortcuts
from tenants.models import Budget, Project, RateLimit, Tenant

RATE = ("kind", "amount", "per", "burst")
MONEY = ("amount", "currency", "period", "is_hard", "alert_at")
ONLY = ("model", "per_end_user")


class RateLimitRows(TableRows):
    """The rate limits of a project or a key."""

    model = RateLimit
    fields: tuple[str, ...] = (*RATE, *ONLY)
    tab = True
    per_page = 10


class BudgetRows(TableRows):
    """The budgets of a project or a key."""

    model = Budget
    fields: tuple[str, ...] = (*MONEY, *ONLY)
    tab = True
    per_page = 10


class TenantWideMixin:
    """Rules of a tenant and its projects; a key's are on its own page, for there may be thousands of keys."""

    parent: Tenant | None = None

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(api_key__isnull=True)  # type: ignore[misc]

    def get_formset(self, request: HttpRequest, obj: Tenant | None = None, **kwargs: Any) -> Any:
        self.parent = obj
        return super().get_formset(request, obj, **kwargs)  # type: ignore[misc]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the tenant's projects, read once for all rows."""
        kwargs["queryset"] = Project.objects.none() if self.parent is None else self.parent.projects.all()
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]
        field.choices = [("", "Whole tenant"), *((project.pk, str(project)) for project in kwargs["queryset"])]
        return field

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if db_field.name == "project":
            without_shortcuts(field)
        return field


class TenantRateLimitRows(TenantWideMixin, RateLimitRows):
    """The rate limits of a tenant and its projects."""

    fields = (*RATE, "project", *ONLY)


class TenantBudgetRows(TenantWideMixin, BudgetRows):
    """The budgets of a tenant and its projects."""

    fields = (*MONEY, "project", *ONLY)


class ScopedRuleAdmin(TenantOwnedMixin, Admin):
    """The page of one rule and the list of all."""

    list_select_related = ("tenant", "project", "api_key")
    list_filter_submit = True
    search_fields = ("tenant__slug", "tenant__name", "project__slug", "api_key__name", "model")
    autocomplete_fields = ("tenant", "project", "api_key")
    ordering = ("-pk",)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name in self.autocomplete_fields:
            without_shortcuts(field)
        return field

    @display(description="Scope", label={"tenant": "primary", "project": "info", "api_key": "success"})
    def scope_label(self, rule: Any) -> tuple[str, str]:
        return rule.scope, {"tenant": "Tenant", "project": "Project", "api_key": "API key"}[rule.scope]

    @display(description="Of")
    def owner(self, rule: Any) -> str:
        return str(rule.api_key or rule.project or "Whole tenant")

    @display(description="Model")
    def model_or_all(self, rule: Any) -> str:
        return rule.model or "All together"


@admin.register(RateLimit)
class RateLimitAdmin(ScopedRuleAdmin):
    list_display = ("rate", "tenant", "scope_label", "owner", "model_or_all", "per_end_user")
    list_filter = (("tenant", AutocompleteSelectFilter), ("kind", ChoicesDropdownFilter))
    fieldsets = (
        (None, {"fields": (("kind", "amount"), ("per", "burst"))}),
        ("Who it binds", {"fields": ("tenant", ("project", "api_key"), ("model", "per_end_user"))}),
    )

    @display(description="Rate limit", ordering="amount")
    def rate(self, limit: RateLimit) -> str:
        return str(limit)


@admin.register(Budget)
class BudgetAdmin(ScopedRuleAdmin):
    list_display = ("sum", "tenant", "scope_label", "owner", "model_or_all", "strength")
    list_filter = (("tenant", AutocompleteSelectFilter), ("period", ChoicesDropdownFilter), "is_hard")
    fieldsets = (
        (None, {"fields": (("amount", "currency"), "period", "is_hard", "alert_at")}),
        ("Who it binds", {"fields": ("tenant", ("project", "api_key"), ("model", "per_end_user"))}),
    )

    @display(description="Budget", ordering="amount")
    def sum(self, budget: Budget) -> str:
        return f"{plain(budget.amount)} {budget.currency} per {budget.period}"

    @display(description="Kind", label={"hard": "danger", "soft": "warning"})
    def strength(self, budget: Budget) -> tuple[str, str]:
        return ("hard", "Hard") if budget.is_hard else ("soft", "Soft")
