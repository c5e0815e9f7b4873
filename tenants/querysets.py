"""Tenant isolation as a queryset verb, so that forgetting it is visible."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, Self

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import functions
from django.db.models.functions import Now
from django.db.models.lookups import GreaterThan
from django.utils import timezone

if TYPE_CHECKING:
    from tenants.models import Tenant


class TenantScopedQuerySet[M: models.Model](models.QuerySet[M]):
    """The base of every tenant-owned model's queryset."""

    def for_tenant(self, tenant: Tenant | int) -> Self:
        """Only what this tenant owns."""
        return self.filter(tenant=tenant)


class ApiKeyQuerySet[M: models.Model](TenantScopedQuerySet[M]):
    """Questions about sets of API keys."""

    def active(self) -> Self:
        """Keys that may be used now: neither revoked nor expired."""
        now = Now()
        not_expired = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=now)
        return self.filter(not_expired, revoked_at__isnull=True)

    def of_programs(self) -> Self:
        """Keys that somebody made for a program, without those that the playground makes for people."""
        return self.filter(purpose="")

    def expiring_before(self, moment: datetime) -> Self:
        """Keys that may be used now, and not after this moment."""
        return self.active().filter(expires_at__lte=moment)

    def with_secret(self, digests: Sequence[str]) -> Self:
        """Keys whose secret has, or before the last rotation had, one of these digests."""
        return self.filter(models.Q(digest__in=digests) | models.Q(previous_digest__in=digests))

    def with_owner(self) -> Self:
        """Tenant and project in the same query."""
        return self.select_related("tenant", "project")


# What is asked of records; those with several attempts have a trace each.
TRANSLATED = ~models.Q(dialect_upstream="") & ~models.Q(dialect_upstream=models.F("dialect"))
LOSSY = ~models.Q(losses=[])
TRACED = models.Q(trace__isnull=False)
SEVERAL_ATTEMPTS = TRACED & models.Q(
    GreaterThan(models.Func("attempts", function="jsonb_array_length", output_field=models.IntegerField()), 1)
)
FALLBACK = SEVERAL_ATTEMPTS & models.Q(
    models.Func(
        "attempts",
        template="jsonb_path_exists(%(expressions)s, '$[*] ? (@.deployment != $[0].deployment)')",
        output_field=models.BooleanField(),
    )
)


class UsageRecordQuerySet[M: models.Model](TenantScopedQuerySet[M]):
    """Questions about usage records; their conditions are those of the partial indexes of the ledger's migrations."""

    def failed(self) -> Self:
        """Requests that neither were served nor left by their client; corrections, too."""
        return self.exclude(outcome="served").exclude(outcome="client_gone")

    def slow(self) -> Self:
        """Requests that took a minute or longer."""
        return self.filter(latency_ms__gte=60_000)

    def dear(self) -> Self:
        """Requests that cost one or more, in whatever currency."""
        return self.filter(cost__gte=1)

    def translated(self) -> Self:
        """Requests whose upstream was asked in another dialect than the client's."""
        return self.filter(TRANSLATED)

    def lossy(self) -> Self:
        """Requests of which something did not get across."""
        return self.filter(LOSSY)

    def translated_or_lossy(self) -> Self:
        """Both, which stand in one index."""
        return self.filter(TRANSLATED | LOSSY)

    def called(self, correlation_id: str) -> Self:
        """Requests that their clients have given this id."""
        own = models.Func(
            functions.Cast("request_id", models.TextField()),
            models.Value("-"),
            models.Value(""),
            function="replace",
            output_field=models.TextField(),
        )
        return self.filter(correlation_id=correlation_id).exclude(correlation_id=own)

    def traced(self) -> Self:
        """Requests whose decision trace was kept: several attempts, or asked for."""
        return self.filter(TRACED)


class RequestBodyQuerySet[M: models.Model](TenantScopedQuerySet[M]):
    """Questions about bodies that are kept; how long a tenant keeps them holds for those that are there already."""

    def kept(self) -> Self:
        """Those whose days are not over."""
        days = models.Func(
            models.F("tenant__audit_retention_days"),
            template="make_interval(days => %(expressions)s)",
            output_field=models.DurationField(),
        )
        return self.filter(started_at__gt=Now() - days)


class ScopedRuleQuerySet[M: models.Model](TenantScopedQuerySet[M]):
    """Limits and budgets: rules that belong to a tenant, one of its projects or one of its keys."""

    def of_key(self, key: Any) -> Self:
        """Every rule that a request with this key has to pass, widest scope first."""
        tenant_wide = models.Q(project__isnull=True, api_key__isnull=True)
        own = models.Q(api_key=key)
        if key.project_id is not None:
            own |= models.Q(project=key.project_id)
        return self.filter(tenant_wide | own, tenant=key.tenant_id).order_by("pk")


class AlertIncidentQuerySet[M: models.Model](TenantScopedQuerySet[M]):
    """Questions about what alert rules have found."""

    def firing(self) -> Self:
        """Those that go on."""
        return self.filter(resolved_at=None)


class AlertSilenceQuerySet[M: models.Model](TenantScopedQuerySet[M]):
    """Questions about silences."""

    def on_at(self, moment: datetime) -> Self:
        """Those that hold at a moment."""
        return self.filter(starts_at__lte=moment, ends_at__gt=moment)


class LegalDocumentQuerySet[M: models.Model](models.QuerySet[M]):
    """Questions about terms and privacy notices."""

    def in_force(self, kind: str) -> M | None:
        """The version that holds today: the latest of those whose day has come. None: nothing was published."""
        return self._whose_day_has_come(kind).first()

    def with_current(self) -> Self:
        """Each with `current`: the version of its kind that holds today, or None."""
        latest = type(self)(self.model)._whose_day_has_come(models.OuterRef("kind"))
        return self.annotate(current=models.Subquery(latest.values("version")[:1]))

    def _whose_day_has_come(self, kind: str | models.OuterRef) -> Self:
        return self.filter(kind=kind, effective_from__lte=timezone.now().date()).order_by("-version")

    def update(self, **kwargs: Any) -> NoReturn:
        raise ValidationError("What is published stays as it is.")

    def delete(self) -> NoReturn:
        raise ValidationError("What is published stays as it is.")
