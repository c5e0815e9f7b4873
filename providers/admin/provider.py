from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from gateway_site.infra.admin import badge
from providers.admin.switch import SwitchAdmin
from providers.certificates import tidy
from providers.models import Provider
from providers.registry import DIALECTS

SECRETS = ("credential", "proxy", "client_key")
# What a list does not show, and what is long.
UNREAD = (
    "catalogue",
    "ca_certificate",
    "client_certificate",
    "credential_encrypted",
    "proxy_encrypted",
    "client_key_encrypted",
    "headers",
)
EXAMPLES = {
    "proxy": "Such as http://user:password@proxy.example.com:3128; empty: none. ",
    "client_key": "The client certificate's, as PEM without a passphrase. ",
}
STORED = "One is stored, encrypted; nobody can read it here. Leave this empty to keep it."
NOT_STORED = "None is stored. What you enter is encrypted, and nobody can read it here again."


class DialectsField(forms.MultipleChoiceField):
    """The dialects as boxes to tick; those ticked before keep their order, best first."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget

    def has_changed(self, initial: Any, data: Any) -> bool:
        return set(initial or ()) != set(data or ())


class SecretTextarea(UnfoldAdminTextareaWidget):
    """Several lines that are not sent back when the form is refused, as with passwords."""

    def format_value(self, value: Any) -> None:
        return None


class PemField(forms.CharField):
    """Certificates, in several lines."""

    def to_python(self, value: Any) -> str:
        return tidy(super().to_python(value) or "")


def _secret(label: str, widget: type[forms.Widget] = UnfoldAdminPasswordWidget, **options: Any) -> forms.CharField:
    attributes = {"autocomplete": "new-password", "spellcheck": "false"}
    return forms.CharField(label=label, required=False, max_length=8000, widget=widget(attributes), **options)


def _removal(label: str, what: str) -> forms.BooleanField:
    return forms.BooleanField(
        label=label, required=False, widget=UnfoldBooleanSwitchWidget(), help_text=f"Forget the stored {what}."
    )


def _certificate(name: str) -> PemField:
    field: Any = Provider._meta.get_field(name)
    label = capfirst(field.verbose_name)
    widget = UnfoldAdminTextareaWidget({"rows": 4, "spellcheck": "false"})
    return PemField(label=label, required=False, max_length=100_000, widget=widget, help_text=field.help_text)


class ProviderForm(forms.ModelForm):
    """Secrets go in and never come out."""

    dialects = DialectsField(
        choices=[(name, name) for name in DIALECTS],
        required=False,
        help_text=Provider._meta.get_field("dialects").help_text,
    )
    credential = _secret("New credential")
    clear_credential = _removal("Remove credential", "credential")
    proxy = _secret("New proxy")
    clear_proxy = _removal("Remove proxy", "proxy")
    ca_certificate = _certificate("ca_certificate")
    client_certificate = _certificate("client_certificate")
    client_key = _secret("New client key", SecretTextarea)
    clear_client_key = _removal("Remove client key", "key; leave no client certificate without one")

    class Meta:
        model = Provider
        fields = "__all__"
        labels = {"base_url": "Base URL"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in SECRETS:
            is_stored = getattr(self.instance, f"has_{name}")
            if name in self.fields:
                self.fields[name].help_text = EXAMPLES.get(name, "") + (STORED if is_stored else NOT_STORED)
            if f"clear_{name}" in self.fields and not is_stored:
                self.fields[f"clear_{name}"].disabled = True

    def clean_dialects(self) -> list[str]:
        chosen = self.cleaned_data["dialects"]
        kept = [dialect for dialect in self.instance.dialects if dialect in chosen]
        return kept + [dialect for dialect in chosen if dialect not in kept]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for name in SECRETS:
            if self.cleaned_data.get(name) and self.cleaned_data.get(f"clear_{name}"):
                noun = name.replace("_", " ")
                raise ValidationError({f"clear_{name}": f"Give a new {noun} or remove the stored one, not both."})
        self._keep("proxy")  # the model validates these two
        self._keep("client_key")
        return cleaned

    def save(self, commit: bool = True) -> Any:
        self._keep("credential")
        return super().save(commit)

    def _keep(self, name: str) -> None:
        """Set a secret that was entered or is to be removed; encrypted, it goes into the model."""
        if self.cleaned_data.get(f"clear_{name}") or self.cleaned_data.get(name):
            getattr(self.instance, f"set_{name}")(self.cleaned_data.get(name, ""))


@admin.register(Provider)
class ProviderAdmin(SwitchAdmin):
    form = ProviderForm
    list_display = ("slug", "name", "adapter_label", "address", "credential_state", "switch")
    list_display_links = ("slug", "name")
    list_filter = ("is_enabled", ("adapter", ChoicesDropdownFilter))
    search_fields = ("slug", "name", "base_url")
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = ("credential_state", "catalogue_size", "catalogue_at")
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
                    ("max_connections", "http2"),
                    "headers",
                    ("proxy", "clear_proxy"),
                    "ca_certificate",
                    "client_certificate",
                    ("client_key", "clear_client_key"),
                ),
            },
        ),
        (
            "Its limits",
            {
                "classes": ("tab",),
                "description": "What the provider allows us; empty: no limit of ours.",
                "fields": (
                    "requests_per_second",
                    "tokens_per_minute",
                    "max_concurrency",
                    ("queue_size", "queue_wait"),
                ),
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
        (
            "Its models",
            {
                "classes": ("tab",),
                "description": "Asked for every hour while a tenant may use models without a route.",
                "fields": ("catalogue_size", "catalogue_at"),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        """In the list without secrets, certificates and models; only whether there is a credential."""
        found = super().get_queryset(request)
        if not self.is_list(request):
            return found
        return found.defer(*UNREAD).annotate(is_credential_stored=~Q(credential_encrypted=""))

    @display(description="Adapter", ordering="adapter")
    def adapter_label(self, provider: Provider) -> str:
        return provider.get_adapter_display()

    @display(description="Address")
    def address(self, provider: Provider) -> str:
        return provider.effective_base_url

    @display(description="Credential")
    def credential_state(self, provider: Provider) -> str:
        noted = getattr(provider, "is_credential_stored", None)  # by the list, which does not read it
        is_stored = provider.has_credential if noted is None else noted
        return badge("Stored", "success") if is_stored else badge("Not stored", "warning")

    @display(description="Models that it lists")
    def catalogue_size(self, provider: Provider) -> str | None:
        return str(len(provider.catalogue)) if provider.catalogue_at else None
