"""Who may require single sign-on of a tenant's members: nobody who would lock all of them out with it."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from tenants.standing import standing_of

METHODS = "account_authentication_methods"  # in the session: allauth's record of how it has signed in
BY_SSO = "socialaccount"

THERE_IS_NONE = "This gateway has no single sign-on: nobody could sign in any more."
SIGN_IN_BY_IT = "Sign in by single sign-on yourself first: that shows that it lets you in."


def why_not_required(request: Any) -> str:
    """Return why whoever asks may not require it now; empty: they may.

    Operators are not bound by it, and can take it back; a member has to have come by it, which no token has.
    """
    if not settings.OIDC_ISSUER:
        return THERE_IS_NONE
    standing = standing_of(request.user)
    if standing.is_operator or standing.is_acting:
        return ""
    session = getattr(request, "session", None) if getattr(request.user, "via", "") != "api_token" else None
    methods = {record.get("method") for record in (session or {}).get(METHODS) or ()}
    return "" if BY_SSO in methods else SIGN_IN_BY_IT
