"""Alert rules, decided: what is measured, when a rule fires, repeats and resolves, and how all that is said. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

ABOVE, BELOW = "above", "below"
WINDOWS = (5, 10, 15, 30, 60, 180, 360, 720, 1440)  # minutes
LONGEST_OF_RECORDS = 60  # minutes; longer windows are read from the sums of hours

type Hush = Literal["", "silenced", "acknowledged"]
type StepKind = Literal["firing", "repeated", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Something that a rule may watch."""

    label: str
    unit: str = ""
    is_of_gateway: bool = False  # of the deployment, not of usage: for operators only
    needs_requests: bool = False  # says nothing of few requests
    is_money: bool = False
    is_timed: bool = False
    is_counted: bool = False  # of things that have a provider and a name

    @property
    def phrase(self) -> str:
        """The metric in a sentence."""
        name, _, rank = self.label.partition(", ")
        said = f"{rank} {name[0].lower()}{name[1:]}".strip()
        is_number = self.is_counted or name.startswith(("Requests", "Tokens", "Workers"))
        return f"the number of {said}" if is_number else f"the {said}"

    def unit_in(self, currency: str) -> str:
        """The unit; of money with its currency."""
        return f"{currency} {self.unit}" if self.is_money else self.unit


METRICS: Mapping[str, Metric] = {
    "error_rate": Metric(label="Error rate", unit="%", needs_requests=True),
    "requests_per_minute": Metric(label="Requests per minute"),
    "tokens_per_minute": Metric(label="Tokens per minute"),
    "cost_per_hour": Metric(label="Cost per hour", unit="per hour", is_money=True),
    "cost_per_day": Metric(label="Cost per day", unit="per day", is_money=True),
    "latency_p95": Metric(label="Latency, p95", unit="ms", needs_requests=True, is_timed=True),
    "first_token_p95": Metric(label="Time to first token, p95", unit="ms", needs_requests=True, is_timed=True),
    "cache_hit_rate": Metric(label="Cache hit rate", unit="%", needs_requests=True),
    "breaker_open": Metric(label="Open breakers", is_of_gateway=True, is_counted=True),
    "probe_failing": Metric(label="Failing probes", is_of_gateway=True, is_counted=True),
    "ledger_lag": Metric(label="Ledger lag", unit="s", is_of_gateway=True),
    "worker_lag": Metric(label="Workers behind the newest revision", is_of_gateway=True),
}
UNKNOWN = Metric(label="Unknown metric")  # of a version that knows more


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What is known of the deployment itself; None: it cannot be known now."""

    open_breakers: Sequence[tuple[str, str]] | None = None  # provider and deployment
    failing_probes: Sequence[tuple[str, str]] | None = None
    ledger_lag: float | None = None  # seconds that the oldest event waits
    lagging_workers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was measured for a rule."""

    value: Decimal | None = None  # None: there is nothing to measure
    requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a rule fires."""

    metric: str
    comparison: str
    threshold: Decimal
    sustained: timedelta = timedelta()
    cooldown: timedelta = timedelta(hours=1)
    minimum_requests: int = 0

    def holds(self, value: Decimal) -> bool:
        """Whether a value is beyond the threshold."""
        return value > self.threshold if self.comparison == ABOVE else value < self.threshold

    def worse(self, one: Decimal | None, other: Decimal) -> Decimal:
        """The value that is further beyond the threshold."""
        if one is None:
            return other
        return max(one, other) if self.comparison == ABOVE else min(one, other)

    def has_data(self, reading: Reading) -> bool:
        """Whether a reading says anything: one failure of one request is no alarm."""
        if reading.value is None:
            return False
        needs = METRICS.get(self.metric, UNKNOWN).needs_requests
        return not needs or reading.requests >= self.minimum_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is remembered of a rule from one minute to the next."""

    value: Decimal | None = None  # the last that said something
    holds_since: datetime | None = None
    fires_since: datetime | None = None
    fired_at: datetime | None = None  # when it last fired or was repeated, silenced or not
    worst: Decimal | None = None
    is_told: bool = False  # somebody was told of what fires
    no_data_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happened to a rule."""

    kind: StepKind
    is_told: bool  # whether its channels are to hear of it


def judge(
    terms: Terms, state: State, reading: Reading, now: datetime, hush: Hush = ""
) -> tuple[State, tuple[Step, ...]]:
    """Say what a reading changes; without data all stays as it is."""
    value = reading.value
    if value is None or not terms.has_data(reading):
        return replace(state, no_data_since=state.no_data_since or now), ()
    state = replace(state, value=value, no_data_since=None)
    if not terms.holds(value):
        return _clear(state, hush)
    state = replace(state, holds_since=state.holds_since or now)
    if state.fires_since is None:
        return _perhaps_fire(terms, state, value, now, hush)
    return _go_on(terms, replace(state, worst=terms.worse(state.worst, value)), now, hush)


def _clear(state: State, hush: Hush) -> tuple[State, tuple[Step, ...]]:
    cleared = replace(state, holds_since=None, fires_since=None, worst=None, is_told=False)
    if state.fires_since is None:
        return cleared, ()
    return cleared, (Step(kind="resolved", is_told=state.is_told and hush != "silenced"),)


def _perhaps_fire(
    terms: Terms, state: State, value: Decimal, now: datetime, hush: Hush
) -> tuple[State, tuple[Step, ...]]:
    """Fire when it has held long enough, and not too soon after the time before."""
    held = now - (state.holds_since or now)
    is_too_soon = state.fired_at is not None and now - state.fired_at < terms.cooldown
    if held < terms.sustained or is_too_soon:
        return state, ()
    is_told = hush != "silenced"
    fired = replace(state, fires_since=now, fired_at=now, worst=value, is_told=is_told)
    return fired, (Step(kind="firing", is_told=is_told),)


def _go_on(terms: Terms, state: State, now: datetime, hush: Hush) -> tuple[State, tuple[Step, ...]]:
    """Repeat after the cooldown; tell at once what a silence has kept back until now."""
    if not state.is_told and not hush:
        return replace(state, fired_at=now, is_told=True), (Step(kind="firing", is_told=True),)
    if state.fired_at is not None and now - state.fired_at < terms.cooldown:
        return state, ()
    return replace(state, fired_at=now), (Step(kind="repeated", is_told=not hush),)


# --- Silences ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a silence may name: of a rule all, of a silence those that it is about; None and "" match all."""

    owner: int | None  # the tenant whose rule or silence it is; None: the operators'
    rule: int | None = None
    tenant: int | None = None
    provider: str = ""
    severity: str = ""


def is_covered(silence: Labels, rule: Labels) -> bool:
    """Whether a silence is about a rule: one of the same owner, with all that the silence names."""
    if silence.owner != rule.owner:
        return False
    pairs = ((getattr(silence, name), getattr(rule, name)) for name in ("rule", "tenant", "provider", "severity"))
    return all(asked in (None, "", has) for asked, has in pairs)


# --- Words -------------------------------------------------------------------------------------------------


def number(value: Decimal, metric: str = "") -> str:
    """A value as people read it: money with the digits that count, others with few."""
    is_money = METRICS.get(metric, UNKNOWN).is_money
    digits = 6 if is_money and abs(value) < 1 else 2 if abs(value) < 1000 else 0
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_unit(value: Decimal | None, metric: str, currency: str = "") -> str:
    """A value with its unit; a dash for none."""
    if value is None:
        return "\N{EN DASH}"
    unit = METRICS.get(metric, UNKNOWN).unit_in(currency)
    return f"{number(value, metric)}{'' if unit == '%' else ' '}{unit}".strip()


def minutes(count: int) -> str:
    """A span, as people say it."""
    for size, word in ((1440, "day"), (60, "hour")):
        if count and count % size == 0:
            return _plural(count // size, word)
    return _plural(count, "minute")


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What is said of a rule."""

    metric: str
    comparison: str
    threshold: Decimal
    currency: str
    window: int
    sustained: int
    cooldown: int
    minimum_requests: int
    filters: Mapping[str, str]  # what is named, by what it is
    told: Sequence[str]  # names of channels


def sentence(rule: Wording) -> str:
    """A rule in words."""
    metric = METRICS.get(rule.metric, UNKNOWN)
    about = ", ".join(f"{kind} {name}" for kind, name in rule.filters.items() if name)
    parts = [
        f"When {metric.phrase}",
        f"of {about}" if about else ("" if metric.is_of_gateway or "requests" in metric.phrase else "of all requests"),
        f"is {rule.comparison} {with_unit(rule.threshold, rule.metric, rule.currency)}",
        "" if metric.is_of_gateway else f"over {minutes(rule.window)}",
    ]
    if metric.needs_requests and rule.minimum_requests > 1:
        parts.append(f"(with at least {rule.minimum_requests:,} requests)")
    condition = " ".join(part for part in parts if part)
    held = f", sustained for {minutes(rule.sustained)}" if rule.sustained else ""
    told = ", ".join(rule.told)
    acts = (
        f"tell {told}, and again every {_every(rule.cooldown)} while it goes on" if told else "note it, and tell nobody"
    )
    return f"{condition}{held}: {acts}."


def _every(count: int) -> str:
    said = minutes(count)
    return said.removeprefix("1 ")
