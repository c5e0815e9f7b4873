"""What happened to deployments' health, newest first."""

from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, FieldTextFilter
from unfold.decorators import display

from gateway_site.infra.admin import LedgerAdmin, RecentFilter
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
    fieldsets = (
        (None, {"fields": (("at", "kind"), ("deployment", "provider"), ("old", "new"), "reason", ("until", "worker"))}),
    )

    @display(description="Time", ordering="at")
    def when(self, event: HealthEvent) -> str:
        return f"{event.at:%Y-%m-%d %H:%M:%S}"

    @display(description="Deployment")
    def subject(self, event: HealthEvent) -> str:
        return event.deployment or f"all of {event.provider}"

    @display(description="What happened", label=COLOURS)
    def kind_label(self, event: HealthEvent) -> tuple[str, str]:
        return event.kind, event.get_kind_display()

    @display(description="Change")
    def change(self, event: HealthEvent) -> str:
        return f"{event.old or 'unknown'} → {event.new}"

    @display(description="Until")
    def until_when(self, event: HealthEvent) -> str:
        return "" if event.until is None else f"{event.until:%H:%M:%S}"
