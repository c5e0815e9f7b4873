"""One worker's share of the limits, decided without Valkey; charlie's counters are his own."""

from typing import Any

import pytest

from tenants.limits.local import LocalLimits, share
from tenants.principal import Rule

MINUTE = 60_000
NOON = 1_760_000_040_000.0  # a multiple of a minute's slots


def rate(amount: int, window_ms: int = MINUTE, **facts: Any) -> Rule:
    facts = {"id": 1, "scope": "tenant", "scope_name": "alice", "kind": "requests", **facts}
    return Rule(amount=amount, window_ms=window_ms, **facts)


def at_once(amount: int) -> Rule:
    return Rule(id=2, scope="api_key", scope_name="laptops", kind="concurrency", amount=amount)


def admitted(
    limits: LocalLimits, times: int, *rules: Rule, keys: tuple[str, ...] = (), peers: int = 1, now: float = NOON
) -> int:
    """Return how many of so many requests at one moment are admitted."""
    names = keys or tuple(f"limit:{rule.id}" for rule in rules)
    return sum(limits.admit(rules, names, peers=peers, now=now).is_admitted for _ in range(times))


@pytest.mark.parametrize(
    ("amount", "peers", "part"), [(100, 1, 100), (100, 4, 25), (10, 4, 2), (3, 4, 1), (0, 4, 0), (5, 0, 5)]
)
def test_a_worker_has_its_share_of_an_amount_and_at_least_one(amount, peers, part):
    assert share(amount, peers) == part
    assert admitted(LocalLimits(), 200, rate(amount), peers=peers) == part
    assert admitted(LocalLimits(), 200, at_once(amount), peers=peers) == part


def test_a_rate_slides():
    limits, alice = LocalLimits(), rate(10)
    assert admitted(limits, 6, alice) == 6
    assert admitted(limits, 9, alice, now=NOON + 30_000) == 4
    assert admitted(limits, 9, alice, now=NOON + MINUTE) == 0
    assert admitted(limits, 9, alice, now=NOON + MINUTE + 3_001) == 6


def test_a_refusal_says_when_there_is_room_again():
    limits, alice = LocalLimits(), rate(2)
    admitted(limits, 2, alice)
    refused = limits.admit([alice], ["limit:1"], peers=1, now=NOON + 1_000)
    assert (refused.is_admitted, refused.rule, refused.milliseconds) == (False, 0, MINUTE + 2_000)
    assert admitted(limits, 1, alice, now=NOON + 1_000 + refused.milliseconds) == 1


def test_a_burst_is_refilled_over_the_window():
    limits, alice = LocalLimits(), rate(60, burst=5)
    assert admitted(limits, 9, alice) == 5
    refused = limits.admit([alice], ["limit:1"], peers=1, now=NOON)
    assert (refused.is_admitted, refused.milliseconds) == (False, 1_000)
    assert admitted(limits, 9, alice, now=NOON + 2_000) == 2


def test_the_tightest_rate_is_told():
    limits = LocalLimits()
    decision = limits.admit([rate(10), rate(5, 1_000, id=3)], ["a", "b"], peers=1, now=NOON)
    assert (decision.rule, decision.remaining, decision.milliseconds) == (1, 4, 1_000)
    assert limits.admit([at_once(3)], ["c"], peers=1, now=NOON).rule is None


def test_what_one_rule_refuses_is_charged_to_none():
    limits = LocalLimits()
    assert admitted(limits, 5, rate(4), at_once(2)) == 2
    assert admitted(limits, 5, rate(4)) == 2


def test_places_are_given_back():
    limits, slots = LocalLimits(), at_once(2)
    assert admitted(limits, 3, slots) == 2
    limits.release(["limit:2"])
    assert admitted(limits, 3, slots) == 1


def test_what_ran_before_counts():
    limits, slots = LocalLimits(["limit:2", "limit:2", "limit:9"]), at_once(3)
    assert admitted(limits, 3, slots) == 1


def test_charlie_is_counted_apart():
    limits, slots = LocalLimits(), at_once(1)
    assert admitted(limits, 2, rate(1), slots, keys=("alice", "alice's")) == 1
    assert admitted(limits, 2, rate(1), slots, keys=("charlie", "charlie's")) == 1


def test_a_rule_with_another_window_begins_anew():
    limits = LocalLimits()
    assert admitted(limits, 9, rate(3)) == 3
    assert admitted(limits, 9, rate(3, 1_000)) == 3


def test_its_memory_is_bounded():
    limits, alice = LocalLimits(size=10), rate(1, per_end_user=True)
    for number in range(1_000):
        assert admitted(limits, 1, alice, keys=(f"limit:1:{number}",)) == 1
    assert len(limits._rates) == 10
    assert admitted(limits, 1, alice, keys=("limit:1:999",)) == 0
