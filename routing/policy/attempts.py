"""The order of attempts as a generator: it yields what to try and is told how it went. Pure."""

from collections.abc import Generator
from dataclasses import dataclass

from routing.policy.plan import Plan, Random
from routing.policy.verdict import Verdict
from routing.snapshot import LiveTarget

BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of one deployment, after a pause."""

    target: LiveTarget
    number: int  # from 1, over all targets
    pause_seconds: float = 0.0


def attempts(plan: Plan, *, random: Random) -> Generator[Attempt, Verdict, None]:
    """Yield what to try next: a deployment again while its retries last, then the next target."""
    number = 0
    for target in plan.targets:
        if plan.judge(target) is not None:
            continue
        for retry in range(plan.retries + 1):
            number += 1
            pause = backoff(retry, random) if retry else 0.0
            verdict = yield Attempt(target=target, number=number, pause_seconds=pause)
            if verdict in {Verdict.DELIVER, Verdict.GIVE_UP}:
                return
            if verdict is Verdict.TRY_NEXT:
                break


def backoff(retry: int, random: Random) -> float:
    """Return the seconds before a retry (1, 2, ...): exponential with full jitter."""
    return random() * min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0 ** (retry - 1))
