"""What pages may load and do in a browser: headers for whatever Django serves that has none of its own.

`docs/decisions/0022-console-content-policy.md` says what the console needs, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from gateway_site.sign_in.rules import SIGN_IN_PAGES

PERMISSIONS = "camera=(), microphone=(), geolocation=(), payment=(), usb=(), publickey-credentials-get=(self)"
HEADER = "Content-Security-Policy"


def console_policy(*, goes_elsewhere: bool) -> str:
    """The policy of a page; `goes_elsewhere`: its forms may lead to another site, as single sign-on does."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self' 'unsafe-eval'",  # Alpine makes functions of what stands in attributes
            "style-src 'self' 'unsafe-inline'",  # unfold's colours, style attributes, htmx's indicator
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",  # WebSockets of this host included
            f"form-action 'self'{' https: http:' if goes_elsewhere else ''}",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "object-src 'none'",
        )
    )


@sync_and_async_middleware
def set_content_policy(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Give every answer of Django's a policy."""

    async def answer_async(request: HttpRequest) -> Any:
        return _dress(request, await get_response(request))

    def answer(request: HttpRequest) -> Any:
        return _dress(request, get_response(request))

    return answer_async if iscoroutinefunction(get_response) else answer


def _dress(request: HttpRequest, response: Any) -> Any:
    response.headers.setdefault("Permissions-Policy", PERMISSIONS)
    if request.path.startswith(SIGN_IN_PAGES):
        response.headers["Cache-Control"] = "no-store"
    if HEADER not in response.headers and not (settings.DEBUG and response.status_code >= 500):
        response.headers[HEADER] = console_policy(goes_elsewhere=_offers_sso(request))
    return response


def _offers_sso(request: HttpRequest) -> bool:
    return bool(settings.OIDC_ISSUER) and request.path.startswith(SIGN_IN_PAGES)
