"""What is tried next, told how it went."""

import random
from collections.abc import Iterable

import pytest

from routing.policy.attempts import BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, Attempt, Judgement, attempts, backoff
from routing.policy.plan import Plan
from routing.policy.verdict import Verdict

DELIVER, RETRY, TRY_NEXT, GIVE_UP = Verdict.DELIVER, Verdict.RETRY, Verdict.TRY_NEXT, Verdict.GIVE_UP


@pytest.fixture
def make_plan(make_route):
    def make(targets: int, retries: int) -> Plan:
        route = make_route({slug: {} for slug in "abcdef"[:targets]})
        return Plan(route=route, targets=route.targets, dropped=[], retries=retries)

    return make


def play(plan: Plan, verdicts: Iterable[Verdict], draw: float = 0.5) -> list[Attempt]:
    """Return the attempts that were made while these verdicts came, one after each."""
    steps = attempts(plan, random=lambda: draw, now=lambda: 0.0, deadline=1000.0)
    made = [step for step in [next(steps, None)] if step is not None]
    for verdict in verdicts:
        try:
            made.append(steps.send(Judgement(verdict)))
        except StopIteration:
            break
    return made


def slugs(made: list[Attempt]) -> str:
    return "".join(attempt.target.deployment.facts.slug for attempt in made)


@pytest.mark.parametrize(
    ("targets", "retries", "verdicts", "expected"),
    [
        (2, 1, [DELIVER], "a"),
        (2, 1, [GIVE_UP], "a"),
        (2, 1, [TRY_NEXT, DELIVER], "ab"),
        (2, 1, [RETRY, DELIVER], "aa"),
        (2, 1, [RETRY, RETRY, DELIVER], "aab"),
        (2, 1, [RETRY, TRY_NEXT, RETRY, RETRY], "aabb"),
        (2, 0, [RETRY, RETRY], "ab"),
        (1, 2, [RETRY] * 9, "aaa"),
        (3, 2, [TRY_NEXT] * 9, "abc"),
        (3, 0, [TRY_NEXT, GIVE_UP], "ab"),
        (2, 3, [RETRY, GIVE_UP], "aa"),
        (0, 3, [], ""),
    ],
)
def test_the_order_of_attempts(make_plan, targets: int, retries: int, verdicts: list[Verdict], expected: str):
    assert slugs(play(make_plan(targets, retries), verdicts)) == expected


def test_only_what_is_asked_again_is_a_retry(make_plan):
    assert [attempt.is_retry for attempt in play(make_plan(2, 2), [RETRY] * 9)] == [False, True, True] * 2


def test_only_retries_wait(make_plan):
    pauses = [attempt.pause_seconds for attempt in play(make_plan(2, 2), [RETRY] * 9, draw=1.0)]
    assert pauses == [0.0, BACKOFF_SECONDS, BACKOFF_SECONDS * 2, 0.0, BACKOFF_SECONDS, BACKOFF_SECONDS * 2]


def test_the_backoff_grows_has_full_jitter_and_an_end():
    assert [backoff(retry, lambda: 1.0) for retry in range(1, 7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0])
    assert backoff(3, lambda: 0.0) == 0.0
    chance = random.Random(1)
    assert all(0 <= backoff(retry, chance.random) <= MAX_BACKOFF_SECONDS for retry in range(1, 200))


def test_a_caller_may_leave_at_any_attempt(make_plan):
    steps = attempts(make_plan(2, 1), random=random.random, now=lambda: 0.0, deadline=1.0)
    next(steps)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


# --- What upstreams ask for, and what there is time for --------------------------------------------------------


class Clock:
    """A clock that attempts move on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def told(plan: Plan, judgements: Iterable[Judgement], *, seconds: float = 600.0) -> list[Attempt]:
    """Return the attempts that are made while these judgements come; pauses take their time."""
    clock = Clock()
    steps = attempts(plan, random=lambda: 0.0, now=clock, deadline=clock.now + seconds)
    made = []
    attempt = next(steps, None)
    for judgement in judgements:
        if attempt is None:
            break
        made.append(attempt)
        clock.now += attempt.pause_seconds
        try:
            attempt = steps.send(judgement)
        except StopIteration:
            attempt = None
    return made + ([attempt] if attempt is not None else [])


def test_a_short_wait_is_waited_as_told(make_plan):
    made = told(make_plan(2, 1), [Judgement(RETRY, 1.5)] * 2)
    assert [(slugs([attempt]), attempt.pause_seconds) for attempt in made] == [("a", 0.0), ("a", 1.5), ("b", 0.0)]


def test_a_long_one_is_left_to_the_next_target(make_plan):
    assert slugs(told(make_plan(2, 1), [Judgement(RETRY, 5.0), Judgement(DELIVER)])) == "ab"


def test_the_last_target_is_waited_for_longer(make_plan):
    made = told(make_plan(1, 1), [Judgement(RETRY, 10.0), Judgement(DELIVER)])
    assert [attempt.pause_seconds for attempt in made] == [0.0, 10.0]
    assert slugs(told(make_plan(1, 1), [Judgement(RETRY, 60.0)])) == "a"


def test_nothing_begins_when_there_is_no_time_left(make_plan):
    assert slugs(told(make_plan(1, 3), [Judgement(RETRY, 8.0)] * 4, seconds=10.0)) == "aa"
    assert slugs(told(make_plan(2, 0), [], seconds=0.0)) == ""


def test_a_prompt_that_is_too_long_goes_to_a_larger_window(make_route):
    windows = {"small": 8_000, "smaller": 4_000, "unknown": None, "large": 128_000}
    route = make_route({slug: {"context_window": window} for slug, window in windows.items()})
    plan = Plan(route=route, targets=route.targets, dropped=[], retries=1)
    made = told(plan, [Judgement(Verdict.TRY_LARGER)] * 4)
    assert [attempt.target.facts.deployment for attempt in made] == ["small", "unknown", "large"]


def test_a_request_has_no_more_than_ten_attempts(make_plan):
    plan = make_plan(6, 10)
    for target in plan.targets:
        target.deployment.health.retry_budget.left = 100.0
    assert len(told(plan, [Judgement(RETRY)] * 99)) == 10


def test_a_provider_whose_retries_are_used_up_is_not_asked_again(make_plan):
    plan = make_plan(2, 3)
    health = plan.targets[0].deployment.health
    while health.retry_budget.withdraw(1000.0):
        pass
    assert slugs(told(plan, [Judgement(RETRY), Judgement(DELIVER)])) == "ab"


def test_a_breaker_that_opens_meanwhile_ends_the_retries(make_plan):
    plan = make_plan(2, 3)
    plan.targets[0].deployment.health.breaker.adopt("open", 1000.0, open_until=2000.0)
    steps = attempts(plan, random=lambda: 0.0, now=lambda: 1000.0, deadline=2000.0)
    assert slugs([next(steps)]) == "a"  # the plan had it; whoever asks finds out
    assert slugs([steps.send(Judgement(RETRY))]) == "b"


def test_a_target_that_has_broken_since_the_plan_was_made_is_passed_over(make_plan):
    plan = make_plan(3, 0)
    plan.targets[1].deployment.health.breaker.adopt("open", 1000.0, open_until=2000.0)
    assert slugs(told(plan, [Judgement(TRY_NEXT)] * 3)) == "ac"


def test_a_cooldown_that_is_waited_for_is_a_pause(make_plan):
    plan = make_plan(1, 0)
    plan.targets[0].deployment.health.cooldown_until = 1003.0
    assert [attempt.pause_seconds for attempt in told(plan, [])] == [3.0]


def test_what_was_asked_beside_another_is_not_asked_again(make_plan):
    plan = make_plan(3, 0)
    made = told(plan, [Judgement(TRY_NEXT, None, [plan.targets[1]])] * 2)
    assert slugs(made) == "ac"
