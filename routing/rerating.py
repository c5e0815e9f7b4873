"""Re-rating: what the records of a period cost under the prices that are in force now for their moments.

The ledger is never edited. A record whose bill is another one gets a correction: a record of its own (outcome
`correction`) with the difference, at the original's moment, for the same tenant, key and budgets. Earlier corrections
count, so a second run writes nothing. What hard budgets have no room for is written off, as it would have been then.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from providers.canonical.usage import Usage
from providers.models import Deployment
from providers.pricing import Price, cost, price_at
from tenants.ledger import write_records
from tenants.limits.money import NANO
from tenants.models import Budget, BudgetSpend, UsageRecord
from tenants.usage_event import UsageEvent

BATCH = 2_000
LOCK = 0x70110005  # of Postgres' advisory locks: one re-rating at a time
NAMESPACE = uuid.UUID("6d3c5a54-0a4e-4d5f-8b3c-0b8c4a0f6c11")
ZERO = Decimal(0)
DAY = 86_400
# They have been billed only where they cost something: nothing was delivered.
UNDELIVERED = frozenset({"rejected", "upstream_failed", "gateway_failed"})
CORRECTION, LOST = UsageRecord.Outcome.CORRECTION, UsageRecord.Outcome.LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Which records are looked at; `end` is not in it."""

    start: datetime
    end: datetime
    tenant_id: int | None = None
    deployment: str = ""

    def records(self) -> QuerySet[UsageRecord]:
        """Requests that a deployment was asked for."""
        found = UsageRecord.objects.filter(
            started_at__gte=self.start, started_at__lt=self.end, corrects__isnull=True
        ).exclude(Q(deployment="") | Q(outcome=LOST))
        if self.tenant_id is not None:
            found = found.filter(tenant_id=self.tenant_id)
        return found.filter(deployment=self.deployment) if self.deployment else found


@dataclass(slots=True, kw_only=True)
class Money:
    """What a request amounts to in one currency."""

    cost: Decimal = ZERO
    written_off: Decimal = ZERO
    cost_price: Decimal = ZERO

    def add(self, record: UsageRecord) -> None:
        """Take a record in."""
        self.cost += record.cost
        self.written_off += record.written_off
        self.cost_price += record.cost_price or ZERO

    def __bool__(self) -> bool:
        return any(abs(amount) >= NANO for amount in (self.cost, self.written_off, self.cost_price))


@dataclass(slots=True, kw_only=True)
class Rerated:
    """What a re-rating found, and wrote if it was to."""

    records: int = 0  # looked at
    corrections: int = 0
    unpriced: int = 0  # without a price still
    sums: dict[tuple[str, str], Money] = field(default_factory=lambda: defaultdict(Money))  # by deployment, currency


class AlreadyRunning(Exception):
    """Somebody else re-rates."""


def rerate(period: Period, *, apply: bool) -> Rerated:
    """Compare the records of a period with the prices in force; writes corrections only when told to apply them."""
    done, rooms = Rerated(), Rooms()
    prices = load_prices()
    with _lock():
        for batch in batches(period):
            with transaction.atomic():
                rooms = Rooms() if apply else rooms  # what has been written is in the database
                events = list(_corrections(batch, prices, rooms, done))
                if apply and events:
                    write_records(events)
    return done


def load_prices() -> dict[str, tuple[Price, ...]]:
    """Return all prices of all deployments, by slug."""
    rows = Deployment.objects.prefetch_related("prices")
    return {row.slug: tuple(price.as_price() for price in row.prices.all()) for row in rows}


def batches(period: Period) -> Iterator[list[UsageRecord]]:
    """Yield the records of a period in their order, so many at a time."""
    records = period.records().order_by("started_at", "request_id").defer("attempts", "losses", "trace")
    found = records
    while batch := list(found[:BATCH]):
        yield batch
        last = batch[-1]
        later = Q(started_at__gt=last.started_at) | Q(started_at=last.started_at, request_id__gt=last.request_id)
        found = records.filter(later, started_at__gte=last.started_at)


def used(record: UsageRecord) -> Usage:
    """Return what a record says was used."""
    units = record.units
    seconds = units.get("seconds")
    return Usage(
        input=record.input_tokens,
        cache_read=record.cache_read_tokens,
        cache_write_5m=record.cache_write_5m_tokens,
        cache_write_1h=record.cache_write_1h_tokens,
        output=record.output_tokens,
        reasoning=record.reasoning_tokens,
        audio_input=units.get("audio_input_tokens"),
        audio_output=units.get("audio_output_tokens"),
        images=units.get("images"),
        characters=units.get("characters"),
        seconds=Decimal(str(seconds)) if seconds is not None else None,
        service_tier=record.service_tier or None,
    )


def was_billed(record: UsageRecord) -> bool:
    """Whether a request was to be paid for: something was used, and it was not one that failed before it delivered."""
    if record.outcome in UNDELIVERED and not record.cost and record.cost_status == UsageRecord.CostStatus.EXACT:
        return False
    tokens = (
        record.input_tokens,
        record.cache_read_tokens,
        record.cache_write_5m_tokens,
        record.cache_write_1h_tokens,
        record.output_tokens,
    )
    return any(tokens) or any(record.units.values())


# --- Corrections ---------------------------------------------------------------------------------------------


def _corrections(
    batch: Sequence[UsageRecord], prices: Mapping[str, tuple[Price, ...]], rooms: "Rooms", done: Rerated
) -> Iterator[UsageEvent]:
    earlier = _earlier_corrections(batch)
    rooms.look_up({counter for record in batch for counter in record.budgets})
    for record in batch:
        done.records += 1
        if not was_billed(record):
            continue
        known = [record, *earlier[record.request_id]]
        differences = _differences(record, known, prices.get(record.deployment, ()), rooms, done)
        for currency, difference in differences.items():
            if difference:
                done.corrections += 1
                total = done.sums[record.deployment, currency]
                total.cost += difference.cost
                total.written_off += difference.written_off
                total.cost_price += difference.cost_price
                yield _event(record, currency, difference, number=len(known), rooms=rooms)


def _earlier_corrections(batch: Sequence[UsageRecord]) -> dict[uuid.UUID, list[UsageRecord]]:
    """Return the corrections of a batch by the record that they correct; they have its moment."""
    found: dict[uuid.UUID, list[UsageRecord]] = defaultdict(list)
    rows = UsageRecord.objects.filter(
        started_at__gte=batch[0].started_at, started_at__lte=batch[-1].started_at, corrects__isnull=False
    )
    for row in rows.only("corrects", "currency", "cost", "written_off", "cost_price"):
        if row.corrects is not None:
            found[row.corrects].append(row)
    return found


def _differences(
    record: UsageRecord, known: Iterable[UsageRecord], prices: tuple[Price, ...], rooms: "Rooms", done: Rerated
) -> dict[str, Money]:
    """Return what is missing from the bill, or too much on it, in each currency."""
    billed: dict[str, Money] = defaultdict(Money)
    for each in known:
        billed[each.currency].add(each)
    usage, moment = used(record), record.started_at.timestamp()
    sell, bought = price_at(prices, "sell", moment), price_at(prices, "cost", moment)
    target = cost(usage, sell) if sell is not None else None
    currency = sell.currency if sell is not None and target is not None else record.currency
    found: dict[str, Money] = {}
    if target is None:
        done.unpriced += 1
        found[currency] = Money()
    else:
        found = {other: _taken_back(money, record, rooms) for other, money in billed.items() if other != currency}
        found[currency] = _difference(billed[currency], target, rooms.counters(record.budgets, currency), rooms)
    paid = cost(usage, bought) if bought is not None and bought.currency == currency else None
    if paid is not None:
        found[currency].cost_price = paid - billed[currency].cost_price
    return found


def _difference(billed: Money, target: Decimal, counters: Sequence[str], rooms: "Rooms") -> Money:
    """Return how a bill changes: what is more fits into hard budgets or is written off; what is less is given back."""
    more = target - billed.cost - billed.written_off
    if abs(more) < NANO:
        return Money()
    if more > 0:
        fits = rooms.take(counters, more)
        return Money(cost=fits, written_off=more - fits)
    kept = min(target, billed.cost)
    rooms.give(counters, billed.cost - kept)
    return Money(cost=kept - billed.cost, written_off=target - kept - billed.written_off)


def _taken_back(billed: Money, record: UsageRecord, rooms: "Rooms") -> Money:
    """Return what takes everything back that was billed in a currency in which nothing is sold any more."""
    rooms.give(rooms.counters(record.budgets, record.currency), billed.cost)
    return Money(cost=-billed.cost, written_off=-billed.written_off, cost_price=-billed.cost_price)


def _event(record: UsageRecord, currency: str, difference: Money, *, number: int, rooms: "Rooms") -> UsageEvent:
    """Return a correction. Its id follows from what it corrects: written twice, it is in the ledger once."""
    return UsageEvent(
        request_id=uuid.uuid5(NAMESPACE, f"{record.request_id}:{currency}:{number}").hex,
        started_at=record.started_at.timestamp(),
        correlation_id=record.correlation_id,
        tenant_id=record.tenant_id,
        project=record.project,
        api_key_id=record.api_key_id,
        end_user=record.end_user,
        dialect=record.dialect,
        alias=record.alias,
        route=record.route,
        provider=record.provider,
        deployment=record.deployment,
        model=record.model,
        is_streamed=record.is_streamed,
        status=record.status,
        outcome=CORRECTION,
        cost=difference.cost,
        cost_price=difference.cost_price or None,
        written_off=difference.written_off,
        currency=currency,
        cost_status=UsageRecord.CostStatus.EXACT,
        budgets=rooms.counters(record.budgets, currency),
        corrects=record.request_id.hex,
        latency_ms=0,
    )


# --- Hard budgets --------------------------------------------------------------------------------------------


class Rooms:
    """What hard budgets have left, by the counters that records name; as the ledger has it."""

    def __init__(self) -> None:
        self._budgets: dict[int, Budget | None] = {}
        self._spent: dict[str, Decimal] = {}
        self._now = timezone.now()

    def look_up(self, counters: Iterable[str]) -> None:
        """Read what will be asked about: the budgets, and what is spent of hard ones."""
        names = [name for name in counters if name not in self._spent]
        ids = {_budget_id(name) for name in names} - self._budgets.keys()
        self._budgets |= dict.fromkeys(ids, None) | Budget.objects.in_bulk(ids)
        rolling = {_budget_id(name) for name in names if self._days(name)}
        rows = BudgetSpend.objects.filter(Q(counter__in=names) | Q(budget_id__in=rolling))
        found = {row.counter: row.spent for row in rows}
        self._spent = dict.fromkeys(names, ZERO) | found | self._spent  # what was taken since the last look is known

    def counters(self, names: Iterable[str], currency: str) -> list[str]:
        """Return those whose budgets are in a currency, or are gone."""
        return [name for name in names if (budget := self._of(name)) is None or budget.currency == currency]

    def take(self, names: Sequence[str], amount: Decimal) -> Decimal:
        """Return how much of an amount fits into every hard budget, and take that."""
        fits = max(ZERO, min([amount, *(left for name in names if (left := self._left(name)) is not None)]))
        self.give(names, -fits)
        return fits

    def give(self, names: Iterable[str], amount: Decimal) -> None:
        """Give an amount back."""
        for name in names:
            self._spent[name] = self._spent.get(name, ZERO) - amount

    def _of(self, name: str) -> Budget | None:
        return self._budgets.get(_budget_id(name))

    def _days(self, name: str) -> int:
        budget = self._of(name)
        return budget.rolling_days or 0 if budget is not None else 0

    def _left(self, name: str) -> Decimal | None:
        """Return what a counter has left; None where nothing limits it."""
        budget = self._of(name)
        if budget is None or not budget.is_hard:
            return None
        is_raised = budget.increase_until is not None and self._now < budget.increase_until
        limit = budget.amount + (budget.increase if is_raised else ZERO)
        return limit - (self._fullest_window(name) if self._days(name) else self._spent[name])

    def _fullest_window(self, name: str) -> Decimal:
        """Return the most that is spent in any window of days that a rolling budget's day is in."""
        days, (series, start) = self._days(name), _place(name)
        slots = {place[1]: self._spent[each] for each in self._spent if (place := _place(each))[0] == series}
        length = days * DAY - DAY // 2  # days are 23 to 25 hours long
        last_days = [last for last in slots if start <= last < start + length]
        return max(
            sum((spent for slot, spent in slots.items() if last - length < slot <= last), ZERO) for last in last_days
        )


def _budget_id(counter: str) -> int:
    return int(counter.partition(".")[0])


def _place(counter: str) -> tuple[tuple[str, str], int]:
    """Return the series that a counter belongs to (budget and resets, end user), and when its slot began."""
    budget, _, rest = counter.partition(":")
    start, _, end_user = rest.partition(":")
    return (budget, end_user), int(start)


class _lock:
    """Keeps a second re-rating out: both would write the same corrections."""

    def __enter__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            if not cursor.fetchone()[0]:
                raise AlreadyRunning

    def __exit__(self, *error: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
