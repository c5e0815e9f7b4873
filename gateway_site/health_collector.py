"""Gathers what a worker knows of the gateway: its own report, those of the others, and what Valkey can tell.

Load balancers ask every second and more: however many ask, Valkey is asked once a second at most, in one packet and one
more. No ORM: PostgreSQL's state is what the worker's watch has seen last.
"""

import asyncio
from contextlib import suppress
from time import monotonic, time
from typing import Any

import msgspec

from gateway_site import health_report
from gateway_site.health_facts import Facts
from gateway_site.infra.valkey import ScriptFailed, StoreUnavailable
from gateway_site.readiness import Readiness, readiness
from routing.health import HealthChange
from routing.health_sharing import STATES_KEY
from routing.report import WorkerReport, fetch_reports
from routing.runtime import Runtime
from routing.snapshot_store import NUMBER_KEY
from tenants.limits.admission import USAGE_STREAM

FRESH_SECONDS = 1.0
HEARTBEAT_KEY = "tollgate:beat"  # as in `gateway_site.tasks`, which loads Celery
_read_change = msgspec.json.Decoder(HealthChange).decode


class HealthCollector:
    """One worker's view, kept for a second."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._facts: Facts | None = None
        self._stale_at = 0.0
        self._asking: asyncio.Task[Facts] | None = None
        self._described: Facts | None = None
        self._health: health_report.Document = {}
        self._published: int | None = None
        self._published_since = 0.0

    async def facts(self) -> Facts:
        """Return what is known, at most a second old."""
        if self._facts is not None and monotonic() < self._stale_at:
            return self._facts
        if self._asking is None:
            self._asking = asyncio.create_task(self._collect())
        return await asyncio.shield(self._asking)

    async def health(self) -> health_report.Document:
        """Return the document about these facts, made once however many ask."""
        facts = await self.facts()
        if facts is not self._described:
            self._described, self._health = facts, health_report.health(facts)
        return self._health

    async def _collect(self) -> Facts:
        try:
            self._facts = await self._ask()
            self._stale_at = monotonic() + FRESH_SECONDS
            return self._facts
        finally:
            self._asking = None

    async def _ask(self) -> Facts:
        runtime, valkey = self._runtime, self._runtime.valkey
        known: dict[str, Any] = {}
        others: list[WorkerReport] = []
        try:
            (published, beat), waiting, oldest, states = await asyncio.gather(
                valkey.call(b"MGET", NUMBER_KEY, HEARTBEAT_KEY),
                valkey.call(b"XLEN", USAGE_STREAM),
                valkey.call(b"XRANGE", USAGE_STREAM, b"-", b"+", b"COUNT", 1),
                valkey.call(b"HGETALL", STATES_KEY),
            )
            others = await fetch_reports(valkey)
            known = {
                "published": self._note_published(int(published)) if published is not None else None,
                "beat_at": float(beat) if beat is not None else None,
                "waiting_events": waiting,
                "oldest_event_at": int(oldest[0][0].split(b"-")[0]) / 1000 if oldest else None,
                "reasons": _reasons(states),
            }
        except (StoreUnavailable, ScriptFailed):
            known = {"hears_others": False}
            others = []
        own = runtime.report()
        workers = (own, *(report for report in others if report.worker != own.worker))
        return Facts(
            at=time(),
            readiness=readiness_of(runtime).state,
            is_configured=runtime.is_configured,
            own=own,
            workers=tuple(sorted(workers, key=lambda report: (report.host, report.pid))),
            published_since=self._published_since,
            **known,
        )

    def _note_published(self, number: int) -> int:
        """Remember since when this worker has known of a revision: before that, nobody can be late with it."""
        if number != self._published:
            self._published_since = time()
            self._published = number
        return number


def readiness_of(runtime: Runtime) -> Readiness:
    """Return whether this worker takes requests, and what does not work meanwhile."""
    return readiness(
        is_configured=runtime.is_configured,
        has_valkey=runtime.valkey.is_connected,
        has_postgres=None if runtime.postgres.state == "unknown" else not runtime.postgres.is_down,
    )


def _reasons(states: list[bytes]) -> dict[str, str]:
    """Return why breakers are as they are, from the hash in which workers share that; names and values alternate."""
    found = {}
    for value in states[1::2]:
        with suppress(msgspec.DecodeError):  # of another version
            change = _read_change(value)
            if change.kind != "cooled_down":
                found[change.deployment] = change.reason
    return found
