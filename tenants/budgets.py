"""What is done to budgets beside changing their rows: reset, top up, increase; and how they stand.

Each change saves the row, and saving announces it (`signals.py`): workers know within a second.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import isinf

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from tenants.limits.periods import first_slot, slot_end, slot_start
from tenants.models import Budget, CreditTopUp, User
from tenants.models.limits import MOST_MONEY, is_amount

COUNTER = re.compile(r"(\d{1,18})\.(\d{1,9}):(-?\d{1,15})(?::(.+))?", re.DOTALL)

# End users' counters of a budget are added up first: one that has many days is one end user all the same.
STANDINGS = """
WITH asked AS (SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[]) AS a(id, name, first, last)),
of_end_user AS (
    SELECT asked.id, regexp_replace(counter, '^[^:]*:[^:]*:?', '') AS end_user, sum(spent) AS spent
    FROM asked JOIN tenants_budgetspend ON budget_id = asked.id
    WHERE split_part(counter, ':', 1) = asked.name AND split_part(counter, ':', 2)::bigint BETWEEN first AND last
    GROUP BY 1, 2
)
SELECT id, sum(spent), max(spent), count(*) FROM of_end_user GROUP BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A counter's name, taken apart; the names are made in `limits/periods.py`."""

    budget_id: int
    resets: int
    start: int  # of its slot, in seconds since 1970
    end_user: str = ""


def read_counter(name: str) -> Counter | None:
    """Take a counter's name apart; None when it is none."""
    found = COUNTER.fullmatch(name)
    if found is None:
        return None
    budget_id, resets, start, end_user = found.groups(default="")
    return Counter(budget_id=int(budget_id), resets=int(resets), start=int(start), end_user=end_user)


# --- How budgets stand -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the ledger says of a budget's period; the newest requests may still be on their way there."""

    spent: Decimal  # by all its end users together
    most: Decimal  # by the one who spent most; the same as `spent` where they are counted together
    end_users: int  # that spent anything; where they are counted together, that is one
    limit: Decimal
    resets_at: datetime | None  # None: nothing begins anew by itself

    @property
    def left(self) -> Decimal:
        """What may still be spent; of the end user who spent most, where each has a budget of their own."""
        return max(self.limit - self.most, Decimal(0))


def standings(budgets: Iterable[Budget], now: datetime) -> dict[int, Standing]:
    """How budgets stand at a moment, by their ids, in one query."""
    asked = list(budgets)
    windows = [window(budget, now) for budget in asked]
    ids, names = [budget.pk for budget in asked], [f"{budget.pk}.{budget.resets}" for budget in asked]
    with connection.cursor() as cursor:
        cursor.execute(STANDINGS, [ids, names, [first for first, _ in windows], [last for _, last in windows]])
        found = {row[0]: row[1:] for row in cursor.fetchall()}
    nothing = (Decimal(0), Decimal(0), 0)
    return {budget.pk: _standing(budget, now, *found.get(budget.pk, nothing)) for budget in asked}


def window(budget: Budget, now: datetime) -> tuple[int, int]:
    """When the first and the last slot begin that count now, in seconds since 1970."""
    moment, zone = now.timestamp(), budget.tenant.timezone
    last = slot_start(budget.period, moment, zone)
    if budget.period == Budget.Period.ROLLING and budget.rolling_days:
        return first_slot(budget.rolling_days, moment, zone), last
    return last, last


def _standing(budget: Budget, now: datetime, spent: Decimal, most: Decimal, end_users: int) -> Standing:
    return Standing(
        spent=spent, most=most, end_users=end_users, limit=budget.limit_at(now), resets_at=_resets_at(budget, now)
    )


def _resets_at(budget: Budget, now: datetime) -> datetime | None:
    if budget.period == Budget.Period.ROLLING:
        return None  # each midnight a day leaves the window
    end = slot_end(budget.period, now.timestamp(), budget.tenant.timezone)
    return None if isinf(end) else datetime.fromtimestamp(end, UTC)


# --- What is done to them ----------------------------------------------------------------------------------


@transaction.atomic
def reset(*, budget: Budget) -> Budget:
    """Begin at nothing spent again; requests under way are still charged to what was. Raises ValidationError."""
    stored = _locked(budget)
    check_reset(stored)
    stored.resets += 1
    stored.reset_at = timezone.now()
    stored.save(update_fields=["resets", "reset_at"])
    return stored


@transaction.atomic
def top_up(*, budget: Budget, amount: Decimal, note: str = "", by: User | None = None) -> CreditTopUp:
    """Pay into a prepaid credit, and record it. Raises ValidationError."""
    stored = _locked(budget)
    check_top_up(stored, amount)
    stored.amount += amount
    stored.save(update_fields=["amount"])
    return CreditTopUp.objects.create(
        tenant=stored.tenant, budget=stored, amount=amount, currency=stored.currency, note=note, by=by
    )


@transaction.atomic
def increase(*, budget: Budget, amount: Decimal, until: datetime) -> Budget:
    """Allow more until a moment, in place of an increase that there may be. Raises ValidationError."""
    stored = _locked(budget)
    check_increase(stored, amount, until)
    stored.increase, stored.increase_until = amount, until
    stored.save(update_fields=["increase", "increase_until"])
    return stored


def check_reset(budget: Budget) -> None:
    """Raise ValidationError for what is never set back."""
    if budget.period == Budget.Period.CREDIT:
        raise ValidationError("Prepaid credit is topped up, not reset: a reset would give it out once more.")


def check_top_up(budget: Budget, amount: Decimal) -> None:
    """Raise ValidationError, the field named, for what cannot be paid in."""
    if budget.period != Budget.Period.CREDIT:
        raise ValidationError("Only prepaid credit is topped up; raise the amount of other budgets, or increase it.")
    _check_amount(amount, budget.amount + budget.increase)


def check_increase(budget: Budget, amount: Decimal, until: datetime) -> None:
    """Raise ValidationError, the field named, for what is no increase."""
    _check_amount(amount, budget.amount)
    if until <= timezone.now():
        raise ValidationError({"until": "An increase ends in the future."})


def _check_amount(amount: Decimal, there: Decimal) -> None:
    if not is_amount(amount) or amount <= 0:
        raise ValidationError({"amount": "Give an amount above 0."})
    try:
        Budget._meta.get_field("amount").run_validators(amount)
    except ValidationError as error:
        raise ValidationError({"amount": error.messages}) from None
    if there + amount > MOST_MONEY:
        raise ValidationError({"amount": f"A budget holds at most {MOST_MONEY}, its increase included."})


def _locked(budget: Budget) -> Budget:
    """The row as it is now, which nobody else changes until the transaction ends."""
    return Budget.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=budget.pk)
