"""OpenID Connect, stricter than allauth's own: the identity token's signature and nonce are checked, always.

Loaded with the first sign-in by this way: allauth's client brings `requests`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jwt
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers import registry
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.crypto import constant_time_compare, salted_hmac
from requests import RequestException

from gateway_site.sign_in.adapters import SSO

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")  # none with a shared key
CLAIMS = ("iss", "aud", "exp", "iat", "sub", "nonce")


def nonce_of(state: str) -> str:
    """The nonce that belongs to a state, which is in one session and good for one answer."""
    return salted_hmac("gateway_site.single_sign_on", state).hexdigest()[:40]


class Upstream(OpenIDConnectOAuth2Adapter):
    """The provider's side: its documents, its tokens."""

    @cached_property
    def openid_config(self) -> dict[str, Any]:
        """What the provider tells of itself; a page that says so where it tells nothing."""
        try:
            found = self._fetch(self.get_provider().server_url)
        except (RequestException, ValueError) as error:
            raise ImmediateHttpResponse(_unreachable(self.request)) from error
        if str(found.get("issuer", "")).rstrip("/") != settings.OIDC_ISSUER:
            raise ImmediateHttpResponse(_unreachable(self.request))
        return found

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> Any:
        """Read who it is from the identity token; from the provider's user info only what that leaves out."""
        claims = self._read(app, str(kwargs["response"].get("id_token") or ""))
        if "email" not in claims and self.openid_config.get("userinfo_endpoint"):
            more = self._fetch_user_info(token.token)
            if more.get("sub") != claims["sub"]:
                raise OAuth2Error("The user info is somebody else's.")
            claims = {**more, **claims}
        return self.get_provider().sociallogin_from_response(request, {"id_token": claims})

    def _read(self, app: Any, id_token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                id_token,
                self._key(id_token),
                algorithms=ALGORITHMS,
                audience=app.client_id,
                issuer=self.openid_config["issuer"],
                leeway=30,
                options={"require": list(CLAIMS)},
            )
        except (jwt.PyJWTError, KeyError, ValueError) as error:
            raise OAuth2Error("The identity token is not good.") from error
        if not constant_time_compare(claims["nonce"], nonce_of(self.request.GET.get("state", ""))):
            raise OAuth2Error("The identity token is for another request.")
        return claims

    def _key(self, id_token: str) -> jwt.PyJWK:
        wanted = jwt.get_unverified_header(id_token).get("kid")
        keys = jwt.PyJWKSet.from_dict(self._fetch(self.openid_config["jwks_uri"])).keys
        fitting = [key for key in keys if wanted is None or key.key_id == wanted]
        if len(fitting) != 1:
            raise OAuth2Error("The provider has no such key.")
        return fitting[0]

    def _fetch(self, url: str) -> dict[str, Any]:
        with get_adapter().get_requests_session() as session:
            response = session.get(url)
            response.raise_for_status()
            found: dict[str, Any] = response.json()
        return found


class Provider(OpenIDConnectProvider):
    """Our side: where people are sent, and what is read from what comes back."""

    oauth2_adapter_class = Upstream

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        """Nothing from the address but the way back: neither scopes, nor to connect accounts that are signed in."""
        chosen = super().get_redirect_from_request_kwargs(request)
        return {"process": "login", "next_url": chosen.get("next_url")}

    def redirect(
        self, request: HttpRequest, process: str, next_url: Any = None, data: Any = None, **kwargs: Any
    ) -> Any:
        self._parameters: dict[str, str] = {}
        return super().redirect(request, process, next_url, data, **kwargs, auth_params=self._parameters)

    def stash_redirect_state(self, *args: Any, **kwargs: Any) -> str:
        state: str = super().stash_redirect_state(*args, **kwargs)
        self._parameters["nonce"] = nonce_of(state)
        return state

    def extract_email_addresses(self, data: dict[str, Any]) -> Any:
        """Only `true` is true."""
        addresses = super().extract_email_addresses(data)
        for address in addresses:
            address.verified = address.verified is True
        return addresses


registry.register(Provider)


def start(request: HttpRequest) -> HttpResponse:
    """Send somebody to the provider."""
    return OAuth2LoginView.adapter_view(Upstream(request, SSO))(request)


def finish(request: HttpRequest) -> HttpResponse:
    """Take somebody in who comes back."""
    return OAuth2CallbackView.adapter_view(Upstream(request, SSO))(request)


def _unreachable(request: HttpRequest) -> HttpResponse:
    return render(request, "socialaccount/unreachable.html", {"name": settings.OIDC_NAME}, status=502)
