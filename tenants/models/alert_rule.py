"""Alert rules: what is watched, from when on it is too much, and what is remembered of it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from tenants.alerting import (
    LONGEST_OF_RECORDS,
    METRICS,
    UNKNOWN,
    WINDOWS,
    Labels,
    Metric,
    State,
    Terms,
    Wording,
    minutes,
    sentence,
    with_unit,
)
from tenants.currencies import validate_currency
from tenants.models.alert_channel import AlertChannel
from tenants.models.alert_fields import Severity, owner_field, value_field, watched_field
from tenants.models.api_key import ApiKey
from tenants.querysets import TenantScopedQuerySet

MOST_OF_A_TENANT = 50  # all are judged every minute, in a time that they share
MOST_MINUTES = 7 * 1440


class AlertRule(models.Model):
    """What is watched, from when on it is too much, and who is told."""

    class Comparison(models.TextChoices):
        ABOVE = "above", "Above"
        BELOW = "below", "Below"

    Severity = Severity

    tenant = owner_field("alert_rules")
    name = models.CharField(max_length=100)
    severity = models.CharField(max_length=16, choices=Severity.choices, default=Severity.WARNING)
    is_enabled = models.BooleanField("on", default=True)
    metric = models.CharField(
        max_length=32, choices=[(name, metric.label) for name, metric in METRICS.items()], default="error_rate"
    )
    comparison = models.CharField("is", max_length=8, choices=Comparison.choices, default=Comparison.ABOVE)
    threshold = value_field(default=Decimal(5))
    currency = models.CharField(
        max_length=3, default="USD", validators=[validate_currency], help_text="Of costs; others are not added up."
    )
    window = models.PositiveIntegerField(
        "over",
        choices=[(count, minutes(count)) for count in WINDOWS],
        default=10,
        help_text="What is measured: the last so many minutes or hours.",
    )
    sustained = models.PositiveIntegerField(
        "sustained for",
        default=5,
        validators=[MaxValueValidator(MOST_MINUTES)],
        help_text="Minutes that it has to hold before anybody is told.",
    )
    cooldown = models.PositiveIntegerField(
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_MINUTES)],
        help_text="Minutes before the rule fires again, and before it is repeated while it goes on.",
    )
    minimum_requests = models.PositiveIntegerField(
        default=20, help_text="With fewer requests in the window nothing is decided: one of one is no alarm."
    )
    watched_tenant = watched_field("watched_by")
    api_key = models.ForeignKey(
        ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name="API key"
    )
    model = models.CharField(max_length=200, blank=True, help_text="As clients send it; empty: all.")
    provider = models.CharField(max_length=63, blank=True, help_text="Its slug; empty: all.")
    deployment = models.CharField(max_length=63, blank=True, help_text="Its slug; empty: all.")
    channels = models.ManyToManyField(AlertChannel, blank=True, related_name="rules", help_text="Who is told.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantScopedQuerySet["AlertRule"].as_manager()

    class Meta:
        ordering: ClassVar = ["name", "pk"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """What is watched can be measured, and belongs to whoever watches."""
        if self._state.adding and self.tenant is not None and self.tenant.alert_rules.count() >= MOST_OF_A_TENANT:
            raise ValidationError(f"A tenant has at most {MOST_OF_A_TENANT} rules: delete one, or ask an operator.")
        errors = self._window_errors() | self._owner_errors()
        if errors:
            raise ValidationError(errors)

    def _window_errors(self) -> dict[str, str]:
        is_narrow = self.api_key_id is not None or bool(self.deployment)
        if self.facts.is_timed and is_narrow and self.window > LONGEST_OF_RECORDS:
            return {"window": "Times of one key or deployment are kept for an hour: choose a shorter window."}
        return {}

    def _owner_errors(self) -> dict[str, str]:
        if self.tenant_id is not None and self.facts.is_of_gateway:
            return {"metric": "This is about the whole gateway: a rule of the operators may watch it."}
        if self.tenant_id is not None and self.watched_tenant_id not in (None, self.tenant_id):
            return {"watched_tenant": "A tenant's rule watches that tenant: leave this empty."}
        if self.tenant_id is not None and (self.provider or self.deployment):  # which tenants do not learn
            return {
                name: "A tenant's rule watches whatever serves it: leave this empty."
                for name in ("provider", "deployment")
                if getattr(self, name)
            }
        watched, key = self.watched_id, self.api_key
        if key is not None and watched is not None and key.tenant_id != watched:
            return {"api_key": "This key is another tenant's."}
        return {}

    @property
    def facts(self) -> Metric:
        """What its metric is like."""
        return METRICS.get(self.metric, UNKNOWN)

    @property
    def watched_id(self) -> int | None:
        """Whose requests are counted; None: everybody's."""
        return self.watched_tenant_id if self.tenant_id is None else self.tenant_id

    @property
    def terms(self) -> Terms:
        """When it fires."""
        return Terms(
            metric=self.metric,
            comparison=self.comparison,
            threshold=self.threshold,
            sustained=timedelta(minutes=self.sustained),
            cooldown=timedelta(minutes=self.cooldown),
            minimum_requests=self.minimum_requests,
        )

    @property
    def labels(self) -> Labels:
        """What silences may name."""
        return Labels(
            owner=self.tenant_id,
            rule=self.pk,
            tenant=self.watched_id,
            provider=self.provider,
            severity=self.severity,
        )

    def in_words(self, told: list[str]) -> str:
        """The rule as a sentence."""
        filters = {
            "tenant": "" if self.watched_tenant is None or self.tenant_id is not None else str(self.watched_tenant),
            "key": "" if self.api_key is None else str(self.api_key),
            "model": self.model,
            "provider": self.provider,
            "deployment": self.deployment,
        }
        return sentence(
            Wording(
                metric=self.metric,
                comparison=self.comparison,
                threshold=self.threshold,
                currency=self.currency,
                window=self.window,
                sustained=self.sustained,
                cooldown=self.cooldown,
                minimum_requests=self.minimum_requests,
                filters=filters,
                told=told,
            )
        )

    def shown(self, value: Decimal | None) -> str:
        """A value of its metric, with the unit."""
        return with_unit(value, self.metric, self.currency)


class AlertState(models.Model):
    """What is remembered of a rule from one minute to the next; beside it, for people save rules meanwhile."""

    rule = models.OneToOneField(AlertRule, on_delete=models.CASCADE, primary_key=True, related_name="state")
    judged_at = models.DateTimeField()
    value = value_field(null=True)
    holds_since = models.DateTimeField(null=True)
    fires_since = models.DateTimeField(null=True)
    fired_at = models.DateTimeField(null=True)
    worst = value_field(null=True)
    is_told = models.BooleanField(default=False)
    no_data_since = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.rule_id}"

    @property
    def remembered(self) -> State:
        """The same as a value."""
        return State(**{name: getattr(self, name) for name in State.__dataclass_fields__})
