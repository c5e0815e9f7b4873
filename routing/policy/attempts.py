"""The order of attempts as a generator: it yields what to try and is told how it went. Pure: its clock is given to it."""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import msgspec

from routing.policy.plan import UNAVAILABLE, Plan, Random, standing_of
from routing.policy.verdict import Verdict
from routing.snapshot import LiveTarget

BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 2.0
SHORT_WAIT_SECONDS = 2.0  # an upstream that asks for more is left alone while another target can be asked
LONG_WAIT_SECONDS = 20.0  # what is waited for when there is no other
SHORTEST_ATTEMPT_SECONDS = 0.05  # with less time than that nobody is asked
COOLDOWN_JITTER_SECONDS = 0.25
MOST_ATTEMPTS = 10  # of one request, over all its targets


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One call of one deployment, after a pause."""

    target: LiveTarget
    pause_seconds: float = 0.0
    is_retry: bool = False  # of the same deployment


class Judgement(NamedTuple):
    """How an attempt went."""

    verdict: Verdict
    wait: float | None = None  # seconds that the upstream asked for
    also_asked: Sequence[LiveTarget] = ()  # beside the attempts that were yielded


type Attempts = Generator[Attempt, Judgement, None]


def attempts(plan: Plan, *, random: Random, now: Callable[[], float], deadline: float) -> Attempts:
    """Yield what to try next: a deployment again while its retries last, then the next target.

    `now` tells the seconds since 1970, `deadline` is when nothing more may begin.
    """
    made, window = 0, 0
    also_asked: Sequence[LiveTarget] = ()
    for place, target in enumerate(plan.targets):
        if target in also_asked or not _is_larger(target, window) or plan.judge(target) is not None:
            continue
        if made and standing_of(target.deployment, now()) in UNAVAILABLE:
            continue  # it has become so since the plan was made
        pause = _rest_of_cooldown(target, now(), random)
        is_last = place == len(plan.targets) - 1
        for retry in range(plan.retries + 1):
            if made + len(also_asked) >= MOST_ATTEMPTS or now() + SHORTEST_ATTEMPT_SECONDS >= deadline:
                return
            if now() + pause + SHORTEST_ATTEMPT_SECONDS >= deadline:
                break  # another target may need no pause
            made += 1
            verdict, wait, also_asked = yield Attempt(target=target, pause_seconds=pause, is_retry=retry > 0)
            if verdict is Verdict.DELIVER or verdict is Verdict.GIVE_UP:
                return
            if verdict is Verdict.TRY_LARGER:
                window = max(window, target.deployment.facts.context_window or 0)
            if verdict is not Verdict.RETRY:
                break
            longest = LONG_WAIT_SECONDS if is_last else SHORT_WAIT_SECONDS
            if (wait is not None and wait > longest) or not _may_retry(target, now(), is_last=is_last):
                break
            pause = (wait or 0.0) + backoff(retry + 1, random)  # never all at the same instant


def backoff(retry: int, random: Random) -> float:
    """Return the seconds before a retry (1, 2, ...): exponential with full jitter."""
    return random() * min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0 ** (retry - 1))


def _may_retry(target: LiveTarget, now: float, *, is_last: bool) -> bool:
    """Whether a deployment may be asked again: it has room, its breaker is closed, its provider has retries left."""
    health = target.deployment.health
    if health.breaker.settings.enabled and health.breaker.look(now) != "closed":
        return False
    if not is_last and any(gate.is_saturated for gate in target.deployment.gates_to_pass):
        return False
    return health.retry_budget.withdraw(now)


def _rest_of_cooldown(target: LiveTarget, now: float, random: Random) -> float:
    """Return how long to wait for a target that cools down: a little more than that, and not all at the same instant."""
    rest = target.deployment.health.cooldown_until - now
    return rest + random() * COOLDOWN_JITTER_SECONDS if rest > 0 else 0.0


def _is_larger(target: LiveTarget, window: int) -> bool:
    """Whether a target's context window is larger than one that was too small, or not known."""
    known = target.deployment.facts.context_window
    return not window or known is None or known > window
