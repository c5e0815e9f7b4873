"""GET /api/v1/audit-events: the audit trail, for operators the whole, for tenants their own."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from tenants.admin.audit import told_changes, told_detail
from tenants.api.access import permit, standing_in, visible
from tenants.api.errors import PROBLEMS, not_found
from tenants.api.paging import Page, check_parameters, page_of
from tenants.api.resource import named
from tenants.api.schema import Text, aware
from tenants.models import AuditEvent

router = Router(tags=["audit-events"])
PERMISSION = "tenants.view_auditevent"
EXACT = {
    "tenant": "tenant__slug",
    "actor": "actor",
    "action": "action",
    "object_type": "object_type",
    "object_id": "object_id",
    "via": "via",
}


class EventQuery(Page):
    """Which events."""

    from_: datetime | None = Field(None, alias="from", description="Not before this moment.")
    to: datetime | None = Field(None, description="Before this moment.")
    tenant: Text = Field("", description="Only of this tenant: its slug.")
    actor: Text = Field("", description="Only by this user, API token or command.")
    action: Text = Field("", description="Such as created, changed, deleted, revoked, suspended.")
    object_type: Text = Field("", description="Such as tenants.apikey.")
    object_id: Text = ""
    via: Text = Field("", description="console, api_token, command or task.")


class Event(Schema):
    """What somebody did to an object."""

    id: int
    at: datetime
    actor: str = Field(description="The user, the API token or the command.")
    user_id: int | None
    via: str
    acting_for_id: int | None = Field(description="An operator did it in the place of this tenant's owner.")
    tenant_id: int | None
    action: str
    object_type: str
    object_id: str
    object: str
    changes: dict[str, Any] = Field(description="By field: before and after. Secrets are never shown.")
    detail: dict[str, Any]
    correlation_id: str
    remote_address: str = Field("", description="For operators.")


class EventPage(Schema):
    """A page of the trail."""

    items: list[Event]
    next: str | None = Field(description="For `after`; null: that was the last page.")


@router.get(
    "/audit-events",
    response={200: EventPage, **PROBLEMS},
    summary="The audit trail, newest first",
    operation_id="list_audit_events",
    exclude_unset=True,
)
def list_events(request: HttpRequest, response: HttpResponse, asked: Query[EventQuery]) -> Any:
    """Who did what to which object, and what it was before and after."""
    permit(request, PERMISSION)
    check_parameters(request, {"limit", "after", "from", "to", *EXACT})
    rows = visible(request, AuditEvent.objects.all(), "tenant")
    for name, lookup in EXACT.items():
        if name in request.GET:
            rows = rows.filter(**{lookup: request.GET[name]})
    if asked.from_ is not None:
        rows = rows.filter(at__gte=aware(asked.from_))
    if asked.to is not None:
        rows = rows.filter(at__lt=aware(asked.to))
    found, following = page_of(request, response, rows, asked, ("-at", "-id"))
    return {"items": [_shown(request, event) for event in found], "next": following}


@router.get(
    "/audit-events/{ref}",
    response={200: Event, **PROBLEMS},
    summary="One event of the audit trail",
    operation_id="get_audit_event",
    exclude_unset=True,
)
def get_event(request: HttpRequest, ref: str) -> Any:
    permit(request, PERMISSION)
    check_parameters(request, set())
    found = named(visible(request, AuditEvent.objects.all(), "tenant"), None, ref)
    if found is None:
        raise not_found("event", ref)
    return _shown(request, found)


def _shown(request: HttpRequest, event: AuditEvent) -> dict[str, Any]:
    names = set(Event.model_fields) - {"object", "remote_address", "changes", "detail"}
    is_operator = standing_in(request).is_operator
    shown = {name: getattr(event, name) for name in names} | {"object": event.object_repr}
    shown |= {
        "changes": told_changes(event, whole=is_operator),
        "detail": told_detail(event, whole=is_operator),
    }
    return shown | {"remote_address": event.remote_address} if is_operator else shown
