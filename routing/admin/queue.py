"""The page /admin/queue: how much goes to each provider, who waits in front of it, and what its vendor says is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from gateway_site.infra.valkey import StoreUnavailable, connect
from gateway_site.infra.words import plain
from routing.gate import GateStatistics
from routing.report import WorkerReport, read_reports

TITLE = "Queues"
HEADINGS = (
    "Worker",
    "Deployment",
    "Rates",
    "In use",
    "Waiting",
    "Wait",
    "Passed",
    "Refused",
    "Left, says the vendor",
)
NOTHING = ["none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One worker's gate, as the page shows it: a list of lines for each column."""

    worker: str
    facts: GateStatistics

    @property
    def cells(self) -> list[list[str]]:
        """In the order of HEADINGS."""
        facts = self.facts
        in_use = _of(facts.in_use, facts.max_concurrency)
        passed = [f"{facts.admitted:,}", *([f"{facts.waited:,} after waiting"] if facts.waited else [])]
        columns = (_rates(facts), [in_use], _waiting(facts), _waits(facts), passed, _refusals(facts))
        return [[self.worker], [facts.deployment or "all"], *columns, _headroom(facts)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderQueue:
    """The gates of one provider and of its deployments, in all workers."""

    provider: str
    rows: list[Row]

    @property
    def saturated(self) -> list[str]:
        """What takes no more in some worker: deployments, and an empty name for all of them."""
        return sorted({row.facts.deployment for row in self.rows if row.facts.is_saturated})

    @property
    def summary(self) -> str:
        """All workers together."""
        facts = [row.facts for row in self.rows]
        # A request passes its deployment's gate and then its provider's, which all of them pass: it counts once.
        in_use = sum(each.in_use for each in [each for each in facts if not each.deployment] or facts)
        waiting = sum(waiting_in(each) for each in facts)
        refused = sum(each.refused for each in facts)
        return f"{in_use:,} in use, {waiting:,} waiting, {refused:,} refused since the workers started"


def queue_page(request: HttpRequest) -> HttpResponse:
    """Show all queues, as a page or with `?format=json` for machines; for staff that may see providers."""
    if not request.user.has_perm("providers.view_provider"):
        raise PermissionDenied
    try:
        with connect(settings.VALKEY_URL) as client:
            reports, error = read_reports(client), ""
    except StoreUnavailable:
        reports, error = [], "What the workers say is not known: Valkey cannot be reached."
    if request.GET.get("format") == "json":
        return _as_json(reports, error)
    context = {
        **admin.site.each_context(request),
        "title": TITLE,
        "headings": HEADINGS,
        "error": error,
        "queues": by_provider(reports),
    }
    return TemplateResponse(request, "admin/queue.html", context)


def by_provider(reports: Iterable[WorkerReport]) -> list[ProviderQueue]:
    """Sort the gates of all workers by provider."""
    rows: dict[str, list[Row]] = {}
    for worker, facts in _gates(reports):
        rows.setdefault(facts.provider, []).append(Row(worker=worker, facts=facts))
    return [ProviderQueue(provider=provider, rows=found) for provider, found in sorted(rows.items())]


def waiting_in(facts: GateStatistics) -> int:
    """How many wait, of all priorities."""
    return facts.waiting_low + facts.waiting_normal + facts.waiting_high


def _gates(reports: Iterable[WorkerReport]) -> Iterator[tuple[str, GateStatistics]]:
    for report in reports:
        for gate in report.gates:
            yield report.worker, msgspec.convert(gate, GateStatistics)


def _rates(facts: GateStatistics) -> list[str]:
    parts = [(facts.requests_per_second, "requests/s"), (facts.tokens_per_minute, "tokens/min")]
    return [f"{_amount(number)} {unit}" for number, unit in parts if number is not None] or NOTHING


def _waiting(facts: GateStatistics) -> list[str]:
    parts = [(facts.waiting_high, "high"), (facts.waiting_normal, "normal"), (facts.waiting_low, "low")]
    classes = ", ".join(f"{number:,} {name}" for number, name in parts if number)
    tenants = f"of {facts.waiting_tenants:,} tenant{'s' if facts.waiting_tenants > 1 else ''}"
    return [_of(waiting_in(facts), facts.queue_size), *([classes, tenants] if classes else [])]


def _waits(facts: GateStatistics) -> list[str]:
    average = facts.average_wait
    return NOTHING if average is None else [_seconds(average), f"{_seconds(facts.longest_wait)} at most"]


def _refusals(facts: GateStatistics) -> list[str]:
    """How many, and why; and who did not wait for it."""
    reasons = {
        "queue full": facts.refused_queue_full,
        "waited too long": facts.refused_timed_out,
        "made room": facts.refused_displaced,
    }
    gone = [f"{facts.abandoned:,} client{'s' if facts.abandoned > 1 else ''} gone"] if facts.abandoned else []
    return [f"{facts.refused:,}", *(f"{number:,} {reason}" for reason, number in reasons.items() if number), *gone]


def _headroom(facts: GateStatistics) -> list[str]:
    """What the vendor says is left, and until when."""
    parts = (
        (facts.requests_left, "requests", facts.requests_left_until),
        (facts.tokens_left, "tokens", facts.tokens_left_until),
    )
    return [f"{left:,} {what} until {_clock(until)}" for left, what, until in parts if left is not None] or NOTHING


def _as_json(reports: list[WorkerReport], error: str) -> HttpResponse:
    answer: dict[str, object] = {
        "workers": [{"worker": report.worker, "at": report.at, "queues": report.gates} for report in reports]
    }
    if error:
        answer = {"error": error}
    return HttpResponse(msgspec.json.encode(answer), content_type="application/json", status=503 if error else 200)


def _of(number: int, limit: int | None) -> str:
    return f"{number:,}" if limit is None else f"{number:,} of {limit:,}"


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else plain(round(number, 2))


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _clock(moment: float | None) -> str:
    return "?" if moment is None else f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}"
