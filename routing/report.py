"""What every web worker says of itself, every two seconds, in Valkey: for the console, for machines, for its peers.

A report holds for ten seconds, so a worker that was killed is gone from the list soon; one that stops takes its
report away. Lists and dictionaries hold builtins only, as their owners describe themselves.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from gateway_site.infra.valkey import HotValkey, Script
from routing.health import HealthBoard
from routing.snapshot import LiveDeployment

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger("tollgate.report")

WORKERS_KEY = "tollgate:workers"
REPORT_KEY = "tollgate:worker:"
REPORT_SECONDS = 10
PUBLISH_SECONDS = 2.0
REPORT = Script(Path(__file__).with_name("report.lua"))


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One worker at one moment; times are seconds since the epoch by the worker's own clock."""

    worker: str
    host: str
    pid: int
    version: str
    started_at: float
    at: float
    revision: int  # 0: none yet
    revision_since: float = 0.0  # when it was loaded
    active_requests: int = 0
    active_streams: int = 0
    active_connections: int = 0  # of clients
    buffered_bytes: int = 0  # held by streams
    requests_total: int = 0  # of tenants' programs, since the worker started; probes are not counted
    streams_total: int = 0  # those of them that were streams
    requests_failed: int = 0  # answered with 5xx, or broken off in the middle
    average_latency_ms: float | None = None  # to the last byte; None before the first request
    components: dict[str, Any] = {}  # "valkey", "postgres", "spool": "up", "down", "unknown", "empty", "waiting"
    deployments: list[dict[str, Any]] = []
    connections: list[dict[str, Any]] = []
    gates: list[dict[str, Any]] = []


def public(report: WorkerReport) -> dict[str, Any]:
    """Return a report for others than ourselves: what stands before providers and deployments is queues to them."""
    told: dict[str, Any] = msgspec.to_builtins(report)
    told["queues"] = told.pop("gates")
    return told


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(WorkerReport).decode


def describe_deployments(deployments: Iterable[LiveDeployment], board: HealthBoard, now: float) -> list[dict[str, Any]]:
    """Return the four states of every deployment side by side, and what this worker has seen of it."""
    return [_describe(live, board, now) for live in deployments]


def _describe(live: LiveDeployment, board: HealthBoard, now: float) -> dict[str, Any]:
    health = board.of(live.facts.slug, live.provider.slug)
    breaker = health.breaker
    is_cooling = health.cooldown_until > now
    return {
        "deployment": live.facts.slug,
        "provider": live.provider.slug,
        "is_enabled": live.is_enabled,
        "breaker": breaker.state,
        "breaker_changed_at": breaker.changed_at or None,
        "breaker_open_until": breaker.open_until if breaker.state == "open" else None,
        "consecutive_failures": breaker.consecutive_failures,
        "successes": health.successes,
        "failures": health.failures,
        "cooldown_until": health.cooldown_until if is_cooling else None,
        "cooldown_reason": health.cooldown_reason if is_cooling else "",
        "probe": health.probe,
        "active": health.active,
        "requests": health.requests,
        "latency_ms": _milliseconds(health.whole.average),
        "first_token_ms": _milliseconds(health.first_token.average),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


async def publish_report(valkey: HotValkey, report: WorkerReport) -> int:
    """Keep a report in Valkey and return how many workers live; raises StoreUnavailable."""
    keys = (WORKERS_KEY, REPORT_KEY + report.worker)
    return int(await valkey.run(REPORT, keys, report.worker, _encode(report), REPORT_SECONDS))


async def withdraw_report(valkey: HotValkey, worker: str) -> None:
    """Take a worker's report away: it stops; raises StoreUnavailable."""
    gone = valkey.call(b"ZREM", WORKERS_KEY, worker)
    await valkey.call(b"DEL", REPORT_KEY + worker)
    await gone


async def fetch_reports(valkey: HotValkey) -> list[WorkerReport]:
    """Return the reports of all workers that live, by name; raises StoreUnavailable."""
    names = await valkey.call(b"ZRANGE", WORKERS_KEY, 0, -1)
    if not names:
        return []
    return _read(await valkey.call(b"MGET", *(REPORT_KEY.encode() + name for name in names)))


def read_reports(client: "Redis") -> list[WorkerReport]:
    """Do the same with redis-py, for the console and for tasks."""
    names: Any = client.zrange(WORKERS_KEY, 0, -1)
    if not names:
        return []
    return _read(client.mget([REPORT_KEY.encode() + name for name in names]))


def _read(blobs: Any) -> list[WorkerReport]:
    reports = []
    for blob in blobs:
        if blob is None:  # fell silent
            continue
        try:
            reports.append(_decode(blob))
        except msgspec.DecodeError as error:
            log.warning("report_unreadable", reason=str(error))
    return sorted(reports, key=lambda report: report.worker)
