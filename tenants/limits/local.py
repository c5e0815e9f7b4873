"""Limits while Valkey is away: a worker enforces its share of every amount, from its own memory. Pure.

The rules are those of `reserve.lua`: all are checked before the first one is charged, rates slide over slots, a burst is a
token bucket on top. Only amounts differ: each of N workers admits an Nth, and at least one, so that together they admit
about as much as the limit says.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tenants.principal import Rule

SLOTS = 20
FULL_WAIT_MS = 1_000  # when requests at once are used up nobody knows until when


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a request may go on; `rule` is the place of the tightest rate, or of the rule that refuses."""

    is_admitted: bool
    rule: int | None = None  # None: no rate applies
    remaining: int = 0
    milliseconds: int = 0  # until the rate is whole again, or until it is worth coming again


@dataclass(slots=True)
class _Rate:
    window_ms: int
    counts: dict[int, int] = field(default_factory=dict)  # requests by slot
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


class LocalLimits:
    """What one worker has admitted since it lost Valkey; `held` are the leases of what was running then."""

    def __init__(self, held: Iterable[str] = (), *, size: int = 20_000) -> None:
        self._held = Counter(held)
        self._rates: OrderedDict[str, _Rate] = OrderedDict()  # of rules and end users, the last used last
        self._size = size

    def admit(self, rules: Sequence[Rule], keys: Sequence[str], *, peers: int, now: float) -> Decision:
        """Charge a request to all rules, or to none; `keys` name their counters, `now` is in ms."""
        charges: list[tuple[str, _Rate, int, float]] = []
        tightest = Decision(is_admitted=True)
        for place, (rule, key) in enumerate(zip(rules, keys, strict=True)):
            amount = share(rule.amount, peers)
            if rule.kind == "concurrency":
                if self._held[key] >= amount:
                    return Decision(is_admitted=False, rule=place, milliseconds=FULL_WAIT_MS)
                continue
            rate, slot = self._rate(key, rule.window_ms), int(now * SLOTS // rule.window_ms)
            used = rate.used(slot)
            if used >= amount:
                wait = rate.wait_for_room(used + 1 - amount, slot, now)
                return Decision(is_admitted=False, rule=place, milliseconds=wait)
            interval, arrival = rule.window_ms / amount, max(rate.arrival, now)
            early = arrival - now - (share(rule.burst, peers) - 1) * interval
            if rule.burst and early > 0:
                return Decision(is_admitted=False, rule=place, milliseconds=_round_up(early))
            charges.append((key, rate, slot, arrival + interval))
            remaining = amount - used - 1
            if tightest.rule is None or remaining < tightest.remaining:
                reset = min(rule.window_ms, _round_up((slot + SLOTS + 1) * rule.window_ms / SLOTS - now))
                tightest = Decision(is_admitted=True, rule=place, remaining=remaining, milliseconds=reset)
        self._charge(charges)
        self._held.update(key for rule, key in zip(rules, keys, strict=True) if rule.kind == "concurrency")
        return tightest

    def release(self, leases: Iterable[str]) -> None:
        """Give back what a request held."""
        for lease in leases:
            self._held[lease] -= 1
            if self._held[lease] <= 0:
                del self._held[lease]

    def _rate(self, key: str, window_ms: int) -> _Rate:
        rate = self._rates.get(key)
        return rate if rate is not None and rate.window_ms == window_ms else _Rate(window_ms)

    def _charge(self, charges: Iterable[tuple[str, _Rate, int, float]]) -> None:
        for key, rate, slot, arrival in charges:
            rate.counts[slot] = rate.counts.get(slot, 0) + 1
            rate.arrival = arrival
            self._rates[key] = rate
            self._rates.move_to_end(key)
        while len(self._rates) > self._size:
            self._rates.popitem(last=False)


def share(amount: int, peers: int) -> int:
    """Return one worker's part of an amount: at least one, but nothing of nothing."""
    return max(amount // max(peers, 1), min(amount, 1))


def _round_up(milliseconds: float) -> int:
    return -int(-milliseconds // 1)
