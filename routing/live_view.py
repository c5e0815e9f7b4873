"""Adding up what workers tell to one snapshot a second, and what of it whom is shown. Pure.

A worker's telling repeats its last intervals, which are numbered: each counts once, however often it is read. Between two
tellings a worker's last rates hold; of one that has been silent for `SILENT_SECONDS` nothing counts any more.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from routing.flights import Counts
from routing.live import Condition, Flight, Interval, Telling

SILENT_SECONDS = 3.0
FORGET_SECONDS = 30.0  # after which a silent worker that nobody knows is not shown any more
HISTORY_SECONDS = 120
MOST_LISTED = 200
BAD_PROBES = frozenset({"unreachable", "rejected"})
WORST_FIRST = ("down", "degraded", "off", "up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A deployment of the configuration that is served."""

    deployment: str
    provider: str
    is_enabled: bool


@dataclass(slots=True, kw_only=True)
class Rates:
    """What happens per second."""

    requests: float = 0.0
    input: float = 0.0
    output: float = 0.0
    client: float = 0.0
    gateway: float = 0.0
    upstream: float = 0.0

    def add(self, counts: Counts, seconds: float) -> None:
        """Take in what was counted in so many seconds."""
        self.requests += counts.requests / seconds
        self.input += counts.input / seconds
        self.output += counts.output / seconds
        self.client += counts.client / seconds
        self.gateway += counts.gateway / seconds
        self.upstream += counts.upstream / seconds

    def include(self, other: "Rates") -> None:
        """Add another's."""
        for name in ("requests", "input", "output", "client", "gateway", "upstream"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def told(self) -> dict[str, float]:
        """As they are sent."""
        return {name: round(getattr(self, name), 2) for name in self.__slots__}


@dataclass(slots=True, kw_only=True)
class Seen:
    """What is known of one worker."""

    began_at: float = 0.0
    number: int = 0  # of its last interval that was counted
    heard_at: float = 0.0  # when its telling last changed
    told_at: float = 0.0  # by its own clock
    telling: Telling | None = None
    rates: dict[int, Rates] = field(default_factory=dict)  # by tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLine:
    """A worker, and since when it says nothing."""

    worker: str
    revision: int
    in_flight: int
    silent_since: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentLine:
    """How a deployment stands for all workers together."""

    deployment: str
    state: str
    why: str
    until: float | None
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLine:
    """How a provider stands; the error rate is of its calls in the last two minutes, None where there were none."""

    provider: str
    state: str
    in_flight: int
    error_rate: float | None
    deployments: Sequence[DeploymentLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole deployment in one second of Valkey's clock."""

    sequence: int
    at: float
    rates: Mapping[int, Rates]  # by tenant
    in_flight: Mapping[int, int]  # by tenant
    flights: Sequence[Flight]  # oldest first
    providers: Sequence[ProviderLine]
    workers: Sequence[WorkerLine]


class LiveView:
    """Adds up second by second; what it remembers are two minutes."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._calls: deque[dict[str, tuple[int, int]]] = deque(maxlen=HISTORY_SECONDS)
        self._history: deque[Snapshot] = deque(maxlen=HISTORY_SECONDS)

    def add_up(
        self, tellings: Mapping[str, Telling | None], places: Iterable[Place], *, sequence: int, at: float
    ) -> Snapshot:
        """Return the snapshot of a second: of the workers that are known, some of which may have told nothing."""
        self._hear(tellings, at)
        speaking = [seen for seen in self._seen.values() if seen.telling is not None and not _is_silent(seen, at)]
        spoken = [seen.telling for seen in speaking if seen.telling is not None]
        snapshot = Snapshot(
            sequence=sequence,
            at=at,
            rates=_sum_rates(speaking),
            in_flight=_sum_in_flight(spoken),
            flights=sorted((each for telling in spoken for each in telling.flights), key=_oldest_first),
            providers=self._providers(spoken, places, at),
            workers=[_worker_line(name, seen, at) for name, seen in sorted(self._seen.items())],
        )
        self._history.append(snapshot)
        return snapshot

    def history(self, tenant_id: int | None) -> list[list[float]]:
        """Return [sequence, in flight, requests, tokens written, errors] of the last two minutes, for all or one tenant."""
        points = []
        for snapshot in self._history:
            rates = rates_for(snapshot, tenant_id)
            errors = rates.client + rates.gateway + rates.upstream
            known = (in_flight_for(snapshot, tenant_id), rates.requests, rates.output, errors)
            points.append([snapshot.sequence, *(round(value, 2) for value in known)])
        return points

    def _hear(self, tellings: Mapping[str, Telling | None], at: float) -> None:
        calls: dict[str, tuple[int, int]] = {}
        for worker, telling in tellings.items():
            seen = self._seen.setdefault(worker, Seen(heard_at=at))
            if telling is not None and telling.at != seen.told_at:
                _take(seen, telling, at, calls)
        self._calls.append(calls)
        for worker, seen in list(self._seen.items()):
            if worker not in tellings and at - seen.heard_at > FORGET_SECONDS:
                del self._seen[worker]

    def _providers(self, spoken: Iterable[Telling], places: Iterable[Place], at: float) -> list[ProviderLine]:
        conditions: dict[str, list[Condition]] = {}
        for telling in spoken:
            for condition in telling.conditions:
                conditions.setdefault(condition.deployment, []).append(condition)
        lines: dict[str, list[DeploymentLine]] = {}
        for place in places:
            line = deployment_line(place, conditions.get(place.deployment, ()), at)
            lines.setdefault(place.provider, []).append(line)
        return [self._provider(provider, found) for provider, found in sorted(lines.items())]

    def _provider(self, provider: str, lines: Sequence[DeploymentLine]) -> ProviderLine:
        names = {line.deployment for line in lines}
        counted = [count for calls in self._calls for name, count in calls.items() if name in names]
        failed, all_calls = sum(bad for _, bad in counted), sum(good + bad for good, bad in counted)
        return ProviderLine(
            provider=provider,
            state=provider_state([line.state for line in lines]),
            in_flight=sum(line.in_flight for line in lines),
            error_rate=failed / all_calls if all_calls else None,
            deployments=sorted(lines, key=lambda line: (WORST_FIRST.index(line.state), line.deployment)),
        )


def _take(seen: Seen, telling: Telling, at: float, calls: dict[str, tuple[int, int]]) -> None:
    is_first = telling.began_at != seen.began_at
    # Of a worker that is heard for the first time only the last second counts: the others are over.
    number = telling.intervals[-1].number - 1 if is_first and telling.intervals else seen.number
    fresh = [interval for interval in telling.intervals if interval.number > number]
    seen.began_at, seen.told_at, seen.heard_at, seen.telling = telling.began_at, telling.at, at, telling
    if not fresh:
        return
    seen.number = fresh[-1].number
    seen.rates = _rates_of(fresh)
    for interval in fresh:
        for deployment, (good, bad) in interval.deployments.items():
            known = calls.get(deployment, (0, 0))
            calls[deployment] = (known[0] + good, known[1] + bad)


def _rates_of(intervals: Sequence[Interval]) -> dict[int, Rates]:
    seconds = sum(interval.seconds for interval in intervals) or 1.0
    rates: dict[int, Rates] = {}
    for interval in intervals:
        for tenant_id, counts in interval.tenants.items():
            rates.setdefault(tenant_id, Rates()).add(counts, seconds)
    return rates


def _is_silent(seen: Seen, at: float) -> bool:
    return at - seen.heard_at >= SILENT_SECONDS


def _sum_rates(speaking: Iterable[Seen]) -> dict[int, Rates]:
    rates: dict[int, Rates] = {}
    for seen in speaking:
        for tenant_id, mine in seen.rates.items():
            rates.setdefault(tenant_id, Rates()).include(mine)
    return rates


def _sum_in_flight(spoken: Iterable[Telling]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for telling in spoken:
        for tenant_id, count in telling.in_flight.items():
            counts[tenant_id] = counts.get(tenant_id, 0) + count
    return counts


def _oldest_first(flight: Flight) -> float:
    return -flight.age


def _worker_line(name: str, seen: Seen, at: float) -> WorkerLine:
    telling, is_silent = seen.telling, _is_silent(seen, at)
    return WorkerLine(
        worker=name,
        revision=telling.revision if telling is not None else 0,
        in_flight=sum(telling.in_flight.values()) if telling is not None and not is_silent else 0,
        silent_since=seen.heard_at if is_silent else None,
    )


def deployment_line(place: Place, conditions: Sequence[Condition], at: float) -> DeploymentLine:
    """Return how a deployment stands: the worst that any worker knows of it, and until when."""
    state, why, until = "up", "", None
    opened = max((each.open_until for each in conditions if each.breaker == "open"), default=0.0)
    cooling = max(conditions, key=lambda each: each.cooldown_until, default=None)
    if not place.is_enabled:
        state, why = "off", "switched off"
    elif opened:
        state, why, until = "down", "breaker open", opened
    elif cooling is not None and cooling.cooldown_until > at:
        state, why, until = "degraded", f"cooling down: {cooling.cooldown_reason}", cooling.cooldown_until
    elif any(each.breaker == "half_open" for each in conditions):
        state, why = "degraded", "breaker half-open"
    elif any(each.probe in BAD_PROBES for each in conditions):
        probe = next(each.probe for each in conditions if each.probe in BAD_PROBES)
        state, why = "degraded", f"last probe: {probe}"
    return DeploymentLine(
        deployment=place.deployment,
        state=state,
        why=why,
        until=until,
        in_flight=sum(each.active for each in conditions),
    )


def provider_state(states: Sequence[str]) -> str:
    """Return how a provider stands by its deployments: down when none that is switched on is left."""
    on = [state for state in states if state != "off"]
    if not on:
        return "off"
    if all(state == "down" for state in on):
        return "down"
    return "up" if all(state == "up" for state in on) else "degraded"


# --- Who is shown what --------------------------------------------------------------------------------------


def rates_for(snapshot: Snapshot, tenant_id: int | None) -> Rates:
    """Return the rates of all, or of one tenant."""
    total = Rates()
    for owner, rates in snapshot.rates.items():
        if tenant_id is None or owner == tenant_id:
            total.include(rates)
    return total


def in_flight_for(snapshot: Snapshot, tenant_id: int | None) -> int:
    """Return how many requests of all, or of one tenant, are under way."""
    return sum(count for owner, count in snapshot.in_flight.items() if tenant_id in {None, owner})


def show_to_operator(snapshot: Snapshot, *, sees_upstreams: bool) -> dict[str, Any]:
    """Return what an operator is sent; health and workers only to whom may see providers."""
    shown = _show(snapshot, None)
    if sees_upstreams:
        shown["providers"] = [_provider_of(line) for line in snapshot.providers]
        shown["workers"] = [
            {
                "name": line.worker,
                "revision": line.revision,
                "in_flight": line.in_flight,
                "silent_since": line.silent_since,
            }
            for line in snapshot.workers
        ]
    return shown


def show_to_tenant(snapshot: Snapshot, tenant_id: int, deployments: frozenset[str]) -> dict[str, Any]:
    """Return what a tenant's members are sent: their own, and whether what serves their models is up."""
    shown = _show(snapshot, tenant_id)
    mine = [
        (line, [each for each in line.deployments if each.deployment in deployments]) for line in snapshot.providers
    ]
    shown["providers"] = [
        {"name": line.provider, "state": "up" if any(each.state in {"up", "degraded"} for each in used) else "down"}
        for line, used in mine
        if used
    ]
    return shown


def _show(snapshot: Snapshot, tenant_id: int | None) -> dict[str, Any]:
    flights = [each for each in snapshot.flights if tenant_id is None or each.tenant_id == tenant_id]
    in_flight = in_flight_for(snapshot, tenant_id)
    listed = flights[:MOST_LISTED]
    return {
        "kind": "snapshot",
        "sequence": snapshot.sequence,
        "at": snapshot.at,
        "in_flight": in_flight,
        "rates": rates_for(snapshot, tenant_id).told(),
        "requests": [_request_of(each) for each in listed],
        "unlisted": max(0, in_flight - len(listed)),
        "silent_workers": sum(line.silent_since is not None for line in snapshot.workers),
    }


def _request_of(flight: Flight) -> dict[str, Any]:
    return {
        "id": flight.request_id,
        "age": flight.age,
        "tenant": flight.tenant,
        "key": flight.key,
        "model": flight.alias,
        "provider": flight.provider,
        "deployment": flight.deployment,
        "is_stream": flight.is_stream,
        "phase": flight.phase,
        "tokens": flight.tokens,
        "attempts": flight.attempts,
        "can_stop": flight.can_stop,
    }


def _provider_of(line: ProviderLine) -> dict[str, Any]:
    troubled = [each for each in line.deployments if each.why]
    return {
        "name": line.provider,
        "state": line.state,
        "in_flight": line.in_flight,
        "error_rate": None if line.error_rate is None else round(line.error_rate, 4),
        "deployments": len(line.deployments),
        "troubled": [{"name": each.deployment, "why": each.why, "until": each.until} for each in troubled[:10]],
    }
