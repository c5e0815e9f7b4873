"""What happened to the health of deployments: breakers, cooldowns, probes and manual switches, as they changed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone


class HealthEvent(models.Model):
    """One change of one deployment's health; it names both by slug, for it outlives the catalogue."""

    class Kind(models.TextChoices):
        BREAKER_OPENED = "breaker_opened", "Breaker opened"
        BREAKER_HALF_OPEN = "breaker_half_open", "Breaker half-open"
        BREAKER_CLOSED = "breaker_closed", "Breaker closed"
        COOLED_DOWN = "cooled_down", "Cools down"
        PROBE_FAILED = "probe_failed", "Probe failed"
        PROBE_RECOVERED = "probe_recovered", "Probe recovered"
        SWITCHED_OFF = "switched_off", "Switched off"
        SWITCHED_ON = "switched_on", "Switched on"

    at = models.DateTimeField(default=timezone.now, db_index=True)
    deployment = models.CharField(max_length=63, blank=True)
    provider = models.CharField(max_length=63, blank=True)
    kind = models.CharField(max_length=32, choices=Kind.choices)
    old = models.CharField("before", max_length=32, blank=True)
    new = models.CharField("after", max_length=32, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    until = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=64, blank=True)
    # Of the stream that brought it, so that it is stored once; None = it came another way.
    stream_id = models.CharField(max_length=40, unique=True, null=True, editable=False)

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"{self.deployment or self.provider}: {self.get_kind_display()}"
