"""Alerts of budgets: what was crossed, who was told, and why somebody was not."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm

from gateway_site.infra.admin import LedgerAdmin
from tenants.admin.alert_pages import told_badge
from tenants.admin.scope import ScopedMixin
from tenants.budgets import read_counter
from tenants.dashboard_words import amount
from tenants.models import BudgetAlert

TOLD = ("told", ("emailed_at", "posted_at"), ("delivered_at", "given_up_at"), ("tries", "error"))
OF_STATE: dict[str, dict[str, bool]] = {
    "waiting": {"delivered_at__isnull": True, "given_up_at__isnull": True},
    "delivered": {"delivered_at__isnull": False},
    "given_up": {"given_up_at__isnull": False},
}


class AlertStateFilter(DropdownFilter):
    title = "told"
    parameter_name = "told"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(BudgetAlert.State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[BudgetAlert]) -> QuerySet[BudgetAlert]:
        return queryset.filter(**OF_STATE.get(self.value() or "", {}))


@admin.register(BudgetAlert)
class BudgetAlertAdmin(ScopedMixin, LedgerAdmin):
    has_history = True  # of who had it sent again
    list_display = ("reached", "tenant", "budget_page", "spent_of", "told", "error", "created_at")
    list_filter = (("tenant", AutocompleteSelectFilter), AlertStateFilter)
    list_select_related = ("tenant", "budget")
    search_fields = ("tenant__slug",)
    search_help_text = "Tenant"
    actions_detail = ("try_again",)
    fieldsets = (
        (None, {"fields": (("reached", "spent_of"), "created_at")}),
        ("Of", {"fields": (("tenant", "budget_page"), "end_user")}),
        ("Delivery", {"fields": TOLD}),
    )
    readonly_fields = ("reached", "spent_of", "budget_page", "end_user", "told")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Alerts go with their budget or tenant, and not by themselves."""
        match = request.resolver_match
        is_ours = match is not None and (match.url_name or "").startswith("tenants_budgetalert")
        return not is_ours and request.user.has_perm("tenants.delete_budget")

    def has_try_again_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether this user may have it sent again; the page itself changes nothing."""
        return request.user.has_perm("tenants.change_budgetalert")

    @display(description="Threshold")
    def reached(self, alert: BudgetAlert) -> str:
        return f"{alert.threshold}%"

    @display(description="Spent")
    def spent_of(self, alert: BudgetAlert) -> str:
        return f"{amount(alert.spent)} of {amount(alert.limit)} {alert.budget.currency}"

    @display(description="Budget")
    def budget_page(self, alert: BudgetAlert) -> str:
        url = reverse(f"{self.admin_site.name}:tenants_budget_change", args=[alert.budget_id])
        return format_html('<a href="{}" class="text-link">{}</a>', url, alert.budget)

    @display(description="End user")
    def end_user(self, alert: BudgetAlert) -> str:
        counter = read_counter(alert.counter)
        return counter.end_user if counter is not None else ""

    @display(description="Told")
    def told(self, alert: BudgetAlert) -> str:
        return told_badge(alert)

    @action(
        description="Try again",
        icon="send",
        permissions=["try_again"],
        dialog={
            "title": "Tell the tenant now?",
            "description": "What did not get through is sent again, for a day from now on.",
            "form_submit_text": "Try again",
        },
    )
    def try_again(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self.act(request, [self.load(request, object_id)], BudgetAlert.try_again, "Tried again")
        return self.leave_dialog(request)
