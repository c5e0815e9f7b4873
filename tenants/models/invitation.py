"""Invitations: who may become a member of a tenant by opening a link."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from tenants.models.tenant import Member, Tenant, User
from tenants.querysets import TenantScopedQuerySet


class InvitationQuerySet(TenantScopedQuerySet["Invitation"]):
    """Questions about invitations."""

    def waiting(self) -> InvitationQuerySet:
        """Those that can still be accepted."""
        return self.filter(accepted_at=None, withdrawn_at=None, expires_at__gt=timezone.now())

    def addressed_to(self, email: str) -> InvitationQuerySet:
        """Those for one address."""
        return self.filter(email__iexact=email)


class Invitation(models.Model):
    """An address that may become a member with a role, once; only the hash of its link's token is kept."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        ACCEPTED = "accepted", "Accepted"
        WITHDRAWN = "withdrawn", "Withdrawn"
        EXPIRED = "expired", "Expired"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField("e-mail address")
    role = models.CharField(max_length=16, choices=Member.Role.choices, default=Member.Role.DEVELOPER)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(editable=False)
    mailed_at = models.DateTimeField(null=True, editable=False)  # None: somebody has handed the link over
    withdrawn_at = models.DateTimeField(null=True, editable=False)
    accepted_at = models.DateTimeField(null=True, editable=False)
    invited_by = models.ForeignKey(User, null=True, editable=False, on_delete=models.SET_NULL, related_name="+")
    accepted_by = models.ForeignKey(User, null=True, editable=False, on_delete=models.SET_NULL, related_name="+")

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "tenant",
                Lower("email"),
                condition=models.Q(accepted_at=None, withdrawn_at=None),
                name="one_open_invitation_per_address",
                violation_error_message="This address has an invitation already: send that one again, or withdraw it.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} ({self.get_role_display()})"

    @property
    def state(self) -> State:
        """What has become of it."""
        if self.accepted_at is not None:
            return self.State.ACCEPTED
        if self.withdrawn_at is not None:
            return self.State.WITHDRAWN
        return self.State.EXPIRED if self.expires_at <= timezone.now() else self.State.WAITING

    @property
    def is_open(self) -> bool:
        """Whether it can be sent again or withdrawn."""
        return self.accepted_at is None and self.withdrawn_at is None
