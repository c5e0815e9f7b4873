from __future__ import annotations

import zoneinfo
from functools import cache
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from gateway_site.infra.admin import Admin, badge
from gateway_site.infra.form_fields import LongSelect
from tenants.admin.acting import ActingMixin
from tenants.admin.api_key import ApiKeyRows
from tenants.admin.limits import TenantBudgetRows, TenantRateLimitRows
from tenants.admin.member import MemberRows
from tenants.admin.project import ProjectRows
from tenants.admin.scope import ScopedMixin, standing_in, without
from tenants.admin.tenant_deletion import DeletesWhatItHasMixin
from tenants.admin.tenant_overview import overview_context
from tenants.models import Tenant
from tenants.single_sign_on import why_not_required
from tenants.webhook_signature import make_secret


@cache
def _timezones() -> list[str]:
    return sorted(zoneinfo.available_timezones())  # of files: it looks through directories


class TenantForm(forms.ModelForm):
    request: HttpRequest | None = None  # set by `TenantAdmin.get_form`, of a class that is made for one request

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "timezone" in self.fields:
            self.fields["timezone"].widget = LongSelect(choices=[(name, name) for name in _timezones()])

    def clean_requires_sso(self) -> bool:
        """Nobody locks everybody out, themselves included."""
        is_required = bool(self.cleaned_data["requires_sso"])
        if is_required and not self.initial.get("requires_sso") and (reason := why_not_required(self.request)):
            raise ValidationError(reason)
        return is_required


class SuspendForm(BaseDialogForm):
    reason = forms.CharField(max_length=200, required=False, widget=UnfoldAdminTextInputWidget)


class SuspendedFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("suspended", "Suspended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> QuerySet[Tenant]:
        if self.value() not in {"active", "suspended"}:
            return queryset
        return queryset.filter(suspended_at__isnull=self.value() == "active")


@admin.register(Tenant)
class TenantAdmin(ActingMixin, DeletesWhatItHasMixin, ScopedMixin, Admin):
    tenant_path = "pk"
    operator_fields = ("unpriced_policy", "floor_input", "floor_output", "floor_currency", "without_valkey")
    operator_decides = ("slug", "allowed_models", "allows_catalogue", "translation_policy")
    form = TenantForm
    list_display = ("slug", "name", "status", "may_use", "timezone", "created_at")
    list_display_links = ("slug", "name")
    list_filter = (SuspendedFilter,)
    search_fields = ("slug", "name")
    search_help_text = "Slug or name"
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = ("status", "suspended_reason", "webhook_secret", "created_at")
    actions = ("suspend_selected", "resume_selected")
    actions_detail = ("add_api_key", "act_as_owner", "new_webhook_secret", "suspend", "resume")
    actions_list = ("export_csv",)
    csv_fields = ("slug", "name", "timezone", "suspended_at", "created_at")
    actions_row = ("add_api_key", "act_as_owner", "suspend", "resume")
    inlines = (ProjectRows, ApiKeyRows, TenantRateLimitRows, TenantBudgetRows, MemberRows)

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        status = (None, {"fields": (("status", "suspended_reason"),)})
        what = (None, {"fields": (("name", "slug"), "timezone")})
        floor = ("unpriced_policy", ("floor_input", "floor_output"), "floor_currency")
        uses = ("allowed_models", "allows_catalogue", "translation_policy", *floor, "without_valkey")
        may = ("What it may use", {"classes": ["tab"], "fields": uses})
        bodies = (
            ("audit_policy", "audit_retention_days"),
            ("audit_redacts_personal", "audit_redacts_media"),
        )
        responses = ("stores_responses", "response_retention_days")
        kept = ("What is kept of requests", {"classes": ["tab"], "fields": (*bodies, responses)})
        webhook = "alert_webhook" if obj is None else ("alert_webhook", "webhook_secret")
        alerts = ("Budget alerts", {"classes": ["tab"], "fields": ("alert_emails", webhook)})
        signing_in = ("Signing in", {"classes": ["tab"], "fields": (("requires_two_factor", "requires_sso"),)})
        fieldsets: tuple[Any, ...] = (what, may, kept, alerts, signing_in)
        fieldsets = fieldsets if obj is None else (status, *fieldsets)
        return fieldsets if standing_in(request).is_operator else without(fieldsets, self.operator_fields)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.request = request
        return form

    def get_inlines(self, request: HttpRequest, obj: Tenant | None) -> Any:
        """A tenant that does not exist yet has no keys to show."""
        return self.inlines if obj is not None else [rows for rows in self.inlines if rows is not ApiKeyRows]

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[UnfoldAction]:
        """Offer what makes sense: a suspended tenant is resumed, another one suspended."""
        is_suspended = Tenant.objects.filter(pk=object_id, suspended_at__isnull=False).exists()
        useless = "_suspend" if is_suspended else "_resume"
        actions = super().get_actions_detail(request, object_id)
        return [action for action in actions if not action.action_name.endswith(useless)]

    change_form_before_template = "admin/tenants/tenant/overview.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With how it stands at the top; who sends the form has seen that."""
        tenant = self.get_object(request, object_id) if request.method == "GET" else None
        if tenant is not None and self.has_view_permission(request, tenant):
            extra_context = {**(extra_context or {}), **overview_context(request, tenant)}
        return super().change_view(request, object_id, form_url, extra_context)

    @display(description="Status")
    def status(self, tenant: Tenant) -> str:
        return badge("Suspended", "danger") if tenant.is_suspended else badge("Active", "success")

    @display(description="May use")
    def may_use(self, tenant: Tenant) -> str:
        return ", ".join(tenant.allowed_models) if tenant.allowed_models else "Every global alias"

    def has_add_api_key_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether this user may make keys; unfold would look a dotted name up in the database at check time."""
        return request.user.has_perm("tenants.add_apikey")

    @display(description="Webhook's secret")
    def webhook_secret(self, tenant: Tenant) -> str:
        return badge("Set", "success") if tenant.has_alert_secret else badge("None", "warning")

    @action(description="New webhook secret", icon="vpn_key", permissions=["change"])
    def new_webhook_secret(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask first, then show the secret in the answer, so that it passes through no session and no URL."""
        tenant, secret = self.load(request, object_id), None
        if request.method == "POST":
            secret = make_secret()
            tenant.set_alert_secret(secret)
            self.log_change(request, tenant, "Made a new webhook secret.")
        title = "Copy this secret now" if secret else "Make a new webhook secret?"
        words = {"owner": tenant, "has_secret": tenant.has_alert_secret, "secret": secret}
        return self.show_once(request, "admin/tenants/webhook_secret.html", title, **words)

    @action(description="Add API key", icon="key", permissions=["add_api_key"])
    def add_api_key(self, request: HttpRequest, object_id: str) -> HttpResponse:
        url = reverse(f"{self.admin_site.name}:tenants_apikey_add")
        return HttpResponseRedirect(f"{url}?tenant={self.load(request, object_id).pk}")

    @action(
        description="Suspend",
        icon="pause",
        permissions=["operate"],
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Suspend this tenant?",
            "description": "All its keys are refused with 403 from now on, until it is resumed.",
            "form_class": SuspendForm,
            "form_submit_text": "Suspend",
            "variant": "danger",
        },
    )
    def suspend(self, request: HttpRequest, form: SuspendForm, object_id: str) -> HttpResponse:
        reason = form.cleaned_data["reason"]
        self.act(request, [self.load(request, object_id)], lambda tenant: tenant.suspend(reason), "Suspended")
        return self.leave_dialog(request)

    @action(
        description="Resume",
        icon="play_arrow",
        permissions=["operate"],
        dialog={
            "title": "Resume this tenant?",
            "description": "Its keys are accepted again.",
            "form_submit_text": "Resume",
        },
    )
    def resume(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self.act(request, [self.load(request, object_id)], Tenant.resume, "Resumed")
        return self.leave_dialog(request)

    @admin.action(description="Suspend selected tenants", permissions=["operate"])
    def suspend_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        self.act(request, queryset.filter(suspended_at__isnull=True), Tenant.suspend, "Suspended")

    @admin.action(description="Resume selected tenants", permissions=["operate"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        self.act(request, queryset.filter(suspended_at__isnull=False), Tenant.resume, "Resumed")
