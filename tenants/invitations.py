"""Inviting people into a tenant: the link's token is made here, told once, and kept as a hash."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.core.cache import cache
from django.core.mail import send_mail
from django.db import IntegrityError, transaction
from django.utils import timezone

from tenants.models import Invitation, Member, Tenant, User

VALID_FOR = timedelta(days=7)
MAILS_TO_ONE, MAILS_OF_A_TENANT = 5, 100  # in an hour

WHY_NOT = {
    Invitation.State.ACCEPTED: "This invitation has been used already. Sign in to the console.",
    Invitation.State.WITHDRAWN: "This invitation has been withdrawn. Ask whoever invited you for another.",
    Invitation.State.EXPIRED: "This invitation has expired. Ask whoever invited you to send it again.",
}


class InvitationRefused(Exception):
    """It cannot be made or accepted; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """An invitation and its token, which nobody can read again."""

    invitation: Invitation
    token: str


def is_member(tenant: Tenant, email: str) -> bool:
    """Whether somebody with this address is in the tenant."""
    return Member.objects.for_tenant(tenant).filter(user__email__iexact=email).exists()


def is_invited(tenant: Tenant, email: str) -> bool:
    """Whether an address has an invitation that is neither accepted nor withdrawn."""
    return (
        Invitation.objects.for_tenant(tenant).addressed_to(email).filter(accepted_at=None, withdrawn_at=None).exists()
    )


def invite(*, tenant: Tenant, email: str, role: str, by: User | None) -> Issued:
    """Invite an address; raises InvitationRefused where it is a member or has been invited already."""
    email = email.strip().lower()
    if is_member(tenant, email):
        raise InvitationRefused(f"{email} is a member already.")
    token = _new_token()
    try:
        with transaction.atomic():
            invitation = Invitation.objects.create(
                tenant=tenant,
                email=email,
                role=role,
                invited_by=by,
                token_hash=_hashed(token),
                expires_at=timezone.now() + VALID_FOR,
            )
    except IntegrityError:
        raise InvitationRefused(f"{email} has an invitation already: send that one again, or withdraw it.") from None
    return Issued(invitation=invitation, token=token)


def renew(invitation: Invitation) -> Issued:
    """Make another link, valid from now on; the one before is void."""
    token = _new_token()
    with transaction.atomic():
        held = Invitation.objects.select_for_update().get(pk=invitation.pk)
        if not held.is_open:
            raise InvitationRefused(WHY_NOT[held.state])
        held.token_hash, held.expires_at, held.mailed_at = _hashed(token), timezone.now() + VALID_FOR, None
        held.save(update_fields=["token_hash", "expires_at", "mailed_at"])
    return Issued(invitation=held, token=token)


def withdraw(invitation: Invitation) -> None:
    """Make its link void, for good."""
    with transaction.atomic():
        held = Invitation.objects.select_for_update().get(pk=invitation.pk)
        if not held.is_open:
            raise InvitationRefused(WHY_NOT[held.state])
        held.withdrawn_at = timezone.now()
        held.save(update_fields=["withdrawn_at"])


def find(token: str) -> Invitation | None:
    """The invitation that a link is for, whatever has become of it."""
    return Invitation.objects.select_related("tenant").filter(token_hash=_hashed(token)).first()


def accept(invitation: Invitation, user: User) -> Member:
    """Make somebody a member, once; who is one keeps the role."""
    with transaction.atomic():
        held = Invitation.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=invitation.pk)
        if held.state is not Invitation.State.WAITING:
            raise InvitationRefused(WHY_NOT[held.state])
        if held.tenant.members.filter(user=user).exists():
            raise InvitationRefused(f"You are a member of {held.tenant} already.")
        try:
            with transaction.atomic():
                member = Member.objects.create(tenant=held.tenant, user=user, role=held.role)
        except IntegrityError:  # by another invitation, at the same time
            raise InvitationRefused(f"You are a member of {held.tenant} already.") from None
        held.accepted_at, held.accepted_by = timezone.now(), user
        held.save(update_fields=["accepted_at", "accepted_by"])
    return member


def mail(invitation: Invitation, link: str) -> bool:
    """Send the link to its address; False where this deployment sends no e-mails, the mail server refuses, or it is much."""
    if not settings.EMAIL_HOST or _is_flooding(invitation):
        return False
    try:
        send_mail(
            subject=" ".join(f"You are invited to {invitation.tenant} on Tollgate".split()),
            message=_letter(invitation, link),
            from_email=settings.DEFAULT_FROM_EMAIL,
            recipient_list=[invitation.email],
        )
    except OSError:
        return False
    invitation.mailed_at = timezone.now()
    invitation.save(update_fields=["mailed_at"])
    return True


def _is_flooding(invitation: Invitation) -> bool:
    """Whether an address, or a tenant, has had its e-mails for this hour: nobody is to be pestered through us."""
    marks = {f"{invitation.email}": MAILS_TO_ONE, f"{invitation.tenant_id}": MAILS_OF_A_TENANT}
    return not all(
        any(cache.add(f"invitation-mail:{mark}:{number}", 1, 3600) for number in range(most))
        for mark, most in marks.items()
    )


def _letter(invitation: Invitation, link: str) -> str:
    inviter = invitation.invited_by
    who = (inviter.get_full_name() or inviter.get_username()) if inviter else "Somebody"
    return (
        f"{who} invites you to {invitation.tenant} as {invitation.get_role_display().lower()}.\n\n"
        f"Accept the invitation here:\n{link}\n\n"
        f"The link works once, until {invitation.expires_at:%Y-%m-%d %H:%M} UTC. "
        "If you do not know what this is about, ignore it.\n"
    )


def _new_token() -> str:
    return secrets.token_urlsafe(32)


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
