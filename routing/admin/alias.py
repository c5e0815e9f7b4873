from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.db.models import Max, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.forms import PaginationInlineFormSet

from gateway_site.infra.admin import Admin, TableRows
from gateway_site.infra.form_fields import ChosenField
from gateway_site.infra.table import table
from routing.admin.progress import PublishedMixin, newest_number, watch
from routing.models import ModelAlias, Route
from tenants.models import ApiKey, Tenant, UsageDay

RECENT = timedelta(days=7)
MOST_USERS = 20


class OtherRouteForm(forms.Form):
    """Where aliases are to lead."""

    route = ChosenField(Route.objects.all())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["route"]
        reference: Any = ModelAlias._meta.get_field("route")
        widget = AutocompleteSelect(reference, admin.site, attrs={"class": "unfold-admin-autocomplete"})
        widget.choices = field.choices
        field.widget = widget


@admin.register(ModelAlias)
class ModelAliasAdmin(PublishedMixin, Admin):
    list_display = ("name", "reach", "route", "created_at")
    list_select_related = ("tenant", "route")
    list_filter = (("tenant", AutocompleteSelectFilter), ("route", AutocompleteSelectFilter))
    search_fields = ("name", "tenant__slug", "tenant__name", "route__name")
    search_help_text = "Alias, tenant or route"
    autocomplete_fields = ("tenant", "route")
    fieldsets = (
        (None, {"fields": ("name", "tenant", "route")}),
        (
            "Who uses it",
            {"description": "In the last seven days, those who ask most first.", "fields": ("users",)},
        ),
    )
    readonly_fields = ("users",)
    actions = ("lead_elsewhere",)
    actions_list = ("export_csv",)
    csv_fields = ("name", "tenant__slug", "route__name", "created_at")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Nobody uses one that is not there yet."""
        return super().get_fieldsets(request, obj)[: 1 if obj is None else None]

    @display(description="For", ordering="tenant")
    def reach(self, alias: ModelAlias) -> str:
        return str(alias.tenant) if alias.tenant else "Every tenant"

    @display(description="Tenants and keys")
    def users(self, alias: ModelAlias) -> SafeString | str:
        rows = list(_uses(alias)[:MOST_USERS]) if alias.pk else []
        if not rows:
            return "Nobody has asked for it."
        tenants = Tenant.objects.in_bulk({row["tenant"] for row in rows})
        keys = ApiKey.objects.in_bulk({row["api_key"] for row in rows})
        return table(
            ("Tenant", "API key", "Requests", "Last day"),
            (
                (
                    _named(tenants.get(row["tenant"]), row["tenant"]),
                    _named(keys.get(row["api_key"]), row["api_key"]),
                    f"{row['asked']:,}",
                    f"{row['last']:%Y-%m-%d}",
                )
                for row in rows
            ),
        )

    @admin.action(description="Lead selected aliases to another route", permissions=["change"])
    def lead_elsewhere(self, request: HttpRequest, queryset: QuerySet[ModelAlias]) -> HttpResponse | None:
        """Ask for the route, then let all of them lead there, or none."""
        is_asked = "route" in request.POST
        form = OtherRouteForm(request.POST if is_asked else None)
        if is_asked and form.is_valid():
            self._lead(request, queryset, form.cleaned_data["route"])
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Lead aliases to another route",
            "opts": self.opts,
            "form": form,
            "media": self.media + form.media,
            "aliases": queryset.select_related("route", "tenant"),
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/routing/modelalias/lead.html", context)

    def _lead(self, request: HttpRequest, queryset: QuerySet[ModelAlias], route: Route) -> None:
        newest = newest_number()

        def lead(alias: ModelAlias) -> None:
            alias.route = route
            alias.save(update_fields=["route"])

        self.act(request, queryset, lead, f"Led to {route}")
        self.message_user(request, watch(newest), messages.INFO)


def _uses(alias: ModelAlias) -> Any:
    """Who has asked for it lately, from the rollups: a pattern for whatever begins so."""
    rows = UsageDay.objects.filter(starts_at__gte=timezone.now() - RECENT)
    is_pattern = alias.name.endswith("*")
    rows = rows.filter(alias__startswith=alias.name[:-1]) if is_pattern else rows.filter(alias=alias.name)
    if alias.tenant_id is not None:
        rows = rows.filter(tenant=alias.tenant_id)
    return rows.values("tenant", "api_key").annotate(asked=Sum("requests"), last=Max("starts_at")).order_by("-asked")


def _named(found: Tenant | ApiKey | None, pk: int) -> SafeString | str:
    if found is None:
        return f"deleted ({pk})"
    url = reverse(f"admin:tenants_{found._meta.model_name}_change", args=[pk])
    return format_html('<a href="{}" class="text-link underline">{}</a>', url, found)


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
