"""A decision trace as tables: who was thought of, why not, who was asked, and how it went.

The trace is made by `routing.trace` and kept as JSON; a record that an older version wrote may lack any of its fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from gateway_site.infra.admin import badge
from gateway_site.infra.table import table

VERDICTS = {
    "deliver": ("Delivered", "success"),
    "retry": ("Retry", "warning"),
    "try_next": ("Next target", "warning"),
    "give_up": ("Given up", "danger"),
}
GOOD_RESULTS = frozenset({"answered", "streaming"})

type Row = Mapping[str, Any]


def candidate_table(candidates: Iterable[Row]) -> SafeString:
    """Every target of the route: asked or passed over, and why."""
    headers = ("Deployment", "Provider", "Priority", "Weight", "Decision", "Why")
    return table(headers, (_candidate(row) for row in candidates))


def attempt_table(attempts: Iterable[Row]) -> SafeString:
    """Every call of an upstream, in order; `milliseconds` is how the record itself calls what a trace calls `ms`."""
    headers = ("#", "Deployment", "Result", "HTTP", "Verdict", "Pause before", "Time")
    return table(headers, (_attempt(number, row) for number, row in enumerate(attempts, 1)))


def words(name: object) -> str:
    """A name of the code as people read it."""
    return str(name or "").replace("_", " ")


def _candidate(row: Row) -> tuple[Any, ...]:
    is_dropped = bool(row.get("reason"))
    return (
        _code(row.get("deployment")),
        row.get("provider") or "",
        _number(row.get("priority")),
        _number(row.get("weight")),
        badge("Passed over", "warning") if is_dropped else badge("Candidate", "success"),
        words(row.get("reason")),
    )


def _attempt(number: int, row: Row) -> tuple[Any, ...]:
    result, verdict = row.get("result"), row.get("verdict")
    return (
        row.get("number", number),
        _code(row.get("deployment")),
        badge(words(result) or "unknown", "success" if result in GOOD_RESULTS else "danger"),
        _number(row.get("status")),
        badge(*VERDICTS.get(verdict, (words(verdict), ""))) if verdict else "",
        _milliseconds(row.get("paused_ms")),
        _milliseconds(row.get("ms", row.get("milliseconds"))),
    )


def _code(text: object) -> SafeString:
    return format_html('<code class="whitespace-nowrap">{}</code>', str(text or ""))


def _number(value: object) -> str:
    return "" if value is None else str(value)


def _milliseconds(value: Any) -> str:
    return "" if value is None else f"{value:,.0f} ms"
