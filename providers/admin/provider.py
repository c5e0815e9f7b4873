from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminPasswordWidget,
    UnfoldBooleanSwitchWidget,
)

from gateway_site.infra.admin import badge
from providers.admin.switch import SwitchAdmin
from providers.models import Provider
from providers.registry import DIALECTS


class DialectsField(forms.MultipleChoiceField):
    """The dialects as boxes to tick; those ticked before keep their order, best first."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget

    def has_changed(self, initial: Any, data: Any) -> bool:
        return set(initial or ()) != set(data or ())


class ProviderForm(forms.ModelForm):
    """The credential goes in and never comes out."""

    dialects = DialectsField(
        choices=[(name, name) for name in DIALECTS],
        required=False,
        help_text=Provider._meta.get_field("dialects").help_text,
    )
    credential = forms.CharField(
        label="New credential",
        required=False,
        max_length=8000,
        widget=UnfoldAdminPasswordWidget({"autocomplete": "new-password", "spellcheck": "false"}),
    )
    clear_credential = forms.BooleanField(
        label="Remove credential",
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Forget the stored credential.",
    )

    class Meta:
        model = Provider
        fields = "__all__"
        labels = {"base_url": "Base URL"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "credential" in self.fields:
            self.fields["credential"].help_text = self._credential_help()
        if "clear_credential" in self.fields and not self.instance.has_credential:
            self.fields["clear_credential"].disabled = True

    def clean_dialects(self) -> list[str]:
        chosen = self.cleaned_data["dialects"]
        kept = [dialect for dialect in self.instance.dialects if dialect in chosen]
        return kept + [dialect for dialect in chosen if dialect not in kept]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.cleaned_data.get("credential") and self.cleaned_data.get("clear_credential"):
            raise ValidationError({"clear_credential": "Give a new credential or remove the stored one, not both."})
        return cleaned

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data.get("clear_credential"):
            self.instance.set_credential("")
        elif self.cleaned_data.get("credential"):
            self.instance.set_credential(self.cleaned_data["credential"])
        return super().save(commit)

    def _credential_help(self) -> str:
        if self.instance.has_credential:
            return "One is stored, encrypted; nobody can read it here. Leave this empty to keep it."
        return "None is stored. What you enter is encrypted, and nobody can read it here again."


@admin.register(Provider)
class ProviderAdmin(SwitchAdmin):
    form = ProviderForm
    list_display = ("slug", "name", "adapter_label", "address", "credential_state", "switch")
    list_display_links = ("slug", "name")
    list_filter = ("is_enabled", ("adapter", ChoicesDropdownFilter))
    search_fields = ("slug", "name", "base_url")
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = ("credential_state",)
    fieldsets = (
        (
            None,
            {"fields": (("name", "slug"), "adapter", "base_url", "allow_private_address", "dialects", "is_enabled")},
        ),
        ("Credential", {"fields": ("credential_state", "credential", "clear_credential")}),
        (
            "Connection",
            {
                "classes": ("tab",),
                "fields": (
                    ("connect_timeout", "first_token_timeout"),
                    ("between_tokens_timeout", "total_timeout"),
                    "max_connections",
                    "headers",
                ),
            },
        ),
        (
            "Its limits",
            {
                "classes": ("tab",),
                "description": "What the provider allows us; empty: no limit of ours.",
                "fields": ("requests_per_second", "tokens_per_minute", "max_concurrency"),
            },
        ),
        (
            "Protection",
            {
                "classes": ("tab",),
                "fields": (
                    "breaker_enabled",
                    ("breaker_failures", "breaker_window"),
                    ("breaker_open_for", "breaker_half_open_successes"),
                    "cooldown_enabled",
                    "cooldown_max",
                ),
            },
        ),
    )

    @display(description="Adapter", ordering="adapter")
    def adapter_label(self, provider: Provider) -> str:
        return provider.get_adapter_display()

    @display(description="Address")
    def address(self, provider: Provider) -> str:
        return provider.effective_base_url

    @display(description="Credential")
    def credential_state(self, provider: Provider) -> str:
        return badge("Stored", "success") if provider.has_credential else badge("Not stored", "warning")
