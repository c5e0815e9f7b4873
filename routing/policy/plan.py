"""Which targets to try, in what order, and why the others are not tried. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from providers.canonical.inbound import Operation
from providers.canonical.losses import Loss, Weight, heaviest
from providers.pricing import price_at
from routing.snapshot import LiveDeployment, LiveRoute, LiveTarget

type Random = Callable[[], float]  # uniform in [0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A target that will not be tried, and why."""

    deployment: str
    reason: str  # disabled, wrong_kind, wrong_dialect, unpriced, translation_forbidden, untranslatable
    loss: Loss | None = None  # what a translation would lose and may not


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The targets in the order in which they are tried."""

    route: LiveRoute
    targets: Sequence[LiveTarget]
    dropped: Sequence[Dropped]
    retries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Translations:
    """Whether a request may be translated: the tenant's policy, and what each deployment would lose."""

    policy: str  # never, no_degrading, allow
    losses: Callable[[LiveDeployment], Sequence[Loss]] | None  # None: the operation has no translation

    def judge(self, deployment: LiveDeployment) -> tuple[str | None, Loss | None]:
        """Return why a deployment of another dialect is not asked, and which loss forbids it; None, None when it is."""
        if self.losses is None:
            return "wrong_dialect", None
        if self.policy == "never":
            return "translation_forbidden", None
        worst = heaviest(self.losses(deployment))
        limit = Weight.COSMETIC if self.policy == "no_degrading" else Weight.DEGRADES
        return (None, None) if worst is None or worst.weight <= limit else ("untranslatable", worst)


NO_TRANSLATION = Translations(policy="never", losses=None)


def compile_plan(
    route: LiveRoute,
    operation: Operation,
    *,
    random: Random,
    moment: float = 0.0,
    refuses_unpriced: bool = False,
    translation: Translations = NO_TRANSLATION,
) -> Plan:
    """Order a route's targets: by priority, and by weighted chance within one priority."""
    fitting, dropped = [], []
    for target in route.targets:
        slug, loss = target.deployment.facts.slug, None
        reason = _reason_to_drop(target, operation)
        if reason is None and refuses_unpriced and price_at(target.deployment.facts.prices, "sell", moment) is None:
            reason = "unpriced"
        if reason is None and operation.dialect not in target.deployment.dialects:
            reason, loss = translation.judge(target.deployment)
        if reason is None:
            fitting.append(target)
        else:
            dropped.append(Dropped(deployment=slug, reason=reason, loss=loss))
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
    return None
