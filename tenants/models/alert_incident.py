"""Alert incidents: what rules found, and who is told of it."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.utils import timezone

from tenants.alerting import with_unit
from tenants.models.alert_channel import AlertChannel
from tenants.models.alert_fields import Severity, value_field
from tenants.models.alert_rule import AlertRule
from tenants.models.alert_silence import AlertSilence
from tenants.models.outgoing import Outgoing
from tenants.models.tenant import Tenant, User
from tenants.querysets import AlertIncidentQuerySet


class AlertIncident(models.Model):
    """A rule that fires, or has fired; a rule has one at a time."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="alert_incidents", verbose_name="of"
    )
    rule = models.ForeignKey(AlertRule, on_delete=models.SET_NULL, null=True, blank=True, related_name="incidents")
    title = models.CharField(max_length=100)  # as the rule was called
    words = models.TextField()  # what the rule was
    severity = models.CharField(max_length=16, choices=Severity.choices)
    metric = models.CharField(max_length=32)
    currency = models.CharField(max_length=3, default="USD")
    began_at = models.DateTimeField()
    value = value_field(verbose_name="when it began")
    worst = value_field()
    last = value_field(verbose_name="at the end")
    resolved_at = models.DateTimeField(null=True, blank=True)
    silence = models.ForeignKey(
        AlertSilence, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name="silenced by"
    )
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    objects = AlertIncidentQuerySet["AlertIncident"].as_manager()

    class Meta:
        ordering: ClassVar = ["-resolved_at", "-pk"]  # those that fire first: PostgreSQL has NULL before all in DESC
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["rule"], condition=models.Q(resolved_at=None), name="alert_incident_one_per_rule"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["-resolved_at", "-id"], name="alert_incident_list")]

    def __str__(self) -> str:
        return self.title

    @property
    def is_firing(self) -> bool:
        """Whether it goes on."""
        return self.resolved_at is None

    def shown(self, value: Decimal | None) -> str:
        """A value of its metric, with the unit."""
        return with_unit(value, self.metric, self.currency)

    def acknowledge(self, by: User | None) -> None:
        """Note that somebody takes care of it: it is not repeated any more."""
        self.acknowledged_at, self.acknowledged_by = timezone.now(), by
        self.save(update_fields=["acknowledged_at", "acknowledged_by"])


class AlertMessage(Outgoing, models.Model):
    """What one channel is told of an incident, and what became of that."""

    class Kind(models.TextChoices):
        FIRING = "firing", "Firing"
        REPEATED = "repeated", "Still firing"
        RESOLVED = "resolved", "Resolved"

    incident = models.ForeignKey(AlertIncident, on_delete=models.CASCADE, related_name="messages")
    channel = models.ForeignKey(AlertChannel, on_delete=models.SET_NULL, null=True, related_name="messages")
    channel_name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    value = value_field()
    created_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    error = models.TextField(blank=True)

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["pk"]
        indexes: ClassVar = [
            models.Index(
                fields=["next_try_at"],
                name="alert_message_waiting",
                condition=models.Q(delivered_at=None, given_up_at=None),
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.channel_name}"
