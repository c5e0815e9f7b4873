"""Which thresholds of budgets were crossed: noted once per period, in the transaction that books what was spent.

Telling the tenant is another matter, and another transaction's: `budget_alert_messages.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.utils import timezone

from tenants.budgets import Counter, read_counter
from tenants.limits.periods import counter_name, first_slot, slot_end
from tenants.models import Budget, BudgetAlert, BudgetSpend


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A counter that was charged, its budget, and the names of all counters that count with it."""

    name: str
    counter: Counter
    budget: Budget
    window: tuple[str, ...]


def note_spend(counters: Iterable[str]) -> int:
    """Note every threshold that what is in `BudgetSpend` has crossed on these counters; returns how many are new.

    Called inside the transaction that wrote it, with the counters that it wrote.
    """
    accounts = list(_accounts(counters))
    if not accounts:
        return 0
    found = [pair for account, spent in _spent(accounts) for pair in _crossed(account, spent)]
    new = _without_known(found)
    if not new:
        return 0
    # Locked, so that a budget that is just being deleted does not take the ledger's transaction with it.
    ids = {alert.budget_id for alert in new}
    there = set(Budget.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk", flat=True))
    alerts = [alert for alert in new if alert.budget_id in there]
    BudgetAlert.objects.bulk_create(alerts, ignore_conflicts=True)
    return len(alerts)


def thresholds_reached(thresholds: Iterable[int], spent: Decimal, limit: Decimal) -> list[int]:
    """Return the thresholds, in per cent, that are reached; nothing reaches one before anything is spent."""
    if spent <= 0:
        return []
    return [threshold for threshold in thresholds if spent * 100 >= limit * threshold]


def _accounts(names: Iterable[str]) -> Iterator[Account]:
    """The counters whose budget has thresholds; those that were left behind by a reset tell nobody anything."""
    counters = {name: counter for name in set(names) if (counter := read_counter(name)) is not None}
    ids = {counter.budget_id for counter in counters.values()}
    watched = Budget.objects.filter(pk__in=ids).exclude(alert_at=[]).select_related("tenant").in_bulk() if ids else {}
    for name, counter in sorted(counters.items()):
        budget = watched.get(counter.budget_id)
        if budget is not None and budget.resets == counter.resets:
            yield Account(name=name, counter=counter, budget=budget, window=tuple(_window(name, counter, budget)))


def _window(name: str, counter: Counter, budget: Budget) -> Iterator[str]:
    """The counter alone, or the days that count with it in a rolling window that it ends."""
    if budget.period != Budget.Period.ROLLING or not budget.rolling_days:
        yield name
        return
    zone = budget.tenant.timezone
    start = first_slot(budget.rolling_days, counter.start, zone)
    while start <= counter.start:
        yield counter_name(budget.pk, budget.resets, start, counter.end_user)
        start = int(slot_end("day", start, zone))


def _spent(accounts: Sequence[Account]) -> Iterator[tuple[Account, Decimal]]:
    names = {name for account in accounts for name in account.window}
    spent = dict(BudgetSpend.objects.filter(counter__in=names).values_list("counter", "spent"))
    for account in accounts:
        yield account, sum((spent.get(name, Decimal(0)) for name in account.window), Decimal(0))


def _crossed(account: Account, spent: Decimal) -> Iterator[tuple[Account, BudgetAlert]]:
    budget = account.budget
    limit = budget.limit_at(timezone.now())
    for threshold in thresholds_reached(budget.alert_at, spent, limit):
        alert = BudgetAlert(
            tenant=budget.tenant,
            budget=budget,
            counter=account.name,
            threshold=threshold,
            credit=budget.amount if budget.period == Budget.Period.CREDIT else Decimal(0),
            spent=spent,
            limit=limit,
        )
        yield account, alert


def _without_known(found: Sequence[tuple[Account, BudgetAlert]]) -> list[BudgetAlert]:
    """Leave out what was noted before: on this counter, or on one that counts with it."""
    names = {name for account, _ in found for name in account.window}
    noted = BudgetAlert.objects.filter(counter__in=names) if names else BudgetAlert.objects.none()
    known = set(noted.values_list("counter", "threshold", "credit"))
    return [
        alert
        for account, alert in found
        if known.isdisjoint((name, alert.threshold, alert.credit) for name in account.window)
    ]
