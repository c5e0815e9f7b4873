"""The usage ledger (one row per request, partitioned by day) and its rollups.

Records name routes, deployments and providers by slug: a ledger outlives its catalogue. For the same reason the
tenant and the key are references without a database constraint.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from tenants.models.api_key import ApiKey
from tenants.models.tenant import Tenant
from tenants.querysets import TenantScopedQuerySet, UsageRecordQuerySet

TOKEN_FIELDS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def _tokens() -> models.BigIntegerField:
    return models.BigIntegerField(null=True, blank=True)


def _money() -> models.DecimalField:
    return models.DecimalField(max_digits=20, decimal_places=10, default=0)


def _tenant() -> models.ForeignKey:
    return models.ForeignKey(Tenant, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")


def _api_key() -> models.ForeignKey:
    return models.ForeignKey(
        ApiKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        verbose_name="API key",
    )


class UsageRecord(models.Model):
    """What one request used and cost.

    The table is partitioned by `started_at`, so its real primary key is (started_at, request_id); Django's is the
    request id alone, which is unique by its making.
    """

    class Outcome(models.TextChoices):
        SERVED = "served", "Served"
        CLIENT_GONE = "client_gone", "Client gone"
        UPSTREAM_FAILED = "upstream_failed", "Upstream failed"
        CUT = "cut", "Cut in mid-answer"
        REJECTED = "rejected", "Rejected by the upstream"
        SHUTDOWN = "shutdown", "Ended by a shutdown"
        GATEWAY_FAILED = "gateway_failed", "Gateway failed"
        LOST = "lost", "Lost with its worker"
        CORRECTION = "correction", "Correction of an earlier record"

    class CostStatus(models.TextChoices):
        EXACT = "exact", "Exact"
        ESTIMATED = "estimated", "Estimated"
        UNPRICED = "unpriced", "Unpriced"

    request_id = models.UUIDField(primary_key=True)
    started_at = models.DateTimeField()
    correlation_id = models.CharField(max_length=128, blank=True)
    tenant = _tenant()
    project = models.CharField(max_length=63, blank=True)
    api_key = _api_key()
    end_user = models.CharField(max_length=200, blank=True)
    dialect = models.CharField(max_length=32)
    alias = models.CharField(max_length=200)
    route = models.CharField(max_length=200, blank=True)
    provider = models.CharField(max_length=63, blank=True)
    deployment = models.CharField(max_length=63, blank=True)
    model = models.CharField(max_length=200, blank=True)
    is_streamed = models.BooleanField(default=False)
    status = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=16, choices=Outcome.choices)
    error_code = models.CharField(max_length=64, blank=True)
    attempts = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    dialect_upstream = models.CharField(
        max_length=32, blank=True, help_text="What the upstream was asked in; empty when none was asked."
    )
    losses = models.JSONField(
        default=list, encoder=DjangoJSONEncoder, help_text="What its translation could not carry: path, weight and why."
    )
    trace = models.JSONField(
        null=True,
        blank=True,
        encoder=DjangoJSONEncoder,
        help_text="How its route was decided, where that was asked for.",
    )
    input_tokens = _tokens()
    cache_read_tokens = _tokens()
    cache_write_5m_tokens = _tokens()
    cache_write_1h_tokens = _tokens()
    output_tokens = _tokens()
    reasoning_tokens = _tokens()
    cost = _money()
    cost_price = models.DecimalField(max_digits=20, decimal_places=10, null=True, blank=True)
    currency = models.CharField(max_length=3, default="USD")
    cost_status = models.CharField(max_length=16, choices=CostStatus.choices)
    written_off = models.DecimalField(
        max_digits=20,
        decimal_places=10,
        default=0,
        help_text="What the request would have cost beyond its cost: a hard budget had no room for it.",
    )
    reported_cost = models.DecimalField(
        max_digits=20, decimal_places=10, null=True, blank=True, help_text="What the provider says that it charges us."
    )
    units = models.JSONField(
        default=dict,
        encoder=DjangoJSONEncoder,
        help_text="What else was used: audio_input_tokens, audio_output_tokens, images, characters, seconds.",
    )
    service_tier = models.CharField(max_length=16, blank=True, help_text="Such as batch or flex; empty: the usual one.")
    budgets = ArrayField(
        models.CharField(max_length=300), default=list, help_text="The budget counters it was charged to."
    )
    corrects = models.UUIDField(null=True, blank=True, help_text="The record whose cost this one corrects.")
    latency_ms = models.PositiveIntegerField()
    first_token_ms = models.PositiveIntegerField(null=True, blank=True)
    overhead_us = models.PositiveIntegerField(null=True, blank=True)
    revision = models.PositiveIntegerField(null=True, blank=True)
    worker = models.CharField(max_length=64, blank=True)

    objects = UsageRecordQuerySet["UsageRecord"].as_manager()

    class Meta:
        ordering: ClassVar = ["-started_at", "-request_id"]
        verbose_name = "request"

    def __str__(self) -> str:
        return self.request_id.hex


# Nobody got what was asked for. Who left did so by choice, and a correction is no request.
ERRORS = tuple(sorted({*UsageRecord.Outcome.values} - {"served", "client_gone", "correction"}))


FAILED = ~models.Q(outcome="served") & ~models.Q(outcome="client_gone")


class UsageRollup(models.Model):
    """Sums over one period, one row per tenant, project, key, alias, deployment and outcome."""

    id = models.BigAutoField(primary_key=True)
    starts_at = models.DateTimeField()
    tenant = _tenant()
    project = models.CharField(max_length=63, blank=True)
    api_key = _api_key()
    alias = models.CharField(max_length=200)
    provider = models.CharField(max_length=63, blank=True)
    deployment = models.CharField(max_length=63, blank=True)
    outcome = models.CharField(max_length=16, choices=UsageRecord.Outcome.choices)
    cost_status = models.CharField(max_length=16, choices=UsageRecord.CostStatus.choices)
    currency = models.CharField(max_length=3, default="USD")
    requests = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_5m_tokens = models.BigIntegerField(default=0)
    cache_write_1h_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost = _money()
    cost_price = _money()
    written_off = _money()
    latency_ms = models.BigIntegerField(default=0)
    first_token_ms = models.BigIntegerField(default=0)
    first_tokens = models.BigIntegerField(default=0, help_text="Requests that have a time to first token.")

    objects: ClassVar = TenantScopedQuerySet.as_manager()

    class Meta:
        abstract = True
        ordering: ClassVar = ["-starts_at", "-id"]

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d %H:%M} {self.alias}"


ROLLUP_KEY = (
    "starts_at",
    "tenant",
    "project",
    "api_key",
    "alias",
    "provider",
    "deployment",
    "outcome",
    "cost_status",
    "currency",
)


class UsageHour(UsageRollup):
    """Usage of one hour (UTC)."""

    class Meta(UsageRollup.Meta):
        verbose_name = "hourly usage"
        verbose_name_plural = "hourly usage"
        constraints: ClassVar = [models.UniqueConstraint(fields=ROLLUP_KEY, name="usage_hour_key")]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "starts_at"], name="usage_hour_tenant"),
            models.Index(fields=["outcome", "starts_at"], condition=FAILED, name="usage_hour_failed"),
        ]


class UsageDay(UsageRollup):
    """Usage of one day (UTC)."""

    class Meta(UsageRollup.Meta):
        verbose_name = "daily usage"
        verbose_name_plural = "daily usage"
        constraints: ClassVar = [models.UniqueConstraint(fields=ROLLUP_KEY, name="usage_day_key")]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "starts_at"], name="usage_day_tenant"),
            models.Index(fields=["api_key", "starts_at"], name="usage_day_api_key"),
        ]


class UsageEndUserDay(models.Model):
    """Usage of one end user on one day (UTC), so that reports of them outlive the records; of named ones only."""

    id = models.BigAutoField(primary_key=True)
    day = models.DateField()
    tenant = _tenant()
    project = models.CharField(max_length=63, blank=True)
    api_key = _api_key()
    end_user = models.CharField(max_length=200)
    alias = models.CharField(max_length=200)
    currency = models.CharField(max_length=3, default="USD")
    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    unpriced = models.BigIntegerField(default=0, help_text="Requests of models without a price.")
    input_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_5m_tokens = models.BigIntegerField(default=0)
    cache_write_1h_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost = _money()
    cost_price = _money()
    written_off = _money()

    objects: ClassVar = TenantScopedQuerySet.as_manager()

    class Meta:
        verbose_name = "daily usage of an end user"
        verbose_name_plural = "daily usage of end users"
        ordering: ClassVar = ["-day", "-id"]
        constraints: ClassVar = [
            # For the upsert, and for a tenant's reports.
            models.UniqueConstraint(
                fields=("tenant", "day", "end_user", "project", "api_key", "alias", "currency"),
                name="usage_end_user_day_key",
            )
        ]
        indexes: ClassVar = [models.Index(fields=["day", "id"], name="usage_end_user_day_list")]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d} {self.end_user}"


ALL_TENANTS = 0  # stands for a tenant's id where a row is of all tenants together


def _histogram() -> ArrayField:
    # Who reads it: `tenants/latency.py`, which says what is counted where.
    return ArrayField(models.IntegerField(), default=list)


class UsageOverview(models.Model):
    """Coarse sums for the console's first page: of each tenant, and of all tenants together (tenant 0).

    However many keys and end users there are, a period has one row per tenant, alias, provider and currency. Latencies
    are histograms, of which percentiles are read; corrections and lost requests are not in those.
    """

    id = models.BigAutoField(primary_key=True)
    starts_at = models.DateTimeField()
    tenant = _tenant()
    alias = models.CharField(max_length=200)
    provider = models.CharField(max_length=63, blank=True)
    currency = models.CharField(max_length=3, default="USD")
    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    unpriced = models.BigIntegerField(default=0, help_text="Requests of models without a price.")
    input_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    cache_write_1h_tokens = models.BigIntegerField(
        default=0, db_default=0, help_text="What part of them is for an hour."
    )
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0, db_default=0)
    cost = _money()
    cost_price = _money()
    written_off = models.DecimalField(max_digits=20, decimal_places=10, default=0, db_default=0)
    latency = _histogram()
    first_token = _histogram()

    objects: ClassVar = TenantScopedQuerySet.as_manager()

    class Meta:
        abstract = True
        default_permissions = ()
        ordering: ClassVar = ["-starts_at", "-id"]

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d %H:%M} {self.alias}"


OF_ALL = models.Q(tenant_id=ALL_TENANTS)
OVERVIEW_KEY = ("tenant", "starts_at", "alias", "provider", "currency")


class UsageOverviewHour(UsageOverview):
    """What one hour (UTC) was like."""

    class Meta(UsageOverview.Meta):
        constraints: ClassVar = [models.UniqueConstraint(fields=OVERVIEW_KEY, name="usage_overview_hour_key")]
        indexes: ClassVar = [
            models.Index(fields=["starts_at"], name="usage_overview_hour_time"),
            # Of all tenants: few rows, far apart among those of each.
            models.Index(fields=["starts_at"], condition=OF_ALL, name="usage_overview_hour_all"),
        ]


class UsageOverviewDay(UsageOverview):
    """What one day (UTC) was like."""

    class Meta(UsageOverview.Meta):
        constraints: ClassVar = [models.UniqueConstraint(fields=OVERVIEW_KEY, name="usage_overview_day_key")]
        indexes: ClassVar = [
            models.Index(fields=["starts_at"], name="usage_overview_day_time"),
            # Of all tenants: few rows, far apart among those of each.
            models.Index(fields=["starts_at"], condition=OF_ALL, name="usage_overview_day_all"),
        ]


class UsageTotal(models.Model):
    """What each tenant used and spent, whatever it was: narrow rows, so that all tenants can be compared at a glance."""

    id = models.BigAutoField(primary_key=True)
    starts_at = models.DateTimeField()
    tenant = _tenant()
    currency = models.CharField(max_length=3, default="USD")
    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    cost = _money()

    objects: ClassVar = TenantScopedQuerySet.as_manager()

    class Meta:
        abstract = True
        default_permissions = ()
        ordering: ClassVar = ["-starts_at", "-id"]

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d %H:%M} {self.tenant_id}"


TOTAL_KEY = ("starts_at", "tenant", "currency")


class UsageTotalHour(UsageTotal):
    """What one hour (UTC) came to."""

    class Meta(UsageTotal.Meta):
        constraints: ClassVar = [models.UniqueConstraint(fields=TOTAL_KEY, name="usage_total_hour_key")]


class UsageTotalDay(UsageTotal):
    """What one day (UTC) came to."""

    class Meta(UsageTotal.Meta):
        constraints: ClassVar = [models.UniqueConstraint(fields=TOTAL_KEY, name="usage_total_day_key")]
