"""Which targets to try, in what order, and why the others are not tried. Pure.

Order: what can be asked now before what cannot, then priority, then the route's strategy; a session's own target comes
before the strategy. Nothing is ever asked that is switched off, or whose breaker is open.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec

from providers.canonical.estimate import BYTES_PER_TOKEN
from providers.canonical.inbound import Facts, Operation
from providers.canonical.losses import Loss, Weight, heaviest
from providers.pricing import covers, price_at
from routing.policy.affinity import draw, lot, name_hash
from routing.policy.conditions import NO_WISHES, Wishes, unmet, unwanted
from routing.snapshot import LiveDeployment, LiveRoute, LiveTarget
from tenants.errors import InvalidRequest

type Random = Callable[[], float]  # uniform in [0, 1)

USUAL_OUTPUT_TOKENS = 500


class Standing(IntEnum):
    """How a deployment stands at the moment; the lower ones are asked first, the last three are not."""

    READY = 0
    DOUBTFUL = 1  # its last probe could not reach it
    SATURATED = 2  # requests wait for a place there
    COOLING = 3  # its provider asked to be left alone, for a short while
    RESTING = 4  # the same, for longer than a request waits
    TRYING = 5  # its breaker is half-open, and another request has the slot
    OPEN = 6  # its breaker is open

    @property
    def word(self) -> str:
        """Its name in traces and errors."""
        return self.name.lower()


LONGEST_COOLDOWN_WAIT = 5.0  # seconds that a request waits for the only targets there are
UNAVAILABLE = frozenset({Standing.RESTING, Standing.TRYING, Standing.OPEN})
REASONS = {Standing.RESTING: "cooling_down", Standing.TRYING: "breaker_half_open", Standing.OPEN: "breaker_open"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A target that will not be tried, and why."""

    deployment: str
    # disabled, wrong_kind, wrong_dialect, unpriced, translation_forbidden, untranslatable, unreadable, region, tag,
    # condition:<name>, cooling_down, breaker_open, breaker_half_open
    reason: str
    loss: Loss | None = None  # what a translation would lose and may not
    error: InvalidRequest | None = None  # why a translation cannot read the request


# Structs and not dataclasses: one of each is made per request, and theirs are made in C.


class Translations(msgspec.Struct, frozen=True, kw_only=True):
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


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The targets in the order in which they are tried.

    The first one may be asked. What the others would lose in translation is judged when their turn comes, for it seldom
    does: a request that passes through to the first is neither read nor written for those behind it.
    """

    route: LiveRoute
    targets: Sequence[LiveTarget]
    dropped: Sequence[Dropped]
    retries: int
    dialect: str = ""  # the client's; empty: nobody asks what is lost
    translation: Translations = NO_TRANSLATION

    def judge(self, target: LiveTarget) -> Dropped | None:
        """Return why a target is not asked after all; None when it is."""
        if not self.dialect or self.dialect in target.deployment.dialects:
            return None
        return self.translation.judge(target.deployment)


NO_FACTS = Facts(model="", size=0)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is made for."""

    operation: Operation
    facts: Facts = NO_FACTS
    wishes: Wishes = NO_WISHES
    tenant_id: int = 0
    refuses_unpriced: bool = False
    translation: Translations = NO_TRANSLATION
    pinned: str = ""  # the only deployment that can answer, because it keeps what is continued
    seal_origins: frozenset[str] = frozenset()  # whose opaque state the history holds


def compile_plan(route: LiveRoute, question: Question, *, random: Random, now: float) -> Plan:
    """Order a route's targets for a request; `now` is in seconds since 1970."""
    fitting: list[tuple[Standing, LiveTarget]] = []
    dropped = []
    for target in route.targets:
        standing = Standing.READY
        reason = reason_to_drop(target, question, route, now)
        if reason is None:
            standing = standing_of(target.deployment, now)
            reason = REASONS.get(standing)
        if reason is None:
            fitting.append((standing, target))
        else:
            dropped.append(Dropped(deployment=target.deployment.facts.slug, reason=reason))
    targets = in_order(fitting, route, question, random, now) if len(fitting) > 1 else [target for _, target in fitting]
    plan = Plan(
        route=route,
        targets=targets,
        dropped=dropped,
        retries=route.facts.retries,
        dialect=question.operation.dialect,
        translation=question.translation,
    )
    while targets and (verdict := plan.judge(targets[0])) is not None:
        dropped.append(verdict)
        del targets[0]
    return plan


def reason_to_drop(target: LiveTarget, question: Question, route: LiveRoute, now: float) -> str | None:
    """Return why a target cannot serve a request however it does; None when it can."""
    deployment = target.deployment
    facts = deployment.facts
    if not deployment.is_enabled:
        return "disabled"
    if facts.kind != question.operation.kind:
        return "wrong_kind"
    if question.operation.dialect not in deployment.dialects and question.translation.reason_against_all is not None:
        return question.translation.reason_against_all
    if question.pinned and facts.slug != question.pinned:
        return "not_the_keeper"
    if question.wishes is not NO_WISHES and (wish := unwanted(facts.region, facts.tags, question.wishes)):
        return wish
    conditions = target.facts.conditions
    if conditions and (name := unmet(conditions, question.facts, question.wishes, route.facts.name)):
        return f"condition:{name}"
    if question.refuses_unpriced:
        price = price_at(facts.prices, "sell", now)
        if price is None or not covers(price, facts.kind):
            return "unpriced"
    return None


def standing_of(deployment: LiveDeployment, now: float) -> Standing:
    """Return how a deployment stands at the moment."""
    health = deployment.health
    breaker = health.breaker
    if breaker.state != "closed" and breaker.settings.enabled:
        if breaker.look(now) == "open":
            return Standing.OPEN
        if not breaker.is_slot_free:
            return Standing.TRYING
    if health.cooldown_until > now:
        return Standing.COOLING if health.cooldown_until - now <= LONGEST_COOLDOWN_WAIT else Standing.RESTING
    for gate in deployment.gates_to_pass:
        if gate.is_saturated:
            return Standing.SATURATED
    return Standing.DOUBTFUL if health.probe == "unreachable" else Standing.READY


def in_order(
    fitting: Sequence[tuple[Standing, LiveTarget]], route: LiveRoute, question: Question, random: Random, now: float
) -> list[LiveTarget]:
    """Return targets in the order in which they are asked."""
    session, cost = question.facts.session, STRATEGIES[route.facts.strategy]
    seed = name_hash(f"{question.tenant_id}\0{session}") if session else 0
    keyed = []
    for standing, target in fitting:
        facts = target.facts
        # A session goes to its own target, whatever the strategy: there its prompt is in the cache.
        key = (
            (0.0, lot(facts.weight, draw(seed, target.hash)))
            if session
            else (cost(target, question, now), lot(facts.weight, random()))
        )
        keyed.append(((standing, facts.priority, _cannot_read_seals(target, question), *key), target))
    keyed.sort(key=_key)
    return [target for _, target in keyed]


def _key(entry: tuple[tuple[object, ...], LiveTarget]) -> Any:
    return entry[0]


def _cannot_read_seals(target: LiveTarget, question: Question) -> bool:
    """Return whether a target was not the one to write the opaque state that the history holds: others come first."""
    return bool(question.seal_origins) and target.deployment.origin not in question.seal_origins


# --- Strategies: what is least comes first --------------------------------------------------------------------


def _nothing(target: LiveTarget, question: Question, now: float) -> float:
    return 0.0


def _busy(target: LiveTarget, question: Question, now: float) -> float:
    """Return the calls in flight per weight; a weight of zero is the last resort of its tier."""
    weight = target.facts.weight
    return target.deployment.health.active / weight if weight else float("inf")


def _latency(target: LiveTarget, question: Question, now: float) -> float:
    """Return the seconds that a call may take with those that are in flight; who is not known yet is tried first.

    The load balancers of Finagle and Linkerd multiply so ("peak EWMA"): a fast target does not draw everybody at once.
    """
    health = target.deployment.health
    average = health.latency(question.facts.is_stream).average
    return 0.0 if average is None else average * (1 + health.active)


def _price(target: LiveTarget, question: Question, now: float) -> float:
    """Return what the request may cost us there, or is sold for where no cost is known; unpriced ones come last."""
    facts = question.facts
    output = facts.max_output_tokens or USUAL_OUTPUT_TOKENS
    return target.deployment.expected_cost(1 + facts.size // BYTES_PER_TOKEN, min(output, USUAL_OUTPUT_TOKENS), now)


STRATEGIES: dict[str, Callable[[LiveTarget, Question, float], float]] = {
    "weighted": _nothing,
    "least_busy": _busy,
    "lowest_latency": _latency,
    "cheapest": _price,
}
