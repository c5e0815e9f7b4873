"""What happened to deployments' health, newest first."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, FieldTextFilter
from unfold.decorators import display

from gateway_site.infra.admin import LedgerAdmin, RecentFilter, badge
from routing.models import HealthEvent

COLOURS = {
    "breaker_opened": "danger",
    "breaker_half_open": "warning",
    "breaker_closed": "success",
    "cooled_down": "warning",
    "probe_failed": "danger",
    "probe_recovered": "success",
    "switched_off": "info",
    "switched_on": "info",
}


class WhenFilter(RecentFilter):
    field = "at"


@admin.register(HealthEvent)
class HealthEventAdmin(LedgerAdmin):
    list_display = ("when", "subject", "kind_label", "change", "reason", "until_when", "worker")
    list_filter = (WhenFilter, ("kind", ChoicesDropdownFilter), ("deployment", FieldTextFilter))
    search_fields = ("deployment", "provider", "reason")
    search_help_text = "Deployment, provider or reason"
    fields = (("when", "kind_label"), ("deployment", "provider"), ("old", "new"), "reason", ("until", "worker"))
    readonly_fields = ("when", "kind_label")

    @display(description="Time", ordering="at")
    def when(self, event: HealthEvent) -> str:
        return f"{event.at:%Y-%m-%d %H:%M:%S} UTC"

    @display(description="Deployment")
    def subject(self, event: HealthEvent) -> str:
        return event.deployment or f"all of {event.provider}"

    @display(description="What happened")
    def kind_label(self, event: HealthEvent) -> SafeString:
        return badge(event.get_kind_display(), COLOURS.get(event.kind, ""))

    @display(description="Change")
    def change(self, event: HealthEvent) -> str:
        return f"{event.old or 'unknown'} → {event.new}" if event.new else event.old

    @display(description="Until")
    def until_when(self, event: HealthEvent) -> str:
        return "" if event.until is None else f"{event.until:%H:%M:%S}"
