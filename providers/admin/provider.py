from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from gateway_site.infra import secrets
from gateway_site.infra.admin import badge
from gateway_site.infra.words import dialect_name
from providers.admin.switch import SwitchAdmin
from providers.certificates import tidy
from providers.connection_check import CANNOT_PROBE, REJECTED, UNREACHABLE, WORKS, Check, check
from providers.models import Provider
from providers.models.provider import adapter_choices
from providers.registry import ADAPTERS, DIALECTS
from tenants.admin.scope import without
from tenants.audit import audit

SECRETS = ("credential", "proxy", "client_key")
ENTERED = (*SECRETS, *(f"clear_{name}" for name in SECRETS))  # fields of the form that nobody can read
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
VERDICTS = {
    WORKS: ("Works", "success"),
    CANNOT_PROBE: ("Cannot be probed", "info"),
    UNREACHABLE: ("Unreachable", "danger"),
    REJECTED: ("Rejected", "danger"),
}
HINT_FROM = 24  # characters of a credential, of which four say nothing of the rest
UNIMPORTANT = frozenset({"name", "slug"})  # to a test of the connection
STORED = "One is stored, encrypted; nobody can read it here. Leave this empty to keep it."
NOT_STORED = "None is stored. What you enter is encrypted, and nobody can read it here again."


class DialectsField(forms.MultipleChoiceField):
    """The dialects as boxes to tick; those ticked before keep their order, best first."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget

    def has_changed(self, initial: Any, data: Any) -> bool:
        return set(initial or ()) != set(data or ())


def adapters_told() -> dict[str, dict[str, Any]]:
    """What the form's script knows of each adapter."""
    return {
        adapter.name: {
            "base_url": adapter.base_url,
            "dialects": list(adapter.dialects),
            "variable": adapter.credential_variable,
            "documentation": adapter.documentation,
            "credential_page": adapter.credential_page,
            "label": adapter.label,
        }
        for adapter in ADAPTERS.values()
    }


def ending_of(provider: Provider) -> str:
    """The last characters of the stored credential, to tell it from another; none of one that is short."""
    try:
        credential = secrets.decrypt(provider.credential_encrypted) if provider.has_credential else ""
    except secrets.SecretUnreadable:
        return ""
    return credential[-4:] if len(credential) >= HINT_FROM and credential.isascii() else ""


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
        choices=[(name, dialect_name(name)) for name in DIALECTS],
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
        if "adapter" in self.fields:
            told = {"data-adapters": json.dumps(adapters_told())}
            self.fields["adapter"].widget = UnfoldAdminSelectWidget(
                told, choices=[("", "Choose one"), *adapter_choices()]
            )
            self.fields["adapter"].help_text = mark_safe('<span id="adapter-told"></span>')
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

    def unsaved(self) -> Provider:
        """The provider as the form says, with what was entered and is not stored yet."""
        self._keep("credential")
        return self.instance

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
    search_help_text = "Slug, name or address"
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = ("credential_state", "connection", "catalogue_size", "catalogue_at")
    fieldsets = (
        (
            None,
            {"fields": (("name", "slug"), "adapter", "base_url", "allow_private_address", "dialects", "is_enabled")},
        ),
        ("Credential", {"fields": ("credential_state", "credential", "clear_credential")}),
        (
            "Does it work?",
            {
                "description": "Asks the provider with what the form says, saved or not. Its list of models costs nothing;"
                " a model that you name is asked for a few tokens, which are billed.",
                "fields": ("connection",),
            },
        ),
        (
            "Connection",
            {
                "classes": ("tab",),
                "fields": (
                    ("connect_timeout", "first_token_timeout"),
                    ("between_tokens_timeout", "total_timeout"),
                    ("max_connections", "http2"),
                    "headers",
                    "proxy",
                    "clear_proxy",
                    "ca_certificate",
                    "client_certificate",
                    "client_key",
                    "clear_client_key",
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

    class Media:
        js = ("js/provider_form.js",)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What it lists is known of stored ones only; who may not change it tests nothing."""
        hidden = {"Its models"} if obj is None else set()
        found = super().get_fieldsets(request, obj)
        if not self.has_change_permission(request, obj):
            hidden.add("Does it work?")
            found = without(found, ENTERED)
        return [each for each in found if each[0] not in hidden]

    # --- Testing the connection ------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.test_connection)
        own = [
            path("test-connection/", view, name="providers_provider_test_new"),
            path("<path:object_id>/test-connection/", view, name="providers_provider_test"),
        ]
        return [*own, *super().get_urls()]

    def test_connection(self, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        """Ask the provider that a form describes, and answer with what the page shows of it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        provider = None if object_id is None else self.load(request, object_id)
        is_allowed = (
            self.has_add_permission(request) if provider is None else self.has_change_permission(request, provider)
        )
        if not is_allowed:
            raise PermissionDenied
        form: Any = self.get_form(request, provider, change=provider is not None)(request.POST, instance=provider)
        wrong = {name: said for name, said in form.errors.items() if name not in UNIMPORTANT}
        found = None if wrong else check(form.unsaved(), model=request.POST.get("check_model", "").strip()[:200])
        if found is not None:
            self._note(request, provider, found, form)
        context = {
            "found": found,
            "label": badge(*VERDICTS[found.verdict]) if found is not None else "",
            "wrong": [(self._label(form, name), said) for name, said in wrong.items()],
            "is_saved": provider is not None and not form.has_changed(),
        }
        return TemplateResponse(request, "admin/providers/connection_result.html", context)

    def _note(self, request: HttpRequest, provider: Provider | None, found: Check, form: Any) -> None:
        """Note that somebody asked an upstream in our name, and where."""
        given = form.instance
        audit(
            "connection_tested", provider, result=found.verdict, adapter=given.adapter, address=given.effective_base_url
        )
        if provider is not None:
            self.log_change(request, provider, f"Tested the connection: {VERDICTS[found.verdict][0].lower()}.")

    def _label(self, form: Any, name: str) -> str:
        return str(form[name].label) if name in form.fields else ""

    @display(description="Connection")
    def connection(self, provider: Provider | None) -> SafeString:
        is_stored = provider is not None and provider.pk is not None
        name = f"{self.admin_site.name}:providers_provider_test"
        url = reverse(name, args=[provider.pk]) if is_stored and provider is not None else reverse(f"{name}_new")
        return mark_safe(render_to_string("admin/providers/connection.html", {"url": url}))

    # --- Columns and fields ----------------------------------------------------------------------------------

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
        if not is_stored:
            return badge("Not stored", "warning")
        ending = ending_of(provider) if noted is None else ""
        label = badge("Stored", "success")
        return format_html('{} <span class="text-subtle">ends in {}</span>', label, ending) if ending else label

    @display(description="Models that it lists")
    def catalogue_size(self, provider: Provider) -> str | None:
        return str(len(provider.catalogue)) if provider.catalogue_at else None
