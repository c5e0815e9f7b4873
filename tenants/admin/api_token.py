"""API tokens. A new token's secret is in the answer to the form that made it, and nowhere else, ever."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import display_for_value
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from gateway_site.infra.admin import Admin, OneSaveMixin, badge
from tenants.admin.api_key import STATUS_KINDS
from tenants.admin.scope import NoShortcutsMixin, TenantOwnedForm, TenantOwnedMixin, standing_in
from tenants.api_tokens import create_token, offered_scopes
from tenants.models import ApiToken
from tenants.scopes import EVERYTHING

LABELS = {"read": "read", "write": "read and write"}


def label_of(scope: str) -> str:
    """A scope as people read it."""
    area, _, word = scope.partition(":")
    return "Everything" if scope == EVERYTHING else f"{area.capitalize()}: {LABELS.get(word, word)}"


class ApiTokenForm(TenantOwnedForm):
    scopes = forms.MultipleChoiceField(
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Of what its owner may do, what these say. Everything includes what is added later.",
    )

    def clean_expires_at(self) -> Any:
        moment = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise ValidationError("This is in the past.")
        return moment


@admin.register(ApiToken)
class ApiTokenAdmin(OneSaveMixin, NoShortcutsMixin, TenantOwnedMixin, Admin):
    form = ApiTokenForm
    list_display = ("name", "token_hint", "status_label", "tenant_name", "scope_list", "last_used_at", "expires_at")
    list_select_related = ("tenant",)
    list_filter = (("tenant", AutocompleteSelectFilter),)
    search_fields = ("name", "last_four")
    search_help_text = "Name, or how a token ends"
    ordering = ("-pk",)
    autocomplete_fields = ("tenant",)
    operator_fields = ("tenant", "tenant_name")
    fieldsets = (
        (None, {"fields": (("token_hint", "status_label"), "name", "tenant_name")}),
        ("What it may do", {"fields": ("scope_list", "end")}),
        ("History", {"fields": (("created_at", "created_by"), ("last_used_at", "revoked_at"))}),
    )
    add_fieldsets = (
        (None, {"fields": ("name", "tenant")}),
        ("What it may do", {"fields": ("scopes", "expires_at")}),
    )
    readonly_fields = (
        "token_hint",
        "status_label",
        "tenant_name",
        "scope_list",
        "end",
        "created_at",
        "created_by",
        "last_used_at",
        "revoked_at",
    )
    actions = ("revoke_selected",)
    actions_row = ("revoke",)
    actions_detail = ("revoke",)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        """What a token may do is fixed when it is made: whoever holds it cannot find it changed."""
        fixed = super().get_readonly_fields(request, obj)
        return fixed if obj is None else (*fixed, "name")

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """There is nothing to save of one that is made."""
        if kwargs.get("change"):
            context |= {"show_save": False, "show_save_and_continue": False, "show_save_and_add_another": False}
        return super().render_change_form(request, context, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if "scopes" in form.base_fields:
            standing = standing_in(request)
            offered = offered_scopes(request.user, standing, for_tenant=not standing.is_operator)
            form.base_fields["scopes"].choices = [(scope, label_of(scope)) for scope in offered]
        return form

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A token is revoked, and stays to be seen."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        token, secret = create_token(
            name=obj.name,
            scopes=form.cleaned_data["scopes"],
            tenant=obj.tenant,
            expires_at=obj.expires_at,
            created_by=request.user,  # type: ignore[arg-type]  # nobody else reaches a form
        )
        obj.pk = token.pk
        obj.refresh_from_db()
        obj.new_secret = secret  # lives as long as this request

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        origin = request.build_absolute_uri("/").rstrip("/")
        curl = f'curl {origin}/api/v1/tenants \\\n  -H "Authorization: Bearer {obj.new_secret}"'
        words = {"token": obj, "secret": obj.new_secret, "curl": curl}
        return self.show_once(request, "admin/tenants/apitoken/created.html", "Copy this token now", **words)

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[UnfoldAction]:
        """A token is revoked once."""
        is_revoked = ApiToken.objects.filter(pk=object_id, revoked_at__isnull=False).exists()
        return [] if is_revoked else super().get_actions_detail(request, object_id)

    @display(description="Token")
    def token_hint(self, token: ApiToken) -> str:
        return token.hint

    @display(description="Status")
    def status_label(self, token: ApiToken) -> str:
        return badge(token.status.capitalize(), STATUS_KINDS[token.status])

    @display(description="Reaches")
    def tenant_name(self, token: ApiToken) -> str:
        return "All tenants" if token.tenant is None else str(token.tenant)

    @display(description="May")
    def scope_list(self, token: ApiToken) -> str:
        return ", ".join(label_of(scope) for scope in token.scopes)

    @display(description="Expires at")
    def end(self, token: ApiToken) -> str:
        return str(display_for_value(token.expires_at, "Never"))

    @action(
        description="Revoke",
        icon="block",
        permissions=["change"],
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Revoke this token?",
            "description": "Requests with it are refused from now on. This cannot be undone.",
            "form_submit_text": "Revoke",
            "variant": "danger",
        },
    )
    def revoke(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self.act(request, [self.load(request, object_id)], ApiToken.revoke, "Revoked")
        return self.leave_dialog(request)

    @admin.action(description="Revoke selected API tokens", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        self.act(request, queryset.filter(revoked_at__isnull=True), ApiToken.revoke, "Revoked")
