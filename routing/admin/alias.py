from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.forms import PaginationInlineFormSet

from gateway_site.infra.admin import Admin, TableRows
from routing.models import ModelAlias


@admin.register(ModelAlias)
class ModelAliasAdmin(Admin):
    list_display = ("name", "reach", "route", "created_at")
    list_select_related = ("tenant", "route")
    list_filter = (("tenant", AutocompleteSelectFilter), ("route", AutocompleteSelectFilter))
    search_fields = ("name", "tenant__slug", "tenant__name", "route__name")
    search_help_text = "Alias, tenant or route"
    autocomplete_fields = ("tenant", "route")
    fields = ("name", "tenant", "route")

    @display(description="For", ordering="tenant")
    def reach(self, alias: ModelAlias) -> str:
        return str(alias.tenant) if alias.tenant else "Every tenant"


class AliasFormSet(PaginationInlineFormSet):
    """Finds a global alias given twice on one page, which the check for unique rows skips: no tenant."""

    def clean(self) -> None:
        super().clean()
        seen: set[tuple[Any, ...]] = set()
        for form in self.forms:
            row = getattr(form, "cleaned_data", {})
            if not row.get("name") or row.get("DELETE"):
                continue
            key = (row["name"], row.get("tenant"))
            if key in seen:
                raise ValidationError(f"The alias {row['name']!r} is given twice.")
            seen.add(key)


class AliasRows(TableRows):
    """The names that lead to a route."""

    model = ModelAlias
    formset = AliasFormSet
    fields = ("name", "tenant")
    autocomplete_fields = ("tenant",)
    per_page = 10
    verbose_name_plural = "Model aliases: what clients send as model"

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 0 if obj else 1
