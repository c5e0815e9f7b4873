"""The public pages: what this gateway is, how it is, its terms, and the script that sets tools up. Nobody signs in for them.

They set no cookies for readers, run no scripts but our own file, and work without PostgreSQL where they can. Links are
plain paths: `{% url %}` would load the console.
"""

from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any

import orjson
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_http_methods, require_safe

from gateway_site.health.endpoints import collector_of
from gateway_site.health.facts import breakers
from gateway_site.health.report import breaker_statistics
from gateway_site.public.status import UNKNOWN, Status, public_status
from tenants.legal import Page, accept, read_page
from tenants.models import LegalAcceptance, LegalDocument

type View = Callable[..., Any]

RUNTIME = "tollgate.runtime"  # in the ASGI scope
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
SCRIPT = Path(settings.BASE_DIR) / "templates" / "public" / "install.sh"

_remembered: dict[tuple[str, int | None], Page] = {}  # documents as they were read last, for when PostgreSQL is away
MOST_REMEMBERED = 20


def public_page(view: View) -> View:
    """Give a page's answers the headers that all public pages have."""

    def dress(response: HttpResponse) -> HttpResponse:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Cache-Control", "no-cache")
        return response

    if iscoroutinefunction(view):

        @wraps(view)
        async def answer_later(request: HttpRequest, **arguments: Any) -> HttpResponse:
            return dress(await view(request, **arguments))

        return answer_later

    @wraps(view)
    def answer(request: HttpRequest, **arguments: Any) -> HttpResponse:
        return dress(view(request, **arguments))

    return answer


# --- Home and status ---------------------------------------------------------------------------------------


@public_page
@require_safe
async def home(request: HttpRequest) -> HttpResponse:
    """What this is, how to connect, and how it is."""
    return render(request, "public/home.html", {"status": await _status(request), "origin": origin(request)})


@public_page
@require_safe
async def status(request: HttpRequest) -> HttpResponse:
    """How it is; 503 while this worker can serve nobody, as /health."""
    found = await _status(request)
    return render(request, "public/status.html", {"status": found}, status=503 if found.state == "down" else 200)


async def _status(request: HttpRequest) -> Status:
    runtime = getattr(request, "scope", {}).get(RUNTIME)
    if runtime is None:
        return UNKNOWN
    collector = collector_of(runtime)
    _, content = await collector.document("health")
    named = breaker_statistics(breakers(await collector.facts())) if settings.STATUS_NAMES_PROVIDERS else ()
    return public_status(orjson.loads(content), named)


def origin(request: HttpRequest) -> str:
    """The address that this request was sent to: letters, digits and .:[]- alone, or Django raises DisallowedHost (400)."""
    return f"{request.scheme}://{request.get_host()}"


# --- Terms and privacy -------------------------------------------------------------------------------------


@public_page
@require_http_methods(["GET", "HEAD", "POST"])
def legal(request: HttpRequest, kind: str, number: int | None = None) -> HttpResponse:
    """A document; members of a tenant that are signed in can accept the version that is in force."""
    try:
        if request.method == "POST":
            return _accept(request, kind)
        page = read_page(kind, number)
        context = {"page": page, **_reader(request, page)}
    except (DatabaseError, InterfaceError):
        return _without_database(request, kind, number)
    if page is None:
        raise Http404("There is no such version.")
    _remember((kind, number), page)
    response = render(request, "public/legal.html", context)
    patch_vary_headers(response, ["Cookie"])
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _without_database(request: HttpRequest, kind: str, number: int | None) -> HttpResponse:
    """What this worker has read last. Not the text that ships: the operator may have published another."""
    page = _remembered.get((kind, number))
    if page is not None and request.method != "POST":
        return render(request, "public/legal.html", {"page": page})
    response = render(request, "public/legal_away.html", status=503)
    response.headers["Retry-After"] = "30"
    return response


def _remember(name: tuple[str, int | None], page: Page) -> None:
    if len(_remembered) >= MOST_REMEMBERED:
        _remembered.clear()
    _remembered[name] = page


def _reader(request: HttpRequest, page: Page | None) -> dict[str, Any]:
    """What there is to say to whoever reads it: that they have accepted it, or that they can."""
    if page is None or not page.number or not page.is_current or settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return {}
    user: Any = request.user
    if not user.is_authenticated or not user.memberships.exists():
        return {}
    accepted = LegalAcceptance.objects.filter(
        user=user, document__kind=page.kind, document__version=page.number
    ).first()
    return {"accepted": accepted, "can_accept": accepted is None}


def _accept(request: HttpRequest, kind: str) -> HttpResponse:
    user: Any = request.user
    version = request.POST.get("version", "")
    if not user.is_authenticated or not user.memberships.exists():
        return HttpResponse("Sign in as a member of a tenant.", status=403, content_type="text/plain")
    number = int(version) if version.isdecimal() and len(version) < 10 else 0
    found = LegalDocument.objects.filter(kind=kind, version=number).first()
    try:
        if found is None:
            raise ValueError("There is no such version.")
        accept(user=user, document=found)
    except ValueError as error:
        return HttpResponse(str(error), status=409, content_type="text/plain")
    return HttpResponseRedirect(f"/{kind}")


# --- The script --------------------------------------------------------------------------------------------


@public_page
@require_safe
def install_script(request: HttpRequest) -> HttpResponse:
    """The script that sets Claude Code and Codex up, with the address that it was asked of in it."""
    return HttpResponse(_script().replace("@@URL@@", origin(request)), content_type="text/plain; charset=utf-8")


@cache
def _script() -> str:
    return SCRIPT.read_text(encoding="utf-8")
