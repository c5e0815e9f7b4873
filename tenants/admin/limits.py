"""Rate limits and budgets: as rows of a tenant, project or key, and all of them in a list."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm, PaginationInlineFormSet
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from gateway_site.infra.admin import Admin, QuietChangeList, ReadOnlyMixin, TableRows
from gateway_site.infra.words import plain
from tenants import budgets
from tenants.admin.alert_pages import told_badge
from tenants.admin.scope import NoShortcutsMixin, TenantOwnedMixin
from tenants.budgets import Standing
from tenants.dashboard_words import amount as rounded
from tenants.models import Budget, BudgetAlert, CreditTopUp, Project, RateLimit, Tenant
from tenants.models.limits import COUNTS_THE_SAME, OVERLAPPING

RATE = ("kind", "amount", "per", "burst")
MONEY = ("amount", "currency", "period", "rolling_days", "is_hard", "alert_at")
ONLY = ("model", "per_end_user")


class RateLimitRows(TableRows):
    """The rate limits of a project or a key."""

    model = RateLimit
    fields: tuple[str, ...] = (*RATE, *ONLY)
    tab = True
    per_page = 10


class BudgetFormSet(PaginationInlineFormSet):
    """Rows that are new together must not count the same either; what is stored, each row asks for itself."""

    def clean(self) -> None:
        super().clean()
        seen: set[tuple[Any, ...]] = set()
        for form in self.forms:
            if not form.cleaned_data or form.cleaned_data.get("DELETE") or form.errors:
                continue
            budget = form.instance
            identity = (budget.project_id, *(getattr(budget, name) for name in COUNTS_THE_SAME))
            if identity in seen:
                form.add_error("period", OVERLAPPING)
            seen.add(identity)


class BudgetRows(TableRows):
    """The budgets of a project or a key."""

    model = Budget
    formset = BudgetFormSet
    fields: tuple[str, ...] = (*MONEY, *ONLY)
    tab = True
    per_page = 10


class TenantWideMixin(NoShortcutsMixin):
    """Rules of a tenant and its projects; a key's are on its own page, for there may be thousands of keys."""

    parent: Tenant | None = None

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(api_key__isnull=True)  # type: ignore[misc]

    def get_formset(self, request: HttpRequest, obj: Tenant | None = None, **kwargs: Any) -> Any:
        self.parent = obj
        return super().get_formset(request, obj, **kwargs)  # type: ignore[misc]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the tenant's projects, read once for all rows."""
        kwargs["queryset"] = Project.objects.none() if self.parent is None else self.parent.projects.all()
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]
        field.choices = [("", "Whole tenant"), *((project.pk, str(project)) for project in kwargs["queryset"])]
        return field


class TenantRateLimitRows(TenantWideMixin, RateLimitRows):
    """The rate limits of a tenant and its projects."""

    fields = (*RATE, "project", *ONLY)


class TenantBudgetRows(TenantWideMixin, BudgetRows):
    """The budgets of a tenant and its projects."""

    fields = (*MONEY, "project", *ONLY)


class ScopedRuleAdmin(NoShortcutsMixin, TenantOwnedMixin, Admin):
    """The page of one rule and the list of all."""

    list_select_related = ("tenant", "project", "api_key")
    list_filter_submit = True
    search_fields = ("tenant__slug", "tenant__name", "project__slug", "api_key__name", "model")
    search_help_text = "Project, key, model or tenant"
    autocomplete_fields = ("tenant", "project", "api_key")
    ordering = ("-pk",)

    @display(description="Scope", label={"tenant": "primary", "project": "info", "api_key": "success"})
    def scope_label(self, rule: Any) -> tuple[str, str]:
        return rule.scope, {"tenant": "Tenant", "project": "Project", "api_key": "API key"}[rule.scope]

    @display(description="Of")
    def owner(self, rule: Any) -> str:
        return str(rule.api_key or rule.project or "Whole tenant")

    @display(description="Model")
    def model_or_all(self, rule: Any) -> str:
        return rule.model or "All together"


@admin.register(RateLimit)
class RateLimitAdmin(ScopedRuleAdmin):
    list_display = ("rate", "tenant", "scope_label", "owner", "model_or_all", "per_end_user")
    list_filter = (("tenant", AutocompleteSelectFilter), ("kind", ChoicesDropdownFilter))
    fieldsets = (
        (None, {"fields": (("kind", "amount"), ("per", "burst"))}),
        ("Who it binds", {"fields": ("tenant", ("project", "api_key"), ("model", "per_end_user"))}),
    )

    @display(description="Rate limit", ordering="amount")
    def rate(self, limit: RateLimit) -> str:
        return str(limit)


# --- Budgets -----------------------------------------------------------------------------------------------


class BudgetDialog(BaseDialogForm):
    """A dialog about one budget: what is wrong with a field stands there, before anything is done."""

    def check(self, budget: Budget) -> None:
        """Raise ValidationError for what cannot be done."""

    def clean(self) -> dict[str, Any]:
        for budget in Budget.objects.filter(pk=self.object_id) if not self.errors else ():
            try:
                self.check(budget)
            except ValidationError as error:
                for name, messages in getattr(error, "error_dict", {}).items():
                    self.add_error(name, messages)  # what is wrong with the budget, the action itself says
        return self.cleaned_data


class TopUpForm(BudgetDialog):
    amount = forms.DecimalField(max_digits=20, decimal_places=10, widget=UnfoldAdminDecimalFieldWidget)
    note = forms.CharField(
        max_length=200, required=False, widget=UnfoldAdminTextInputWidget, help_text="Such as the invoice."
    )

    def check(self, budget: Budget) -> None:
        budgets.check_top_up(budget, self.cleaned_data["amount"])


class IncreaseForm(BudgetDialog):
    amount = forms.DecimalField(
        max_digits=20, decimal_places=10, widget=UnfoldAdminDecimalFieldWidget, help_text="What may be spent on top."
    )
    until = forms.SplitDateTimeField(widget=UnfoldAdminSplitDateTimeWidget, help_text="In UTC.")

    def check(self, budget: Budget) -> None:
        budgets.check_increase(budget, self.cleaned_data["amount"], self.cleaned_data["until"])


class BudgetChangeList(QuietChangeList):
    """Reads how all budgets of a page stand at once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        shown: list[Any] = list(self.result_list)  # type: ignore[has-type]
        found = budgets.standings(shown, timezone.now())
        for budget in shown:
            budget.standing = found[budget.pk]
        self.result_list = shown


class HistoryRows(ReadOnlyMixin, TableRows):
    """What happened to a budget."""

    tab = True
    per_page = 10


class TopUpRows(HistoryRows):
    model = CreditTopUp
    verbose_name_plural = "Top-ups"
    fields = readonly_fields = ("paid", "note", "by", "at")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("by")

    @display(description="Paid in")
    def paid(self, top_up: CreditTopUp) -> str:
        return str(top_up)


class AlertRows(HistoryRows):
    model = BudgetAlert
    verbose_name_plural = "Alerts"
    fields = readonly_fields = ("reached", "spent_of", "told", "created_at")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("budget")

    @display(description="Threshold")
    def reached(self, alert: BudgetAlert) -> str:
        return f"{alert.threshold}%"

    @display(description="Spent")
    def spent_of(self, alert: BudgetAlert) -> str:
        return f"{rounded(alert.spent)} of {rounded(alert.limit)} {alert.budget.currency}"

    @display(description="Told")
    def told(self, alert: BudgetAlert) -> str:
        return told_badge(alert)


@admin.register(Budget)
class BudgetAdmin(ScopedRuleAdmin):
    list_display = ("sum", "tenant", "scope_label", "owner", "model_or_all", "spent", "left", "resets_at", "strength")
    list_filter = (("tenant", AutocompleteSelectFilter), ("period", ChoicesDropdownFilter), "is_hard")
    fieldsets = (
        (None, {"fields": (("spent", "left"), ("resets_at", "reset_before"))}),
        (None, {"fields": (("amount", "currency"), ("period", "rolling_days"), "is_hard", "alert_at")}),
        ("Temporary increase", {"fields": ("increase", "increase_until")}),
        ("Who it binds", {"fields": ("tenant", ("project", "api_key"), ("model", "per_end_user"))}),
    )
    readonly_fields = ("spent", "left", "resets_at", "reset_before")
    inlines = (AlertRows, TopUpRows)
    actions_detail = ("top_up", "increase_for_a_time", "reset")

    def get_fieldsets(self, request: HttpRequest, obj: Budget | None = None) -> Any:
        """A budget that does not exist yet has spent nothing."""
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj is not None else fieldsets[1:]

    def get_inlines(self, request: HttpRequest, obj: Budget | None) -> Any:
        if obj is None:
            return ()
        return self.inlines if obj.period == Budget.Period.CREDIT else self.inlines[:1]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BudgetChangeList]:
        return BudgetChangeList

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[UnfoldAction]:
        """Credit is topped up, everything else is reset."""
        is_credit = Budget.objects.filter(pk=object_id, period=Budget.Period.CREDIT).exists()
        useless = "_reset" if is_credit else "_top_up"
        found = super().get_actions_detail(request, object_id)
        return [each for each in found if not each.action_name.endswith(useless)]

    @display(description="Budget", ordering="amount")
    def sum(self, budget: Budget) -> str:
        return str(budget)

    @display(description="Kind", label={"hard": "danger", "soft": "warning"})
    def strength(self, budget: Budget) -> tuple[str, str]:
        return ("hard", "Hard") if budget.is_hard else ("soft", "Soft")

    @display(description="Spent")
    def spent(self, budget: Budget) -> str:
        standing = self.standing(budget)
        text = f"{rounded(standing.spent)} {budget.currency}"
        if not budget.per_end_user:
            return text
        return f"{text} by {standing.end_users} end users, at most {rounded(standing.most)} by one"

    @display(description="Left")
    def left(self, budget: Budget) -> str:
        standing = self.standing(budget)
        return f"{rounded(standing.left)} of {rounded(standing.limit)} {budget.currency}"

    @display(description="Resets")
    def resets_at(self, budget: Budget) -> str:
        if budget.period == Budget.Period.ROLLING:
            return "Each midnight, a day leaves it"
        moment = self.standing(budget).resets_at
        return "Never" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"

    @display(description="Reset by hand")
    def reset_before(self, budget: Budget) -> str:
        if budget.reset_at is None:
            return "Never"
        return f"{budget.resets} times, last {budget.reset_at:%Y-%m-%d %H:%M} UTC"

    def standing(self, budget: Any) -> Standing:
        """How it stands; the list has looked that up for the whole page."""
        if not hasattr(budget, "standing"):
            budget.standing = budgets.standings([budget], timezone.now())[budget.pk]
        return budget.standing

    @action(
        description="Top up",
        icon="add_card",
        permissions=["change"],
        dialog={
            "title": "Top up this credit?",
            "description": "The amount can be spent from now on. It is recorded with your name.",
            "form_class": TopUpForm,
            "form_submit_text": "Top up",
        },
    )
    def top_up(self, request: HttpRequest, form: TopUpForm, object_id: str) -> HttpResponse:
        amount: Decimal = form.cleaned_data["amount"]
        verb = partial(_top_up, amount=amount, note=form.cleaned_data["note"], by=request.user)
        return self.do(request, object_id, verb, f"Topped up by {plain(amount)}")

    @action(
        description="Increase for a time",
        icon="trending_up",
        permissions=["change"],
        dialog={
            "title": "Increase this budget for a time?",
            "description": "So much more may be spent until then, in place of an increase that there may be.",
            "form_class": IncreaseForm,
            "form_submit_text": "Increase",
        },
    )
    def increase_for_a_time(self, request: HttpRequest, form: IncreaseForm, object_id: str) -> HttpResponse:
        amount, until = form.cleaned_data["amount"], form.cleaned_data["until"]
        verb = partial(_increase, amount=amount, until=until)
        return self.do(request, object_id, verb, f"Increased by {plain(amount)} until {until:%Y-%m-%d %H:%M} UTC")

    @action(
        description="Reset",
        icon="restart_alt",
        permissions=["change"],
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Set this budget back to nothing spent?",
            "description": "The whole amount can be spent again from now on. The ledger keeps what was spent before.",
            "form_submit_text": "Reset",
            "variant": "danger",
        },
    )
    def reset(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        return self.do(request, object_id, _reset, "Reset")

    def do(self, request: HttpRequest, object_id: str, verb: Callable[[Budget], object], done: str) -> HttpResponse:
        """Do it, unless somebody was faster and it makes no sense any more."""
        try:
            self.act(request, [self.load(request, object_id)], verb, done)
        except ValidationError as error:
            self.message_user(request, " ".join(error.messages), "error")
        return self.leave_dialog(request)


def _reset(budget: Budget) -> None:
    budgets.reset(budget=budget)


def _top_up(budget: Budget, **given: Any) -> None:
    budgets.top_up(budget=budget, **given)


def _increase(budget: Budget, **given: Any) -> None:
    budgets.increase(budget=budget, **given)
