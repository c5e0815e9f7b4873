from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from gateway_site.infra.admin import Admin, TableRows
from tenants.admin.limits import BudgetRows, RateLimitRows
from tenants.admin.scope import TenantOwnedMixin
from tenants.models import ApiKey, Budget, BudgetAlert, Project, RateLimit

# What takes no right of its own: the project's limits go with it, and its keys stay.
GOES_WITH_IT = frozenset(str(model._meta.verbose_name) for model in (RateLimit, Budget, BudgetAlert, ApiKey))


@admin.register(Project)
class ProjectAdmin(TenantOwnedMixin, Admin):
    list_display = ("slug", "name", "tenant", "created_at")
    list_display_links = ("slug", "name")
    list_select_related = ("tenant",)
    list_filter = (("tenant", AutocompleteSelectFilter),)
    search_fields = ("slug", "name", "tenant__slug", "tenant__name")
    search_help_text = "Slug, name or tenant"
    autocomplete_fields = ("tenant",)
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = ("created_at",)
    fields = ("tenant", ("name", "slug"))
    inlines = (RateLimitRows, BudgetRows)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """With what the slug is for."""
        words = {"slug": "What keys, limits and reports call it."}
        return super().get_form(request, obj, change, help_texts=words, **kwargs)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Whoever may delete a project deletes its limits with it, which the confirmation names; keys in use keep it."""
        named, counts, missing, _ = super().get_deleted_objects(objs, request)
        keys = [f"API key: {key}" for project in objs for key in project.keys_in_use]
        return named, counts, missing - GOES_WITH_IT, keys

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """One by one, for each lets go of its keys first."""
        for project in queryset:
            project.delete()


class ProjectRows(TableRows):
    """The projects of a tenant."""

    model = Project
    fields = ("slug", "name")
    tab = True
    per_page = 10
    show_change_link = show_title = True
