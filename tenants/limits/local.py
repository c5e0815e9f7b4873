"""Limits while Valkey is away: a worker enforces its share of every amount, from its own memory. Pure.

The rules are those of `reserve.lua`: all are checked before the first one is charged, rates slide over slots, a burst is a
token bucket on top. Only amounts differ: each of N workers admits an Nth, and at least one, so that together they admit
about as much as the limit says. Of a budget it may spend its share of what was left when Valkey said so last; a hard budget
of which it never heard admits nothing.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tenants.limits.charges import Charge, Hold
from tenants.limits.windows import SLOTS
from tenants.principal import Rule

FULL_WAIT_MS = 1_000  # when requests at once are used up nobody knows until when


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a request may go on; `rule` is the place of the tightest rate, or of the rule that refuses."""

    is_admitted: bool
    rule: int | None = None  # None: no rate applies
    remaining: int = 0
    milliseconds: int = 0  # until the rate is whole again, or until it is worth coming again; nanos left of a budget
    is_unknown: bool = False  # refused by a budget of which nobody here knows what is left


@dataclass(slots=True)
class _Rate:
    window_ms: int
    counts: dict[int, int] = field(default_factory=dict)  # requests or tokens by slot
    arrival: float = 0.0  # of the token bucket: when the next request would be due, in ms

    def used(self, slot: int) -> int:
        """Forget the slots that have left the window and return what was used in the others."""
        for number in [number for number in self.counts if number < slot - SLOTS]:
            del self.counts[number]
        return sum(self.counts.values())

    def wait_for_room(self, excess: int, slot: int, now: float) -> int:
        """Return in how many ms enough of the oldest slots have left the window."""
        length = self.window_ms / SLOTS
        for number in sorted(self.counts):
            excess -= self.counts[number]
            if excess <= 0:
                return max(1, _round_up((number + SLOTS + 1) * length - now))
        return self.window_ms


@dataclass(frozen=True, slots=True)
class _Use:
    """What a request adds to a rate."""

    key: str
    rate: _Rate
    slot: int
    weight: int
    arrival: float


class LocalLimits:
    """What one worker has admitted since it lost Valkey; `held` are the leases of what was running then."""

    def __init__(self, held: Iterable[str] = (), *, size: int = 20_000) -> None:
        self._held = Counter(held)
        self._rates: OrderedDict[str, _Rate] = OrderedDict()  # of rules and end users, the last used last
        self._left: dict[str, int] = {}  # of budgets, in nanos: this worker's share
        self._size = size

    def admit(
        self,
        charges: Sequence[Charge],
        *,
        tokens: int = 0,
        holds: Iterable[Hold] = (),
        lefts: Mapping[str, int] | None = None,
        peers: int,
        now: float,
    ) -> Decision:
        """Charge a request to all rules, or to none; `now` is in ms, `lefts` is what Valkey said last of budgets."""
        uses: list[_Use] = []
        budgets = {hold.key: hold for hold in holds if hold.kind == "b"}
        tightest = Decision(is_admitted=True)
        for place, charge in enumerate(charges):
            if charge.kind == "b":
                refusal = self._refuse_money(place, budgets[charge.key], lefts or {}, peers)
            elif charge.kind == "c":
                is_full = self._held[charge.key] >= share(charge.rule.amount, peers)
                refusal = Decision(is_admitted=False, rule=place, milliseconds=FULL_WAIT_MS) if is_full else None
            else:
                found = self._use(place, charge, tokens, peers, now)
                refusal = found if isinstance(found, Decision) else None
                if not isinstance(found, Decision):
                    use, seen = found
                    uses.append(use)
                    tightest = seen if tightest.rule is None or seen.remaining < tightest.remaining else tightest
            if refusal is not None:
                return refusal
        self._charge(uses)
        self._held.update(charge.key for charge in charges if charge.kind == "c")
        for hold in budgets.values():
            if hold.key in self._left:
                self._left[hold.key] -= hold.amount
        return tightest

    def release(self, holds: Iterable[Hold], *, cost: int = 0, currency: str = "") -> None:
        """Give back what a request held, but for what it cost (nanos)."""
        for hold in holds:
            if hold.kind == "c":
                self._held[hold.key] -= 1
                if self._held[hold.key] <= 0:
                    del self._held[hold.key]
            elif hold.kind == "b" and hold.key in self._left:
                self._left[hold.key] += hold.amount - (cost if hold.currency == currency else 0)

    def _refuse_money(self, place: int, hold: Hold, lefts: Mapping[str, int], peers: int) -> Decision | None:
        if not hold.amount:
            return None  # what costs nothing is not a matter of money
        if hold.key not in self._left:
            if hold.key not in lefts:
                return Decision(is_admitted=False, rule=place, is_unknown=True) if hold.is_hard else None
            self._left[hold.key] = lefts[hold.key] // max(peers, 1)
        left = self._left[hold.key]
        if hold.is_hard and hold.amount > left:
            return Decision(is_admitted=False, rule=place, milliseconds=left)
        return None

    def _use(self, place: int, charge: Charge, tokens: int, peers: int, now: float) -> tuple[_Use, Decision] | Decision:
        rule = charge.rule
        assert isinstance(rule, Rule)
        amount, weight = share(rule.amount, peers), tokens if charge.kind == "t" else 1
        rate, slot = self._rate(charge.key, rule.window_ms), int(now * SLOTS // rule.window_ms)
        used = rate.used(slot)
        # A share may be less than one request's tokens; what is larger than the limit itself is refused all the same.
        has_all = charge.kind == "t" and not used and weight <= rule.amount
        if used + weight > amount and not has_all:
            wait = rate.wait_for_room(used + weight - amount, slot, now)
            return Decision(is_admitted=False, rule=place, milliseconds=wait)
        interval, arrival = rule.window_ms / amount if amount else 0.0, max(rate.arrival, now)
        early = arrival - now - (share(rule.burst, peers) - 1) * interval
        if rule.burst and early > 0:
            return Decision(is_admitted=False, rule=place, milliseconds=_round_up(early))
        reset = min(rule.window_ms, _round_up((slot + SLOTS + 1) * rule.window_ms / SLOTS - now))
        seen = Decision(is_admitted=True, rule=place, remaining=amount - used - weight, milliseconds=reset)
        return _Use(charge.key, rate, slot, weight, arrival + interval), seen

    def _rate(self, key: str, window_ms: int) -> _Rate:
        rate = self._rates.get(key)
        return rate if rate is not None and rate.window_ms == window_ms else _Rate(window_ms)

    def _charge(self, uses: Iterable[_Use]) -> None:
        for use in uses:
            use.rate.counts[use.slot] = use.rate.counts.get(use.slot, 0) + use.weight
            use.rate.arrival = use.arrival
            self._rates[use.key] = use.rate
            self._rates.move_to_end(use.key)
        while len(self._rates) > self._size:
            self._rates.popitem(last=False)


def share(amount: int, peers: int) -> int:
    """Return one worker's part of an amount: at least one, but nothing of nothing."""
    return max(amount // max(peers, 1), min(amount, 1))


def _round_up(milliseconds: float) -> int:
    return -int(-milliseconds // 1)
