"""How allauth signs people in here: nobody signs up, secrets are encrypted, single sign-on finds whom it may let in."""

from __future__ import annotations

import time
from typing import Any

from allauth.account import app_settings as account_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import render

from gateway_site.infra import secrets
from tenants.invitations import InvitationRefused, accept
from tenants.models import Invitation, User

SSO = "sso"

NOT_VERIFIED = "{name} does not vouch for your e-mail address. Verify it there, then sign in again."
NOBODY = (
    "{name} knows you as {email}, and nobody here has this address. Ask for an invitation, "
    "or sign in with your password if you have one."
)
SEVERAL = "More than one account here has the address {email}. Ask an operator to make it one."
NOT_OURS = (
    "The account with the address {email} was made through a link that was handed over, so the address is not proven. "
    "Sign in with its password, or ask an operator to confirm the address."
)


class AccountAdapter(DefaultAccountAdapter):
    """What allauth asks about accounts with passwords."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": "The name or the password is not right.",
        "email_password_mismatch": "The name or the password is not right.",
        "too_many_login_attempts": "Too many attempts. Wait a few minutes, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Who asks; behind a socket without addresses all are one."""
        return str(request.META.get("REMOTE_ADDR") or "127.0.0.1")

    def is_reauthentication_required(self, *, app: str) -> bool:
        """Whether somebody has to prove who they are: not in the first minutes after they did."""
        request = context.request
        latest = max((record["at"] for record in get_authentication_records(request, request.user)), default=0.0)
        return time.time() - latest > account_settings.REAUTHENTICATION_TIMEOUT

    def send_password_reset_mail(self, user: Any, email: str, context: dict[str, Any]) -> None:
        """Send it to who has a password: who comes by single sign-on needs none."""
        if user.has_usable_password():
            super().send_password_reset_mail(user, email, context)


class SecondFactorAdapter(DefaultMFAAdapter):
    """Authenticator apps, passkeys, recovery codes."""

    def encrypt(self, text: str) -> str:
        return secrets.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return secrets.decrypt(encrypted_text)

    def generate_authenticator_name(self, user: Any, type: Authenticator.Type) -> str:
        """What a passkey is called until somebody names it."""
        number = Authenticator.objects.filter(user_id=user.pk, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"


def note_enrolment(sender: Any, request: HttpRequest, user: Any, authenticator: Authenticator, **more: Any) -> None:
    """Whoever has just set up a second factor has shown it; for allauth's signal."""
    if authenticator.type != Authenticator.Type.RECOVERY_CODES:
        record_authentication(request, user, "mfa", id=authenticator.pk, type=authenticator.type)


# --- Single sign-on ----------------------------------------------------------------------------------------


class SingleSignOnAdapter(DefaultSocialAccountAdapter):
    """The one provider of the settings; who comes from there is somebody whom we know or have invited."""

    def list_apps(self, request: HttpRequest, provider: str | None = None, client_id: str | None = None) -> list[Any]:
        """The provider of the settings, and none from the database."""
        if not settings.OIDC_ISSUER or provider not in {None, SSO, "openid_connect"}:
            return []
        return [
            SocialApp(
                provider="openid_connect",
                provider_id=SSO,
                name=settings.OIDC_NAME,
                client_id=settings.OIDC_CLIENT_ID,
                secret=settings.OIDC_CLIENT_SECRET,
                settings={"server_url": settings.OIDC_ISSUER},
            )
        ]

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Find the account of who comes for the first time by their e-mail address, or refuse."""
        if sociallogin.is_existing:
            return
        email = _proven_address(sociallogin)
        if email is None:
            raise _refusal(request, NOT_VERIFIED)
        users = list(User.objects.filter(email__iexact=email)[:2])
        if len(users) > 1:
            raise _refusal(request, SEVERAL, email)
        if users:
            if not users[0].email_is_proven:
                raise _refusal(request, NOT_OURS, email)
            sociallogin.connect(request, users[0])
        elif not _may_come(email):
            raise _refusal(request, NOBODY, email)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return sociallogin.is_existing or _may_come(_proven_address(sociallogin) or "")

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: Any) -> bool:
        return True

    def populate_user(self, request: HttpRequest, sociallogin: Any, data: dict[str, Any]) -> Any:
        """Call them by their address: a name that the provider lets people choose is no proof of anything."""
        return super().populate_user(request, sociallogin, {**data, "username": data.get("email")})

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> Any:
        """Make the account, and make it a member wherever its address is invited."""
        with transaction.atomic():
            user = super().save_user(request, sociallogin, form)
            accept_all(user)
        return user


def accept_all(user: User) -> None:
    """Accept every invitation of somebody whose address is proven."""
    for invitation in Invitation.objects.addressed_to(user.email).waiting():
        try:
            accept(invitation, user)
        except InvitationRefused:
            continue


def _proven_address(sociallogin: Any) -> str | None:
    return next((each.email.lower() for each in sociallogin.email_addresses if each.verified), None)


def _may_come(email: str) -> bool:
    domain = email.rpartition("@")[2].lower()
    return domain in settings.OIDC_ALLOWED_DOMAINS or Invitation.objects.addressed_to(email).waiting().exists()


def _refusal(request: HttpRequest, sentence: str, email: str = "") -> ImmediateHttpResponse:
    words = {"sentence": sentence.format(name=settings.OIDC_NAME, email=email)}
    return ImmediateHttpResponse(render(request, "socialaccount/refused.html", words, status=403))
