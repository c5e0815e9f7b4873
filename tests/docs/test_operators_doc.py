"""docs/operators.md knows every event worth an alert, every metric and every outcome."""

import ast
import re
from collections.abc import Iterator

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


def logged_events(levels: frozenset[str]) -> Iterator[str]:
    """The events of `log.warning("event", ...)` and so on."""
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(event)), *_]
                ) if level in levels:
                    yield event


def test_every_loud_event_is_documented():
    assert sorted(set(logged_events(LOUD)) - first_cells("Logs")) == []


def test_every_documented_event_is_logged():
    assert sorted(first_cells("Logs") - set(logged_events(LOUD | {"info"}))) == []


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
