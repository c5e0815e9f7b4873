"""Gathers what a worker knows of the gateway: its own report, those of the others, and what Valkey can tell.

Load balancers ask every second and more: however many ask, Valkey is asked once a second at most, in one packet and one
more, and what is answered is written once, in a thread. No ORM: PostgreSQL's state is what the worker's watch has seen last.
"""

import asyncio
from contextlib import suppress
from time import time
from typing import Any, Literal

import msgspec
import orjson
from prometheus_client import Metric

from gateway_site.health import report as health_report
from gateway_site.health.facts import Facts
from gateway_site.health.readiness import Readiness, readiness
from gateway_site.infra import tallies, telemetry
from gateway_site.infra.kept import Kept, in_thread
from gateway_site.infra.valkey import ScriptFailed, StoreUnavailable
from routing.health import HealthChange
from routing.health_sharing import STATES_KEY
from routing.report import WorkerReport, fetch_reports
from routing.runtime import Runtime
from routing.snapshot_store import NUMBER_KEY
from tenants.limits.scripts import USAGE_STREAM

type Name = Literal["health", "brief", "summary", "export"]
type Rendered = tuple[int, bytes]  # status and JSON

HEARTBEAT_KEY = "tollgate:beat"  # as in `gateway_site.tasks`, which loads Celery
_read_change = msgspec.json.Decoder(HealthChange).decode


class HealthCollector:
    """One worker's view, kept for a second."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._facts = Kept(self._ask)
        self._exposition = Kept(_expose)
        self._documents: dict[Name, tuple[Facts, asyncio.Future[Rendered]]] = {}
        self._published: int | None = None
        self._published_since = 0.0

    async def facts(self) -> Facts:
        """Return what is known, at most a second old."""
        return await self._facts.get()

    async def document(self, name: Name) -> Rendered:
        """Return a document about these facts, written once however many ask."""
        facts = await self.facts()
        about, document = self._documents.get(name, (None, None))
        if document is None or about is not facts:
            tallies.flush()
            document = asyncio.ensure_future(in_thread(_render, name, facts))
            self._documents[name] = facts, document
        return await asyncio.shield(document)

    async def exposition(self) -> bytes:
        """Return the metrics of all processes of this node, at most a second old."""
        return await self._exposition.get()

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


async def _expose() -> bytes:
    tallies.flush()  # here: the loop's thread counts without a lock
    return await in_thread(telemetry.exposition)


def _render(name: Name, facts: Facts) -> Rendered:
    match name:
        case "summary":
            document = health_report.summary(facts)
        case "export":
            document = health_report.export(facts, [_family(family) for family in telemetry.families()])
        case "brief":
            document = health_report.brief(health_report.health(facts))
        case "health":
            document = health_report.health(facts)
    return 503 if document.get("status") == "down" else 200, orjson.dumps(document)


def _family(family: Metric) -> health_report.Document:
    samples = [{"name": each.name, "labels": each.labels, "value": each.value} for each in family.samples]
    return {"name": family.name, "type": family.type, "help": family.documentation, "samples": samples}


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
