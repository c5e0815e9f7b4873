"""Budgets by urgency: how much is spent, and when they end at the present rate.

What is spent is read from `BudgetSpend`, of the slots that count now only; few budgets are then looked at in full.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import connection

from tenants.budgets import Standing, standings
from tenants.limits.periods import first_slot, slot_end, slot_start
from tenants.models import Budget

SHOWN = 10
CANDIDATES = 40  # that are looked at in full
LEAST_PASSED = 0.05  # of a period: before that, a rate says little
NEAR = Decimal("0.8")  # of a limit
ENDLESS = (Budget.Period.TOTAL, Budget.Period.CREDIT)

# Slots: for each period, number of days and time zone that budgets have, since when it counts and how much of it is over.
# Looked up and not joined, for the planner would take the few rows of such a join for few budgets.
CANDIDATES_SQL = """
WITH of_end_user AS (
    SELECT budget.id, max((slot ->> 1)::float8) AS passed, sum(spend.spent) AS spent,
        max(budget.amount + CASE WHEN budget.increase_until > %s THEN budget.increase ELSE 0 END) AS most
    FROM tenants_budgetspend spend
    JOIN tenants_budget budget ON budget.id = spend.budget_id
    JOIN tenants_tenant tenant ON tenant.id = budget.tenant_id
    CROSS JOIN LATERAL (
        SELECT %s::jsonb -> (budget.period || ' ' || coalesce(budget.rolling_days, 0) || ' ' || tenant.timezone) AS slot
    ) slots
    WHERE spend.starts_at = ANY(%s) AND spend.starts_at >= to_timestamp((slot ->> 0)::float8)
        AND split_part(spend.counter, ':', 1) = budget.id || '.' || budget.resets
        AND (%s::bigint IS NULL OR budget.tenant_id = %s)
    GROUP BY budget.id,
        CASE WHEN budget.per_end_user THEN regexp_replace(spend.counter, '^[^:]*:[^:]*:?', '') ELSE '' END
)
SELECT id FROM of_end_user GROUP BY id
ORDER BY least(max(spent) / nullif(max(most), 0), 9) / max(passed) DESC NULLS FIRST, id LIMIT %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """A budget and what will become of it."""

    budget: Budget
    standing: Standing
    share: Decimal | None  # of the limit that is spent; None: the limit is 0
    passed: float | None  # of the period that is over; None: it has no end
    ends_at: datetime | None  # when it is spent at the present rate; None: not in this period, or not known

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.standing.left <= 0

    @property
    def is_near(self) -> bool:
        """Whether somebody ought to look at it."""
        return self.is_spent or self.ends_at is not None or (self.share is not None and self.share >= NEAR)

    @property
    def days_early(self) -> int | None:
        """How many whole days before its period it ends; None where it does not, or has no period."""
        if self.ends_at is None or self.standing.resets_at is None:
            return None
        return (self.standing.resets_at - self.ends_at).days

    @property
    def urgency(self) -> tuple[bool, float, float]:
        """What sorts budgets: the most urgent first."""
        ends = float("inf") if self.ends_at is None else self.ends_at.timestamp()
        return not self.is_spent, ends, -float(self.share or 0)


def most_urgent(now: datetime, tenant_id: int | None) -> list[Burn]:
    """Return the budgets that end first, of all tenants or of one."""
    found = list(
        Budget.objects.filter(pk__in=_candidates(now, tenant_id)).select_related("tenant", "project", "api_key")
    )
    stand = standings(found, now) if found else {}
    burns = (burn(budget, stand[budget.pk], now) for budget in found)
    return sorted(burns, key=lambda each: (each.urgency, each.budget.pk))[:SHOWN]


def burn(budget: Budget, standing: Standing, now: datetime) -> Burn:
    """Say when a budget is spent, if what is left of its period is like what has passed."""
    begins = _began(budget, now)
    ends = standing.resets_at
    passed = None if ends is None else _share_of(begins, ends, now)
    share = standing.most / standing.limit if standing.limit > 0 else None
    ends_at = None
    if standing.most > 0 and standing.left > 0 and budget.period != Budget.Period.ROLLING:
        ends_at = _projected(begins, ends, now, standing)
    return Burn(budget=budget, standing=standing, share=share, passed=passed, ends_at=ends_at)


def _projected(begins: datetime, ends: datetime | None, now: datetime, standing: Standing) -> datetime | None:
    gone = (now - begins).total_seconds()
    if gone < LEAST_PASSED * ((ends - begins).total_seconds() if ends is not None else 86_400 * 20):
        return None
    seconds = float(standing.left / standing.most) * gone
    if seconds > 86_400 * 366:
        return None
    ends_at = now + timedelta(seconds=seconds)
    return None if ends is not None and ends_at >= ends else ends_at


def _began(budget: Budget, now: datetime) -> datetime:
    """When what counts now began to be counted."""
    start = slot_start(budget.period, now.timestamp(), budget.tenant.timezone)
    since = max(budget.created_at, budget.reset_at or budget.created_at)
    return max(datetime.fromtimestamp(start, UTC), since)


def _share_of(begins: datetime, ends: datetime, now: datetime) -> float:
    return min(1.0, max(0.0, (now - begins) / (ends - begins)))


def _candidates(now: datetime, tenant_id: int | None) -> list[int]:
    kinds = Budget.objects.all() if tenant_id is None else Budget.objects.for_tenant(tenant_id)
    slots: dict[str, tuple[float, float]] = {}
    starts: set[datetime] = set()
    for period, days, zone in kinds.order_by().values_list("period", "rolling_days", "tenant__timezone").distinct():
        begins, passed = _slots(period, days or 0, zone, now)
        slots[f"{period} {days or 0} {zone}"] = min(begins).timestamp(), passed
        starts |= begins
    if not slots:
        return []
    with connection.cursor() as cursor:
        cursor.execute(CANDIDATES_SQL, [now, json.dumps(slots), sorted(starts), tenant_id, tenant_id, CANDIDATES])
        return [pk for (pk,) in cursor.fetchall()]


def _slots(period: str, days: int, zone: str, now: datetime) -> tuple[set[datetime], float]:
    """When each slot of a kind of budget begins that counts now, and how much of their time has passed."""
    moment = now.timestamp()
    if period == Budget.Period.ROLLING:
        firsts = (first_slot(number, moment, zone) for number in range(1, max(days, 1) + 1))
        return {datetime.fromtimestamp(first, UTC) for first in firsts}, 1.0
    begins = datetime.fromtimestamp(slot_start(period, moment, zone), UTC)
    if period in ENDLESS:
        return {begins}, 1.0
    ends = datetime.fromtimestamp(slot_end(period, moment, zone), UTC)
    return {begins}, max(_share_of(begins, ends, now), LEAST_PASSED)
