"""The documents about the gateway's state, for machines and people. Pure: facts in, plain values out.

They name workers, providers and deployments, as the metrics do; never tenants, keys or addresses of upstreams.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import msgspec

from gateway_site.health.facts import Breaker, Facts, breakers, pools, rate, totals, worst
from gateway_site.health.issues import Issue, find_issues, iso
from routing.report import WorkerReport, public

type Document = dict[str, Any]

COMPONENTS = ("snapshot", "valkey", "postgres", "celery", "usage", "pools", "breakers", "workers")


def health(facts: Facts) -> Document:
    """Status, components, the most telling numbers, what is wrong and what to do about it."""
    issues = find_issues(facts)
    return {
        "status": status(facts, issues),
        "version": facts.own.version,
        "uptime_seconds": uptime(facts.workers, facts.at),
        "last_updated": iso(facts.at),
        **_whose(facts),
        "components": components(facts, issues),
        "metrics": _metrics(facts),
        "issues": [msgspec.to_builtins(issue) for issue in issues],
        "recommendations": list(dict.fromkeys(issue.recommendation for issue in issues)),
    }


def brief(document: Document) -> Document:
    """Return what anybody may see of the health: that it works, not who works here."""
    shown = {name: document[name] for name in ("status", "version", "uptime_seconds")}
    return shown | {"components": {name: {"state": part["state"]} for name, part in document["components"].items()}}


def summary(facts: Facts) -> Document:
    """How much there is to do, and how it goes; totals are since the workers started."""
    sums = totals(facts.workers)
    error_rate = sums.error_rate
    return {
        "active_streams": sums.active_streams,
        "total_streams": sums.streams,
        "active_requests": sums.active_requests,
        "total_requests": sums.requests,
        "success_rate": None if error_rate is None else round(1 - error_rate, 4),
        "error_rate": error_rate,
        "average_latency_ms": sums.average_latency_ms,
        "active_connections": sums.active_connections,
        "upstream_connections": sums.upstream_connections,
        "uptime_seconds": uptime(facts.workers, facts.at),
        "last_updated": iso(facts.at),
        **_whose(facts),
    }


def export(facts: Facts, metrics: Sequence[Document]) -> Document:
    """Everything; `metrics` are those of /metrics, of this node."""
    return {
        "health": health(facts),
        "summary": summary(facts),
        "breakers": breaker_statistics(breakers(facts)),
        "workers": [public(report) for report in facts.workers],
        "metrics": list(metrics),
    }


def breaker_statistics(found: Iterable[Breaker]) -> list[Document]:
    """Per provider, sums of its deployments' breakers; `found` is ordered by provider."""
    return [_statistics(provider, list(group)) for provider, group in groupby(found, key=lambda each: each.provider)]


def status(facts: Facts, issues: Iterable[Issue]) -> str:
    """Return ok, degraded or down; only what this worker itself cannot do makes it down."""
    if facts.readiness == "down":
        return "down"
    is_ill = facts.readiness != "ready" or any(issue.severity != "notice" for issue in issues)
    return "degraded" if is_ill else "ok"


def uptime(workers: Iterable[WorkerReport], now: float) -> int:
    """Return for how many seconds the oldest of the workers has been running."""
    return max((round(now - report.started_at) for report in workers), default=0)


def components(facts: Facts, issues: Iterable[Issue]) -> Document:
    """Each part with its state: up, degraded, down or unknown, and what there is to know of it."""
    gravest: dict[str, str] = {}
    for issue in issues:  # the gravest first
        gravest.setdefault(issue.component, issue.severity)
    states = {name: _state_of(gravest.get(name)) for name in COMPONENTS} | _unknown_states(facts)
    return {name: {"state": states[name], **_details(name, facts)} for name in COMPONENTS}


def _state_of(severity: str | None) -> str:
    return {"critical": "down", "warning": "degraded"}.get(severity or "", "up")


def _unknown_states(facts: Facts) -> dict[str, str]:
    """What cannot be known: of Valkey's contents without Valkey, and of PostgreSQL before anybody asked."""
    unknown = {} if facts.hears_others else {"celery": "unknown"}
    if all(report.components.get("postgres", "unknown") == "unknown" for report in facts.workers):
        unknown["postgres"] = "unknown"
    return unknown


def _details(name: str, facts: Facts) -> Document:
    match name:
        case "snapshot":
            return {"revision": facts.own.revision, "published": facts.published}
        case "celery":
            return {"last_beat": None if facts.beat_at is None else iso(facts.beat_at)}
        case "usage":
            oldest = facts.oldest_event_at
            lag = 0.0 if oldest is None else round(max(0.0, facts.at - oldest), 1)
            spooling = sum(report.components.get("spool") == "waiting" for report in facts.workers)
            return {
                "waiting_events": facts.waiting_events,
                "lag_seconds": lag if facts.hears_others else None,
                "spooling_workers": spooling,
            }
        case "pools":
            return _pools(facts)
        case "breakers":
            states = [breaker.state for breaker in breakers(facts)]
            return {name: states.count(name) for name in ("closed", "half_open", "open")}
        case "workers":
            return {"count": len(facts.workers)}
    return {}


def _pools(facts: Facts) -> Document:
    found = pools(facts.workers)
    opened, requests = sum(pool.opened for pool in found), sum(pool.requests for pool in found)
    return {
        "open": sum(pool.open for pool in found),
        "in_use": sum(pool.in_use for pool in found),
        "waiting": sum(pool.waiting for pool in found),
        "reuse": rate(max(0, requests - opened), requests),
    }


def _metrics(facts: Facts) -> Document:
    sums = totals(facts.workers)
    return {
        "active_requests": sums.active_requests,
        "active_streams": sums.active_streams,
        "active_connections": sums.active_connections,
        "upstream_connections": sums.upstream_connections,
        "buffered_bytes": sums.buffered_bytes,
        "breaker_failures": sums.breaker_failures,
        "average_latency_ms": sums.average_latency_ms,
    }


def _whose(facts: Facts) -> Document:
    if facts.hears_others:
        return {"scope": "all workers", "workers": len(facts.workers)}
    return {"scope": f"worker {facts.own.worker} alone, for Valkey is away", "workers": 1}


def _statistics(provider: str, deployments: list[Breaker]) -> Document:
    changes = [breaker.changed_at for breaker in deployments if breaker.changed_at is not None]
    return {
        "provider": provider,
        "state": worst(breaker.state for breaker in deployments),
        **_counts(deployments),
        "last_change": iso(max(changes)) if changes else None,
        "deployments": [
            {
                "deployment": breaker.deployment,
                "state": breaker.state,
                **_counts([breaker]),
                "last_change": None if breaker.changed_at is None else iso(breaker.changed_at),
                "open_until": None if breaker.open_until is None else iso(breaker.open_until),
                "reason": breaker.reason,
            }
            for breaker in deployments
        ],
    }


def _counts(deployments: list[Breaker]) -> Document:
    successes = sum(breaker.successes for breaker in deployments)
    failures = sum(breaker.failures for breaker in deployments)
    return {
        "requests": successes + failures,
        "successes": successes,
        "failures": failures,
        "failure_rate": rate(failures, successes + failures),
        "consecutive_failures": max((breaker.consecutive_failures for breaker in deployments), default=0),
    }
