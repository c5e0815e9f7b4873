"""What is tried next, told how it went."""

import random
from collections.abc import Iterable

import pytest

from routing.policy.attempts import BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, Attempt, attempts, backoff
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
    steps = attempts(plan, random=lambda: draw)
    made = [step for step in [next(steps, None)] if step is not None]
    for verdict in verdicts:
        try:
            made.append(steps.send(verdict))
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


def test_attempts_are_numbered_over_all_targets(make_plan):
    assert [attempt.number for attempt in play(make_plan(3, 1), [RETRY] * 9)] == [1, 2, 3, 4, 5, 6]


def test_only_retries_wait(make_plan):
    pauses = [attempt.pause_seconds for attempt in play(make_plan(2, 2), [RETRY] * 9, draw=1.0)]
    assert pauses == [0.0, BACKOFF_SECONDS, BACKOFF_SECONDS * 2, 0.0, BACKOFF_SECONDS, BACKOFF_SECONDS * 2]


def test_the_backoff_grows_has_full_jitter_and_an_end():
    assert [backoff(retry, lambda: 1.0) for retry in range(1, 7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0])
    assert backoff(3, lambda: 0.0) == 0.0
    chance = random.Random(1)
    assert all(0 <= backoff(retry, chance.random) <= MAX_BACKOFF_SECONDS for retry in range(1, 200))


def test_a_caller_may_leave_at_any_attempt(make_plan):
    steps = attempts(make_plan(2, 1), random=random.random)
    next(steps)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)
