"""One worker's share of the limits, decided without Valkey; charlie's counters are his own."""

from collections.abc import Mapping
from typing import Any

import pytest

from tenants.limits.charges import Charge, Hold
from tenants.limits.local import Decision, LocalLimits, share
from tenants.principal import BudgetRule, Rule

MINUTE = 60_000
NOON = 1_760_000_040_000.0  # a multiple of a minute's slots
KINDS = {"concurrency": "c", "requests": "r", "tokens": "t"}


def rate(amount: int, window_ms: int = MINUTE, **facts: Any) -> Rule:
    facts = {"id": 1, "scope": "tenant", "scope_name": "alice", "kind": "requests", **facts}
    return Rule(amount=amount, window_ms=window_ms, **facts)


def tokens(amount: int, **facts: Any) -> Rule:
    return rate(amount, **{"id": 3, "kind": "tokens", **facts})


def at_once(amount: int) -> Rule:
    return Rule(id=2, scope="api_key", scope_name="laptops", kind="concurrency", amount=amount)


def budget(amount: int = 1_000, **facts: Any) -> BudgetRule:
    facts = {"id": 4, "scope": "tenant", "scope_name": "alice", "currency": "USD", "period": "month", **facts}
    return BudgetRule(amount=amount, timezone="UTC", **facts)


def charged(*rules: Rule | BudgetRule, keys: tuple[str, ...] = ()) -> list[Charge]:
    """Return rules as a request meets them, each with a counter."""
    names = keys or tuple(f"limit:{rule.id}" for rule in rules)
    kinds = ["b" if isinstance(rule, BudgetRule) else KINDS[rule.kind] for rule in rules]
    return [Charge(rule, kind, key, ()) for rule, kind, key in zip(rules, kinds, names, strict=True)]


def lease(key: str = "limit:2") -> Hold:
    return Hold("c", key)


def money(amount: int, key: str = "limit:4", *, currency: str = "USD", is_hard: bool = True) -> Hold:
    return Hold("b", key, amount, currency=currency, is_hard=is_hard)


def admitted(
    limits: LocalLimits,
    times: int,
    *rules: Rule,
    keys: tuple[str, ...] = (),
    peers: int = 1,
    now: float = NOON,
    tokens: int = 0,
) -> int:
    """Return how many of so many requests at one moment are admitted."""
    charges = charged(*rules, keys=keys)
    return sum(limits.admit(charges, tokens=tokens, peers=peers, now=now).is_admitted for _ in range(times))


def spend(
    limits: LocalLimits,
    amount: int,
    lefts: Mapping[str, int],
    *,
    peers: int = 1,
    rule: BudgetRule | None = None,
    **facts: Any,
) -> Decision:
    """Let a request come that may cost so many nanos."""
    hold = money(amount, **facts)
    charges = charged(rule or budget(is_hard=hold.is_hard), keys=(hold.key,))
    return limits.admit(charges, holds=[hold], lefts=lefts, peers=peers, now=NOON)


@pytest.mark.parametrize(
    ("amount", "peers", "part"), [(100, 1, 100), (100, 4, 25), (10, 4, 2), (3, 4, 1), (0, 4, 0), (5, 0, 5)]
)
def test_a_worker_has_its_share_of_an_amount_and_at_least_one(amount, peers, part):
    assert share(amount, peers) == part
    assert admitted(LocalLimits(), 200, rate(amount), peers=peers) == part
    assert admitted(LocalLimits(), 200, at_once(amount), peers=peers) == part
    assert admitted(LocalLimits(), 200, tokens(amount), peers=peers, tokens=1) == part


def test_a_rate_slides():
    limits, alice = LocalLimits(), rate(10)
    assert admitted(limits, 6, alice) == 6
    assert admitted(limits, 9, alice, now=NOON + 30_000) == 4
    assert admitted(limits, 9, alice, now=NOON + MINUTE) == 0
    assert admitted(limits, 9, alice, now=NOON + MINUTE + 3_001) == 6


def test_a_refusal_says_when_there_is_room_again():
    limits, alice = LocalLimits(), rate(2)
    admitted(limits, 2, alice)
    refused = limits.admit(charged(alice), peers=1, now=NOON + 1_000)
    assert (refused.is_admitted, refused.rule, refused.milliseconds) == (False, 0, MINUTE + 2_000)
    assert admitted(limits, 1, alice, now=NOON + 1_000 + refused.milliseconds) == 1


def test_a_burst_is_refilled_over_the_window():
    limits, alice = LocalLimits(), rate(60, burst=5)
    assert admitted(limits, 9, alice) == 5
    refused = limits.admit(charged(alice), peers=1, now=NOON)
    assert (refused.is_admitted, refused.milliseconds) == (False, 1_000)
    assert admitted(limits, 9, alice, now=NOON + 2_000) == 2


def test_the_tightest_rate_is_told():
    limits = LocalLimits()
    decision = limits.admit(charged(rate(10), rate(5, 1_000, id=3), keys=("a", "b")), peers=1, now=NOON)
    assert (decision.rule, decision.remaining, decision.milliseconds) == (1, 4, 1_000)
    assert limits.admit(charged(at_once(3), keys=("c",)), peers=1, now=NOON).rule is None


def test_what_one_rule_refuses_is_charged_to_none():
    limits = LocalLimits()
    assert admitted(limits, 5, rate(4), at_once(2)) == 2
    assert admitted(limits, 5, rate(4)) == 2


def test_places_are_given_back():
    limits, slots = LocalLimits(), at_once(2)
    assert admitted(limits, 3, slots) == 2
    limits.release([lease()])
    assert admitted(limits, 3, slots) == 1


def test_what_ran_before_counts():
    limits, slots = LocalLimits(["limit:2", "limit:2", "limit:9"]), at_once(3)
    assert admitted(limits, 3, slots) == 1


def test_charlie_is_counted_apart():
    limits, slots = LocalLimits(), at_once(1)
    assert admitted(limits, 2, rate(1), slots, keys=("alice", "alice's")) == 1
    assert admitted(limits, 2, rate(1), slots, keys=("charlie", "charlie's")) == 1
    lefts = {"alice's money": 100, "charlie's money": 100}
    assert spend(limits, 100, lefts, key="alice's money").is_admitted
    assert not spend(limits, 1, lefts, key="alice's money").is_admitted
    assert spend(limits, 100, lefts, key="charlie's money").is_admitted


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


# --- Tokens --------------------------------------------------------------------------------------------------


def test_tokens_are_counted_as_they_are_estimated():
    limits = LocalLimits()
    assert admitted(limits, 9, tokens(100), tokens=30) == 3
    assert admitted(limits, 9, tokens(100), tokens=10) == 1
    assert admitted(limits, 9, tokens(100), tokens=0) == 9
    assert admitted(limits, 9, tokens(100), tokens=30, now=NOON + MINUTE + 3_001) == 3


def test_a_request_larger_than_the_share_of_tokens_has_it_all_to_itself():
    limits = LocalLimits()
    assert admitted(limits, 3, tokens(100), tokens=60, peers=4) == 1
    assert admitted(limits, 3, tokens(100), tokens=1, peers=4) == 0
    assert admitted(limits, 3, tokens(100), tokens=60, peers=4, now=NOON + MINUTE + 3_001) == 1


def test_a_request_larger_than_the_limit_of_tokens_is_refused():
    limits = LocalLimits()
    assert admitted(limits, 3, tokens(100), tokens=101) == 0
    assert admitted(limits, 1, tokens(100), tokens=100) == 1


def test_tokens_that_one_rule_refuses_are_charged_to_none():
    limits = LocalLimits()
    assert admitted(limits, 5, tokens(100), at_once(1), tokens=40) == 1
    assert admitted(limits, 5, tokens(100), tokens=60) == 1


# --- Money ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "peers", "part"), [(100, 1, 100), (100, 4, 25), (3, 4, 0), (0, 1, 0), (-50, 2, 0)])
def test_a_worker_may_spend_its_share_of_what_was_left(left, peers, part):
    limits, lefts = LocalLimits(), {"limit:4": left}
    assert sum(spend(limits, 1, lefts, peers=peers).is_admitted for _ in range(200)) == part


def test_a_refusal_says_how_much_of_the_share_is_left():
    limits, lefts = LocalLimits(), {"limit:4": 100}
    assert spend(limits, 60, lefts, peers=1).is_admitted
    refused = spend(limits, 41, lefts, peers=1)
    assert (refused.is_admitted, refused.rule, refused.milliseconds, refused.is_unknown) == (False, 0, 40, False)
    assert spend(limits, 40, lefts, peers=1).is_admitted


def test_a_hard_budget_of_which_nothing_is_known_admits_nothing_that_costs():
    limits = LocalLimits()
    refused = spend(limits, 1, {"another": 1_000})
    assert (refused.is_admitted, refused.is_unknown) == (False, True)
    assert spend(limits, 0, {"another": 1_000}).is_admitted


def test_a_soft_budget_refuses_nothing():
    limits = LocalLimits()
    assert spend(limits, 50, {}, is_hard=False).is_admitted
    assert spend(limits, 50, {"limit:4": 10}, is_hard=False).is_admitted


def test_a_request_that_is_settled_has_spent_what_it_cost_and_no_more():
    limits, lefts = LocalLimits(), {"limit:4": 100}
    assert spend(limits, 80, lefts).is_admitted
    limits.release([money(80)], cost=30, currency="USD")
    assert not spend(limits, 71, lefts).is_admitted
    assert spend(limits, 70, lefts).is_admitted
    limits.release([money(70)], cost=5, currency="EUR")  # nothing of this budget
    assert spend(limits, 70, lefts).is_admitted


def test_what_valkey_said_meanwhile_is_not_heard_twice():
    limits = LocalLimits()
    assert spend(limits, 100, {"limit:4": 100}).is_admitted
    assert not spend(limits, 1, {"limit:4": 100}).is_admitted


def test_what_valkey_admitted_has_left_what_it_said_already():
    limits = LocalLimits([])
    limits.release([money(80)], cost=30, currency="USD")  # of a budget that nobody has asked for here
    assert sum(spend(limits, 1, {"limit:4": 10}).is_admitted for _ in range(99)) == 10


def test_money_that_one_rule_refuses_is_charged_to_none():
    limits, hold = LocalLimits(), money(60)
    charges = charged(budget(), at_once(1), keys=("limit:4", "limit:2"))
    admitted = [
        limits.admit(charges, holds=[hold, lease()], lefts={"limit:4": 150}, peers=1, now=NOON) for _ in range(3)
    ]
    assert [each.is_admitted for each in admitted] == [True, False, False]
    assert spend(limits, 90, {"limit:4": 0}).is_admitted
