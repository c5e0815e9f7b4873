"""The audit trail: who did what to which object, by what way, and what it was before and after. Written, never changed."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from tenants.models.tenant import Tenant
from tenants.querysets import TenantScopedQuerySet


class AuditEventQuerySet(TenantScopedQuerySet["AuditEvent"]):
    """Questions about the trail; nothing in it changes."""

    def update(self, **kwargs: Any) -> NoReturn:
        _refuse()

    def delete(self) -> NoReturn:
        _refuse()


def _tenant(text: str) -> models.ForeignKey:
    """A tenant that the trail outlives."""
    return models.ForeignKey(
        Tenant,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
        help_text=text,
    )


class AuditEvent(models.Model):
    """Somebody did something. It names all by text and number, for it outlives users, tenants and objects."""

    class Via(models.TextChoices):
        CONSOLE = "console", "Console"
        API_TOKEN = "api_token", "API token"
        COMMAND = "command", "Command"
        TASK = "task", "Task"

    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=150, blank=True, help_text="The user, the API token or the command, by name.")
    user_id = models.BigIntegerField("user's id", null=True)
    via = models.CharField(max_length=16, choices=Via.choices)
    acting_for = _tenant("An operator did it in the place of this tenant's owner.")
    tenant = _tenant("Whose it is; empty: the deployment's own.")
    action = models.CharField(max_length=32)
    object_type = models.CharField("kind", max_length=64)
    object_id = models.CharField("id", max_length=64, blank=True)
    object_repr = models.CharField("object", max_length=200, blank=True)
    changes = models.JSONField(default=dict, encoder=DjangoJSONEncoder, help_text="By field: before and after.")
    detail = models.JSONField(default=dict, encoder=DjangoJSONEncoder, help_text="What else there is to say.")
    correlation_id = models.CharField(max_length=128, blank=True)
    remote_address = models.CharField(max_length=64, blank=True)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-at", "-id"]
        default_permissions = ("view",)
        verbose_name = "audit event"
        indexes: ClassVar = [
            models.Index(fields=["-at", "-id"], name="audit_newest"),
            models.Index(fields=["tenant", "-at", "-id"], name="audit_of_tenant"),
            models.Index(fields=["object_type", "object_id", "-at", "-id"], name="audit_of_object"),
            models.Index(fields=["actor", "-at", "-id"], name="audit_by_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.actor or 'Nobody'} {self.action.replace('_', ' ')} {self.object_repr}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            _refuse()
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse()


def _refuse() -> NoReturn:
    raise ValidationError("The audit trail is written, never changed.")
