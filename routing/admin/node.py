"""The page /admin/nodes/: every web worker, what it runs, how it does, and what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from gateway_site.infra import valkey
from gateway_site.infra.admin import badge
from gateway_site.infra.valkey import StoreUnavailable
from routing.report import PUBLISH_SECONDS, WORKERS_KEY
from routing.services import served_revision
from routing.workers import RunningWorker, running_workers
from tenants.admin.scope import standing_in

STALE_SECONDS = 3 * PUBLISH_SECONDS  # a worker that has missed two reports
COLOURS = {"up": "success", "empty": "success", "unknown": "info", "waiting": "warning", "down": "danger"}
WORDS = {"empty": "nothing waits", "waiting": "usage waits"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A worker that has reported, and does not any more."""

    name: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One line of a node's table."""

    running: RunningWorker
    age: float  # seconds since its last report

    @property
    def is_stale(self) -> bool:
        return self.age > STALE_SECONDS

    @property
    def state(self) -> SafeString:
        """Whether it is as it should be."""
        if self.is_stale:
            return badge(f"Silent for {self.age:,.0f} s", "danger")
        if self.running.is_late:
            return badge("Lags", "warning")
        return badge("Down", "danger") if self.is_cut_off else badge("Well", "success")

    @property
    def is_cut_off(self) -> bool:
        return "down" in self.running.report.components.values()

    @property
    def revision(self) -> SafeString | str:
        """What it runs, and how far behind that is."""
        number = self.running.report.revision or "none"
        return f"{number}" if self.running.lag is None else f"{number}, {self.running.lag_text}"

    @property
    def cells(self) -> list[Any]:
        """In the order of HEADINGS."""
        report = self.running.report
        busy = f"{report.active_requests:,} requests, {report.active_streams:,} of them streams"
        latency = "" if report.average_latency_ms is None else f"{report.average_latency_ms:,.0f} ms on average"
        return [
            [str(report.pid), report.version],
            [self.state],
            [self.revision, f"since {_clock(report.revision_since)}" if report.revision_since else ""],
            [f"{datetime.fromtimestamp(report.started_at, UTC):%Y-%m-%d}", _clock(report.started_at)],
            [busy, f"{report.active_connections:,} connections, {filesizeformat(report.buffered_bytes)} buffered"],
            [f"{report.requests_total:,} requests, {report.requests_failed:,} failed", latency],
            [_stores(report.components)],
            ["just now" if self.age < 2 else f"{self.age:,.0f} s ago"],
        ]

    @property
    def advice(self) -> str:
        """What to do about it; empty: nothing."""
        report = self.running.report
        if self.is_stale:
            return (
                "It has missed reports: its event loop may be blocked, or it was stopped hard."
                " Its log and its CPU time tell; the supervisor starts another when it is gone."
            )
        if self.running.is_late:
            return (
                "It should have loaded the newest revision: look for configuration_unusable in its log,"
                " and whether it reaches Valkey. It goes on serving the revision that it has."
            )
        if report.components.get("valkey") == "down":
            return "It does not reach Valkey: it enforces its share of the limits, and usage waits on its disk."
        if report.components.get("postgres") == "down":
            return "It does not reach PostgreSQL: keys that it does not know are refused with 503."
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine, with its workers."""

    name: str
    workers: list[Worker]

    @property
    def is_well(self) -> bool:
        return not any(worker.advice for worker in self.workers)

    @property
    def summary(self) -> str:
        busy = sum(worker.running.report.active_requests for worker in self.workers)
        count = len(self.workers)
        return f"{count} worker{'' if count == 1 else 's'}, {busy:,} request{'' if busy == 1 else 's'} in flight"

    @property
    def advice(self) -> list[tuple[int, str]]:
        """What to do, by process."""
        return [(worker.running.report.pid, worker.advice) for worker in self.workers if worker.advice]


HEADINGS = ("Process", "State", "Revision", "Running since", "In flight", "Since its start", "Stores", "Last report")


def node_page(request: HttpRequest) -> HttpResponse:
    """Show all workers by node; for operators that may see revisions."""
    if not standing_in(request).is_operator or not request.user.has_perm("routing.view_configrevision"):
        raise PermissionDenied
    workers = running_workers()
    served = served_revision()
    context = {
        **admin.site.each_context(request),
        "title": "Nodes",
        "headings": HEADINGS,
        "is_known": workers is not None,
        "nodes": by_node(workers or [], time()),
        "silent": silent_workers({worker.report.worker for worker in workers or []}) if workers is not None else [],
        "served": served,
    }
    return TemplateResponse(request, "admin/nodes.html", context)


def by_node(workers: Iterable[RunningWorker], now: float) -> list[Node]:
    """Sort workers by machine."""
    nodes: dict[str, list[Worker]] = {}
    for running in workers:
        age = max(0.0, now - running.report.at)
        nodes.setdefault(running.report.host, []).append(Worker(running=running, age=age))
    return [Node(name=name, workers=nodes[name]) for name in sorted(nodes)]


def silent_workers(reporting: set[str]) -> list[Silent]:
    """Return who is still known and has no report any more."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            known: Any = client.zrange(WORKERS_KEY, 0, -1, withscores=True)
    except StoreUnavailable:
        return []
    return [
        Silent(name=name.decode(), since=datetime.fromtimestamp(at, UTC))
        for name, at in known
        if name.decode() not in reporting
    ]


def _stores(components: Mapping[str, str]) -> SafeString:
    labels = ((_component(name, components.get(name, "unknown")),) for name in ("valkey", "postgres", "spool"))
    return format_html('<span class="node-stores">{}</span>', format_html_join("", "{}", labels))


def _component(name: str, state: str) -> SafeString:
    word = WORDS.get(state, state)
    return badge(f"{name} {word}" if name != "spool" else word, COLOURS.get(state, "info"))


def _clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}"
