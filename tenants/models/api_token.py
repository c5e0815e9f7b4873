"""API tokens: what programs manage the gateway with, through the REST API. API keys are for requests to models."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from tenants import keys
from tenants.models.tenant import Tenant
from tenants.querysets import TenantScopedQuerySet
from tenants.scopes import SCOPES

USED_EVERY = timedelta(minutes=1)  # how exact the last use is


class ApiTokenQuerySet(TenantScopedQuerySet["ApiToken"]):
    """Questions about sets of tokens."""

    def active(self) -> ApiTokenQuerySet:
        """Those that may be used now: neither revoked nor expired."""
        not_expired = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=Now())
        return self.filter(not_expired, revoked_at__isnull=True)


class ApiToken(models.Model):
    """Reaches the REST API: an operator's for all tenants, or one tenant's for what is its own. The secret is not stored."""

    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="api_tokens",
        help_text="Whose things it reaches; empty: those of the whole deployment.",
    )
    name = models.CharField(max_length=100)
    scopes = ArrayField(models.CharField(max_length=32), help_text="What it may do.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=16, editable=False)
    last_four = models.CharField(max_length=4, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    last_used_at = models.DateTimeField("last used", null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-pk"]
        verbose_name = "API token"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], name="api_token_name_per_tenant", nulls_distinct=False)
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"

    @property
    def hint(self) -> str:
        """What may be shown of the secret."""
        return f"{self.prefix}…{self.last_four}"

    @property
    def status(self) -> str:
        """`active`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "active"

    def set_secret(self, secret: str) -> None:
        """Take the digest, prefix and last four characters of a secret."""
        pepper = keys.peppers(settings.TOLLGATE_KEY_PEPPERS)[0]
        self.digest = keys.digest(secret, pepper.value)
        self.prefix, self.last_four = keys.prefix(secret), secret[-4:]

    def note_use(self) -> None:
        """Remember that it was used, at most once a minute."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at > USED_EVERY:
            ApiToken.objects.filter(pk=self.pk).update(last_used_at=now)

    def revoke(self) -> None:
        """Refuse it from now on."""
        if self.revoked_at is None:
            self.revoked_at = timezone.now()
            self.save(update_fields=["revoked_at"])

    def clean(self) -> None:
        """Scopes are known ones, and at least one."""
        unknown = [scope for scope in self.scopes or () if scope not in SCOPES]
        if unknown:
            raise ValidationError({"scopes": f"{unknown[0]!r} is not a scope; there are {', '.join(SCOPES)}."})
