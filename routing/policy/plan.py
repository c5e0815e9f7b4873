"""Which targets to try, in what order, and why the others are not tried. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from providers.canonical.inbound import Operation
from providers.canonical.losses import Loss, Weight, heaviest
from providers.pricing import price_at
from routing.snapshot import LiveDeployment, LiveRoute, LiveTarget
from tenants.errors import InvalidRequest

type Random = Callable[[], float]  # uniform in [0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A target that will not be tried, and why."""

    deployment: str
    reason: str  # disabled, wrong_kind, wrong_dialect, unpriced, translation_forbidden, untranslatable, unreadable
    loss: Loss | None = None  # what a translation would lose and may not
    error: InvalidRequest | None = None  # why a translation cannot read the request


type Judge = Callable[[LiveTarget], Dropped | None]


def _fits(target: LiveTarget) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The targets in the order in which they are tried.

    The first one may be asked. What the others would lose in translation is judged when their turn comes, for it seldom
    does: a request that passes through to the first is neither read nor written for those behind it.
    """

    route: LiveRoute
    targets: Sequence[LiveTarget]
    dropped: Sequence[Dropped]
    retries: int
    judge: Judge = _fits  # why a target is not asked after all


@dataclass(frozen=True, slots=True, kw_only=True)
class Translations:
    """Whether a request may be translated: the tenant's policy, and what each deployment would lose."""

    policy: str  # never, no_degrading, allow
    losses: Callable[[LiveDeployment], Sequence[Loss]] | None  # None: the operation has no translation

    @property
    def reason_against_all(self) -> str | None:
        """Why no deployment of another dialect is asked, whatever the request; None when it depends on that."""
        if self.losses is None:
            return "wrong_dialect"
        return "translation_forbidden" if self.policy == "never" else None

    def judge(self, deployment: LiveDeployment) -> Dropped | None:
        """Return why a deployment of another dialect is not asked; None when it is."""
        assert self.losses is not None
        slug = deployment.facts.slug
        try:
            worst = heaviest(self.losses(deployment))
        except InvalidRequest as error:
            return Dropped(deployment=slug, reason="unreadable", error=error)
        limit = Weight.COSMETIC if self.policy == "no_degrading" else Weight.DEGRADES
        if worst is None or worst.weight <= limit:
            return None
        return Dropped(deployment=slug, reason="untranslatable", loss=worst)


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

    def judge(target: LiveTarget) -> Dropped | None:
        is_translated = operation.dialect not in target.deployment.dialects
        return translation.judge(target.deployment) if is_translated else None

    fitting, dropped = [], []
    for target in route.targets:
        reason = _reason_to_drop(target, operation, translation)
        if reason is None and refuses_unpriced and price_at(target.deployment.facts.prices, "sell", moment) is None:
            reason = "unpriced"
        if reason is None:
            fitting.append(target)
        else:
            dropped.append(Dropped(deployment=target.deployment.facts.slug, reason=reason))
    if len(fitting) > 1:
        fitting.sort(key=lambda target: (target.facts.priority, _lot(target.facts.weight, random)))
    while fitting and (verdict := judge(fitting[0])) is not None:
        dropped.append(verdict)
        del fitting[0]
    return Plan(route=route, targets=fitting, dropped=dropped, retries=route.facts.retries, judge=judge)


def _lot(weight: int, random: Random) -> float:
    """Draw a lot so that targets sorted by theirs come first with chances like their weights.

    Exponential variates: Efraimidis and Spirakis, Weighted random sampling, 2006.
    """
    return -math.log(1.0 - random()) / weight if weight else math.inf


def _reason_to_drop(target: LiveTarget, operation: Operation, translation: Translations) -> str | None:
    deployment = target.deployment
    if not deployment.is_enabled:
        return "disabled"
    if deployment.facts.kind != operation.kind:
        return "wrong_kind"
    return None if operation.dialect in deployment.dialects else translation.reason_against_all
