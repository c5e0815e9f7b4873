"""What a session must have behind it before it sees the console: its age, single sign-on, a second factor.

Loaded by every worker: nothing heavy here. `turned_away` is for whoever lets people in by another way than a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from enum import StrEnum
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.decorators import sync_and_async_middleware
from django.utils.http import urlencode

from tenants.sessions import note
from tenants.single_sign_on import BY_SSO, METHODS
from tenants.standing import standing_of

SIGNED_IN_AT = "signed_in_at"
SEEN_AT = "seen_at"
SEEN_EVERY = 60  # seconds in which it is noted once that somebody is still there

CONSOLE = ("/admin/", "/api/")
LOGIN = "/admin/login/"
REQUIRED = "/admin/security/required/"
OPEN_WHATEVER_IS_MISSING = (
    LOGIN,
    "/admin/logout/",
    "/admin/security/",
    "/admin/jsi18n/",
    "/admin/tenant/",
    "/admin/acting/",
)
SIGN_IN_PAGES = (LOGIN, "/admin/security/", "/admin/logout/", "/invitation/")


SECURITY = "mfa_index"
TITLES = {
    "account_inactive": "Switched off",
    "mfa_authenticate": "Second factor",
    "account_reset_password": "Forgotten password",
    "account_reset_password_done": "A link is on its way",
    "account_reset_password_from_key": "New password",
    "account_reset_password_from_key_done": "Password changed",
    SECURITY: "Security",
    "account_reauthenticate": "Is it you?",
    "mfa_reauthenticate": "Is it you?",
    "mfa_reauthenticate_webauthn": "Is it you?",
    "account_change_password": "Change password",
    "account_set_password": "Set a password",
    "mfa_activate_totp": "Authenticator app",
    "mfa_deactivate_totp": "Remove the authenticator app",
    "mfa_view_recovery_codes": "Recovery codes",
    "mfa_generate_recovery_codes": "New recovery codes",
    "usersessions_list": "Sessions",
    "mfa_list_webauthn": "Passkeys",
    "mfa_add_webauthn": "Add a passkey",
    "mfa_edit_webauthn": "Rename a passkey",
    "mfa_remove_webauthn": "Remove a passkey",
}


class Demand(StrEnum):
    """What somebody has to do before anything is shown."""

    SIGN_IN_AGAIN = "sign_in_again"
    SINGLE_SIGN_ON = "single_sign_on"
    ENROL = "enrol"
    SECOND_FACTOR = "second_factor"


SENTENCES = {
    Demand.SIGN_IN_AGAIN: "Your session has ended. Sign in again.",
    Demand.SINGLE_SIGN_ON: "This tenant lets people in by single sign-on only.",
    Demand.ENROL: "A second factor is required here. Set one up first.",
    Demand.SECOND_FACTOR: "A second factor is required here. Confirm it first.",
}


# --- Decisions ---------------------------------------------------------------------------------------------


def demand(
    *, needs_sso: bool, needs_second_factor: bool, methods: set[str], has_second_factor: Callable[[], bool]
) -> Demand | None:
    """Return what a session lacks that has signed in by these methods."""
    if needs_sso and BY_SSO not in methods:
        return Demand.SINGLE_SIGN_ON
    if not needs_second_factor:
        return None
    if not has_second_factor():
        return Demand.ENROL
    return None if "mfa" in methods else Demand.SECOND_FACTOR


def is_over(*, signed_in_at: float, seen_at: float, now: float, longest: float, idle: float) -> bool:
    """Whether a session is too old, or was left alone for too long."""
    return now - signed_in_at > longest or now - seen_at > idle


# --- Sessions ----------------------------------------------------------------------------------------------


def turned_away(user: Any, session: MutableMapping[str, Any]) -> Demand | None:
    """Return what is missing before this user may see the console through this session."""
    if not user.is_authenticated:
        return None
    if _is_over(session):
        return Demand.SIGN_IN_AGAIN
    standing = standing_of(user)
    # Whoever operates the gateway obeys its setting; members obey the tenant that they look at.
    tenant = None if user.is_staff else standing.tenant
    return demand(
        needs_sso=tenant is not None and tenant.requires_sso,
        needs_second_factor=settings.CONSOLE_REQUIRES_TWO_FACTOR if user.is_staff else _requires_second_factor(tenant),
        methods={record.get("method") for record in session.get(METHODS) or ()},
        has_second_factor=lambda: has_second_factor(user),
    )


def has_second_factor(user: Any) -> bool:
    """Whether somebody has an authenticator app or a passkey."""
    return bool(user.authenticator_set.exclude(type="recovery_codes").exists())


def note_sign_in(sender: Any, request: Any, user: Any, **more: Any) -> None:
    """Write down when a session began; for the signal that somebody has signed in."""
    if request is not None and hasattr(request, "session"):
        request.session[SIGNED_IN_AT] = request.session[SEEN_AT] = int(time.time())
        note(request)


def _requires_second_factor(tenant: Any) -> bool:
    return tenant is not None and tenant.requires_two_factor


def _is_over(session: MutableMapping[str, Any]) -> bool:
    now = time.time()
    return is_over(
        signed_in_at=session.get(SIGNED_IN_AT, now),
        seen_at=session.get(SEEN_AT, now),
        now=now,
        longest=settings.SESSION_COOKIE_AGE,
        idle=settings.SESSION_IDLE_SECONDS,
    )


def _note_presence(request: HttpRequest) -> None:
    now, session = int(time.time()), request.session
    if now - session.get(SEEN_AT, 0) >= SEEN_EVERY:
        session[SEEN_AT] = now
        session.setdefault(SIGNED_IN_AT, now)
        note(request)


# --- Requests ----------------------------------------------------------------------------------------------


@sync_and_async_middleware
def keep_sign_in_rules(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Let nobody see a page of the console whose session lacks something."""

    async def answer_async(request: HttpRequest) -> Any:
        refusal = await sync_to_async(_refuse)(request) if request.path.startswith(CONSOLE) else None
        return refusal or await get_response(request)

    def answer(request: HttpRequest) -> Any:
        refusal = _refuse(request) if request.path.startswith(CONSOLE) else None
        return refusal or get_response(request)

    return answer_async if iscoroutinefunction(get_response) else answer


def _refuse(request: HttpRequest) -> HttpResponse | None:
    user: Any = request.user
    if not user.is_authenticated:
        return None
    missing = turned_away(user, request.session)
    if missing is Demand.SIGN_IN_AGAIN:
        request.session.flush()
        return _send(request, missing, f"{LOGIN}?{urlencode({'next': _way_back(request), 'ended': '1'})}")
    _note_presence(request)
    if missing is None or request.path.startswith(OPEN_WHATEVER_IS_MISSING):
        return None
    return _send(request, missing, f"{REQUIRED}?{urlencode({'next': _way_back(request)})}")


def _way_back(request: HttpRequest) -> str:
    return request.get_full_path() if request.method == "GET" else "/admin/"


def _send(request: HttpRequest, missing: Demand, url: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        error = {"code": missing.value, "message": SENTENCES[missing]}
        return JsonResponse({"error": error}, status=403)
    if "HX-Request" in request.headers:
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)


def console_around(request: HttpRequest) -> dict[str, Any]:
    """What unfold's layouts want to know, for the pages around signing in, which are not the console's own."""
    if not request.path.startswith(SIGN_IN_PAGES):
        return {}
    from django.contrib import admin

    user: Any = request.user
    is_inside = user.is_authenticated and standing_of(user).is_somebody and turned_away(user, request.session) is None
    name = getattr(request.resolver_match, "url_name", None) or ""
    is_below = is_inside and name != SECURITY and request.path.startswith(reverse(SECURITY))
    return {
        **admin.site.each_context(request),
        "layout": "admin/base_site.html" if is_inside else "unfold/layouts/unauthenticated.html",
        "is_inside": is_inside,
        "title": TITLES.get(name, "Sign in"),
        "parent": {"title": TITLES[SECURITY], "link": reverse(SECURITY)} if is_below else None,
        "sso_name": settings.OIDC_NAME if settings.OIDC_ISSUER else "",
        "sends_mail": bool(settings.EMAIL_HOST),
    }
