"""How every deployment does, as one worker knows it. Decisions are local and take no round trip.

Four states stand side by side and none of them changes another:
- the manual switch (`is_enabled`, of the configuration): nothing automatic turns it on;
- the breaker (`policy/breaker.py`), fed by real traffic;
- the cooldown: until when a provider asked to be left alone (429 and reset headers);
- what the last probe said (Celery).
Workers tell each other what they decide (`health_sharing.py`); without Valkey each goes by what it sees itself.
"""

from collections import deque
from collections.abc import Callable, Iterable
from time import time
from typing import Any, Literal

import msgspec

from routing.policy.breaker import Breaker, BreakerSettings
from routing.policy.retry_budget import RetryBudget

type Kind = Literal["breaker_opened", "breaker_half_open", "breaker_closed", "cooled_down"]

KIND_OF_STATE: dict[str, Kind] = {
    "open": "breaker_opened",
    "half_open": "breaker_half_open",
    "closed": "breaker_closed",
}
STATE_OF_KIND = {kind: state for state, kind in KIND_OF_STATE.items()}
SMOOTHING = 0.2  # the weight of the newest latency
LATENCIES_KEPT = 64  # for the 95th percentile
FEWEST_LATENCIES = 8  # with fewer, nobody knows what is late


class HealthChange(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a worker decided about a deployment; times are seconds since 1970."""

    deployment: str
    provider: str
    kind: Kind
    old: str
    new: str
    at: float
    reason: str = ""
    until: float | None = None  # of an open breaker, a cooldown
    worker: str = ""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Outcomes of a troubled deployment that others have not heard of."""

    deployment: str
    ok: int
    failed: int
    is_trial: bool


class Latency:
    """Seconds to an answer, or to its first content: a moving average, and what is late."""

    __slots__ = ("_last", "average")

    def __init__(self) -> None:
        self.average: float | None = None  # None: nobody knows yet
        self._last: deque[float] = deque(maxlen=LATENCIES_KEPT)

    def add(self, seconds: float) -> None:
        """Take in one more."""
        known = self.average
        self.average = seconds if known is None else known + SMOOTHING * (seconds - known)
        self._last.append(seconds)

    def p95(self) -> float | None:
        """Return what 95 % stay below; None while too few are known."""
        if len(self._last) < FEWEST_LATENCIES:
            return None
        return sorted(self._last)[int(0.95 * len(self._last))]


class DeploymentHealth:
    """What is known of one deployment."""

    __slots__ = (
        "active",
        "breaker",
        "cooldown_heard",
        "cooldown_max",
        "cooldown_reason",
        "cooldown_until",
        "cools_down",
        "deployment",
        "failures",
        "first_token",
        "headroom_looked_at",
        "probe",
        "provider",
        "requests",
        "retry_budget",
        "successes",
        "untold",
        "whole",
    )

    def __init__(self, deployment: str, provider: str, retry_budget: RetryBudget) -> None:
        self.deployment = deployment
        self.provider = provider
        self.breaker = Breaker(BreakerSettings())
        self.cools_down, self.cooldown_max = True, 300.0
        self.cooldown_until = 0.0
        self.cooldown_heard = 0.0  # when another worker decided on the last one that it told
        self.cooldown_reason = ""
        self.headroom_looked_at = 0.0  # when an answer's headers were last looked at for what is left
        self.probe = ""  # "", ok, cannot_probe, unreachable, rejected
        self.active = 0  # calls in flight, of this worker
        self.requests = 0  # calls made, of this worker; successes and failures are of those that had an outcome
        self.successes = 0
        self.failures = 0
        self.first_token = Latency()  # of streams
        self.whole = Latency()  # of whole answers
        self.retry_budget = retry_budget  # of its provider
        self.untold: dict[bool, list[int]] = {}  # is_trial → successes and failures that others have not heard of

    def latency(self, is_stream: bool) -> Latency:
        """Return the latencies that matter for such a request."""
        return self.first_token if is_stream else self.whole

    def configure(self, breaker: dict[str, Any], cooldown: dict[str, Any]) -> None:
        """Take over the provider's settings; what is known stays."""
        self.breaker.settings = msgspec.convert(breaker, BreakerSettings)
        self.cools_down, self.cooldown_max = cooldown.get("enabled", True), cooldown.get("max", 300.0)


class HealthBoard:
    """The health of all deployments; told how calls went, it tells its listeners what changes."""

    def __init__(self, worker: str = "") -> None:
        self.worker = worker
        self.listeners: list[Callable[[HealthChange], None]] = []
        self._entries: dict[str, DeploymentHealth] = {}
        self._budgets: dict[str, RetryBudget] = {}

    def of(self, deployment: str, provider: str) -> DeploymentHealth:
        """Return a deployment's health; what nobody knows yet is in good health."""
        entry = self._entries.get(deployment)
        if entry is None or entry.provider != provider:
            budget = self._budgets.setdefault(provider, RetryBudget())
            entry = self._entries[deployment] = DeploymentHealth(deployment, provider, budget)
        return entry

    def find(self, deployment: str) -> DeploymentHealth | None:
        """Return the health of a deployment that is known."""
        return self._entries.get(deployment)

    def all(self) -> list[DeploymentHealth]:
        """Return the health of every deployment, by slug."""
        return [self._entries[slug] for slug in sorted(self._entries)]

    def keep_only(self, deployments: Iterable[str]) -> None:
        """Forget the deployments that are not configured any more."""
        kept = set(deployments)
        self._entries = {slug: entry for slug, entry in self._entries.items() if slug in kept}
        providers = {entry.provider for entry in self._entries.values()}
        self._budgets = {slug: budget for slug, budget in self._budgets.items() if slug in providers}

    # --- What calls tell ------------------------------------------------------------------------------------

    def record(self, entry: DeploymentHealth, now: float, *, is_ok: bool, reason: str = "", is_trial: bool) -> None:
        """Count how a call went; `reason` says why it failed."""
        entry.successes += is_ok
        entry.failures += not is_ok
        breaker = entry.breaker
        old = breaker.state
        new = breaker.record(now, ok=int(is_ok), failed=int(not is_ok), is_trial=is_trial)
        if breaker.is_troubled or new is not None:
            counts = entry.untold.setdefault(is_trial, [0, 0])
            counts[not is_ok] += 1
        if new is not None:
            self._tell(entry, KIND_OF_STATE[new], old, new, now, reason or "It answers again.")

    def cool_down(self, entry: DeploymentHealth, now: float, *, seconds: float, reason: str) -> None:
        """Leave a deployment alone for a while, because its provider asked for it."""
        if not entry.cools_down or seconds <= 0:
            return
        until = now + min(seconds, entry.cooldown_max)
        if until <= entry.cooldown_until:
            return
        old = "cooling" if entry.cooldown_until > now else "ready"
        entry.cooldown_until, entry.cooldown_reason = until, reason
        self._tell(entry, "cooled_down", old, "cooling", now, reason, until=until)

    def take_slot(self, entry: DeploymentHealth, now: float) -> bool:
        """Take a half-open breaker's slot; False when there is none to take."""
        old = entry.breaker.state
        is_taken = entry.breaker.take_slot(now)
        if is_taken and old == "open":
            self._tell(entry, "breaker_half_open", old, "half_open", now, "Its time is over: one request tries.")
        return is_taken

    # --- What other workers tell ----------------------------------------------------------------------------

    def adopt(self, change: HealthChange) -> None:
        """Take over what another worker decided; nothing rests longer than it may, whatever that worker's clock says."""
        entry = self._entries.get(change.deployment)
        if entry is None or change.worker == self.worker:
            return
        now, until = time(), change.until or 0.0
        if change.kind == "cooled_down":
            if change.at != entry.cooldown_heard:  # what holds is heard again and again, and must not last longer by it
                entry.cooldown_heard = change.at
                until = min(until, now + min(until - change.at, entry.cooldown_max))
                if until > entry.cooldown_until:
                    entry.cooldown_until, entry.cooldown_reason = until, change.reason
        else:
            until = min(until, now + entry.breaker.settings.open_for)
            entry.breaker.adopt(STATE_OF_KIND[change.kind], change.at, open_until=until)  # type: ignore[arg-type]

    def take_tallies(self) -> list[Tally]:
        """Return the outcomes of troubled deployments since the last time."""
        tallies = []
        for entry in self._entries.values():
            if entry.untold:
                for is_trial, (ok, failed) in entry.untold.items():
                    tallies.append(Tally(deployment=entry.deployment, ok=ok, failed=failed, is_trial=is_trial))
                entry.untold = {}
        return tallies

    def add_tallies(self, tallies: Iterable[Tally], now: float) -> None:
        """Count the outcomes that other workers saw."""
        for tally in tallies:
            entry = self._entries.get(tally.deployment)
            if entry is None:
                continue
            old = entry.breaker.state
            new = entry.breaker.record(now, ok=tally.ok, failed=tally.failed, is_trial=tally.is_trial)
            if new is not None:
                self._tell(entry, KIND_OF_STATE[new], old, new, now, "Together with what other workers saw.")

    def _tell(
        self,
        entry: DeploymentHealth,
        kind: Kind,
        old: str,
        new: str,
        now: float,
        reason: str,
        *,
        until: float | None = None,
    ) -> None:
        change = HealthChange(
            deployment=entry.deployment,
            provider=entry.provider,
            kind=kind,
            old=old,
            new=new,
            at=now,
            reason=reason,
            until=entry.breaker.open_until if new == "open" else until,
            worker=self.worker,
        )
        for listener in self.listeners:
            listener(change)
