"""The pages around signing in that allauth does not have: the login, what a session lacks, accepting an invitation."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm as AllauthLoginForm
from allauth.account.views import LoginView
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from allauth.usersessions.views import ListUserSessionsView
from django import forms
from django.conf import settings
from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from gateway_site.sign_in.rules import SENTENCES, turned_away
from tenants.invitations import WHY_NOT, InvitationRefused, accept, find
from tenants.models import Invitation, User
from tenants.sessions import note
from tenants.standing import standing_of

INVITATION = "invitation_id"  # in the session: whose link was opened; the token stays out of it
BACKEND = settings.AUTHENTICATION_BACKENDS[0]


# --- Signing in --------------------------------------------------------------------------------------------


class LoginForm(AllauthLoginForm):
    """Names its first field as Django's admin does, for password managers and for programs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "Username or e-mail address"
        self.fields["login"].widget.attrs["autocomplete"] = "username webauthn"
        self.fields["password"].help_text = ""

    def add_prefix(self, field_name: str) -> str:
        return super().add_prefix("username" if field_name == "login" else field_name)


class WellFormed:
    """Refuses what is no answer of a passkey; allauth's forms fail at it."""

    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()  # type: ignore[misc]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValidationError("This is not a passkey's answer.") from None


class PasskeyLoginForm(WellFormed, LoginWebAuthnForm):
    """A passkey in the place of a password."""


class PasskeySecondForm(WellFormed, AuthenticateWebAuthnForm):
    """A passkey after a password."""


class PasskeyAgainForm(WellFormed, ReauthenticateWebAuthnForm):
    """A passkey as a fresh proof."""


class PasskeyForm(AddWebAuthnForm):
    """A passkey signs in by itself, unless somebody wants it as a second factor only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = "Name"
        self.fields["passwordless"].label = "Sign in with it alone, without a password"
        self.fields["passwordless"].initial = True
        self.fields["passwordless"].help_text = ""


class Login(LoginView):
    """The login; who is signed in and has nothing to see here is told so instead of being sent in circles."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        user: Any = request.user
        if user.is_authenticated and not standing_of(user).is_somebody:
            return render(request, "account/nobody.html", {"title": "Nothing to see"}, status=403)
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "title": "Sign in", "next": self.request.GET.get("next", "")}


class Sessions(ListUserSessionsView):
    """Where somebody is signed in, and a button that leaves this session only."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        note(self.request)  # one from before sessions were noted
        found = super().get_context_data(**kwargs)
        for session in found["sessions"]:
            session.browser = browser_name(session.user_agent)
        return {**found, "sessions": found["sessions"][::-1]}


BROWSERS = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}


def browser_name(agent: str) -> str:
    """What a browser calls itself, as people call it."""
    browser = next((name for mark, name in BROWSERS.items() if mark in agent), agent.partition("/")[0][:40])
    system = next((name for mark, name in SYSTEMS.items() if mark in agent), "")
    return " on ".join(filter(None, (browser, system))) or "An unknown browser"


@never_cache
@require_http_methods(["POST"])
def leave(request: HttpRequest) -> HttpResponse:
    """Sign out."""
    logout(request)
    return redirect("account_login")


@require_safe
@login_required
def required(request: HttpRequest) -> HttpResponse:
    """What this session lacks, and the way to it."""
    missing = turned_away(request.user, request.session)
    if missing is None:
        return HttpResponseRedirect(_safe_next(request))
    words = {
        "title": "One more step",
        "missing": missing.value,
        "sentence": SENTENCES[missing],
        "tenant": standing_of(request.user).tenant,
        "others": [each for each in standing_of(request.user).choices if each != standing_of(request.user).tenant],
        "next": _safe_next(request),
    }
    return render(request, "account/required.html", words, status=403)


def _safe_next(request: HttpRequest) -> str:
    url = request.GET.get("next", "")
    is_safe = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())
    return url if is_safe else reverse("admin:index")


# --- Single sign-on ----------------------------------------------------------------------------------------


def sso_start(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Go to the provider."""
    if not settings.OIDC_ISSUER:
        raise Http404("There is no single sign-on here.")
    from gateway_site.sign_in.single_sign_on import start

    return start(request)


def sso_finish(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Come back from the provider."""
    if not settings.OIDC_ISSUER:
        raise Http404("There is no single sign-on here.")
    from gateway_site.sign_in.single_sign_on import finish

    return finish(request)


@require_safe
def sso_cancelled(request: HttpRequest) -> HttpResponse:
    """Come back from the provider without having signed in."""
    return render(request, "socialaccount/login_cancelled.html", {"title": "Not signed in"})


# --- Invitations -------------------------------------------------------------------------------------------


class NewAccountForm(forms.Form):
    """What somebody who is invited tells of themselves."""

    name = forms.CharField(label="Your name", max_length=150, widget=forms.TextInput({"autocomplete": "name"}))
    password1 = forms.CharField(label="Password", widget=forms.PasswordInput({"autocomplete": "new-password"}))
    password2 = forms.CharField(label="Password, again", widget=forms.PasswordInput({"autocomplete": "new-password"}))

    def __init__(self, *args: Any, invitation: Invitation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invitation = invitation

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("password1") != cleaned.get("password2"):
            self.add_error("password2", "The two passwords differ.")
        elif cleaned.get("password1"):
            try:
                validate_password(cleaned["password1"], self.make_user(cleaned))
            except ValidationError as error:
                self.add_error("password1", error)
        return cleaned

    def make_user(self, cleaned: dict[str, Any]) -> User:
        """The account, not saved yet; its address is proven where the link was sent there."""
        first, _, last = cleaned.get("name", "").strip().partition(" ")
        email = self.invitation.email
        is_proven = self.invitation.mailed_at is not None
        return User(username=email, email=email, first_name=first, last_name=last, email_is_proven=is_proven)


@never_cache
@require_safe
def open_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Take the token out of the address, so that it goes into no history and no referrer."""
    invitation = find(token)
    if invitation is None:
        return _refuse(request, "There is no such invitation. Check that the link is complete.", 404)
    if invitation.state is not Invitation.State.WAITING:
        return _refuse(request, WHY_NOT[invitation.state], 410)
    request.session[INVITATION] = [invitation.pk, invitation.token_hash]
    return redirect("invitation")


@never_cache
@require_http_methods(["GET", "POST"])
def invitation_page(request: HttpRequest) -> HttpResponse:
    """Accept with the account that is signed in, with a new one, or leave to sign in with another."""
    invitation = _opened(request)
    if invitation is None:
        return _refuse(request, "Open the link of your invitation again.", 404)
    if invitation.state is not Invitation.State.WAITING:
        return _refuse(request, WHY_NOT[invitation.state], 410)
    if request.method != "POST":
        return _show(request, invitation)
    verb = request.POST.get("verb")
    if verb == "leave":
        return _leave(request, invitation)
    if request.user.is_authenticated:
        return _join(request, invitation) if verb == "join" else _show(request, invitation)
    return _create(request, invitation)


def _opened(request: HttpRequest) -> Invitation | None:
    """The invitation whose link this browser has opened; not if another link was sent since."""
    key, token_hash = request.session.get(INVITATION) or (0, "")
    return Invitation.objects.select_related("tenant", "invited_by").filter(pk=key, token_hash=token_hash).first()


def _show(request: HttpRequest, invitation: Invitation, form: Any = None, status: int = 200) -> HttpResponse:
    user: Any = request.user
    words = {
        "title": f"Join {invitation.tenant}",
        "invitation": invitation,
        "form": form or NewAccountForm(invitation=invitation),
        "is_addressee": user.is_authenticated and user.email.lower() == invitation.email,
        "back": reverse("invitation"),
    }
    return render(request, "account/invitation.html", words, status=status)


def _refuse(request: HttpRequest, sentence: str, status: int) -> HttpResponse:
    words = {"title": "Invitation", "sentence": sentence}
    return render(request, "account/invitation_refused.html", words, status=status)


def _leave(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    logout(request)
    request.session[INVITATION] = [invitation.pk, invitation.token_hash]
    return redirect("invitation")


def _join(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    user: Any = request.user
    try:
        accept(invitation, user)
    except InvitationRefused as error:
        return _refuse(request, str(error), 409)
    request.session.pop(INVITATION, None)
    return redirect("admin:index")


def _create(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    form = NewAccountForm(request.POST, invitation=invitation)
    if not form.is_valid():
        return _show(request, invitation, form)
    try:
        user = _make_member(form, invitation)
    except InvitationRefused as error:
        return _refuse(request, str(error), 410)
    if user is None:
        form.add_error(None, "This did not work. If you have an account already, sign in with it to accept.")
        return _show(request, invitation, form)
    request.session.pop(INVITATION, None)
    login(request, user, backend=BACKEND)
    return redirect("admin:index")


def _make_member(form: NewAccountForm, invitation: Invitation) -> User | None:
    """Account and membership, or neither; None where the name or the address is taken."""
    user = form.make_user(form.cleaned_data)
    if User.objects.filter(email__iexact=user.email).exists():
        return None
    user.set_password(form.cleaned_data["password1"])
    try:
        with transaction.atomic():
            user.save()
            accept(invitation, user)
    except IntegrityError:
        return None
    return user
