"""Which targets are tried, in what order, and why the others are not."""

import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from providers.canonical.inbound import Operation
from providers.canonical.losses import Loss, Weight
from providers.dialects.anthropic_messages.wire import CHAT as MESSAGES
from providers.dialects.openai_chat.wire import CHAT, EMBEDDINGS
from providers.pricing import Price
from routing.policy.attempts import Judgement, attempts
from routing.policy.plan import Plan, Question, Translations, compile_plan
from routing.policy.verdict import Verdict
from routing.snapshot import LiveDeployment, LiveRoute
from tenants.errors import InvalidRequest


def compiled(route: LiveRoute, operation: Operation, *, random: Any, moment: float = 0.0, **question: Any) -> Plan:
    return compile_plan(route, Question(operation=operation, **question), random=random, now=moment)


def order(plan: Plan) -> list[str]:
    return [target.deployment.facts.slug for target in plan.targets]


def never(*_: object) -> float:
    raise AssertionError("Nothing was to be decided by chance.")


def shares(route: LiveRoute, *, seed: int, rounds: int = 4000) -> dict[tuple[str, ...], float]:
    """Return how often each order came out."""
    chance = random.Random(seed).random
    orders = Counter(tuple(order(compiled(route, CHAT, random=chance))) for _ in range(rounds))
    return {slugs: count / rounds for slugs, count in orders.items()}


def test_a_lower_priority_comes_first_whatever_the_weights(make_route):
    route = make_route({"c": {"priority": 3, "weight": 1000}, "a": {"priority": 0, "weight": 1}, "b": {"priority": 1}})
    for _ in range(20):
        assert order(compiled(route, CHAT, random=random.random)) == ["a", "b", "c"]


def test_weights_are_chances_to_come_first(make_route):
    found = shares(make_route({"a": {"weight": 75}, "b": {"weight": 25}}), seed=1)
    assert found[("a", "b")] == pytest.approx(0.75, abs=0.03)
    assert found[("b", "a")] == pytest.approx(0.25, abs=0.03)


def test_the_rest_of_a_tier_is_drawn_by_weight_too(make_route):
    found = shares(make_route({"a": {"weight": 50}, "b": {"weight": 30}, "c": {"weight": 20}}), seed=2)
    assert found[("a", "b", "c")] == pytest.approx(0.5 * 30 / 50, abs=0.03)
    assert found[("c", "a", "b")] == pytest.approx(0.2 * 50 / 80, abs=0.03)


def test_a_weight_of_zero_is_the_last_resort_of_its_tier(make_route):
    route = make_route({"spare": {"weight": 0}, "a": {"weight": 1}, "late": {"priority": 1}})
    assert shares(route, seed=3, rounds=200) == {("a", "spare", "late"): 1.0}


@pytest.mark.parametrize("draw", [0.0, 0.5, 1 - 2**-53])
def test_every_lot_can_be_drawn(make_route, draw: float):
    plan = compiled(make_route({"a": {}, "b": {"weight": 0}}), CHAT, random=lambda: draw)
    assert order(plan) == ["a", "b"]


def test_one_target_needs_no_lot(make_route):
    assert order(compiled(make_route({"a": {}}), CHAT, random=never)) == ["a"]


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"is_enabled": False}, "disabled"),
        ({"provider": {"is_enabled": False}}, "disabled"),
        ({"kind": "embedding"}, "wrong_kind"),
        ({"dialect": "anthropic_messages"}, "wrong_dialect"),
    ],
)
def test_what_does_not_fit_is_dropped_with_its_reason(make_route, details: dict[str, Any], reason: str):
    plan = compiled(make_route({"bad": {**details, "priority": 0}, "good": {"priority": 1}}), CHAT, random=never)
    assert order(plan) == ["good"]
    assert [(dropped.deployment, dropped.reason) for dropped in plan.dropped] == [("bad", reason)]


def test_a_provider_that_speaks_several_dialects_is_asked_in_the_clients_own(make_route):
    route = make_route({"both": {"provider": {"dialects": ("anthropic_messages", "openai_chat")}}})
    assert order(compiled(route, CHAT, random=never)) == ["both"]


@pytest.mark.parametrize(
    ("policy", "weight", "reason"),
    [
        ("allow", None, None),
        ("allow", Weight.COSMETIC, None),
        ("allow", Weight.DEGRADES, None),
        ("allow", Weight.CHANGES_ANSWER, "untranslatable"),
        ("no_degrading", Weight.COSMETIC, None),
        ("no_degrading", Weight.DEGRADES, "untranslatable"),
        ("no_degrading", Weight.CHANGES_ANSWER, "untranslatable"),
        ("never", None, "translation_forbidden"),
    ],
)
def test_the_tenants_policy_weighs_what_a_translation_would_lose(make_route, policy, weight, reason):
    losses = [Loss("seed", Weight.COSMETIC, "there is none"), *([Loss("n", weight, "why")] if weight else [])]
    route = make_route({"other": {"dialect": "anthropic_messages"}})
    translation = Translations(policy=policy, losses=lambda deployment: losses)
    plan = compiled(route, CHAT, random=never, translation=translation)
    assert order(plan) == ([] if reason else ["other"])
    assert [dropped.reason for dropped in plan.dropped] == ([reason] if reason else [])
    if reason == "untranslatable":
        assert plan.dropped[0].loss == losses[1]


def test_a_deployment_of_the_clients_dialect_is_never_weighed(make_route):
    def weigh(deployment: object) -> list[Loss]:
        raise AssertionError("There is nothing to translate.")

    translation = Translations(policy="never", losses=weigh)
    assert order(compiled(make_route({"a": {}}), CHAT, random=never, translation=translation)) == ["a"]


def test_what_stands_behind_a_target_that_fits_is_weighed_when_its_turn_comes(make_route):
    weighed = []

    def weigh(deployment: LiveDeployment) -> list[Loss]:
        weighed.append(deployment.facts.slug)
        return [Loss("n", Weight.CHANGES_ANSWER, "why")] if deployment.facts.slug == "lossy" else []

    others = {
        slug: {"dialect": "anthropic_messages", "priority": place} for place, slug in enumerate(["lossy", "ok"], 1)
    }
    plan = compiled(
        make_route({"own": {}, **others}),
        CHAT,
        random=random.random,
        translation=Translations(policy="allow", losses=weigh),
    )
    assert (order(plan), weighed) == (["own", "lossy", "ok"], [])
    steps = attempts(plan, random=lambda: 0.5, now=lambda: 0.0, deadline=1.0)
    assert next(steps).target.deployment.facts.slug == "own"
    assert steps.send(Judgement(Verdict.TRY_NEXT)).target.deployment.facts.slug == "ok"
    assert weighed == ["lossy", "ok"]


def test_a_request_that_cannot_be_read_is_not_translated(make_route):
    def weigh(deployment: object) -> list[Loss]:
        raise InvalidRequest("'messages' must be a list.", param="messages")

    route = make_route({"other": {"dialect": "anthropic_messages"}, "own": {"priority": 1}})
    plan = compiled(route, CHAT, random=random.random, translation=Translations(policy="allow", losses=weigh))
    assert order(plan) == ["own"]
    (dropped,) = plan.dropped
    assert (dropped.deployment, dropped.reason) == ("other", "unreadable")
    assert dropped.error is not None
    assert dropped.error.param == "messages"


def test_who_refuses_unpriced_models_gets_those_with_a_price_in_force(make_route):
    both = {"input": Decimal(1), "output": Decimal(0)}
    sell, later, bought, half = (
        Price(side="sell", effective_from=10.0, **both),
        Price(side="sell", effective_from=99.0, **both),
        Price(side="cost", effective_from=10.0, **both),
        Price(side="sell", effective_from=10.0, input=Decimal(1)),  # and what of the answer?
    )
    prices = {"none": (), "later": (later,), "cost": (bought,), "half": (half,), "a": (sell,)}
    route = make_route({slug: {"prices": found} for slug, found in prices.items()})
    plan = compiled(route, CHAT, random=never, moment=20.0, refuses_unpriced=True)
    assert order(plan) == ["a"]
    assert {dropped.reason for dropped in plan.dropped} == {"unpriced"}
    assert len(compiled(route, CHAT, random=random.random, moment=20.0).targets) == 5


@pytest.mark.parametrize(("operation", "slug"), [(CHAT, "chat"), (MESSAGES, "messages"), (EMBEDDINGS, "embeddings")])
def test_each_operation_finds_its_own_targets(make_route, operation, slug: str):
    targets = {"chat": {}, "messages": {"dialect": "anthropic_messages"}, "embeddings": {"kind": "embedding"}}
    assert order(compiled(make_route(targets), operation, random=never)) == [slug]


def test_a_deployments_own_dialect_counts_before_its_providers(make_route):
    details = {"dialect": "openai_chat", "provider": {"dialects": ("anthropic_messages",)}}
    assert order(compiled(make_route({"a": details}), CHAT, random=never)) == ["a"]


def test_a_route_without_targets_gives_an_empty_plan(make_route):
    plan = compiled(make_route({}), CHAT, random=never)
    assert (list(plan.targets), list(plan.dropped)) == ([], [])


def test_a_plan_carries_its_routes_retries(make_route):
    assert compiled(make_route({"a": {}}, retries=4), CHAT, random=never).retries == 4
