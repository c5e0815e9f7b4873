"""Alert channels: how somebody is told. Addresses and secrets are kept encrypted; a secret is shown once."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminPasswordWidget

from gateway_site.infra import secrets
from gateway_site.infra.admin import Admin, badge
from tenants.admin.scope import NoShortcutsMixin, TenantOwnedForm, TenantOwnedMixin, without
from tenants.alert_messages import try_out
from tenants.models import AlertChannel
from tenants.models.tenant import validate_webhook
from tenants.webhook_signature import make_secret
from tenants.webhooks import NotDelivered


class AlertChannelForm(TenantOwnedForm):
    address = forms.CharField(
        max_length=500,
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text="Where messages are posted to, https://… It is kept encrypted and never shown; empty leaves it as it is.",
    )

    def clean_address(self) -> str:
        address = str(self.cleaned_data.get("address") or "").strip()
        if address:
            validate_webhook(address)
        return address

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()  # type: ignore[assignment]
        kind = cleaned.get("kind") or self.instance.kind
        if kind == AlertChannel.Kind.EMAIL:
            if "emails" not in self.errors and not cleaned.get("emails"):
                self.add_error("emails", ValidationError("Say who is written to."))
        elif "address" not in self.errors and not cleaned.get("address") and not self.instance.address_encrypted:
            self.add_error("address", ValidationError("Say where messages are posted to."))
        return cleaned


@admin.register(AlertChannel)
class AlertChannelAdmin(NoShortcutsMixin, TenantOwnedMixin, Admin):
    form = AlertChannelForm
    list_display = ("name", "kind_label", "target", "rule_count", "tenant")
    list_select_related = ("tenant",)
    list_filter = (("tenant", AutocompleteSelectFilter), ("kind", ChoicesDropdownFilter))
    search_fields = ("name", "tenant__slug", "tenant__name")
    search_help_text = "Name or tenant"
    ordering = ("name", "pk")
    autocomplete_fields = ("tenant",)
    readonly_fields = ("leads_to", "signed")
    actions = None
    actions_detail = ("send_test", "new_secret")
    fieldsets = (
        (None, {"fields": (("name", "kind"), "tenant")}),
        ("Reaches", {"fields": ("emails", "address", ("leads_to", "signed"))}),
    )
    add_fieldsets = (
        (None, {"fields": (("name", "kind"), "tenant")}),
        ("Reaches", {"fields": ("emails", "address")}),
    )

    class Media:
        js = ("js/alerts.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("rules")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What a channel is stays as it is."""
        fixed = super().get_readonly_fields(request, obj)
        return fixed if obj is None else (*fixed, "kind")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without fields that say nothing of this kind, and without a form for who only looks."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return fieldsets
        is_email = obj.kind == AlertChannel.Kind.EMAIL
        hidden = {"address", "leads_to", "signed"} if is_email else {"emails"}
        if obj.kind == AlertChannel.Kind.SLACK:
            hidden |= {"signed"}
        if not self.has_change_permission(request, obj):
            hidden |= {"address"}
        return without(fieldsets, tuple(hidden))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        address = form.cleaned_data.get("address")
        if address and obj.kind != AlertChannel.Kind.EMAIL:
            obj.take_address(address)
        if obj.kind == AlertChannel.Kind.WEBHOOK and not obj.secret_encrypted:
            obj.new_secret = make_secret()  # lives as long as this request
            obj.secret_encrypted = secrets.encrypt(obj.new_secret)
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        secret = getattr(obj, "new_secret", None)
        return (
            super().response_add(request, obj, post_url_continue)
            if secret is None
            else self._page(request, obj, secret)
        )

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[UnfoldAction]:
        """Only webhooks are signed."""
        found = super().get_actions_detail(request, object_id)
        if AlertChannel.objects.filter(pk=object_id, kind=AlertChannel.Kind.WEBHOOK).exists():
            return found
        return [each for each in found if not each.action_name.endswith("_new_secret")]

    @action(
        description="Send a test",
        icon="send",
        permissions=["change"],
        dialog={
            "title": "Send a test message?",
            "description": "It says that nothing has happened. Whether it arrived is told here.",
            "form_submit_text": "Send it",
        },
    )
    def send_test(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        channel = self.load(request, object_id)
        try:
            try_out(channel, timezone.now())
        except NotDelivered as error:
            self.message_user(request, f"The test was not delivered to {channel}. {error}", "error")
        else:
            self.message_user(request, f"The test was delivered to {channel} ({channel.target}).")
        return self.leave_dialog(request)

    @action(description="New secret", icon="vpn_key", permissions=["change"])
    def new_secret(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask first, then show the secret in the answer."""
        channel, secret = self.load(request, object_id), None
        if channel.kind != AlertChannel.Kind.WEBHOOK:
            raise PermissionDenied
        if request.method == "POST":
            secret = make_secret()
            channel.set_secret(secret)
            self.log_change(request, channel, "Made a new secret.")
        return self._page(request, channel, secret)

    def _page(self, request: HttpRequest, channel: AlertChannel, secret: str | None) -> HttpResponse:
        title = "Copy this secret now" if secret else "Make a new secret?"
        words = {"owner": channel, "has_secret": bool(channel.secret_encrypted), "secret": secret}
        return self.show_once(request, "admin/tenants/webhook_secret.html", title, **words)

    @display(description="Kind", ordering="kind")
    def kind_label(self, channel: AlertChannel) -> str:
        return channel.get_kind_display()

    @display(description="Reaches")
    def target(self, channel: AlertChannel) -> str:
        return channel.target

    @display(description="Leads to")
    def leads_to(self, channel: AlertChannel) -> str:
        return channel.address_hint

    @display(description="Signed")
    def signed(self, channel: AlertChannel) -> str:
        return badge("With its secret", "success") if channel.secret_encrypted else badge("No secret", "warning")

    @display(description="Rules")
    def rule_count(self, channel: AlertChannel) -> str:
        return ", ".join(sorted(rule.name for rule in channel.rules.all())) or "none yet"
