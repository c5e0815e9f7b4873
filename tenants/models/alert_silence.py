"""Alert silences: for a while nobody is told."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from tenants.alerting import Labels
from tenants.models.alert_fields import Severity, owner_field, watched_field
from tenants.models.alert_rule import AlertRule
from tenants.models.tenant import User
from tenants.querysets import AlertSilenceQuerySet


class AlertSilence(models.Model):
    """For a while nobody is told of what it names; what it does not name, it is not particular about."""

    tenant = owner_field("alert_silences")
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, null=True, blank=True, related_name="silences")
    watched_tenant = watched_field("silenced_by")
    provider = models.CharField(max_length=63, blank=True, help_text="Rules that name this provider; empty: any.")
    severity = models.CharField(max_length=16, choices=Severity.choices, blank=True, help_text="Empty: any.")
    starts_at = models.DateTimeField("from", default=timezone.now)
    ends_at = models.DateTimeField("until")
    reason = models.CharField(max_length=200)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+", verbose_name="by"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AlertSilenceQuerySet["AlertSilence"].as_manager()

    class Meta:
        ordering: ClassVar = ["-ends_at", "-pk"]

    def __str__(self) -> str:
        return self.reason

    def clean(self) -> None:
        """It lasts, and is about rules of its owner's."""
        if self.ends_at is not None and self.starts_at is not None and self.ends_at <= self.starts_at:
            raise ValidationError({"ends_at": "This is before it begins."})
        if self.rule is not None and self.rule.tenant_id != self.tenant_id:
            raise ValidationError({"rule": "This rule belongs to somebody else."})

    @property
    def labels(self) -> Labels:
        """What it is about."""
        return Labels(
            owner=self.tenant_id,
            rule=self.rule_id,
            tenant=self.watched_tenant_id,
            provider=self.provider,
            severity=self.severity,
        )

    def is_on(self, now: datetime) -> bool:
        """Whether it holds at a moment."""
        return self.starts_at <= now < self.ends_at

    def end(self) -> None:
        """Let it be over now."""
        self.ends_at = max(timezone.now(), self.starts_at)
        self.save(update_fields=["ends_at"])
