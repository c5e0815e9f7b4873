from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from gateway_site.infra.admin import Admin, TableRows
from routing.admin.alias import AliasRows
from routing.models import Route, RouteTarget


class TargetRows(TableRows):
    """The deployments of a route, in the order in which they are tried."""

    model = RouteTarget
    fields = ("deployment", "priority", "weight", "conditions")
    autocomplete_fields = ("deployment",)
    per_page = 10
    verbose_name_plural = "Targets: the deployments that serve it"

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 0 if obj else 1


@admin.register(Route)
class RouteAdmin(Admin):
    list_display = ("name", "strategy_label", "alias_names", "target_count", "retries", "created_at")
    list_filter = (("strategy", ChoicesDropdownFilter),)
    search_fields = ("name", "aliases__name")
    search_help_text = "Route or alias"
    inlines = (AliasRows, TargetRows)
    fieldsets = (
        (None, {"fields": (("name", "strategy"),)}),
        (
            "Time-outs and retries",
            {
                "classes": ("collapse",),
                "fields": (
                    ("first_token_timeout", "between_tokens_timeout"),
                    ("total_timeout", "retries"),
                    ("on_disconnect", "fallback_on_content_policy"),
                    "hedge",
                ),
            },
        ),
        (
            "Cache",
            {
                "classes": ("collapse",),
                "fields": (("cache_exact", "cache_semantic"), ("cache_ttl", "collapse_identical")),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        counted = Count("targets", distinct=True)
        return super().get_queryset(request).annotate(targets_counted=counted).prefetch_related("aliases")

    @display(description="Strategy", ordering="strategy", label=True)
    def strategy_label(self, route: Route) -> str:
        return route.get_strategy_display()

    @display(description="Aliases")
    def alias_names(self, route: Route) -> str:
        return ", ".join(alias.name for alias in route.aliases.all())

    @display(description="Targets")
    def target_count(self, route: Any) -> int:
        return route.targets_counted
