"""docs/operators.md knows every event worth an alert, every metric and every outcome."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from prometheus_client.metrics import MetricWrapperBase

from gateway_site.infra import telemetry
from tenants.models import UsageRecord
from tests.docs.environment_variables import REPOSITORY, source_files

DOCUMENT = (REPOSITORY / "docs" / "operators.md").read_text(encoding="utf-8")
NAME = re.compile(r"`([a-z0-9_]+)`")
LOUD = frozenset({"warning", "error", "exception"})


def first_cells(heading: str) -> set[str]:
    """The names in the first column of the tables below a heading."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in NAME.findall(row)}


@cache
def logged_events() -> frozenset[tuple[str, str]]:
    """The levels and events of `log.warning("event", ...)` and so on."""
    return frozenset(_logged_events())


def _logged_events() -> Iterator[tuple[str, str]]:
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(event)), *_]
                ):
                    yield level, event


def events_of(levels: frozenset[str]) -> set[str]:
    return {event for level, event in logged_events() if level in levels}


def test_every_loud_event_is_documented():
    assert sorted(events_of(LOUD) - first_cells("Logs")) == []


def test_every_documented_event_is_logged():
    assert sorted(first_cells("Logs") - events_of(LOUD | {"info"})) == []


def test_the_metrics_are_the_documented_ones():
    metrics = [each for each in vars(telemetry).values() if isinstance(each, MetricWrapperBase)]
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for metric in metrics
        for family in metric.describe()
    }
    assert first_cells("Metrics") == names


def test_the_outcomes_are_the_documented_ones():
    assert first_cells("Usage") == set(UsageRecord.Outcome.values)
