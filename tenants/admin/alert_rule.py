"""Alert rules: whoever owns a tenant has those of the tenant, operators have their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import action, display

from gateway_site.infra.admin import Admin, badge
from tenants.admin.alert_pages import ago, severity_badge, silence_url
from tenants.admin.scope import NoShortcutsMixin, TenantOwnedForm, TenantOwnedMixin, without
from tenants.alert_rules import present_value
from tenants.alerting import METRICS, Metric, Reading
from tenants.models import AlertRule, AlertState


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
class AlertRuleAdmin(NoShortcutsMixin, TenantOwnedMixin, Admin):
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
                    ("threshold", "threshold_told", "currency"),
                    ("window", "minimum_requests"),
                    ("sustained", "cooldown"),
                )
            },
        ),
        ("Only of", {"fields": (("model", "api_key"), "watched_tenant", ("provider", "deployment"))}),
        ("Tell", {"fields": ("channels",)}),
    )
    readonly_fields = ("threshold_told",)
    change_form_before_template = "admin/tenants/alertrule/words.html"

    class Media:
        js = ("js/alerts.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("channels")

    def get_fieldsets(self, request: HttpRequest, obj: AlertRule | None = None) -> Any:
        """Without what says nothing of its metric, where no script hides it: readers see what the rule is."""
        found = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return without(found, ("threshold_told",))
        return without(found, ("threshold", "currency", *_meaningless(obj.facts)))

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
        return HttpResponseRedirect(silence_url(self.load(request, object_id)))

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
        is_new = timezone.now() - state.no_data_since < timedelta(minutes=1)
        lacks = "no data" if is_new else f"no data for {ago(state.no_data_since)}"
        return lacks + (f" (before: {shown})" if state.value is not None else "")

    @display(description="Threshold")
    def threshold_told(self, rule: AlertRule) -> str:
        return rule.shown(rule.threshold)

    @display(description="Severity", ordering="severity")
    def severity_label(self, rule: AlertRule) -> str:
        return severity_badge(rule)

    @display(description="What it does")
    def words(self, rule: AlertRule) -> str:
        return rule.in_words([channel.name for channel in rule.channels.all()])


def _meaningless(metric: Metric) -> Iterator[str]:
    """The fields that say nothing of a metric, as static/js/alerts.js has it."""
    if not metric.needs_requests:
        yield "minimum_requests"
    if metric.is_of_gateway:
        yield from ("window", "model", "api_key", "watched_tenant")
        if not metric.is_counted:
            yield from ("provider", "deployment")


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
