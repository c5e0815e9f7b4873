"""Alert incidents: what rules found, how it went, who was told, and who takes care of it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, DropdownFilter
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm

from gateway_site.infra.admin import LedgerAdmin, badge
from tenants.admin.alert_pages import ago, severity_badge, silence_url, told_badge
from tenants.admin.scope import ScopedMixin
from tenants.alerting import minutes
from tenants.models import AlertIncident


class FiringFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("firing", "Firing"), ("resolved", "Resolved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {"firing", "resolved"}:
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() == "firing")


@admin.register(AlertIncident)
class AlertIncidentAdmin(ScopedMixin, LedgerAdmin):
    has_history = True  # of who acknowledged it
    list_display = ("rule_name", "state_label", "severity_label", "worst_value", "began_at", "lasted", "told", "owner")
    list_filter = (("tenant", AutocompleteSelectFilter), FiringFilter, ("severity", ChoicesDropdownFilter))
    list_select_related = ("tenant", "acknowledged_by", "silence")
    search_fields = ("title",)
    search_help_text = "Rule"
    operator_fields = ("tenant", "owner")
    actions_detail = ("acknowledge", "silence_rule")
    fieldsets = (
        (None, {"fields": (("state_label", "severity_label"), "owner", "what")}),
        (
            "How it went",
            {"fields": (("began_at", "resolved_at"), ("lasted", "worst_value"), ("first_value", "last_value"))},
        ),
        ("Who takes care of it", {"fields": (("acknowledged_by", "acknowledged_at"), "silence")}),
    )
    readonly_fields = (
        "owner",
        "what",
        "state_label",
        "severity_label",
        "lasted",
        "first_value",
        "worst_value",
        "last_value",
        "told",
    )
    change_form_after_template = "admin/tenants/alertincident/messages.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found = super().get_queryset(request)
        return found.prefetch_related("messages")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Incidents go with their tenant, and not by themselves."""
        match = request.resolver_match
        is_ours = match is not None and (match.url_name or "").startswith("tenants_alertincident")
        return not is_ours and request.user.has_perm("tenants.delete_alertrule")

    def has_acknowledge_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whether this user may take care of it; the page itself changes nothing."""
        return request.user.has_perm("tenants.change_alertincident") and self.is_shown(request, object_id)

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[UnfoldAction]:
        """What is over needs nobody; what somebody has taken care of, nobody else."""
        found = AlertIncident.objects.filter(pk=object_id).first()
        if found is None or not found.is_firing:
            return []
        actions = super().get_actions_detail(request, object_id)
        if found.acknowledged_at is not None:
            actions = [each for each in actions if not each.action_name.endswith("_acknowledge")]
        if found.rule_id is None or not request.user.has_perm("tenants.add_alertsilence"):
            actions = [each for each in actions if not each.action_name.endswith("_silence_rule")]
        return actions

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        incident: Any = context.get("original")
        messages = [] if incident is None else incident.messages.all()
        context["messages_told"] = [
            {
                "what": message.get_kind_display(),
                "value": incident.shown(message.value),
                "channel": message.channel_name,
                "when": message.delivered_at or message.created_at,
                "state": told_badge(message),
                "error": message.error,
            }
            for message in messages
        ]
        return super().render_change_form(request, context, **kwargs)

    @action(
        description="Acknowledge",
        icon="check",
        permissions=["acknowledge"],
        dialog={
            "title": "Take care of this?",
            "description": "It is not repeated any more. That it is over is told still.",
            "form_submit_text": "Acknowledge",
        },
    )
    def acknowledge(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        by: Any = request.user
        self.act(request, [self.load(request, object_id)], lambda incident: incident.acknowledge(by), "Acknowledged")
        return self.leave_dialog(request)

    @action(description="Silence", icon="notifications_paused", permissions=["acknowledge"])
    def silence_rule(self, request: HttpRequest, object_id: str) -> HttpResponse:
        incident = self.load(request, object_id)
        if incident.rule is None:
            raise PermissionDenied
        return HttpResponseRedirect(silence_url(incident.rule))

    @display(description="Belongs to")
    def owner(self, incident: AlertIncident) -> str:
        return "" if incident.tenant is None else str(incident.tenant)

    @display(description="Rule")
    def rule_name(self, incident: AlertIncident) -> str:
        return incident.title

    @display(description="Rule")
    def what(self, incident: AlertIncident) -> str:
        if incident.rule_id is None:
            return incident.words
        url = reverse(f"{self.admin_site.name}:tenants_alertrule_change", args=[incident.rule_id])
        return format_html('<a href="{}" class="text-link">{}</a>. {}', url, incident.title, incident.words)

    @display(description="State")
    def state_label(self, incident: AlertIncident) -> str:
        if not incident.is_firing:
            return badge("Resolved", "success")
        return badge("Firing", "danger") if incident.acknowledged_at is None else badge("Acknowledged", "warning")

    @display(description="Severity")
    def severity_label(self, incident: AlertIncident) -> str:
        return severity_badge(incident)

    @display(description="When it began")
    def first_value(self, incident: AlertIncident) -> str:
        return incident.shown(incident.value)

    @display(description="Worst")
    def worst_value(self, incident: AlertIncident) -> str:
        return incident.shown(incident.worst)

    @display(description="Last")
    def last_value(self, incident: AlertIncident) -> str:
        return incident.shown(incident.last)

    @display(description="Lasted")
    def lasted(self, incident: AlertIncident) -> str:
        if incident.resolved_at is None:
            return f"{ago(incident.began_at)} so far"
        count = int((incident.resolved_at - incident.began_at).total_seconds() // 60)
        return "less than a minute" if not count else minutes(count) if count < 120 else f"{count // 60} hours"

    @display(description="Told")
    def told(self, incident: AlertIncident) -> str:
        messages = incident.messages.all()
        if names := {message.channel_name: None for message in messages if message.delivered_at}:
            return ", ".join(names)
        if names := {message.channel_name: None for message in messages if message.given_up_at is None}:
            return f"not yet: {', '.join(names)}"
        return "silenced" if incident.silence_id is not None else "nobody"
