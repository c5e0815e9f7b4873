"""Whose place somebody takes: an operator an owner's, and back; a member of several tenants one of theirs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST
from unfold.decorators import action
from unfold.forms import BaseDialogForm

from tenants.admin.scope import standing_in
from tenants.audit import audit
from tenants.models import Tenant
from tenants.standing import ACTS_AS, TENANT, may_act


class ActingMixin:
    """Lets operators take the place of a tenant's owner, from its page and from the list."""

    def has_act_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whoever may change a tenant can do all that its owner can."""
        return may_act(request.user)  # type: ignore[arg-type]

    @action(
        description="Act as owner",
        icon="supervisor_account",
        permissions=["act"],
        dialog={
            "title": "Act as an owner of this tenant?",
            "description": "You see what its owners see, and nothing else, until you stop. "
            "Everything you change is recorded in your own name.",
            "form_submit_text": "Act as owner",
        },
    )
    def act_as_owner(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        tenant = self.load(request, object_id)  # type: ignore[attr-defined]
        request.session[ACTS_AS] = tenant.pk
        note(request, tenant, "acted_as_owner", "Began to act as its owner.")
        return self.leave_dialog(request, reverse("admin:index"))  # type: ignore[attr-defined]


@require_POST
def stop_acting(request: HttpRequest) -> HttpResponse:
    """Be an operator again, at the tenant's page."""
    tenant = Tenant.objects.filter(pk=request.session.pop(ACTS_AS, None)).first()
    if tenant is None:
        return HttpResponseRedirect(reverse("admin:index"))
    note(request, tenant, "stopped_acting", "Stopped acting as its owner.")
    return HttpResponseRedirect(reverse("admin:tenants_tenant_change", args=[tenant.pk]))


@require_POST
def switch_tenant(request: HttpRequest) -> HttpResponse:
    """Look at another of one's tenants; whose member one is not, one cannot choose."""
    asked = request.POST.get("tenant", "")
    chosen = next((each for each in standing_in(request).choices if str(each.pk) == asked), None)
    if chosen is not None:
        request.session[TENANT] = chosen.pk
        messages.info(request, f"This is {chosen}.")
    return HttpResponseRedirect(reverse("admin:index"))


def note(request: HttpRequest, tenant: Tenant, verb: str, sentence: str) -> None:
    """Write it into the audit trail and into the tenant's history, in the operator's own name."""
    audit(verb, tenant)
    admin.site.get_model_admin(Tenant).log_change(request, tenant, sentence)
