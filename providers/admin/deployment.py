from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, RadioFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget

from gateway_site.infra.admin import badge
from providers.admin.health import attach_states, show_breaker, show_cooldown, show_probe, show_switch, states_of
from providers.admin.price import PriceRows
from providers.admin.price_pages import price_url
from providers.admin.provider import UNREAD
from providers.admin.switch import SwitchAdmin
from providers.models import Deployment, ModelPrice
from providers.registry import DIALECTS


class DeploymentForm(forms.ModelForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "dialect" in self.fields:
            choices = [("", "All of its provider's"), *((name, name) for name in DIALECTS)]
            self.fields["dialect"].widget = UnfoldAdminSelectWidget(choices=choices)


class PriceFilter(RadioFilter):
    """Whether there is a price to sell at, at this moment."""

    title = "price"
    parameter_name = "price"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("priced", "Has a price"), ("unpriced", "Unpriced")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Deployment]) -> QuerySet[Deployment]:
        if self.value() not in {"priced", "unpriced"}:
            return queryset
        in_force = ModelPrice.objects.filter(
            deployment=OuterRef("pk"), side=ModelPrice.Side.SELL, effective_from__lte=timezone.now()
        )
        return queryset.filter(Exists(in_force) if self.value() == "priced" else ~Exists(in_force))


@admin.register(Deployment)
class DeploymentAdmin(SwitchAdmin):
    form = DeploymentForm
    list_display = (
        "slug",
        "model",
        "provider",
        "kind_label",
        "manual_switch",
        "breaker",
        "cooldown",
        "probe",
        "region",
        "tag_list",
    )
    list_select_related = ("provider",)
    list_filter = (
        "is_enabled",
        ("provider", AutocompleteSelectFilter),
        ("kind", ChoicesDropdownFilter),
        PriceFilter,
    )
    search_fields = ("slug", "model", "provider__slug", "provider__name")
    search_help_text = "Slug, upstream model or provider"
    autocomplete_fields = ("provider",)
    fieldsets = (
        (None, {"fields": ("provider", ("model", "slug"), ("kind", "dialect"), "is_enabled")}),
        (
            "Probes",
            {
                "description": "A probe is a real request of its kind, as small as can be, which the provider bills:"
                " a few tokens, a word of speech, a whole picture.",
                "fields": ("probe_every",),
            },
        ),
        (
            "Health",
            {
                "description": "Four states that do not change each other; only the switch is yours to turn.",
                "fields": ("manual_switch", "breaker", "cooldown", "probe"),
            },
        ),
        ("Capabilities", {"fields": (("context_window", "max_output_tokens"), ("region", "tags"))}),
        (
            "What its upstream says",
            {
                "classes": ("collapse",),
                "description": "Asked every hour where the upstream speaks Anthropic's format.",
                "fields": ("capabilities_at", "told"),
            },
        ),
    )
    readonly_fields = ("capabilities_at", "told", "manual_switch", "breaker", "cooldown", "probe")
    inlines = (PriceRows,)
    actions_row = (*SwitchAdmin.actions_row, "price_this_model")
    actions_detail = ("price_this_model",)

    def has_price_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether this user may make prices; unfold would look a dotted name up in the database at check time."""
        return request.user.has_perm("providers.add_modelprice")

    @action(description="Price this model", icon="sell", permissions=["price"])
    def price_this_model(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(price_url(self, self.load(request, object_id)))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Deployment]:
        """In the list without what upstreams say of models, and without its provider's secrets and certificates."""
        found = super().get_queryset(request)
        unread = ("capabilities", *(f"provider__{name}" for name in UNREAD))
        return found.select_related("provider").defer(*unread) if self.is_list(request) else found

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The list, with its rows' states read from Valkey at once."""
        found = super().get_changelist_instance(request)
        attach_states(found.result_list)
        return found

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj is not None else [each for each in fieldsets if each[0] != "Health"]

    @display(description="Kind", ordering="kind", label=True)
    def kind_label(self, deployment: Deployment) -> str:
        return deployment.get_kind_display()

    @display(description="Tags", label=True)
    def tag_list(self, deployment: Deployment) -> list[str]:
        return deployment.tags

    @display(description="Its model")
    def told(self, deployment: Deployment) -> SafeString | None:
        if not deployment.pk or not deployment.told_capabilities:
            return None
        text = json.dumps(deployment.told_capabilities, indent=2, ensure_ascii=False)
        return format_html('<pre class="font-mono whitespace-pre-wrap break-words">{}</pre>', text)

    @display(description="Switch", ordering="is_enabled")
    def manual_switch(self, deployment: Deployment) -> SafeString:
        return show_switch(deployment)

    @display(description="Breaker")
    def breaker(self, deployment: Deployment) -> SafeString:
        return show_breaker(states_of(deployment)) if deployment.provider.breaker_enabled else badge("Off")

    @display(description="Cooldown")
    def cooldown(self, deployment: Deployment) -> SafeString:
        return show_cooldown(states_of(deployment)) if deployment.provider.cooldown_enabled else badge("Off")

    @display(description="Probe", ordering="probe_result")
    def probe(self, deployment: Deployment) -> SafeString:
        return show_probe(deployment)
