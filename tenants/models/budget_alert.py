"""Alerts: a budget is spent to a threshold, and somebody is told."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.utils import timezone

from tenants.models.limits import Budget
from tenants.models.outgoing import Outgoing
from tenants.models.tenant import Tenant
from tenants.querysets import TenantScopedQuerySet


class BudgetAlert(Outgoing, models.Model):
    """A threshold that was crossed on one counter of a budget, and what became of telling its tenant."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="budget_alerts")
    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="alerts")
    counter = models.CharField(max_length=300, help_text="As the usage records name it.")
    threshold = models.PositiveIntegerField(help_text="Per cent of the limit.")
    credit = models.DecimalField(
        max_digits=20,
        decimal_places=10,
        default=Decimal(0),
        help_text="What had been paid in: a top-up arms the alerts of a prepaid credit anew. 0 for other budgets.",
    )
    spent = models.DecimalField(max_digits=20, decimal_places=10)
    limit = models.DecimalField(max_digits=20, decimal_places=10)
    created_at = models.DateTimeField(auto_now_add=True)
    emailed_at = models.DateTimeField("e-mail sent at", null=True, blank=True)
    posted_at = models.DateTimeField("webhook answered at", null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)
    waits_since = models.DateTimeField(default=timezone.now, help_text="It is given up a day later.")
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    error = models.TextField(blank=True)

    objects = TenantScopedQuerySet["BudgetAlert"].as_manager()

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["counter", "threshold", "credit"], name="budget_alert_once_per_period")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_try_at"],
                name="budget_alert_waiting",
                condition=models.Q(delivered_at=None, given_up_at=None),
            ),
            models.Index(
                fields=["given_up_at"],
                name="budget_alert_given_up",
                condition=models.Q(given_up_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.threshold}% of {self.budget}"

    def try_again(self) -> None:
        """Have what did not get through sent again, as if it had just been noted."""
        self.given_up_at, self.tries = None, 0
        self.waits_since = self.next_try_at = timezone.now()
        self.save(update_fields=["given_up_at", "tries", "waits_since", "next_try_at"])
