"""Alert channels: how somebody is told."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.db import models

from gateway_site.infra import secrets
from tenants.models.alert_fields import owner_field
from tenants.models.tenant import validate_webhook
from tenants.querysets import TenantScopedQuerySet


class AlertChannel(models.Model):
    """A way to tell somebody of alerts."""

    class Kind(models.TextChoices):
        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Webhook"
        SLACK = "slack", "Slack"

    tenant = owner_field("alert_channels")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.EMAIL)
    emails = ArrayField(
        models.EmailField(), default=list, blank=True, verbose_name="addresses", help_text="Who is written to."
    )
    address_encrypted = models.TextField(blank=True, editable=False)  # an address may be a secret, as Slack's are
    address_hint = models.CharField(max_length=200, blank=True, editable=False)
    secret_encrypted = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantScopedQuerySet["AlertChannel"].as_manager()

    class Meta:
        ordering: ClassVar = ["name", "pk"]

    def __str__(self) -> str:
        return self.name

    @property
    def target(self) -> str:
        """Whom it reaches, without what is secret of it."""
        return ", ".join(self.emails) if self.kind == self.Kind.EMAIL else self.address_hint

    @property
    def address(self) -> str:
        """The address that is called; raises SecretUnreadable."""
        return secrets.decrypt(self.address_encrypted)

    @property
    def secret(self) -> str:
        """What its calls are signed with; raises SecretUnreadable."""
        return secrets.decrypt(self.secret_encrypted)

    def take_address(self, url: str) -> None:
        """Keep an address encrypted, and of it to show only where it leads; saves nothing."""
        validate_webhook(url)
        parts = urlsplit(url)
        self.address_encrypted = secrets.encrypt(url)
        self.address_hint = f"{parts.scheme}://{parts.netloc}/…"[:200]

    def set_secret(self, secret: str) -> None:
        """Keep the secret encrypted."""
        self.secret_encrypted = secrets.encrypt(secret)
        self.save(update_fields=["secret_encrypted"])
