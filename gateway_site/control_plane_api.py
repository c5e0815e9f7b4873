"""The REST API of the console, /api/v1: all that the console edits, for its sessions and for API tokens.

Loaded with the console's first page. Sessions send, as the console's forms do, the CSRF token. What is seen and may be
done is decided by the same standing and permissions as in the console. Errors are written in one shape (`errors.py`).
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any

from django.contrib.auth.decorators import user_passes_test
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import etag
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.views import openapi_json
from ninja.responses import Response

from gateway_site import __version__
from routing.api import (
    console_alerts,
    console_limits,
    console_people,
    console_revisions,
    console_routes,
    console_tenants,
    console_upstreams,
    dry_run,
)
from tenants import report_api
from tenants.api import audit_events, usage_records
from tenants.api.access import ConsoleSession, TokenBearer
from tenants.api.errors import Refused
from tenants.standing import standing_of

CODES = {401: "not_signed_in", 403: "forbidden", 404: "not_found"}
DESCRIPTION = """
All that the console edits. Objects and their fields are called as in the configuration's YAML (`gateway.example.yaml`).

Authenticate with an API token, `Authorization: Bearer tgat_…`, made in the console under *API tokens*, or with the console's
session. A tenant's token sees and changes what is that tenant's, and nothing else is there.

Lists are pages: `limit` and `after`; `next` and the header `Link` lead on. PATCH changes what is said, PUT brings an
object to what is said. `If-Match` with an `ETag` guards against changes meanwhile (412). A field that nobody knows is
refused (422).
"""


def for_somebody(view: Any) -> Callable[..., HttpResponse]:
    """Show documentation to whoever has something to do here."""
    shown = show_description if view.func is openapi_json else view
    return user_passes_test(lambda user: standing_of(user).is_somebody, login_url="admin:login")(shown)


@cache
def description() -> tuple[bytes, str]:
    """Return openapi.json and its tag: made once in each process, for that takes seconds."""
    content = Response(control_plane.get_openapi_schema()).content
    return content, f'"{sha256(content).hexdigest()[:32]}"'


@etag(lambda request: description()[1])
def show_description(request: HttpRequest) -> HttpResponse:
    """Answer openapi.json; nothing, to who has it already."""
    return HttpResponse(
        description()[0], content_type="application/json", headers={"cache-control": "private, no-cache"}
    )


control_plane = NinjaAPI(
    title="Tollgate control plane",
    version=__version__,
    description=DESCRIPTION,
    urls_namespace="control_plane",
    docs_url="/docs",
    openapi_url="/openapi.json",
    docs_decorator=for_somebody,
    auth=[TokenBearer(), ConsoleSession()],
)
for module in (
    console_tenants,
    console_limits,
    console_alerts,
    console_people,
    console_upstreams,
    console_routes,
    console_revisions,
    dry_run,
    report_api,
    usage_records,
    audit_events,
):
    control_plane.add_router("/v1", module.router)


@control_plane.exception_handler(ValidationError)
def refuse_fields(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Name every field that is wrong."""
    fields = [{"field": _name(each["loc"]), "message": each["msg"]} for each in error.errors]
    message = "; ".join(f"{each['field']}: {each['message']}" for each in fields)
    return _refuse(request, 422, "invalid_request", message, fields=fields)


@control_plane.exception_handler(AuthenticationError)
def refuse_stranger(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    """Nobody is signed in, or nobody that has anything to do here."""
    return _refuse(request, 401, "not_signed_in", "Sign in to the console, or send an API token.")


@control_plane.exception_handler(Refused)
def refuse_otherwise(request: HttpRequest, error: Refused) -> HttpResponse:
    """What our own routes refuse."""
    return _refuse(request, error.status, error.code, error.message, fields=error.fields)


@control_plane.exception_handler(IntegrityError)
def refuse_late_comer(request: HttpRequest, error: IntegrityError) -> HttpResponse:
    """Two asked for what there may be once, or for what the other took away, and this was the slower one."""
    return _refuse(request, 409, "conflict", "Somebody else has changed this at the same moment: look at it again.")


@control_plane.exception_handler(HttpError)
def refuse(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Answer whatever else an operation refuses, in the same shape."""
    return _refuse(request, error.status_code, CODES.get(error.status_code, "invalid_request"), str(error))


def _refuse(request: HttpRequest, status: int, word: str, message: str, **more: Any) -> HttpResponse:
    content = {"error": {"code": word, "message": message, "fields": [], **more}}
    return control_plane.create_response(request, content, status=status)


def _name(location: tuple[Any, ...]) -> str:
    """Return a field's path without where it was looked for."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part not in ROOTS]
    return "".join(parts).removeprefix(".") or "body"


ROOTS = frozenset({"body", "asked", "query", "path"})
