"""Alert rules, channels, incidents and silences: whoever owns a tenant has those of the tenant, operators have their own."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, DropdownFilter
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminPasswordWidget

from gateway_site.infra import secrets
from gateway_site.infra.admin import Admin, LedgerAdmin, badge
from tenants.admin.scope import ScopedMixin, TenantOwnedForm, TenantOwnedMixin, without, without_shortcuts
from tenants.alert_messages import send_test
from tenants.alert_rules import present_value
from tenants.alerting import METRICS, Reading, minutes
from tenants.models import AlertChannel, AlertIncident, AlertRule, AlertSilence, AlertState
from tenants.models.tenant import validate_webhook
from tenants.webhook_signature import make_secret
from tenants.webhooks import NotDelivered

SEVERITY_KINDS = {"critical": "danger", "warning": "warning", "notice": "info"}
MESSAGE_KINDS = {"delivered": "success", "waiting": "info", "given_up": "danger"}


def severity_badge(item: Any) -> str:
    """A severity as a coloured label."""
    return badge(item.get_severity_display(), SEVERITY_KINDS.get(item.severity, ""))


def ago(moment: datetime) -> str:
    """How long ago a moment was, in the largest unit that says something."""
    count = max(0, int((timezone.now() - moment).total_seconds() // 60))
    if not count:
        return "less than a minute"
    return minutes(count) if count < 120 else f"{count // 60} hours" if count < 2880 else f"{count // 1440} days"


class OwnersMixin(TenantOwnedMixin):
    """Offers related objects without pop-ups, which would lose what is only shown once."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if db_field.is_relation and field is not None:
            without_shortcuts(field)
        return field


class ExplainedMixin:
    """Says of a list that is empty what would be in it."""

    list_before_template = "admin/tenants/alertrule/empty.html"
    empty_title = ""
    empty_text = ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        words = {"empty_title": self.empty_title, "empty_text": self.empty_text}
        answer: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **words})  # type: ignore[misc]
        return answer


# --- Rules -------------------------------------------------------------------------------------------------


class AlertRuleForm(TenantOwnedForm):
    """Members watch what they use, and tell channels of their own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        metric: Any = self.fields.get("metric")
        if metric is None:
            return
        if self.only_tenant is not None:
            metric.choices = [choice for choice in metric.choices if not METRICS[choice[0]].is_of_gateway]
        metric.widget.attrs["data-metrics"] = json.dumps({name: asdict(METRICS[name]) for name, _ in metric.choices})
        unit = self.instance.facts.unit_in(self.instance.currency)
        self.fields["threshold"].label = f"Threshold ({unit})" if unit else "Threshold"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()  # type: ignore[assignment]
        owner = self.only_tenant or cleaned.get("tenant")
        for channel in cleaned.get("channels") or ():
            if channel.tenant_id != (owner.pk if owner is not None else None):
                self.add_error("channels", f"{channel} belongs to somebody else than the rule.")
        return cleaned


@admin.register(AlertRule)
class AlertRuleAdmin(ExplainedMixin, OwnersMixin, Admin):
    empty_title = "Nothing is watched yet."
    empty_text = (
        "A rule watches a metric, such as the error rate or the cost per day, and tells its channels when that is "
        "beyond a threshold for long enough."
    )
    form = AlertRuleForm
    list_display = ("name", "state_label", "present", "severity_label", "words", "tenant")
    list_select_related = ("tenant", "watched_tenant", "api_key", "state")
    list_filter = (
        ("tenant", AutocompleteSelectFilter),
        ("severity", ChoicesDropdownFilter),
        ("metric", ChoicesDropdownFilter),
    )
    search_fields = ("name", "model", "tenant__slug", "tenant__name")
    search_help_text = "Name, model or tenant"
    ordering = ("name", "pk")
    autocomplete_fields = ("tenant", "watched_tenant", "api_key", "channels")
    operator_fields = ("tenant", "watched_tenant", "provider", "deployment")
    actions_detail = ("silence",)
    fieldsets = (
        (None, {"fields": (("name", "severity"), "tenant", "is_enabled")}),
        (
            "When",
            {
                "fields": (
                    ("metric", "comparison"),
                    ("threshold", "currency"),
                    ("window", "minimum_requests"),
                    ("sustained", "cooldown"),
                )
            },
        ),
        ("Only of", {"fields": (("model", "api_key"), "watched_tenant", ("provider", "deployment"))}),
        ("Tell", {"fields": ("channels",)}),
    )
    change_form_before_template = "admin/tenants/alertrule/words.html"

    class Media:
        js = ("js/alerts.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("channels")

    def get_urls(self) -> list[Any]:
        preview = path("preview/", self.admin_site.admin_view(self.preview), name="tenants_alertrule_preview")
        return [preview, *super().get_urls()]

    def preview(self, request: HttpRequest) -> HttpResponse:
        """Say what a form says, and what would be measured now; nothing is kept."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        rule = self.get_object(request, request.POST.get("_rule", "")) if request.POST.get("_rule") else None
        may = self.has_add_permission(request) if rule is None else self.has_change_permission(request, rule)
        if not may:
            raise PermissionDenied
        data = request.POST.copy()
        data["name"] = data.get("name") or "New"  # of which nothing is said
        form = self.get_form(request, rule, change=rule is not None)(data, instance=rule)
        if not form.is_valid():
            problems = [str(error) for errors in form.errors.values() for error in errors]
            return JsonResponse({"problem": problems[0]})
        made = form.save(commit=False)
        reading, is_known = present_value(made, timezone.now())
        told = [channel.name for channel in form.cleaned_data["channels"]]
        return JsonResponse({"words": made.in_words(told), **_measured(made, reading, is_known)})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        rule = context.get("original")
        context |= {
            "preview_url": reverse(f"{self.admin_site.name}:tenants_alertrule_preview"),
            "rule_words": "" if rule is None else self.words(rule),
            "rule_state": "" if rule is None else self.state_label(rule),
            "rule_value": "" if rule is None else self.present(rule),
            "is_previewed": kwargs.get("add") or self.has_change_permission(request, rule),
        }
        return super().render_change_form(request, context, **kwargs)

    def has_silence_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whoever may not silence is not offered it."""
        return request.user.has_perm("tenants.add_alertsilence")

    @action(description="Silence", icon="notifications_paused", permissions=["silence"])
    def silence(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(_silence_url(self.load(request, object_id)))

    @display(description="State")
    def state_label(self, rule: AlertRule) -> str:
        state: AlertState | None = getattr(rule, "state", None)
        if not rule.is_enabled:
            return badge("Off")
        if state is None:
            return badge("New", "info")
        if state.fires_since is not None:
            return badge("Firing", "danger")
        if state.no_data_since is not None:
            return badge("No data", "warning")
        return badge("Pending", "warning") if state.holds_since is not None else badge("OK", "success")

    @display(description="Last measured")
    def present(self, rule: AlertRule) -> str:
        state: AlertState | None = getattr(rule, "state", None)
        if state is None:
            return "not yet"
        shown = rule.shown(state.value)
        if state.no_data_since is None:
            return shown
        return f"no data for {ago(state.no_data_since)}" + (f" (before: {shown})" if state.value is not None else "")

    @display(description="Severity", ordering="severity")
    def severity_label(self, rule: AlertRule) -> str:
        return severity_badge(rule)

    @display(description="What it does")
    def words(self, rule: AlertRule) -> str:
        return rule.in_words([channel.name for channel in rule.channels.all()])


def _measured(rule: AlertRule, reading: Reading, is_known: bool) -> dict[str, Any]:
    """What would be measured now, in words, and whether it is beyond the threshold."""
    if not is_known:
        return {"value": "too much to count now", "is_beyond": False}
    if reading.value is None:
        later = (
            "measured every minute, once this is saved" if rule.facts.is_of_gateway and rule.pk is None else "no data"
        )
        return {"value": later, "is_beyond": False}
    counted = "" if rule.facts.is_of_gateway else f" ({reading.requests:,} requests)"
    is_beyond = rule.terms.holds(reading.value)
    few = is_beyond and not rule.terms.has_data(reading)
    return {
        "value": rule.shown(reading.value) + counted + (", too few to decide" if few else ""),
        "is_beyond": is_beyond and not few,
    }


def _silence_url(rule: AlertRule) -> str:
    query = {"rule": rule.pk} if rule.tenant_id is None else {"rule": rule.pk, "tenant": rule.tenant_id}
    return f"{reverse('admin:tenants_alertsilence_add')}?{urlencode(query)}"


# --- Channels ----------------------------------------------------------------------------------------------


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
class AlertChannelAdmin(ExplainedMixin, OwnersMixin, Admin):
    empty_title = "Nobody can be told yet."
    empty_text = "A channel writes e-mails, calls a webhook or posts to Slack; rules name the channels that they tell."
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
        """Show a webhook's secret in this answer, so that it passes through no session and no URL."""
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
            send_test(channel, timezone.now())
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
        context = {
            **self.admin_site.each_context(request),
            "title": "Copy this secret now" if secret else "Make a new secret?",
            "opts": self.opts,
            "channel": channel,
            "secret": secret,
        }
        response = TemplateResponse(request, "admin/tenants/alertchannel/secret.html", context)
        response["Cache-Control"] = "no-store"
        return response

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


# --- Incidents ---------------------------------------------------------------------------------------------


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
class AlertIncidentAdmin(ExplainedMixin, ScopedMixin, LedgerAdmin):
    empty_title = "No alert has fired."
    empty_text = "What alert rules find is listed here, with who was told of it; what fires comes first."
    list_display = ("rule_name", "state_label", "severity_label", "worst_value", "began_at", "lasted", "told", "tenant")
    list_filter = (("tenant", AutocompleteSelectFilter), FiringFilter, ("severity", ChoicesDropdownFilter))
    list_select_related = ("tenant", "acknowledged_by", "silence")
    search_fields = ("title",)
    search_help_text = "Rule"
    actions_detail = ("acknowledge", "silence_rule")
    fieldsets = (
        (None, {"fields": (("state_label", "severity_label"), "tenant", "what")}),
        (
            "How it went",
            {"fields": (("began_at", "resolved_at"), ("lasted", "worst_value"), ("first_value", "last_value"))},
        ),
        ("Who takes care of it", {"fields": (("acknowledged_by", "acknowledged_at"), "silence")}),
    )
    readonly_fields = (
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
                "state": badge(message.State(message.state).label, MESSAGE_KINDS[message.state]),
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
        return HttpResponseRedirect(_silence_url(incident.rule))

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


# --- Silences ----------------------------------------------------------------------------------------------


@admin.register(AlertSilence)
class AlertSilenceAdmin(ExplainedMixin, OwnersMixin, Admin):
    empty_title = "Nothing is silenced."
    empty_text = "While a silence holds, what it names is recorded and nobody is told: for upgrades and other work."
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
        (None, {"fields": ("reason", "starts_at", "ends_at", "tenant")}),
        (
            "Of what",
            {"fields": (("rule", "severity"), ("watched_tenant", "provider")), "description": "Empty: of all."},
        ),
        ("By", {"fields": ("created_by",)}),
    )
    add_fieldsets = fieldsets[:2]

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
