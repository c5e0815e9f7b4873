"""Routes: which deployments serve a model alias, in what order."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from providers.models import Deployment

CONDITION_FIELDS: dict[str, type | tuple[type, ...]] = {
    "needs": list,
    "region": str,
    "tag": str,
    "header": dict,
    "end_user_percent": (int, float),
}


class Route(models.Model):
    """An ordered choice of deployments with its rules."""

    class Strategy(models.TextChoices):
        WEIGHTED = "weighted", "Weighted"
        LEAST_BUSY = "least_busy", "Least busy"
        LOWEST_LATENCY = "lowest_latency", "Lowest latency"
        CHEAPEST = "cheapest", "Cheapest"

    class OnDisconnect(models.TextChoices):
        CANCEL = "cancel", "Cancel the upstream"
        DRAIN = "drain", "Read on to the usage"

    name = models.CharField(max_length=200, unique=True)
    strategy = models.CharField(max_length=16, choices=Strategy.choices, default=Strategy.WEIGHTED)
    first_token_timeout = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.05)],
        help_text="Seconds until the next target is tried; empty: the provider's.",
    )
    between_tokens_timeout = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0.05)])
    total_timeout = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0.05)])
    retries = models.PositiveSmallIntegerField(
        default=1, validators=[MaxValueValidator(10)], help_text="Further tries of the same deployment."
    )
    on_disconnect = models.CharField(max_length=8, choices=OnDisconnect.choices, default=OnDisconnect.CANCEL)
    fallback_on_content_policy = models.BooleanField(
        default=False, help_text="Ask the next target when one refuses for its content policy."
    )
    hedge = models.BooleanField(
        default=False,
        help_text="Ask the next target as well when the first token is late, and answer with the faster one.",
    )
    cache_exact = models.BooleanField(default=False, help_text="Answer repeated requests of a tenant from the cache.")
    cache_semantic = models.BooleanField(default=False)
    cache_ttl = models.PositiveIntegerField(default=300, validators=[MinValueValidator(1)], help_text="Seconds.")
    collapse_identical = models.BooleanField(
        default=False, help_text="Identical requests in flight share one upstream call."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class RouteTarget(models.Model):
    """One deployment of a route."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="targets")
    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="targets")
    priority = models.PositiveSmallIntegerField(default=0, help_text="0 is tried first.")
    weight = models.PositiveIntegerField(
        default=100,
        validators=[MaxValueValidator(1_000_000)],
        help_text="Share within its priority; 0: only when no other is left.",
    )
    conditions = models.JSONField(default=dict, blank=True, help_text='Such as {"needs": ["images"], "region": "eu"}.')

    class Meta:
        ordering: ClassVar = ["route", "priority", "-weight", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["route", "deployment"], name="deployment_once_per_route")
        ]

    def __str__(self) -> str:
        return f"{self.deployment} (priority {self.priority}, weight {self.weight})"

    def clean(self) -> None:
        """Conditions are known ones, of the right type."""
        if not isinstance(self.conditions, dict):
            raise ValidationError({"conditions": 'Give an object such as {"region": "eu"}.'})
        for name, value in self.conditions.items():
            if name not in CONDITION_FIELDS:
                known = ", ".join(CONDITION_FIELDS)
                raise ValidationError({"conditions": f"{name!r} is not a condition; there are {known}."})
            if not isinstance(value, CONDITION_FIELDS[name]):
                raise ValidationError({"conditions": f"{name!r} has a value of the wrong type: {value!r}."})
