"""Strategies, sessions, health and wishes: what comes first, and what is not asked at all."""

import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from providers.canonical.inbound import Facts
from providers.dialects.openai_chat.wire import CHAT
from providers.pricing import Price
from routing.policy.conditions import Wishes
from routing.policy.plan import Plan, Question, Standing, compile_plan, standing_of
from routing.snapshot import LiveRoute

NOW = 1_000_000.0
CHANCE = random.Random(7).random


def compiled(route: LiveRoute, now: float = NOW, **question: Any) -> Plan:
    return compile_plan(route, Question(operation=CHAT, **question), random=CHANCE, now=now)


def order(plan: Plan) -> list[str]:
    return [target.deployment.facts.slug for target in plan.targets]


def dropped(plan: Plan) -> dict[str, str]:
    return {drop.deployment: drop.reason for drop in plan.dropped}


def health_of(route: LiveRoute, slug: str) -> Any:
    return next(target.deployment.health for target in route.targets if target.facts.deployment == slug)


def break_(route: LiveRoute, slug: str, now: float = NOW) -> Any:
    breaker = health_of(route, slug).breaker
    breaker.record(now, failed=breaker.settings.failures)
    return breaker


# --- Strategies -----------------------------------------------------------------------------------------------


def test_the_least_busy_comes_first_by_its_weight(make_route):
    route = make_route({"a": {"weight": 100}, "b": {"weight": 50}, "c": {"weight": 0}}, strategy="least_busy")
    for slug, active in {"a": 5, "b": 2, "c": 0}.items():
        health_of(route, slug).active = active
    assert order(compiled(route)) == ["b", "a", "c"]


def test_equals_are_drawn_by_lot(make_route):
    route = make_route({"a": {}, "b": {}}, strategy="least_busy")
    firsts = Counter(order(compiled(route))[0] for _ in range(400))
    assert 120 < firsts["a"] < 280


def test_the_fastest_comes_first_unless_everybody_goes_there(make_route):
    route = make_route({"slow": {}, "fast": {}}, strategy="lowest_latency")
    health_of(route, "slow").first_token.add(0.5)
    health_of(route, "fast").first_token.add(0.2)
    asked = Facts(model="m", size=1, is_stream=True)
    assert order(compiled(route, facts=asked)) == ["fast", "slow"]
    health_of(route, "fast").active = 3
    assert order(compiled(route, facts=asked)) == ["slow", "fast"]


def test_whole_answers_and_streams_have_latencies_of_their_own(make_route):
    route = make_route({"a": {}, "b": {}}, strategy="lowest_latency")
    for slug, (first, whole) in {"a": (0.1, 9.0), "b": (0.5, 1.0)}.items():
        health_of(route, slug).first_token.add(first)
        health_of(route, slug).whole.add(whole)
    assert order(compiled(route, facts=Facts(model="m", size=1, is_stream=True))) == ["a", "b"]
    assert order(compiled(route, facts=Facts(model="m", size=1))) == ["b", "a"]


def test_who_is_not_known_yet_is_tried(make_route):
    route = make_route({"known": {}, "new": {}}, strategy="lowest_latency")
    health_of(route, "known").whole.add(0.01)
    assert order(compiled(route)) == ["new", "known"]


def test_the_cheapest_comes_first_by_what_we_pay(make_route):
    def price(side: str, amount: int) -> Price:
        return Price(side=side, effective_from=0, input=Decimal(amount), output=Decimal(amount))  # type: ignore[arg-type]

    route = make_route(
        {
            "unpriced": {},
            "sold-for-3": {"prices": (price("sell", 3),)},
            "costs-1": {"prices": (price("sell", 9), price("cost", 1))},
        },
        strategy="cheapest",
    )
    assert order(compiled(route)) == ["costs-1", "sold-for-3", "unpriced"]


def test_what_is_cheaper_depends_on_how_much_goes_in(make_route):
    dear_input = Price(side="sell", effective_from=0, input=Decimal(10), output=Decimal(1))
    dear_output = Price(side="sell", effective_from=0, input=Decimal(1), output=Decimal(10))
    route = make_route({"in": {"prices": (dear_input,)}, "out": {"prices": (dear_output,)}}, strategy="cheapest")
    assert order(compiled(route, facts=Facts(model="m", size=400_000)))[0] == "out"
    assert order(compiled(route, facts=Facts(model="m", size=400)))[0] == "in"


@pytest.mark.parametrize("strategy", ["weighted", "least_busy", "lowest_latency", "cheapest"])
def test_priority_comes_before_every_strategy(make_route, strategy):
    route = make_route({"late": {"priority": 1, "weight": 1000}, "early": {"priority": 0}}, strategy=strategy)
    health_of(route, "early").active = 50
    assert order(compiled(route)) == ["early", "late"]


# --- Sessions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["weighted", "least_busy", "lowest_latency", "cheapest"])
def test_a_session_goes_to_its_own_target_whatever_the_strategy(make_route, strategy):
    route = make_route({slug: {} for slug in "abcde"}, strategy=strategy)
    for number, slug in enumerate("abcde"):
        health_of(route, slug).active = number
    for number in range(20):
        facts = Facts(model="m", size=1, session=f"s{number}")
        assert len({tuple(order(compiled(route, facts=facts, tenant_id=1))) for _ in range(10)}) == 1


def test_sessions_are_spread_over_targets_by_weight(make_route):
    route = make_route({"a": {"weight": 80}, "b": {"weight": 20}})
    firsts = Counter(
        order(compiled(route, facts=Facts(model="m", size=1, session=f"s{number}")))[0] for number in range(3000)
    )
    assert firsts["a"] / 3000 == pytest.approx(0.8, abs=0.03)


def test_two_tenants_that_name_a_session_alike_share_no_target_on_purpose(make_route):
    route = make_route({slug: {} for slug in "abcdefgh"})
    facts = Facts(model="m", size=1, session="main")
    assert len({order(compiled(route, facts=facts, tenant_id=tenant))[0] for tenant in range(30)}) > 3


def test_a_session_moves_on_when_its_target_is_lost_and_comes_back_with_it(make_route):
    route = make_route({slug: {} for slug in "abc"})
    facts = Facts(model="m", size=1, session="s")
    first, second, _ = order(compiled(route, facts=facts))
    breaker = break_(route, first)
    assert order(compiled(route, facts=facts))[0] == second
    breaker.adopt("closed", NOW)
    assert order(compiled(route, facts=facts))[0] == first


def test_who_wrote_the_histories_seals_comes_first(make_route):
    route = make_route({"a": {"weight": 1000}, "b": {"weight": 1}})
    plan = compiled(route, seal_origins=frozenset({"p/model-of-b"}))
    assert order(plan) == ["b", "a"]


# --- Health ---------------------------------------------------------------------------------------------------


def test_an_open_breaker_is_not_asked(make_route):
    route = make_route({"a": {"priority": 0}, "b": {"priority": 1}})
    break_(route, "a")
    plan = compiled(route)
    assert (order(plan), dropped(plan)) == (["b"], {"a": "breaker_open"})


def test_a_half_open_one_is_asked_while_its_slot_is_free(make_route):
    route = make_route({"a": {"priority": 0}, "b": {"priority": 1}})
    breaker = break_(route, "a")
    later = NOW + breaker.settings.open_for
    assert order(compiled(route, later)) == ["a", "b"]
    breaker.take_slot(later)
    plan = compiled(route, later)
    assert (order(plan), dropped(plan)) == (["b"], {"a": "breaker_half_open"})


def test_a_short_cooldown_is_waited_for_when_there_is_nothing_else(make_route):
    route = make_route({"a": {"priority": 0}, "b": {"priority": 1}})
    health_of(route, "a").cooldown_until = NOW + 3
    assert order(compiled(route)) == ["b", "a"]


def test_a_long_one_is_not(make_route):
    route = make_route({"a": {"priority": 0}, "b": {"priority": 1}})
    health_of(route, "a").cooldown_until = NOW + 60
    plan = compiled(route)
    assert (order(plan), dropped(plan)) == (["b"], {"a": "cooling_down"})
    assert order(compiled(route, NOW + 61)) == ["a", "b"]


def test_a_probe_that_could_not_reach_it_puts_it_behind_the_others_and_never_away(make_route):
    route = make_route({"a": {"priority": 0}, "b": {"priority": 1}})
    health_of(route, "a").probe = "unreachable"
    assert order(compiled(route)) == ["b", "a"]
    health_of(route, "a").probe = "rejected"
    assert order(compiled(route)) == ["a", "b"]


def test_a_switched_off_one_stays_off_whatever_its_health(make_route):
    route = make_route({"a": {"is_enabled": False}})
    health_of(route, "a").probe = "ok"
    assert dropped(compiled(route)) == {"a": "disabled"}


def test_a_breaker_that_is_switched_off_changes_nothing(make_deployment):
    deployment = make_deployment()
    deployment.health.configure({"enabled": False}, {})
    deployment.health.breaker.adopt("open", NOW, open_until=NOW + 60)
    assert standing_of(deployment, NOW) is Standing.READY


# --- Wishes and conditions ------------------------------------------------------------------------------------


def test_a_wish_for_a_region_keeps_the_others_away(make_route):
    route = make_route({"eu": {"region": "eu"}, "us": {"region": "us"}, "any": {}})
    plan = compiled(route, wishes=Wishes(region="eu"))
    assert (order(plan), dropped(plan)) == (["eu"], {"us": "region", "any": "region"})


def test_a_target_with_conditions_serves_only_those_that_meet_them(make_route):
    route = make_route({"vision": {"priority": 0, "conditions": {"needs": ["images"]}}, "text": {"priority": 1}})
    assert dropped(compiled(route)) == {"vision": "condition:needs"}
    with_images = Facts(model="m", size=1, needs=frozenset({"images"}))
    assert order(compiled(route, facts=with_images)) == ["vision", "text"]


def test_only_the_keeper_can_go_on_with_what_it_keeps(make_route):
    plan = compiled(make_route({"a": {}, "b": {}}), pinned="b")
    assert (order(plan), dropped(plan)) == (["b"], {"a": "not_the_keeper"})
