"""Alert rules: what is watched, who is told, what has happened, and what is kept quiet."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from gateway_site.infra import secrets
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
from tenants.models.api_key import ApiKey
from tenants.models.tenant import Tenant, User, validate_webhook
from tenants.querysets import AlertIncidentQuerySet, AlertSilenceQuerySet, TenantScopedQuerySet

MOST_MINUTES = 7 * 1440


class Severity(models.TextChoices):
    CRITICAL = "critical", "Critical"
    WARNING = "warning", "Warning"
    NOTICE = "notice", "Notice"


def _value(**more: Any) -> models.DecimalField:
    return models.DecimalField(max_digits=24, decimal_places=6, **more)


def _owner(name: str) -> models.ForeignKey:
    return models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name=name,
        verbose_name="belongs to",
        help_text="A tenant, whose owners may change it; empty: the operators.",
    )


def _watched(name: str) -> models.ForeignKey:
    return models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name=name,
        verbose_name="tenant",
        help_text="Only what this tenant does; empty: all tenants.",
    )


class AlertChannel(models.Model):
    """A way to tell somebody of alerts."""

    class Kind(models.TextChoices):
        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Webhook"
        SLACK = "slack", "Slack"

    tenant = _owner("alert_channels")
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


class AlertRule(models.Model):
    """What is watched, from when on it is too much, and who is told."""

    class Comparison(models.TextChoices):
        ABOVE = "above", "Above"
        BELOW = "below", "Below"

    Severity = Severity

    tenant = _owner("alert_rules")
    name = models.CharField(max_length=100)
    severity = models.CharField(max_length=16, choices=Severity.choices, default=Severity.WARNING)
    is_enabled = models.BooleanField("on", default=True)
    metric = models.CharField(
        max_length=32, choices=[(name, metric.label) for name, metric in METRICS.items()], default="error_rate"
    )
    comparison = models.CharField("is", max_length=8, choices=Comparison.choices, default=Comparison.ABOVE)
    threshold = _value(default=Decimal(5))
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
    watched_tenant = _watched("watched_by")
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
    value = _value(null=True)
    holds_since = models.DateTimeField(null=True)
    fires_since = models.DateTimeField(null=True)
    fired_at = models.DateTimeField(null=True)
    worst = _value(null=True)
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


class AlertSilence(models.Model):
    """For a while nobody is told of what it names; what it does not name, it is not particular about."""

    tenant = _owner("alert_silences")
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, null=True, blank=True, related_name="silences")
    watched_tenant = _watched("silenced_by")
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
    value = _value(verbose_name="when it began")
    worst = _value()
    last = _value(verbose_name="at the end")
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

    def acknowledge(self, by: User) -> None:
        """Note that somebody takes care of it: it is not repeated any more."""
        self.acknowledged_at, self.acknowledged_by = timezone.now(), by
        self.save(update_fields=["acknowledged_at", "acknowledged_by"])


class AlertMessage(models.Model):
    """What one channel is told of an incident, and what became of that."""

    class Kind(models.TextChoices):
        FIRING = "firing", "Firing"
        REPEATED = "repeated", "Still firing"
        RESOLVED = "resolved", "Resolved"

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        GIVEN_UP = "given_up", "Given up"

    incident = models.ForeignKey(AlertIncident, on_delete=models.CASCADE, related_name="messages")
    channel = models.ForeignKey(AlertChannel, on_delete=models.SET_NULL, null=True, related_name="messages")
    channel_name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    value = _value()
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

    @property
    def state(self) -> str:
        """What became of it."""
        if self.delivered_at is not None:
            return self.State.DELIVERED
        return self.State.WAITING if self.given_up_at is None else self.State.GIVEN_UP
