"""The REST API's invitations and API tokens: who else may come, and which programs may manage what."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Router

from routing.api.console_tenants import OF_TENANT, of_some_tenant
from tenants import invitations
from tenants.api.access import name_of, permit, person_in, standing_in
from tenants.api.errors import Refused, conflict, from_model, invalid
from tenants.api.resource import Extra, Resource
from tenants.api.routes import add_routes, verb_options
from tenants.api.schema import Leaf
from tenants.api_tokens import create_token, offered_scopes
from tenants.invitations import InvitationRefused, Issued
from tenants.models import ApiToken, Invitation

router = Router()


# --- Invitations ---------------------------------------------------------------------------------------------


def _invite(request: HttpRequest, invitation: Invitation) -> dict[str, Any]:
    """Mail a new invitation's link; where no e-mails are sent it is in this answer, and nowhere else."""
    invitation.clean_fields(exclude=["token_hash", "expires_at"])
    try:
        issued = invitations.invite(
            tenant=invitation.tenant, email=invitation.email, role=invitation.role, by=person_in(request)
        )
    except InvitationRefused as error:
        raise conflict(str(error), [("email", str(error))]) from None
    invitation.pk = issued.invitation.pk
    return _hand_over(request, issued)


def _hand_over(request: HttpRequest, issued: Issued) -> dict[str, Any]:
    link = request.build_absolute_uri(reverse("open_invitation", args=[issued.token]))
    return {} if invitations.mail(issued.invitation, link) else {"link": link}


INVITATIONS = Resource(
    path="invitations",
    noun="invitation",
    model=Invitation,
    rows=lambda: Invitation.objects.select_related("tenant", "invited_by", "accepted_by"),
    paths={"email": "email", "role": "role"},
    refs={"tenant": OF_TENANT},
    verbs=("list", "create", "get"),
    order=("-pk",),
    filters={"tenant": "tenant__slug", "email": "email__iexact", "role": "role"},
    extras={
        "state": Extra(
            annotation=str,
            description="waiting, accepted, withdrawn or expired.",
            show=lambda invitation: str(invitation.state.value),
        ),
        "mailed_at": Extra(annotation=datetime | None, description="", show=lambda invitation: invitation.mailed_at),
        "expires_at": Extra(annotation=datetime, description="", show=lambda invitation: invitation.expires_at),
        "invited_by": Extra(
            annotation=str | None, description="", show=lambda invitation: name_of(invitation.invited_by)
        ),
        "accepted_by": Extra(
            annotation=str | None, description="", show=lambda invitation: name_of(invitation.accepted_by)
        ),
    },
    make=_invite,
    made={"link": Leaf(annotation=str, description="Where no e-mail was sent: the link, shown this once.")},
    example={"tenant": "acme", "email": "dora@acme.example", "role": "developer"},
)
add_routes(router, INVITATIONS)
InvitationAnswer: Any = INVITATIONS.answer()
SentAnswer: Any = INVITATIONS.answer("Sent", INVITATIONS.made)


@router.post(**verb_options(INVITATIONS, "send-again", "Make another link, and void the one before", SentAnswer))
def send_again(request: HttpRequest, response: HttpResponse, ref: str) -> Any:
    """It is valid for a week from now on."""
    INVITATIONS.permit(request, "add")
    try:
        issued = invitations.renew(INVITATIONS.find(request, ref))
    except InvitationRefused as error:
        raise conflict(str(error)) from None
    more = _hand_over(request, issued)
    response["Cache-Control"] = "no-store"
    return INVITATIONS.show(request, [INVITATIONS.find(request, str(issued.invitation.pk))], **more)[0]


@router.post(**verb_options(INVITATIONS, "withdraw", "Void an invitation's link", InvitationAnswer))
def withdraw(request: HttpRequest, ref: str) -> Any:
    """For good; the address may be invited again."""
    INVITATIONS.permit(request, "add")
    found = INVITATIONS.find(request, ref)
    try:
        invitations.withdraw(found)
    except InvitationRefused as error:
        raise conflict(str(error)) from None
    return INVITATIONS.show(request, [INVITATIONS.find(request, str(found.pk))])[0]


# --- API tokens ----------------------------------------------------------------------------------------------


def _make_token(request: HttpRequest, token: ApiToken) -> dict[str, Any]:
    """Save a new token; its secret is in this answer and nowhere else, ever."""
    person = person_in(request)
    if person is None:
        raise Refused(403, "forbidden", "A token makes no tokens: sign in to the console.")
    standing = standing_in(request)
    offered = offered_scopes(person, standing, for_tenant=not standing.is_operator)
    wrong = [number for number, scope in enumerate(token.scopes) if scope not in offered]
    if wrong:
        raise invalid([(f"scopes[{number}]", f"You cannot give {token.scopes[number]!r}.") for number in wrong])
    try:
        made, secret = create_token(
            name=token.name, scopes=token.scopes, tenant=token.tenant, expires_at=token.expires_at, created_by=person
        )
    except ValidationError as error:
        raise from_model(error, {}) from None
    token.pk = made.pk
    return {"secret": secret}


TOKENS = Resource(
    path="api-tokens",
    noun="API token",
    model=ApiToken,
    rows=lambda: ApiToken.objects.select_related("tenant", "created_by"),
    paths={"name": "name", "scopes": "scopes", "expires_at": "expires_at"},
    refs={"tenant": of_some_tenant("Whose things it reaches; null: those of the whole deployment.")},
    verbs=("list", "create", "get"),
    filters={"tenant": "tenant__slug", "name": "name"},
    extras={
        "hint": Extra(annotation=str, description="How it begins and ends.", show=lambda token: token.hint),
        "status": Extra(annotation=str, description="active, revoked or expired.", show=lambda token: token.status),
        "last_used_at": Extra(annotation=datetime | None, description="", show=lambda token: token.last_used_at),
        "revoked_at": Extra(annotation=datetime | None, description="", show=lambda token: token.revoked_at),
        "created_at": Extra(annotation=datetime, description="", show=lambda token: token.created_at),
        "created_by": Extra(annotation=str | None, description="", show=lambda token: name_of(token.created_by)),
    },
    make=_make_token,
    made={"secret": Leaf(annotation=str, description="The token itself, shown this once.", examples=("tgat_…",))},
    example={"tenant": "acme", "name": "terraform", "scopes": ["keys:write", "usage:read"]},
)
add_routes(router, TOKENS)
TokenAnswer: Any = TOKENS.answer()


@router.post(**verb_options(TOKENS, "revoke", "Refuse an API token from now on", TokenAnswer))
def revoke_token(request: HttpRequest, ref: str) -> Any:
    """Doing it again changes nothing."""
    permit(request, "tenants.change_apitoken")
    with transaction.atomic():
        token = TOKENS.find(request, ref, locked=True)
        token.revoke()
    return TOKENS.show(request, [token])[0]
