"""Fields that several models of alerts have."""

from __future__ import annotations

from typing import Any

from django.db import models

from tenants.models.tenant import Tenant


class Severity(models.TextChoices):
    CRITICAL = "critical", "Critical"
    WARNING = "warning", "Warning"
    NOTICE = "notice", "Notice"


def value_field(**more: Any) -> models.DecimalField:
    """What a metric measured."""
    return models.DecimalField(max_digits=24, decimal_places=6, **more)


def owner_field(name: str) -> models.ForeignKey:
    """Whose it is; None: the operators'."""
    return _tenant(name, "belongs to", "A tenant, whose owners may change it; empty: the operators.")


def watched_field(name: str) -> models.ForeignKey:
    """Whose requests it is about; None: everybody's."""
    return _tenant(name, "tenant", "Only what this tenant does; empty: all tenants.")


def _tenant(name: str, label: str, text: str) -> models.ForeignKey:
    return models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name=name,
        verbose_name=label,
        help_text=text,
    )
