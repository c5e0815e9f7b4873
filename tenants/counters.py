"""Budgets' counters in Valkey, as the ledger has them: counted anew when Valkey comes up empty, and proved at any time.

What was spent of a budget is what the ledger says (`BudgetSpend`, summed up with every record) and what waits in the usage
stream on its way there. Both are read while no drain runs; the script that compares looks first whether an entry has come
since, and then everything is read once more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from time import time
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from gateway_site.infra.valkey import Script
from tenants.budgets import read_counter
from tenants.ledger import drain_lock, pending_spend
from tenants.limits.charges import BUDGET_PREFIX, DAY_MS, LIFE_DAYS, slots_of
from tenants.limits.money import from_nanos, to_nanos
from tenants.limits.scripts import COUNT, COUNTED, HOLDS, RESERVATIONS, SWEEP, SWEPT_MS, USAGE_STREAM
from tenants.models import Budget, BudgetSpend

if TYPE_CHECKING:
    import redis

log = structlog.get_logger("tollgate.counters")

TRIES = 200  # until nothing was settled between reading and comparing
AT_ONCE = 500  # counters or reservations in one call of a script
WATCHED = "tollgate:reservations:watched"  # since when, and when last, in seconds of Valkey's clock
GAP_SECONDS = 15  # without a look: less than a lease has left at worst
SWEEPS_AFTER_SECONDS = 30  # more than workers need to come back and renew
EPOCH = datetime.fromtimestamp(0, UTC)


class Commands(Protocol):
    """redis-py's client, or a worker's own connection."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        """Send one command and return its reply."""

    def xrange(self, *arguments: Any, **options: Any) -> Any:
        """Return entries of a stream."""


class NeverQuiet(Exception):
    """So much is settled all the time that the counters could not be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One slot of a budget's hash."""

    name: str  # as the ledger has it
    budget_id: int
    resets: int
    key: str  # of the hash
    slot: int
    spent: int  # nanos, by the ledger and the stream

    @classmethod
    def of(cls, name: str, spent: Decimal) -> "Slot":
        """Read a counter's name; raises ValueError when it is none."""
        counter = read_counter(name)
        if counter is None:
            raise ValueError(f"{name!r} is no counter's name")
        owner = f":{counter.end_user}" if counter.end_user else ""
        return cls(
            name=name,
            budget_id=counter.budget_id,
            resets=counter.resets,
            key=f"{BUDGET_PREFIX}{counter.budget_id}.{counter.resets}{owner}",
            slot=counter.start,
            spent=to_nanos(spent),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A number that is not what it ought to be."""

    what: str
    is_value: Decimal
    should_be: Decimal

    def __str__(self) -> str:
        return f"{self.what}: {self.is_value.normalize():f}, should be {self.should_be.normalize():f}"


def rebuild(client: Commands) -> int:
    """Count what was spent of every budget, if nobody has yet; returns how many counters that were."""
    with drain_lock(waits=True):
        if client.execute_command("EXISTS", COUNTED):
            return 0
        budgets = {budget.pk: budget for budget in Budget.objects.select_related("tenant")}
        for _ in range(TRIES):
            pending = pending_spend(client)  # type: ignore[arg-type]
            counters = list(_current(budgets, pending.spend))
            for counter in counters:
                client.execute_command("HSET", counter.key, counter.slot, counter.spent)
                if life := _life(budgets[counter.budget_id]):
                    client.execute_command("PEXPIRE", counter.key, life)
            if _compare(client, [], pending.last_id, marks=True) is not None:
                log.info("budgets_counted", counters=len(counters), pending=pending.events)
                return len(counters)
    raise NeverQuiet


def verify(client: Commands, *, fixes: bool) -> list[Difference]:
    """Return what Valkey says otherwise than the ledger: spent of each budget, and held of it; mend it if asked to."""
    with drain_lock(waits=True):
        budgets = {budget.pk: budget for budget in Budget.objects.select_related("tenant")}
        differences = []
        for counter, actual in _actual(client, budgets):
            if actual != counter.spent:
                what = f"Valkey, spent on {counter.name}"
                differences.append(
                    Difference(what=what, is_value=from_nanos(actual), should_be=from_nanos(counter.spent))
                )
                if fixes:  # by the difference: what is settled meanwhile stays in it
                    client.execute_command("HINCRBY", counter.key, counter.slot, counter.spent - actual)
    return [*differences, *_verify_holds(client, budgets, fixes=fixes)]


def sweep(client: "redis.Redis") -> int:
    """End the reservations that nobody has renewed; returns how many.

    Not just after Valkey was away, for whatever reason: workers that could not reach it have yet to renew theirs.
    """
    if not _has_watched(client):
        return 0
    swept = 0
    while some := int(_run(client, SWEEP, [RESERVATIONS, USAGE_STREAM], [AT_ONCE, SWEPT_MS])):
        swept += some
    return swept


def _has_watched(client: "redis.Redis") -> bool:
    """Whether Valkey was there for a while: somebody has looked at it again and again."""
    (now, _), kept = client.time(), client.hgetall(WATCHED)
    since, last = (int(kept.get(name, 0)) for name in (b"since", b"last"))
    if now - last > GAP_SECONDS:
        since = now
    client.hset(WATCHED, mapping={"since": since, "last": now})
    return bool(now - since >= SWEEPS_AFTER_SECONDS)


def _actual(client: Commands, budgets: Mapping[int, Budget]) -> list[tuple[Slot, int]]:
    for _ in range(TRIES):
        pending = pending_spend(client)  # type: ignore[arg-type]
        counters = list(_current(budgets, pending.spend))
        found: list[tuple[Slot, int]] = []
        for start in range(0, len(counters), AT_ONCE):
            some = counters[start : start + AT_ONCE]
            values = _compare(client, some, pending.last_id)
            if values is None:
                break
            found += zip(some, map(int, values), strict=True)
        else:
            return found
    raise NeverQuiet


def _verify_holds(client: Commands, budgets: Mapping[int, Budget], *, fixes: bool) -> Iterator[Difference]:
    names = BudgetSpend.objects.filter(budget_id__in=list(budgets)).values_list("counter", flat=True)
    known = {Slot.of(name, Decimal(0)).key for name in names.iterator()}
    keys = sorted(known | {f"{BUDGET_PREFIX}{budget.pk}.{budget.resets}" for budget in budgets.values()})
    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        values = _run(client, HOLDS, [RESERVATIONS], some)
        for key, is_value, should_be in zip(some, map(int, values[::2]), map(int, values[1::2]), strict=True):
            if is_value == should_be:
                continue
            what = f"Valkey, held of {key.removeprefix(BUDGET_PREFIX)}"
            yield Difference(what=what, is_value=from_nanos(is_value), should_be=from_nanos(should_be))
            if fixes:
                client.execute_command("HINCRBY", key, "held", should_be - is_value)


def _current(budgets: Mapping[int, Budget], pending: Mapping[str, Decimal]) -> Iterator[Slot]:
    """Yield the counters that limit requests now, with what was spent on them."""
    now = time()
    oldest = {
        pk: slots_of(budget.period, budget.tenant.timezone, budget.rolling_days or 0).at(now).oldest
        for pk, budget in budgets.items()
    }
    since = datetime.fromtimestamp(min((slot for slot in oldest.values() if slot), default=now), UTC)
    rows = BudgetSpend.objects.filter(starts_at__gte=since) | BudgetSpend.objects.filter(starts_at=EPOCH)
    spent = dict(rows.filter(budget_id__in=list(budgets)).values_list("counter", "spent"))
    for name in pending:
        spent[name] = spent.get(name, Decimal(0)) + pending[name]
    for name, amount in spent.items():
        counter = Slot.of(name, amount)
        budget = budgets.get(counter.budget_id)
        if budget is not None and counter.resets == budget.resets and counter.slot >= oldest[budget.pk]:
            yield counter


def _life(budget: Budget) -> int:
    days = budget.rolling_days + 3 if budget.rolling_days else LIFE_DAYS[budget.period]
    return days * DAY_MS


def _compare(client: Commands, counters: list[Slot], last_id: bytes, *, marks: bool = False) -> Any:
    keys = [USAGE_STREAM, COUNTED, *(counter.key for counter in counters)]
    return _run(client, COUNT, keys, [last_id, int(marks), *(counter.slot for counter in counters)])


def _run(client: Commands, script: Script, keys: list[Any], arguments: list[Any]) -> Any:
    return client.execute_command("EVAL", script.source, len(keys), *keys, *arguments)
