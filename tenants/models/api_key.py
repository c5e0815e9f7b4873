"""API keys: stored as a keyed hash, shown once."""

from __future__ import annotations

from datetime import datetime
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

    class Purpose(models.TextChoices):
        PROGRAM = "", "A program's"
        PLAYGROUND = "playground", "Made by the playground for a person"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, blank=True, related_name="api_keys")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    pepper_id = models.CharField(max_length=8, editable=False)
    prefix = models.CharField(max_length=16, editable=False, help_text="How the key begins, to recognise it.")
    last_four = models.CharField(max_length=4, editable=False)
    # The secret before the last rotation: the same key, up to a moment.
    previous_digest = models.CharField(max_length=64, unique=True, null=True, editable=False)
    previous_pepper_id = models.CharField(max_length=8, blank=True, editable=False)
    previous_prefix = models.CharField(max_length=16, blank=True, editable=False)
    previous_last_four = models.CharField(max_length=4, blank=True, editable=False)
    previous_until = models.DateTimeField(null=True, blank=True, editable=False)
    purpose = models.CharField(
        max_length=16, choices=Purpose.choices, default=Purpose.PROGRAM, blank=True, editable=False
    )
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
    def digests(self) -> tuple[str, ...]:
        """What its secret, and the one before, are found by."""
        return tuple(digest for digest in (self.digest, self.previous_digest) if digest)

    @property
    def previous_hint(self) -> str:
        """What may be shown of the secret that was replaced; empty: there was none."""
        return f"{self.previous_prefix}…{self.previous_last_four}" if self.previous_digest else ""

    @property
    def is_overlapping(self) -> bool:
        """Whether the secret that was replaced works beside the new one."""
        return self.status == "active" and self.previous_until is not None and self.previous_until > timezone.now()

    @property
    def status(self) -> str:
        """`active`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "expired"
        return "active"

    def leave_project(self) -> None:
        """Be of no project any more, and, if people were to try that one out with it, over."""
        self.project = None
        if self.purpose == self.Purpose.PLAYGROUND and self.status == "active":
            self.expires_at = timezone.now()
        self.save(update_fields=["project", "expires_at"])

    def set_secret(self, secret: str) -> None:
        """Take the digest, prefix and last four characters of a secret."""
        pepper = keys.peppers(settings.TOLLGATE_KEY_PEPPERS)[0]
        self.digest, self.pepper_id = keys.digest(secret, pepper.value), pepper.id
        self.prefix, self.last_four = keys.prefix(secret), secret[-4:]

    def put_secret_aside(self, until: datetime) -> None:
        """Let the secret work up to a moment although another one is about to be set."""
        self.previous_digest, self.previous_pepper_id = self.digest, self.pepper_id
        self.previous_prefix, self.previous_last_four = self.prefix, self.last_four
        self.previous_until = until

    def forget_previous(self) -> None:
        """Know no secret but the one that is set."""
        self.previous_digest = self.previous_until = None
        self.previous_pepper_id = self.previous_prefix = self.previous_last_four = ""

    def end_overlap(self) -> None:
        """Refuse the secret that was replaced from now on."""
        if self.previous_until is not None and self.previous_until > timezone.now():
            self.previous_until = timezone.now()
            self.save(update_fields=["previous_until"])

    def revoke(self) -> None:
        """Refuse the key from now on, with either secret; workers hear of it at once."""
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
