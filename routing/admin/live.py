"""The page /admin/live/: what is under way, second by second, and a button that stops it."""

from __future__ import annotations

from secrets import token_hex
from time import monotonic
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_POST

from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from routing.live import CHANNEL, NOT_MINE, STOPPED_KEY, Stopped, decode_stopped, stop_message
from routing.live_rights import may_stop, seat_of
from tenants.admin.scope import standing_in
from tenants.audit import audit
from tenants.models import Tenant

TITLE = "Live"
TILES = (  # name, label, and what is said below
    ("in_flight", "In flight", ""),
    ("requests", "Requests per second", "answered"),
    ("tokens", "Tokens per second", "written"),
    ("errors", "Errors per second", ""),
)
ANSWER_SECONDS = 4  # how long workers may take to say whether it was theirs
NOT_UNDER_WAY = "This request is not under way any more, or cannot be stopped."


def live_page(request: HttpRequest) -> HttpResponse:
    """Show the page, which a socket fills; for whoever may see requests."""
    user: Any = request.user
    seat = seat_of(user)
    if seat is None:
        raise PermissionDenied
    context = {
        **admin.site.each_context(request),
        "title": TITLE,
        "tiles": TILES,
        "tenant": standing_in(request).tenant,
        "sees_tenants": seat.tenant_id is None,
        "sees_upstreams": seat.sees_upstreams or seat.tenant_id is not None,
        "sees_workers": seat.sees_upstreams,
        "may_stop": may_stop(user),
    }
    return TemplateResponse(request, "admin/live.html", context)


@require_POST
def stop(request: HttpRequest, request_id: str) -> JsonResponse:
    """Stop a request under way: an operator any, a member their tenant's; says what was stopped."""
    user: Any = request.user
    seat = seat_of(user)
    if seat is None or not may_stop(user):
        raise PermissionDenied
    try:
        stopped = ask_to_stop(request_id, seat.tenant_id)
    except StoreUnavailable:
        return JsonResponse({"error": "Valkey cannot be reached, and without it no worker."}, status=503)
    if stopped is None:
        return JsonResponse({"error": NOT_UNDER_WAY}, status=404)
    note(stopped)
    return JsonResponse({"stopped": stopped.request_id})


def ask_to_stop(request_id: str, tenant_id: int | None) -> Stopped | None:
    """Ask all workers, one of which may have the request; None: none has, for this tenant."""
    if not request_id.isalnum():
        return None
    question = token_hex(8)
    key, until = STOPPED_KEY + question, monotonic() + ANSWER_SECONDS
    with valkey.connect(settings.VALKEY_URL) as client:
        waiting: Any = client.publish(CHANNEL, stop_message(request_id, tenant_id, question))  # so many hear it
        while waiting > 0 and (left := until - monotonic()) > 0:
            answer: Any = client.blpop([key], timeout=left)
            if answer is None:
                return None
            if answer[1] != NOT_MINE:
                return decode_stopped(answer[1])
            waiting -= 1
    return None


def note(stopped: Stopped) -> None:
    """Put it into the audit trail."""
    audit(
        "request_stopped",
        Tenant.objects.filter(pk=stopped.tenant_id).first(),
        request_id=stopped.request_id,
        key=stopped.key,
        model=stopped.alias,
        deployment=stopped.deployment,
        worker=stopped.worker,
    )
