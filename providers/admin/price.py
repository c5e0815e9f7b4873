from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import action, display

from gateway_site.infra.admin import Admin, StackedRows
from gateway_site.infra.words import plain
from providers.admin.price_pages import import_page, unpriced_page
from providers.models import ModelPrice

FROM_WHEN = ("side", "effective_from", ("currency", "per"))
UNITS = (
    ("input", "output"),
    ("cache_read", "reasoning"),
    ("cache_write_5m", "cache_write_1h"),
    ("audio_input", "audio_output"),
    ("image", "character"),
    ("second", "per_request"),
)


@admin.register(ModelPrice)
class ModelPriceAdmin(Admin):
    list_display = (
        "deployment",
        "side_label",
        "in_force",
        "effective_from",
        "input_price",
        "output_price",
        "unit",
    )
    list_select_related = ("deployment",)
    list_filter = (("deployment", AutocompleteSelectFilter), ("side", ChoicesDropdownFilter))
    search_fields = ("deployment__slug", "deployment__model")
    search_help_text = "Deployment"
    ordering = ("-effective_from", "-pk")
    autocomplete_fields = ("deployment",)
    fieldsets = (
        (None, {"fields": ("deployment", *FROM_WHEN)}),
        ("Prices", {"fields": UNITS}),
        ("Long prompts and service tiers", {"fields": (("tiers", "multipliers"),)}),
    )
    csv_fields = (
        "deployment__slug",
        "side",
        "effective_from",
        "currency",
        "per",
        *(unit for units in UNITS for unit in units),
    )
    actions_list = ("import_prices", "unpriced_models", "export_csv")

    @action(description="Import prices", icon="upload_file", permissions=["add"], url_path="import")
    def import_prices(self, request: HttpRequest) -> HttpResponse:
        return import_page(self, request)

    @action(description="Unpriced models", icon="money_off", permissions=["view"], url_path="unpriced")
    def unpriced_models(self, request: HttpRequest) -> HttpResponse:
        return unpriced_page(self, request)

    @display(description="Side", ordering="side", label={"sell": "primary", "cost": "info"})
    def side_label(self, price: ModelPrice) -> tuple[str, str]:
        return price.side, price.get_side_display()

    @display(description="Status", label={"future": "warning", "past": "success"})
    def in_force(self, price: ModelPrice) -> tuple[str, str]:
        return ("future", "Later") if price.effective_from > timezone.now() else ("past", "Begun")

    @display(description="Input", ordering="input")
    def input_price(self, price: ModelPrice) -> str | None:
        return None if price.input is None else plain(price.input)

    @display(description="Output", ordering="output")
    def output_price(self, price: ModelPrice) -> str | None:
        return None if price.output is None else plain(price.output)

    @display(description="Unit")
    def unit(self, price: ModelPrice) -> str:
        return f"{price.currency} per {price.per:,} tokens"


class PriceRows(StackedRows):
    """The prices of a deployment, newest first."""

    model = ModelPrice
    fields = (*FROM_WHEN, *UNITS, ("tiers", "multipliers"))
    per_page = 5
    ordering = ("-effective_from", "-pk")
    collapsible = True
