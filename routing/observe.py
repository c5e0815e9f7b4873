"""What is left of an exchange when it is over: one access line and the metrics."""

from datetime import UTC, datetime
from functools import lru_cache
from time import monotonic
from typing import Any

from gateway_site.infra import telemetry
from gateway_site.infra.logging import AccessLog
from gateway_site.infra.tallies import Count, Level, Timing
from routing.exchange import Exchange

http_requests = Count(telemetry.http_requests)
http_duration = Timing(telemetry.http_duration)
llm_requests = Count(telemetry.llm_requests)
llm_duration = Timing(telemetry.llm_duration)
llm_first_token = Timing(telemetry.llm_first_token)
llm_tokens = Count(telemetry.llm_tokens)
rate_limit_exceeded = Count(telemetry.rate_limit_exceeded)
auth_failures = Count(telemetry.auth_failures)
gateway_overhead = Timing(telemetry.gateway_overhead)
active_requests = Level(telemetry.active_requests)
active_connections = Level(telemetry.active_connections)

OTHER_PATH = "other"  # unknown paths share a label: a scanner must not make new time series
BROKEN = frozenset({"cut", "gateway_failed"})


class Answers:
    """What this process has answered since it started, for its report."""

    __slots__ = ("failed", "seconds", "streams", "total")

    def __init__(self) -> None:
        self.total = self.failed = self.streams = 0
        self.seconds = 0.0

    def add(self, exchange: Exchange, seconds: float) -> None:
        """Count one answer: failed with 5xx, or broken off after its status had been sent."""
        self.total += 1
        self.seconds += seconds
        if exchange.frames:
            self.streams += 1
        if exchange.status >= 500 or exchange.outcome in BROKEN:
            self.failed += 1


answers = Answers()


def observe(exchange: Exchange, path_label: str | None, access_log: AccessLog) -> None:
    """Count an exchange and write its access line."""
    seconds = monotonic() - exchange.started
    label = path_label or OTHER_PATH
    http_requests.add(label, str(exchange.status))
    http_duration.add(seconds, label)
    if exchange.principal is None and exchange.status in {401, 403}:
        auth_failures.add(exchange.error_code)
    elif exchange.operation is not None:
        _count_model(exchange, seconds)
    if exchange.is_logged:
        answers.add(exchange, seconds)
        access_log.line(access_fields(exchange, seconds))


def _count_model(exchange: Exchange, seconds: float) -> None:
    if exchange.status == 429 and exchange.deployment is None:
        rate_limit_exceeded.add(exchange.error_code)
    if exchange.route is None or exchange.deployment is None:
        return
    deployment = exchange.deployment.facts.slug
    llm_requests.add(exchange.route.facts.name, deployment, exchange.outcome)
    llm_duration.add(seconds, deployment)
    if exchange.first_token_at is not None:
        llm_first_token.add(exchange.first_token_at - exchange.started, deployment)
    gateway_overhead.add(max(0.0, seconds - exchange.upstream_seconds))
    usage = exchange.usage
    if usage.input:
        llm_tokens.add(deployment, "input", amount=usage.input)
    if usage.output:
        llm_tokens.add(deployment, "output", amount=usage.output)
    if usage.cache_read:
        llm_tokens.add(deployment, "cache_read", amount=usage.cache_read)
    written = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
    if written:
        llm_tokens.add(deployment, "cache_write", amount=written)


def timestamp(moment: float) -> str:
    """Write seconds since 1970 as ISO 8601 has them, to the millisecond below."""
    second = int(moment)
    return f"{_second(second)}.{int((moment - second) * 1000):03d}+00:00"


@lru_cache(maxsize=8)  # of a busy worker, thousands have one in common
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def access_fields(exchange: Exchange, seconds: float) -> dict[str, Any]:
    """Return the access line's fields, in the order in which they are read."""
    fields: dict[str, Any] = {
        "timestamp": timestamp(exchange.started_at),
        "level": "info",
        "event": "request",
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "duration_ms": round(seconds * 1000, 2),
        "request_id": exchange.request_id,
        "correlation_id": exchange.correlation_id,
    }
    if exchange.error_code:
        fields["error"] = exchange.error_code
    principal = exchange.principal
    if principal is not None:
        fields["tenant"] = principal.tenant
        fields["key"] = principal.key_prefix
        if principal.project:
            fields["project"] = principal.project
    facts, deployment = exchange.facts, exchange.deployment
    if facts is not None:
        fields["alias"] = facts.model
        fields["stream"] = facts.is_stream
    if deployment is not None:
        usage, first = exchange.usage, exchange.first_token_at
        fields["deployment"] = deployment.facts.slug
        fields["attempts"] = len(exchange.attempts)
        fields["outcome"] = exchange.outcome
        fields["upstream_ms"] = round(exchange.upstream_seconds * 1000, 2)
        if first is not None:
            fields["first_token_ms"] = round((first - exchange.started) * 1000, 2)
        fields["input_tokens"] = usage.input
        fields["output_tokens"] = usage.output
        if usage.cache_read:
            fields["cache_read_tokens"] = usage.cache_read
        fields["cost"] = None if exchange.cost is None else f"{exchange.cost:f}"
        fields["cost_status"] = exchange.cost_status
        fields["revision"] = exchange.revision
    return fields
