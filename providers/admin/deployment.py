from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from providers.admin.price import PriceRows
from providers.admin.switch import SwitchAdmin
from providers.models import Deployment
from providers.registry import DIALECTS


class DeploymentForm(forms.ModelForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "dialect" in self.fields:
            choices = [("", "The first of its provider's"), *((name, name) for name in DIALECTS)]
            self.fields["dialect"].widget = UnfoldAdminSelectWidget(choices=choices)


@admin.register(Deployment)
class DeploymentAdmin(SwitchAdmin):
    form = DeploymentForm
    list_display = (
        "slug",
        "model",
        "provider",
        "kind_label",
        "region",
        "tag_list",
        "switch",
        "provider_switch",
    )
    list_select_related = ("provider",)
    list_filter = (
        "is_enabled",
        ("provider", AutocompleteSelectFilter),
        ("kind", ChoicesDropdownFilter),
    )
    search_fields = ("slug", "model", "provider__slug", "provider__name")
    search_help_text = "Slug, upstream model or provider"
    autocomplete_fields = ("provider",)
    fieldsets = (
        (None, {"fields": ("provider", ("model", "slug"), ("kind", "dialect"), "is_enabled")}),
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
    readonly_fields = ("capabilities_at", "told")
    inlines = (PriceRows,)

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

    @display(description="Provider's switch", label={"on": "success", "off": "danger"})
    def provider_switch(self, deployment: Deployment) -> tuple[str, str]:
        return ("on", "Enabled") if deployment.provider.is_enabled else ("off", "Disabled")
