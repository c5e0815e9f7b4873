"""What a request has to pass, as arguments of the scripts: a principal's rules, compiled once. Pure.

A rule becomes a `Charge`. What a request holds of it until it is settled is a `Hold`; both name the same key in Valkey.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf

import msgspec

from tenants.limits.periods import counter_name, first_slot, slot_end, slot_start
from tenants.principal import BudgetRule, Principal, Rule

LIMIT_PREFIX = "tollgate:limit:"
BUDGET_PREFIX = "tollgate:budget:"
KINDS = {"concurrency": "c", "requests": "r", "tokens": "t"}
DAY_MS = 86_400_000
LIFE_DAYS = {"day": 4, "week": 21, "month": 93, "quarter": 280, "total": 0, "credit": 0}  # of a counter; 0: for ever

ARITY = {"c": 2, "r": 4, "t": 4, "b": 8}  # arguments of a charge, its kind included
AMOUNT_AT = {"t": 3, "b": 2}  # which of them is what the request needs
EXACT = 2**53  # up to which Lua's numbers are whole

type Argument = str | int


class Hold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a request holds of one rule until it is settled."""

    kind: str  # c, t or b; r of a request that may not come
    key: str
    amount: int = 0  # tokens, or nanos; of requests the rule's, where it has a burst
    window_ms: int = 0  # of tokens and requests
    slot: int = 0  # of a budget
    limit: int = 0  # of a budget, in nanos, as it was when the request came
    is_hard: bool = False
    currency: str = ""
    oldest: int = 0  # slot of a budget that counts as well

    @property
    def counter(self) -> str:
        """The budget's counter as ledger records name it."""
        return _counter(self.key, self.slot)


@lru_cache(maxsize=10_000)
def _counter(key: str, slot: int) -> str:
    budget, _, end_user = key[len(BUDGET_PREFIX) :].partition(":")
    number, _, resets = budget.partition(".")
    return counter_name(int(number), int(resets), slot, end_user)


class Slots:
    """The slots of a period that count at a moment; looked up once a period, not once a request."""

    __slots__ = ("_days", "_period", "_zone", "ends", "kept", "oldest", "start")

    def __init__(self, period: str, zone: str, days: int) -> None:
        self._period, self._zone, self._days = period, zone, days
        self.start = 1  # of the slot that is charged
        self.ends = 0.0  # that slot
        self.oldest = 0  # that counts
        self.kept = 0  # that is not forgotten yet: requests may be under way that settle on it

    def at(self, now: float) -> "Slots":
        """Look at a moment, in seconds since 1970."""
        if not self.start <= now < self.ends:
            self.start = self.oldest = slot_start(self._period, now, self._zone)
            self.ends = slot_end(self._period, now, self._zone)
            if self._days:
                self.oldest = first_slot(self._days, now, self._zone)
            self.kept = slot_start(self._period, self.oldest - 1, self._zone) if self.oldest else 0
        return self


@lru_cache(maxsize=10_000)
def slots_of(period: str, zone: str, days: int) -> Slots:
    """Return the slots that every budget with such periods shares."""
    return Slots(period, zone, days)


@dataclass(frozen=True, slots=True)
class Charge:
    """A rule with its key and the arguments that are the same for every request."""

    rule: Rule | BudgetRule
    kind: str  # of KINDS, or b
    key: str
    fixed: tuple[Argument, ...]
    slots: Slots | None = None  # of a budget


@dataclass(slots=True)
class Terms:
    """What requests have to pass, as it is from one moment to another: until a period ends, or the increase of a budget."""

    since: float = -inf  # seconds since 1970
    until: float = inf
    # Of a request that needs nothing; then what each holds, and where among these it says how much.
    arguments: list[Argument] = field(default_factory=list)
    needs: list[tuple[int, Hold]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Charges:
    """All that a key's requests have to pass."""

    principal: Principal
    charges: tuple[Charge, ...]
    keys: tuple[str, ...]
    is_static: bool  # the same for every model and end user
    budget_keys: tuple[str, ...]
    hard_currencies: frozenset[str]  # of hard budgets
    amounts: tuple[int, ...]  # where in the arguments of a reservation stands what several requests need together
    terms: Terms = field(default_factory=lambda: Terms(until=-inf))  # that were used last


def compile_charges(principal: Principal, *, alias: str | None, end_user: str) -> Charges:
    """Return what a request has to pass: the rules of its model, and its end user's own where there is one.

    Without an alias: what requests for any model have to pass.
    """
    rules: list[Rule | BudgetRule] = [*principal.rules, *principal.budgets]
    charges = tuple(_charge(rule, end_user) for rule in rules if _applies(rule, alias, end_user))
    return Charges(
        principal=principal,
        charges=charges,
        keys=tuple(charge.key for charge in charges),
        is_static=not any(rule.model or rule.per_end_user for rule in rules),
        budget_keys=tuple(charge.key for charge in charges if charge.kind == "b"),
        hard_currencies=frozenset(rule.currency for rule in _budgets(charges) if rule.is_hard),
        amounts=tuple(_amounts(charges)),
    )


def _amounts(charges: Sequence[Charge]) -> Iterator[int]:
    position = 0
    for charge in charges:
        if charge.kind in AMOUNT_AT:
            yield position + AMOUNT_AT[charge.kind]
        position += ARITY[charge.kind]


def _applies(rule: Rule | BudgetRule, alias: str | None, end_user: str) -> bool:
    return (alias is None or rule.model in {"", alias}) and (bool(end_user) or not rule.per_end_user)


def _charge(rule: Rule | BudgetRule, end_user: str) -> Charge:
    owner = f":{end_user}" if rule.per_end_user else ""
    if isinstance(rule, BudgetRule):
        life = (rule.rolling_days + 3 if rule.rolling_days else LIFE_DAYS[rule.period]) * DAY_MS
        key = f"{BUDGET_PREFIX}{rule.id}.{rule.resets}{owner}"
        return Charge(rule, "b", key, (life,), slots=slots_of(rule.period, rule.timezone, rule.rolling_days))
    kind, key = KINDS[rule.kind], f"{LIMIT_PREFIX}{rule.id}{owner}"
    if kind == "c":
        return Charge(rule, kind, key, (kind, rule.amount))
    if kind == "t":
        return Charge(rule, kind, key, (kind, rule.amount, rule.window_ms))
    return Charge(rule, kind, key, (kind, rule.amount, rule.window_ms, rule.burst))


def prepare(
    charges: Charges, *, tokens: int, money: Mapping[str, int], now: float
) -> tuple[list[Argument], tuple[Hold, ...]]:
    """Return the arguments of a reservation, and what it holds if it is admitted.

    `tokens` is the estimate, `money` the most that the request can cost in nanos by currency, `now` when it came (seconds).
    """
    terms = charges.terms
    if not terms.since <= now < terms.until:
        terms = charges.terms = _terms(charges.charges, now)
    arguments = terms.arguments.copy()
    holds: list[Hold] = []
    for place, hold in terms.needs:
        kind = hold.kind
        if kind == "t":
            arguments[place] = tokens
            hold = Hold(kind, hold.key, tokens, hold.window_ms)
        elif kind == "b":
            amount = arguments[place] = money.get(hold.currency, 0)
            hold = Hold(kind, hold.key, amount, 0, hold.slot, hold.limit, hold.is_hard, hold.currency, hold.oldest)
        holds.append(hold)
    return arguments, tuple(holds)


def _terms(charges: Sequence[Charge], now: float) -> Terms:
    terms = Terms()
    for charge in charges:
        rule, slots, begin = charge.rule, charge.slots, len(terms.arguments)
        if isinstance(rule, BudgetRule):
            assert slots is not None
            slots.at(now)
            limit, moments = rule.limit(now), (slots.start, slots.ends, rule.increase_until)
            hold = Hold("b", charge.key, 0, 0, slots.start, limit, rule.is_hard, rule.currency, slots.oldest)
            terms.needs.append((begin + AMOUNT_AT["b"], hold))
            terms.arguments += ("b", limit, 0, 1 if rule.is_hard else 0)
            terms.arguments += (slots.start, slots.oldest, slots.kept, *charge.fixed)
            terms.since = max([terms.since, *(moment for moment in moments if moment <= now)])
            terms.until = min([terms.until, *(moment for moment in moments if moment > now)])
        elif charge.kind == "t":
            terms.needs.append((begin + AMOUNT_AT["t"], Hold("t", charge.key, 0, rule.window_ms)))
            terms.arguments += (*charge.fixed, 0)
        else:
            if charge.kind == "c":
                terms.needs.append((begin, Hold("c", charge.key)))
            terms.arguments += charge.fixed
    return terms


def is_enough(held: Sequence[Hold], wanted: Sequence[Hold]) -> bool:
    """Whether what was prepared before, of the same charges, will do: as much, and of the same periods of budgets."""
    return all(
        have.amount >= want.amount and have.slot == want.slot and have.limit == want.limit
        for have, want in zip(held, wanted, strict=True)
    )


def add_up(charges: Charges, first: Sequence[Argument], others: Sequence[Sequence[Argument]]) -> list[Argument] | None:
    """Return the arguments of several reservations in one; None where they differ in more than what they need.

    All have the same keys and amounts in the same places.
    """
    total = list(first)
    if not others:
        return total
    for arguments in others:
        like_first = list(arguments)
        for position in charges.amounts:
            total[position] += arguments[position]  # type: ignore[operator]
            like_first[position] = first[position]
        if like_first != first:
            return None
    return total if all(total[position] < EXACT for position in charges.amounts) else None  # type: ignore[operator]


def request_holds(charges: Charges) -> tuple[Hold, ...]:
    """Return what gives a request that did not come back to the limits that count requests."""
    rules = [(charge.key, charge.rule) for charge in charges.charges if isinstance(charge.rule, Rule)]
    return tuple(
        Hold("r", key, rule.amount if rule.burst else 0, rule.window_ms)
        for key, rule in rules
        if rule.kind == "requests"
    )


def peek_arguments(charges: Charges, now: float) -> list[Argument]:
    """Return the arguments that ask how much is used."""
    arguments: list[Argument] = []
    for charge in charges.charges:
        if charge.slots is not None:
            slots = charge.slots.at(now)
            arguments += (charge.kind, slots.start, slots.oldest)
        else:
            arguments += (charge.kind, getattr(charge.rule, "window_ms", 0), 0)
    return arguments


def foreign_budget(charges: Charges, money: Mapping[str, int]) -> BudgetRule | None:
    """Return a hard budget that cannot be compared with what the request may cost: in another currency."""
    if not charges.hard_currencies or not money or (charges.hard_currencies == money.keys() and len(money) == 1):
        return None
    for rule in _budgets(charges.charges):
        if rule.is_hard and any(currency != rule.currency for currency in money):
            return rule
    return None


def _budgets(charges: Sequence[Charge]) -> list[BudgetRule]:
    return [charge.rule for charge in charges if isinstance(charge.rule, BudgetRule)]


def settle_arguments(holds: Sequence[Hold], cost: int, currency: str) -> tuple[list[str], list[Argument]]:
    """Return the keys and arguments that settle what is held; `cost` is in nanos of the currency."""
    keys: list[str] = []
    arguments: list[Argument] = []
    for hold in holds:
        keys.append(hold.key)
        if hold.kind == "c":
            arguments.append("c")
        elif hold.kind in {"t", "r"}:
            arguments += (hold.kind, hold.window_ms, hold.amount)
        else:
            charged = cost if hold.currency == currency else 0
            arguments += ("b", hold.slot, hold.amount, charged, hold.limit, 1 if hold.is_hard else 0, hold.oldest)
    return keys, arguments
