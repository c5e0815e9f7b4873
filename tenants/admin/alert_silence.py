"""Alert silences: while one holds, what it names is recorded and nobody is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm

from gateway_site.infra.admin import Admin, badge
from tenants.admin.scope import NoShortcutsMixin, TenantOwnedMixin, without
from tenants.models import AlertSilence


@admin.register(AlertSilence)
class AlertSilenceAdmin(NoShortcutsMixin, TenantOwnedMixin, Admin):
    list_display = ("reason", "state_label", "matches", "starts_at", "ends_at", "created_by", "tenant")
    list_display_links = ("reason",)
    list_select_related = ("tenant", "rule", "watched_tenant", "created_by")
    list_filter = (("tenant", AutocompleteSelectFilter),)
    search_fields = ("reason", "rule__name")
    search_help_text = "Reason or rule"
    autocomplete_fields = ("tenant", "rule", "watched_tenant")
    operator_fields = ("tenant", "watched_tenant", "provider")
    readonly_fields = ("created_by",)
    actions_row = ("end_now",)
    actions_detail = ("end_now",)
    fieldsets = (
        (None, {"fields": ("reason", "starts_at", "ends_at", "tenant", "created_by")}),
        (
            "Of what",
            {"fields": (("rule", "severity"), ("watched_tenant", "provider")), "description": "Empty: of all."},
        ),
    )
    add_fieldsets = tuple(without(fieldsets, ("created_by",)))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"ends_at": timezone.now() + timedelta(hours=1), **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user
        super().save_model(request, obj, form, change)

    @display(description="State")
    def state_label(self, silence: AlertSilence) -> str:
        now = timezone.now()
        if silence.is_on(now):
            return badge("On", "info")
        return badge("Later", "warning") if silence.starts_at > now else badge("Over")

    @display(description="Of")
    def matches(self, silence: AlertSilence) -> str:
        named = [
            "" if silence.rule is None else f"rule {silence.rule}",
            "" if silence.watched_tenant is None else f"tenant {silence.watched_tenant}",
            f"provider {silence.provider}" if silence.provider else "",
            f"{silence.get_severity_display().lower()} ones" if silence.severity else "",
        ]
        return ", ".join(filter(None, named)) or "all alerts"

    @action(
        description="End now",
        icon="notifications_active",
        permissions=["change"],
        dialog={
            "title": "End this silence?",
            "description": "What fires is told within a minute.",
            "form_submit_text": "End it",
        },
    )
    def end_now(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self.act(request, [self.load(request, object_id)], AlertSilence.end, "Ended")
        return self.leave_dialog(request)
