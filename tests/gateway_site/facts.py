"""A gateway in good health, to be made ill by tests."""

from typing import Any

from gateway_site.health.facts import Facts
from routing.report import WorkerReport

NOW = 1_800_000_000.0
UP = {"valkey": "up", "postgres": "up", "spool": "empty"}


def report(worker: str = "a-1", **values: Any) -> WorkerReport:
    """A worker that has been running for an hour."""
    host, _, pid = worker.rpartition("-")
    given: dict[str, Any] = {
        "version": "0.4.0",
        "started_at": NOW - 3600,
        "at": NOW,
        "revision": 7,
        "components": UP,
        "requests_total": 1000,
        "average_latency_ms": 200.0,
    }
    return WorkerReport(worker=worker, host=host, pid=int(pid), **given | values)


def facts(*workers: WorkerReport, **values: Any) -> Facts:
    """What the first of these workers knows."""
    found = workers or (report("a-1"), report("b-1"))
    given: dict[str, Any] = {
        "at": NOW,
        "readiness": "ready",
        "published": 7,
        "published_since": NOW - 60,
        "beat_at": NOW - 3,
        "waiting_events": 0,
    }
    return Facts(own=found[0], workers=found, **given | values)


def deployment(slug: str = "claude-eu", provider: str = "anthropic", **values: Any) -> dict[str, Any]:
    """A deployment's row in a worker's report."""
    given = {
        "deployment": slug,
        "provider": provider,
        "is_enabled": True,
        "breaker": "closed",
        "breaker_changed_at": None,
        "breaker_open_until": None,
        "consecutive_failures": 0,
        "successes": 90,
        "failures": 10,
        "cooldown_until": None,
        "cooldown_reason": "",
        "probe": "ok",
    }
    return given | values
