"""Which targets to try, in what order, and why the others are not tried. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from providers.canonical.inbound import Operation
from providers.pricing import price_at
from routing.snapshot import LiveRoute, LiveTarget

type Random = Callable[[], float]  # uniform in [0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A target that will not be tried, and why."""

    deployment: str
    reason: str  # disabled, wrong_kind, wrong_dialect, unpriced


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The targets in the order in which they are tried."""

    route: LiveRoute
    targets: Sequence[LiveTarget]
    dropped: Sequence[Dropped]
    retries: int


def compile_plan(
    route: LiveRoute,
    operation: Operation,
    *,
    random: Random,
    moment: float = 0.0,
    refuses_unpriced: bool = False,
) -> Plan:
    """Order a route's targets: by priority, and by weighted chance within one priority."""
    fitting, dropped = [], []
    for target in route.targets:
        reason = _reason_to_drop(target, operation)
        if reason is None and refuses_unpriced and price_at(target.deployment.facts.prices, "sell", moment) is None:
            reason = "unpriced"
        if reason is None:
            fitting.append(target)
        else:
            dropped.append(Dropped(deployment=target.deployment.facts.slug, reason=reason))
    if len(fitting) > 1:
        fitting.sort(key=lambda target: (target.facts.priority, _lot(target.facts.weight, random)))
    return Plan(route=route, targets=fitting, dropped=dropped, retries=route.facts.retries)


def _lot(weight: int, random: Random) -> float:
    """Draw a lot so that targets sorted by theirs come first with chances like their weights.

    Exponential variates: Efraimidis and Spirakis, Weighted random sampling, 2006.
    """
    return -math.log(1.0 - random()) / weight if weight else math.inf


def _reason_to_drop(target: LiveTarget, operation: Operation) -> str | None:
    deployment = target.deployment
    if not deployment.is_enabled:
        return "disabled"
    if deployment.facts.kind != operation.kind:
        return "wrong_kind"
    if deployment.dialect != operation.dialect:
        return "wrong_dialect"
    return None
