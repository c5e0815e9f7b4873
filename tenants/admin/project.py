from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from gateway_site.infra.admin import Admin, TableRows
from tenants.admin.limits import BudgetRows, RateLimitRows
from tenants.admin.scope import TenantOwnedMixin
from tenants.models import Project


@admin.register(Project)
class ProjectAdmin(TenantOwnedMixin, Admin):
    list_display = ("slug", "name", "tenant", "created_at")
    list_display_links = ("slug", "name")
    list_select_related = ("tenant",)
    list_filter = (("tenant", AutocompleteSelectFilter),)
    search_fields = ("slug", "name", "tenant__slug", "tenant__name")
    search_help_text = "Slug or name of the project or its tenant"
    autocomplete_fields = ("tenant",)
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = ("created_at",)
    fields = ("tenant", ("name", "slug"))
    inlines = (RateLimitRows, BudgetRows)


class ProjectRows(TableRows):
    """The projects of a tenant."""

    model = Project
    fields = ("slug", "name")
    tab = True
    per_page = 10
    show_change_link = show_title = True
