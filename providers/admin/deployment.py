from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, RadioFilter
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminSelectWidget

from gateway_site.infra.admin import badge
from gateway_site.infra.words import dialect_name
from providers import probes
from providers.admin.health import attach_states, show_breaker, show_cooldown, show_probe, show_switch, states_of
from providers.admin.price import PriceRows
from providers.admin.price_pages import price_url
from providers.admin.provider import UNREAD
from providers.admin.switch import SwitchAdmin
from providers.models import Deployment, ModelPrice
from providers.probe_requests import CannotProbe
from providers.registry import DIALECTS

PROBE_SECONDS = 15.0  # somebody waits at a page
MOST_PROBED = 20  # at once, by hand


def in_force() -> QuerySet[ModelPrice]:
    """The prices to sell at that a deployment has at this moment."""
    return ModelPrice.objects.filter(
        deployment=OuterRef("pk"), side=ModelPrice.Side.SELL, effective_from__lte=timezone.now()
    )


def probe_now(deployments: Iterable[Deployment]) -> list[tuple[Deployment, probes.Finding]]:
    """Ask deployments at once, keep what is found and tell the workers, as the scheduled probes do."""
    findings: list[tuple[Deployment, probes.Finding]] = []
    ready = []
    for deployment in deployments:
        try:
            ready.append(probes.prepare(deployment))
        except CannotProbe as error:
            findings.append((deployment, probes.Finding(result=probes.CANNOT_PROBE, reason=str(error))))
    findings += asyncio.run(probes.ask_all(ready, seconds=PROBE_SECONDS))
    notes = [note for deployment, finding in findings if (note := probes.keep(deployment, finding)) is not None]
    probes.tell(notes, is_news=bool(findings))
    return findings


class DeploymentForm(forms.ModelForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "dialect" in self.fields:
            choices = [("", "All of its provider's"), *((name, dialect_name(name)) for name in DIALECTS)]
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
        return queryset.filter(Exists(in_force()) if self.value() == "priced" else ~Exists(in_force()))


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
        "price",
        "region",
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
    readonly_fields: tuple[str, ...] = ("capabilities_at", "told", "manual_switch", "breaker", "cooldown", "probe")
    inlines = (PriceRows,)
    csv_fields = (
        "slug",
        "model",
        "provider__slug",
        "kind",
        "dialect",
        "is_enabled",
        "context_window",
        "max_output_tokens",
        "region",
        "tags",
        "probe_result",
        "probed_at",
        "created_at",
    )
    actions_list = ("export_csv",)
    actions: tuple[str, ...] = (*SwitchAdmin.actions, "probe_selected")
    actions_row = (*SwitchAdmin.actions_row, "price_this_model", "probe_it")
    actions_detail = ("price_this_model", "probe_it")

    def has_price_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether this user may make prices; unfold would look a dotted name up in the database at check time."""
        return request.user.has_perm("providers.add_modelprice")

    @action(description="Price this model", icon="sell", permissions=["price"])
    def price_this_model(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(price_url(self, self.load(request, object_id)))

    @action(
        description="Probe now",
        icon="network_ping",
        permissions=["change"],
        url_path="probe",
        dialog={
            "title": "Probe it now?",
            "description": "It gets the smallest request of its kind, which its provider bills: a few tokens,"
            " or a picture. What comes of it is kept like any other probe's.",
            "form_submit_text": "Probe",
        },
    )
    def probe_it(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self._probe(request, [self.load(request, object_id)])
        return self.leave_dialog(request)

    @admin.action(description="Probe selected %(verbose_name_plural)s now", permissions=["change"])
    def probe_selected(self, request: HttpRequest, queryset: QuerySet[Deployment]) -> None:
        self._probe(request, list(queryset[: MOST_PROBED + 1]))

    def _probe(self, request: HttpRequest, deployments: list[Deployment]) -> None:
        if len(deployments) > MOST_PROBED:
            self.message_user(request, f"Choose up to {MOST_PROBED} deployments.", messages.ERROR)
            return
        findings = probe_now(deployments)
        for deployment, finding in findings:
            said = Deployment.ProbeResult(finding.result).label
            self.log_change(request, deployment, f"Probed: {said.lower()}.")
            level = messages.SUCCESS if finding.result == probes.OK else messages.WARNING
            self.message_user(request, f"{deployment.slug}: {said.lower()}. {finding.reason}".strip(), level)
        if len(findings) < len(deployments):
            self.message_user(request, "Some did not answer in time and were not judged.", messages.WARNING)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Deployment]:
        """In the list without what upstreams say of models, and without its provider's secrets and certificates."""
        found = super().get_queryset(request)
        unread = ("capabilities", *(f"provider__{name}" for name in UNREAD))
        if not self.is_list(request):
            return found
        return found.select_related("provider").defer(*unread).annotate(is_priced=Exists(in_force()))

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

    @display(description="Price")
    def price(self, deployment: Any) -> SafeString:
        """Whether there is one; where there is none, it is one click away."""
        if deployment.is_priced:
            return badge("Priced", "success")
        return format_html('<a href="{}" class="text-link underline">Price it</a>', price_url(self, deployment))
