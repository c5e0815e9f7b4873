"""What is known of the gateway at one moment, and what follows from it by adding up. Pure; times are seconds since 1970."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec

from routing.report import WorkerReport

WORST_FIRST = ("open", "half_open", "closed")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker knows of itself, of the others and of the stores; None: it cannot be known now."""

    at: float
    readiness: str  # of this worker: ready, degraded, down
    is_configured: bool = True
    own: WorkerReport
    workers: tuple[WorkerReport, ...]  # this one included
    hears_others: bool = True  # False: Valkey is away, so `workers` is this one alone
    published: int | None = None  # the newest revision
    published_since: float = 0.0  # when this worker first heard of it
    beat_at: float | None = None  # the last task that beat scheduled and a Celery worker did; None: none for a minute
    waiting_events: int | None = None  # of usage, not in the ledger yet
    oldest_event_at: float | None = None
    reasons: Mapping[str, str] = {}  # why a deployment's breaker is as it is, by deployment


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment's breaker as all workers see it; totals are since they started."""

    deployment: str
    provider: str
    state: str  # closed, open, half_open
    changed_at: float | None = None  # None: never
    open_until: float | None = None
    successes: int = 0
    failures: int = 0
    consecutive_failures: int = 0
    reason: str = ""


class PoolCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The connections to one provider, of all workers."""

    provider: str
    open: int = 0
    in_use: int = 0
    waiting: int = 0  # requests that wait for a connection
    opened: int = 0  # since the workers started
    requests: int = 0

    @property
    def reuse(self) -> float | None:
        """The share of requests that found an open connection; None: there was no request."""
        return rate(max(0, self.requests - self.opened), self.requests)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over workers, since they started."""

    active_requests: int
    active_streams: int
    active_connections: int
    upstream_connections: int
    buffered_bytes: int
    requests: int
    failed: int
    streams: int
    average_latency_ms: float | None  # None: there was no request
    breaker_failures: int

    @property
    def error_rate(self) -> float | None:
        """The share of requests that failed; None: there was none."""
        return rate(self.failed, self.requests)


def totals(workers: Iterable[WorkerReport]) -> Totals:
    """Add up what workers report."""
    reports = list(workers)
    requests = sum(report.requests_total for report in reports)
    milliseconds = sum((report.average_latency_ms or 0.0) * report.requests_total for report in reports)
    return Totals(
        active_requests=sum(report.active_requests for report in reports),
        active_streams=sum(report.active_streams for report in reports),
        active_connections=sum(report.active_connections for report in reports),
        upstream_connections=sum(pool.open for pool in pools(reports)),
        buffered_bytes=sum(report.buffered_bytes for report in reports),
        requests=requests,
        failed=sum(report.requests_failed for report in reports),
        streams=sum(report.streams_total for report in reports),
        average_latency_ms=round(milliseconds / requests, 2) if requests else None,
        breaker_failures=sum(row.get("failures", 0) for report in reports for row in report.deployments),
    )


def pools(workers: Iterable[WorkerReport]) -> list[PoolCounts]:
    """Add up the connections to each provider, by provider."""
    rows = sorted((row for report in workers for row in report.connections), key=lambda row: row.get("provider", ""))
    return [_pool(name, list(group)) for name, group in groupby(rows, key=lambda row: row.get("provider", ""))]


def _pool(provider: str, rows: list[dict[str, Any]]) -> PoolCounts:
    names = ("in_use", "idle", "waiting", "opened", "requests")
    in_use, idle, waiting, opened, requests = (sum(row.get(name, 0) for row in rows) for name in names)
    return PoolCounts(
        provider=provider, open=in_use + idle, in_use=in_use, waiting=waiting, opened=opened, requests=requests
    )


def rate(part: int, whole: int) -> float | None:
    """Return a share, rounded to what anybody reads; None of nothing."""
    return round(part / whole, 4) if whole else None


def breakers(facts: Facts) -> list[Breaker]:
    """Return every deployment's breaker, by provider and deployment: sums of all workers, the newest of their states."""
    rows = sorted(_deployment_rows(facts.workers), key=_place)
    return [_merged(list(group), facts.reasons) for _, group in groupby(rows, key=_place)]


def worst(states: Iterable[str]) -> str:
    """Return the state that matters most: open before half-open before closed."""
    found = set(states)
    return next((state for state in WORST_FIRST if state in found), "closed")


def deployments(facts: Facts) -> Iterator[Mapping[str, Any]]:
    """Yield one row per deployment, of whoever knows most of its cooldown; what is configured is the same for all."""
    rows = sorted(_deployment_rows(facts.workers), key=_place)
    for _, group in groupby(rows, key=_place):
        yield max(group, key=lambda row: (row.get("cooldown_until") or 0.0, bool(row.get("probe"))))


def _deployment_rows(workers: Iterable[WorkerReport]) -> Iterator[Mapping[str, Any]]:
    for report in workers:
        yield from report.deployments


def _place(row: Mapping[str, Any]) -> tuple[str, str]:
    return row.get("provider", ""), row.get("deployment", "")


def _merged(rows: list[Mapping[str, Any]], reasons: Mapping[str, str]) -> Breaker:
    newest = max(rows, key=lambda row: row.get("breaker_changed_at") or 0.0)
    provider, deployment = _place(newest)
    state = newest.get("breaker", "closed")
    return Breaker(
        deployment=deployment,
        provider=provider,
        state=state,
        changed_at=newest.get("breaker_changed_at"),
        open_until=newest.get("breaker_open_until"),
        successes=sum(row.get("successes", 0) for row in rows),
        failures=sum(row.get("failures", 0) for row in rows),
        consecutive_failures=max(row.get("consecutive_failures", 0) for row in rows),
        reason=reasons.get(deployment, "") if state != "closed" else "",
    )
