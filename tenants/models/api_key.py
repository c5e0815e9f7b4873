"""API keys: stored as a keyed hash, shown once."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from tenants import keys
from tenants.models.tenant import Project, Tenant
from tenants.querysets import ApiKeyQuerySet


class ApiKey(models.Model):
    """What a tenant's program authenticates with. The secret itself is never stored."""

    class Priority(models.TextChoices):
        LOW = "low", "Low"
        NORMAL = "normal", "Normal"
        HIGH = "high", "High"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, blank=True, related_name="api_keys")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    pepper_id = models.CharField(max_length=8, editable=False)
    prefix = models.CharField(max_length=16, editable=False, help_text="How the key begins, to recognise it.")
    last_four = models.CharField(max_length=4, editable=False)
    allowed_models = ArrayField(
        models.CharField(max_length=200),
        null=True,
        blank=True,
        help_text="Aliases it may use, wildcards included; empty: all that its tenant may use.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    priority = models.CharField(
        max_length=8,
        choices=Priority.choices,
        default=Priority.NORMAL,
        help_text="Who goes first where requests wait for a busy provider.",
    )
    may_trace = models.BooleanField(
        default=False, help_text="May ask how a request was routed: which targets there were, and why each was chosen."
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False
    )

    objects = ApiKeyQuerySet["ApiKey"].as_manager()

    class Meta:
        ordering: ClassVar = ["tenant", "name"]
        verbose_name = "API key"
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "name"], name="api_key_name_per_tenant")]

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
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "expired"
        return "active"

    def set_secret(self, secret: str) -> None:
        """Take the digest, prefix and last four characters of a secret."""
        pepper = keys.peppers(settings.TOLLGATE_KEY_PEPPERS)[0]
        self.digest, self.pepper_id = keys.digest(secret, pepper.value), pepper.id
        self.prefix, self.last_four = keys.prefix(secret), secret[-4:]

    def revoke(self) -> None:
        """Refuse the key from now on; workers hear of it at once."""
        if self.revoked_at is None:
            self.revoked_at = timezone.now()
            self.save(update_fields=["revoked_at"])

    def clean(self) -> None:
        """A key's project belongs to its tenant."""
        if self.project is not None and self.tenant_id and self.project.tenant_id != self.tenant_id:
            raise ValidationError({"project": "This project belongs to another tenant."})

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.clean()
        super().save(*args, **kwargs)
