"""The decision trace: which targets a request could go to, why some were dropped, and how each attempt went."""

import json
from typing import Any

from routing.exchange import AttemptRecord, Exchange
from routing.policy.plan import Plan
from routing.snapshot import LiveTarget

HEADER = b"x-tollgate-trace"
MAX_HEADER_BYTES = 6000
MAX_CANDIDATES = 50  # of one record


def trace_of(exchange: Exchange) -> dict[str, Any] | None:
    """Return the trace as the ledger keeps it: of requests with more than one attempt, and of those that ask for it."""
    if exchange.plan is None or (len(exchange.attempts) < 2 and not exchange.wants_trace):
        return None
    has_session = exchange.facts is not None and bool(exchange.facts.session)
    attempts = [_attempt(record) for record in exchange.attempts]
    return {**describe_plan(exchange.plan, has_session=has_session), "attempts": attempts}


def describe_plan(plan: Plan, *, has_session: bool) -> dict[str, Any]:
    """Return who could be asked, in order, and who not and why."""
    route = plan.route.facts
    places = {target.facts.deployment: target for target in plan.route.targets}
    candidates = [_candidate(target, None) for target in plan.targets]
    candidates += [
        _candidate(places[drop.deployment], drop.reason) for drop in plan.dropped if drop.deployment in places
    ]
    return {
        "route": route.name,
        "strategy": route.strategy,
        "session": has_session,
        "candidates": candidates[:MAX_CANDIDATES],
    }


def trace_header(exchange: Exchange) -> tuple[bytes, bytes]:
    """Return the trace as an answer's header: JSON in ASCII; without its candidates when it would be too long."""
    trace = trace_of(exchange) or {}
    text = _ascii(trace)
    return HEADER, text if len(text) <= MAX_HEADER_BYTES else _ascii({**trace, "candidates": []})[:MAX_HEADER_BYTES]


def _ascii(trace: dict[str, Any]) -> bytes:
    return json.dumps(trace, separators=(",", ":")).encode()


def _candidate(target: LiveTarget, reason: str | None) -> dict[str, Any]:
    return {
        "deployment": target.deployment.facts.slug,
        "provider": target.deployment.provider.slug,
        "priority": target.facts.priority,
        "weight": target.facts.weight,
        "reason": reason,
    }


def _attempt(record: AttemptRecord) -> dict[str, Any]:
    return {
        "deployment": record.deployment,
        "number": record.number,
        "paused_ms": record.paused_ms,
        "result": record.result,
        "status": record.status,
        "verdict": record.verdict,
        "ms": record.milliseconds,
    }
