"""Rate limits and budgets, each at the scope of a tenant, one of its projects or one of its keys."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from tenants.currencies import validate_currency
from tenants.models.api_key import ApiKey
from tenants.models.tenant import Project, Tenant
from tenants.querysets import ScopedRuleQuerySet, TenantScopedQuerySet


class ScopedRule(models.Model):
    """A rule for a tenant; for one project or one key of it when that is set."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="%(class)ss")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss")
    api_key = models.ForeignKey(
        ApiKey,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="%(class)ss",
        verbose_name="API key",
    )
    model = models.CharField(max_length=200, blank=True, help_text="Only for this alias; empty: for all together.")
    per_end_user = models.BooleanField(default=False, help_text="Count each end user alone.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[Any] = ScopedRuleQuerySet.as_manager()

    class Meta:
        abstract = True

    @property
    def scope(self) -> str:
        """`tenant`, `project` or `api_key`."""
        if self.api_key_id is not None:
            return "api_key"
        return "tenant" if self.project_id is None else "project"

    def clean(self) -> None:
        """At most one narrower scope, and of the same tenant."""
        if self.project_id is not None and self.api_key_id is not None:
            raise ValidationError({"project": "Choose a project or an API key, not both."})
        for field in ("project", "api_key"):
            owner = getattr(self, field)
            if owner is not None and self.tenant_id and owner.tenant_id != self.tenant_id:
                raise ValidationError({field: "This belongs to another tenant."})

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.tenant_id:
            owner = self.api_key or self.project
            assert owner is not None  # the forms ask for one of the three
            self.tenant = owner.tenant
        super().save(*args, **kwargs)


class RateLimit(ScopedRule):
    """How many requests or tokens in a time, or how many requests at once."""

    class Kind(models.TextChoices):
        REQUESTS = "requests", "Requests"
        TOKENS = "tokens", "Tokens"
        CONCURRENCY = "concurrency", "Requests at once"

    class Per(models.TextChoices):
        SECOND = "second", "Second"
        MINUTE = "minute", "Minute"
        HOUR = "hour", "Hour"
        DAY = "day", "Day"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    amount = models.PositiveBigIntegerField(validators=[MinValueValidator(1)])
    per = models.CharField(max_length=8, choices=Per.choices, blank=True, help_text="Empty for requests at once.")
    burst = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="At most so many in a row, then evenly.",
    )

    class Meta:
        ordering: ClassVar = ["tenant", "pk"]

    def __str__(self) -> str:
        if self.kind == self.Kind.CONCURRENCY:
            return f"{self.amount:,} requests at once"
        return f"{self.amount:,} {self.kind} per {self.per}"

    def clean(self) -> None:
        """A rate has a time, concurrency has none, and only requests come in bursts."""
        super().clean()
        if (self.kind == self.Kind.CONCURRENCY) == bool(self.per):
            raise ValidationError({"per": "Requests and tokens need a time; requests at once have none."})
        if self.burst is not None and self.kind != self.Kind.REQUESTS:
            raise ValidationError({"burst": "Only a limit on requests can have a burst."})


MOST_MONEY = Decimal(9_000_000_000)  # its nanos fit into the 64 bits of Valkey's counters
MOST_PER_CENT = 1000  # of a threshold: soft budgets can be overspent by far
# Two budgets of one scope that agree in these would count the same money twice.
COUNTS_THE_SAME = ("period", "rolling_days", "model", "per_end_user", "currency")
WHAT_IS_COUNTED = frozenset({"model", "per_end_user", "currency", "project_id", "api_key_id"})
OVERLAPPING = "There is a budget with this period, model and currency already, for the same tenant, project or key."


class Budget(ScopedRule):
    """How much money in a period; what is spent of it is counted in Valkey and in `BudgetSpend`."""

    class Period(models.TextChoices):
        DAY = "day", "Day"
        WEEK = "week", "Week"
        MONTH = "month", "Month"
        QUARTER = "quarter", "Quarter"
        TOTAL = "total", "Total"
        ROLLING = "rolling", "The last days"
        CREDIT = "credit", "Prepaid credit"

    amount = models.DecimalField(
        max_digits=20,
        decimal_places=10,
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(MOST_MONEY)],
        help_text="Of prepaid credit: all that was paid in.",
    )
    currency = models.CharField(max_length=3, default="USD", validators=[validate_currency])
    period = models.CharField(max_length=8, choices=Period.choices, default=Period.MONTH)
    is_hard = models.BooleanField(default=True, help_text="Hard: requests that do not fit are refused.")
    alert_at = ArrayField(
        models.PositiveIntegerField(validators=[MinValueValidator(1), MaxValueValidator(MOST_PER_CENT)]),
        default=list,
        blank=True,
        help_text="Per cent of the amount at which to alert.",
    )
    rolling_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(366)],
        help_text="How many days, today included; only for the last days.",
    )
    increase = models.DecimalField(
        max_digits=20,
        decimal_places=10,
        default=Decimal(0),
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(MOST_MONEY)],
        help_text="What may be spent on top until the increase ends.",
    )
    increase_until = models.DateTimeField(null=True, blank=True)
    resets = models.PositiveIntegerField(
        default=0, editable=False, help_text="How often it was set back to nothing spent."
    )
    reset_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["tenant", "pk"]

    def __str__(self) -> str:
        amount = f"{Decimal(self.amount).normalize():,f} {self.currency}"
        if self.period == self.Period.CREDIT:
            return f"{amount} of prepaid credit"
        return (
            f"{amount} in {self.rolling_days} days"
            if self.period == self.Period.ROLLING
            else f"{amount} in total"
            if self.period == self.Period.TOTAL
            else f"{amount} per {self.period}"
        )

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A budget that counts something else from now on begins at nothing."""
        changed = kwargs.get("update_fields")
        if self.pk is not None and (changed is None or not WHAT_IS_COUNTED.isdisjoint(changed)):
            stored = Budget.objects.filter(pk=self.pk).values(*WHAT_IS_COUNTED).first()
            if stored is not None and any(getattr(self, name) != value for name, value in stored.items()):
                self.resets += 1
                self.reset_at = timezone.now()
                kwargs |= {"update_fields": {*changed, "resets", "reset_at"}} if changed is not None else {}
        super().save(*args, **kwargs)

    def limit_at(self, moment: datetime) -> Decimal:
        """How much may be spent, an increase included that has not ended at this moment."""
        is_increased = self.increase_until is not None and moment < self.increase_until
        return self.amount + (self.increase if is_increased else 0)

    def clean(self) -> None:
        """Name the field of everything that is wrong."""
        super().clean()
        errors = self._period_errors() | self._money_errors() | self._alert_errors()
        if not errors and self._is_there_already():
            errors = {"period": OVERLAPPING}
        if errors:
            raise ValidationError(errors)

    def _period_errors(self) -> dict[str, str]:
        """Rolling windows, and only they, have days."""
        if (self.period == self.Period.ROLLING) == (self.rolling_days is not None):
            return {}
        return {"rolling_days": "Say how many days for a budget of the last days, and for no other."}

    def _money_errors(self) -> dict[str, str]:
        errors: dict[str, str] = {}
        if not (is_amount(self.amount) and is_amount(self.increase)):
            return errors  # the fields themselves have said so
        if self.increase > 0 and self.increase_until is None:
            errors["increase_until"] = "Say when the increase ends."
        if max(self.amount, self.increase) <= MOST_MONEY < self.amount + self.increase:
            errors["amount"] = f"A budget holds at most {MOST_MONEY}, its increase included."
        return errors

    def _alert_errors(self) -> dict[str, str]:
        twice = [threshold for threshold in self.alert_at if self.alert_at.count(threshold) > 1]
        return {"alert_at": f"{twice[0]} stands there twice."} if twice else {}

    def _is_there_already(self) -> bool:
        """Whether another budget of its scope counts the same; one that was stored like this may stay."""
        if not self.tenant_id and self.project_id is None and self.api_key_id is None:
            return False  # its owner is being made with it
        same = Budget.objects.filter(**{name: getattr(self, name) for name in COUNTS_THE_SAME})
        if self.api_key_id is not None or self.project_id is not None:
            same = same.filter(api_key=self.api_key_id, project=self.project_id)
        else:
            same = same.filter(tenant=self.tenant_id, api_key=None, project=None)
        found = set(same.values_list("pk", flat=True))
        return bool(found) and self.pk not in found


def is_amount(value: Any) -> bool:
    """Whether this is a number that can be compared; a field that was refused may hold anything."""
    return isinstance(value, int | Decimal) and Decimal(value).is_finite()


class CreditTopUp(models.Model):
    """Money that was paid into a prepaid credit; it is part of the budget's amount."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="credit_top_ups")
    budget = models.ForeignKey(Budget, on_delete=models.SET_NULL, null=True, related_name="top_ups")
    amount = models.DecimalField(max_digits=20, decimal_places=10)
    currency = models.CharField(max_length=3)
    note = models.CharField(max_length=200, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    objects = TenantScopedQuerySet["CreditTopUp"].as_manager()

    class Meta:
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"{self.amount.normalize():f} {self.currency}"


class BudgetSpend(models.Model):
    """What was spent on one counter of a budget: a period, and an end user where each has an own one.

    Written by the drain in the transaction of the ledger; Valkey's counters are rebuilt from here.
    """

    counter = models.CharField(max_length=300, primary_key=True, help_text="As the usage records name it.")
    budget_id = models.BigIntegerField(db_index=True)
    starts_at = models.DateTimeField()
    spent = models.DecimalField(max_digits=20, decimal_places=10, default=0)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["-starts_at", "counter"]
        # Of what counts now, few slots of many: see `tenants/burn_down.py`.
        indexes: ClassVar = [models.Index(fields=["starts_at"], name="budget_spend_slot")]

    def __str__(self) -> str:
        return self.counter
