"""Invitations: an address, a role, and a link that is mailed, or shown once where no e-mails are sent."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from gateway_site.infra.admin import Admin, OneSaveMixin, Overtaken, badge
from tenants.admin.scope import TenantOwnedForm, TenantOwnedMixin
from tenants.invitations import InvitationRefused, Issued, invite, is_invited, is_member, mail, renew, withdraw
from tenants.models import Invitation
from tenants.outbox import NO_EMAILS

KINDS = {"waiting": "info", "accepted": "success", "withdrawn": "danger", "expired": "warning"}


class InvitationForm(TenantOwnedForm):
    """An address is invited once, and not at all where it is a member."""

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).strip().lower()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()  # type: ignore[assignment]
        tenant, email = cleaned.get("tenant") or self.only_tenant, cleaned.get("email")
        if tenant is None or not email or self.instance.pk is not None:
            return cleaned
        if is_member(tenant, email):
            raise ValidationError({"email": f"{email} is a member already."})
        if is_invited(tenant, email):
            words = f"{email} has an invitation already: send that one again, or withdraw it."
            raise ValidationError({"email": words})
        return cleaned


@admin.register(Invitation)
class InvitationAdmin(OneSaveMixin, TenantOwnedMixin, Admin):
    form = InvitationForm
    list_display = ("email", "tenant", "role_label", "state_label", "invited_by", "expires_at")
    list_select_related = ("tenant", "invited_by")
    list_filter = (("tenant", AutocompleteSelectFilter),)
    search_fields = ("email", "tenant__slug", "tenant__name")
    search_help_text = "Address or tenant"
    autocomplete_fields = ("tenant",)
    actions = None
    actions_row = ("send_again", "withdraw")
    actions_detail = ("send_again", "withdraw")
    readonly_fields = ("state_label", "invited_by", "accepted_by", "created_at", "expires_at", "mailed_at")
    fieldsets = (
        (None, {"fields": ("tenant", ("email", "role"), "state_label")}),
        ("History", {"fields": (("created_at", "invited_by"), ("mailed_at", "expires_at"), "accepted_by")}),
    )
    add_fieldsets = ((None, {"fields": ("tenant", ("email", "role"))}),)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits one: it is sent again, or withdrawn."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_invite_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whoever may invite may send again and withdraw what they see."""
        return self.has_add_permission(request) and self.is_shown(request, object_id)

    @display(description="Role", ordering="role", label={"owner": "primary", "developer": "info"})
    def role_label(self, invitation: Invitation) -> tuple[str, str]:
        return invitation.role, invitation.get_role_display()

    @display(description="State")
    def state_label(self, invitation: Invitation) -> str:
        return badge(invitation.state.label, KINDS[invitation.state.value])

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        by: Any = request.user
        try:
            issued = invite(tenant=obj.tenant, email=obj.email, role=obj.role, by=by)
        except InvitationRefused as error:
            raise Overtaken(str(error)) from error  # the form knew better a moment ago
        obj.pk = issued.invitation.pk
        obj.refresh_from_db()
        obj.issued = issued  # lives as long as this request

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return self._hand_over(request, obj.issued)

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[UnfoldAction]:
        """What is over is over."""
        found = Invitation.objects.filter(pk=object_id).first()
        return super().get_actions_detail(request, object_id) if found is not None and found.is_open else []

    @action(description="Send again", icon="forward_to_inbox", permissions=["invite"])
    def send_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask first; the link before is void then."""
        invitation = self.load(request, object_id)
        if request.method != "POST":
            return self._page(request, "Send this invitation again?", invitation=invitation)
        try:
            issued = renew(invitation)
        except InvitationRefused as error:
            return self._refuse(request, error)
        self.log_change(request, invitation, "Sent again.")
        return self._hand_over(request, issued)

    @action(
        description="Withdraw",
        icon="block",
        permissions=["invite"],
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Withdraw this invitation?",
            "description": "Its link works no longer.",
            "form_submit_text": "Withdraw",
            "variant": "danger",
        },
    )
    def withdraw(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        try:
            self.act(request, [self.load(request, object_id)], withdraw, "Withdrawn")
        except InvitationRefused as error:
            self.message_user(request, str(error), "error")
        return self.leave_dialog(request)

    def _hand_over(self, request: HttpRequest, issued: Issued) -> HttpResponse:
        """Mail the link; where that does not work show it in this answer, once, and say why."""
        link = request.build_absolute_uri(reverse("open_invitation", args=[issued.token]))
        if mail(issued.invitation, link):
            self.message_user(request, f"The invitation is on its way to {issued.invitation.email}.")
            return HttpResponseRedirect(self._list())
        reason = (
            "The mail server did not take the e-mail, or there were too many within the hour."
            if settings.EMAIL_HOST
            else NO_EMAILS
        )
        return self._page(request, "Copy this link now", invitation=issued.invitation, link=link, reason=reason)

    def _refuse(self, request: HttpRequest, error: InvitationRefused) -> HttpResponse:
        self.message_user(request, str(error), "error")
        return HttpResponseRedirect(self._list())

    def _list(self) -> str:
        return reverse(f"{self.admin_site.name}:tenants_invitation_changelist")

    def _page(self, request: HttpRequest, title: str, **words: Any) -> HttpResponse:
        return self.show_once(request, "admin/tenants/invitation/link.html", title, list=self._list(), **words)
