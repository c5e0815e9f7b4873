"""The REST API of the console, below /api/: for operators that are signed in. Loaded with the console's first page.

It takes the console's session and, as its forms do, the CSRF token. Errors are `{"error": {"code", "message"}}`.
"""

from typing import Any

from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.security import SessionAuthIsStaff

from gateway_site import __version__
from routing.api import dry_run
from tenants import report_api

CODES = {403: "forbidden", 404: "not_found"}

control_plane = NinjaAPI(
    title="Tollgate control plane",
    version=__version__,
    urls_namespace="control_plane",
    docs_url="/docs",
    openapi_url="/openapi.json",
    docs_decorator=staff_member_required,
    auth=SessionAuthIsStaff(),
)
control_plane.add_router("/v1", dry_run.router)
control_plane.add_router("/v1", report_api.router)


@control_plane.exception_handler(ValidationError)
def refuse_fields(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Name every field that is wrong."""
    fields = [{"field": _name(each["loc"]), "message": each["msg"]} for each in error.errors]
    message = "; ".join(f"{each['field']}: {each['message']}" for each in fields)
    return _refuse(request, 422, "invalid_request", message, fields=fields)


@control_plane.exception_handler(AuthenticationError)
def refuse_stranger(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    """Nobody is signed in, or nobody that operates the gateway."""
    return _refuse(request, 401, "not_signed_in", "Sign in to the console as an operator.")


@control_plane.exception_handler(HttpError)
def refuse(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Everything else."""
    return _refuse(request, error.status_code, CODES.get(error.status_code, "invalid_request"), str(error))


def _refuse(request: HttpRequest, status: int, word: str, message: str, **more: Any) -> HttpResponse:
    content = {"error": {"code": word, "message": message, **more}}
    return control_plane.create_response(request, content, status=status)


def _name(location: tuple[Any, ...]) -> str:
    """Return a field's name without where it was looked for."""
    parts = [str(part) for part in location if part not in {"body", "asked"}]
    return ".".join(parts) or "body"
