"""Turns findings into a table. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

SIMULATOR, FLOOR, GATEWAY = "simulator", "floor", "gateway"  # the subjects, in the order of their rows
COLUMNS = ("Measurement", "Subject", "Median", "Spread", "x floor", "Target", "Verdict")


class Unit(Enum):
    """How a number is written: its sign, and how many decimals say something."""

    MICROSECONDS = ("µs", 0)
    MILLISECONDS = ("ms", 2)
    SECONDS = ("s", 2)
    PER_SECOND = ("/s", 0)
    KILOBYTES = ("KB", 1)
    MEGABYTES = ("MB", 1)
    PERCENT = ("%", 0)
    COUNT = ("", 0)

    def write(self, value: float) -> str:
        """Write a number with its unit."""
        sign, decimals = self.value
        return f"{value:,.{decimals}f} {sign}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the gateway must not exceed; with `times_floor`, also in relation to the floor of the same run."""

    at_most: float
    times_floor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing measured, several times for each subject. Only the gateway has to meet the target."""

    measurement: str
    unit: Unit
    samples: Mapping[str, Sequence[float]]  # by subject
    target: Target | None = None
    is_compared: bool = True  # whether a ratio to the floor says anything

    def median(self, subject: str) -> float | None:
        """Return the middle one of a subject's samples, None if it was not measured."""
        values = self.samples.get(subject)
        return median(values) if values else None

    def times_floor(self, subject: str) -> float | None:
        """Return how a subject's median relates to the floor's."""
        value, floor = self.median(subject), self.median(FLOOR)
        if not self.is_compared or subject != GATEWAY or value is None or not floor or floor < 0:
            return None
        return value / floor

    def is_met(self) -> bool | None:
        """Whether the gateway meets the target; None = there is no target, or no gateway was measured."""
        value = self.median(GATEWAY)
        if self.target is None or value is None:
            return None
        ratio, ratio_at_most = self.times_floor(GATEWAY), self.target.times_floor
        is_close_to_floor = ratio_at_most is None or ratio is None or ratio <= ratio_at_most
        return value <= self.target.at_most and is_close_to_floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything one run found."""

    heading: str  # on what, and when
    findings: Sequence[Finding] = field(default_factory=list)
    remarks: Sequence[str] = ()

    def missed(self) -> list[Finding]:
        """Return the findings whose target the gateway does not meet."""
        return [finding for finding in self.findings if finding.is_met() is False]

    def markdown(self) -> str:
        """Return the whole report."""
        paragraphs = [
            "# Benchmark results",
            self.heading,
            *self.remarks,
            table(self.findings),
            self._verdict(),
        ]
        return "\n\n".join(paragraphs) + "\n"

    def _verdict(self) -> str:
        judged = [finding for finding in self.findings if finding.is_met() is not None]
        missed = self.missed()
        if not judged:
            return "No gateway was measured."
        if not missed:
            return f"All {len(judged)} targets are met."
        names = "; ".join(finding.measurement for finding in missed)
        return f"{len(judged) - len(missed)} of {len(judged)} targets are met. Missed: {names}."


def table(findings: Sequence[Finding]) -> str:
    """Write the findings as a Markdown table, one row for each subject."""
    rows = [COLUMNS, *(row for finding in findings for row in _rows(finding))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _rows(finding: Finding) -> Iterator[tuple[str, ...]]:
    for subject in (SIMULATOR, FLOOR, GATEWAY):
        value = finding.median(subject)
        if value is None:
            continue
        ratio = finding.times_floor(subject)
        yield (
            finding.measurement,
            subject,
            finding.unit.write(value),
            _spread(finding.samples[subject], finding.unit),
            f"{ratio:.2f}" if ratio is not None else "",
            *(_judgement(finding) if subject == GATEWAY else ("", "")),
        )


def _spread(values: Sequence[float], unit: Unit) -> str:
    if len(values) < 2:
        return ""
    _sign, decimals = unit.value
    return f"{min(values):,.{decimals}f} to {max(values):,.{decimals}f}"


def _judgement(finding: Finding) -> tuple[str, str]:
    target = finding.target
    if target is None:
        return "", ""
    wanted = f"≤ {finding.unit.write(target.at_most)}" if target.at_most else "0"
    if target.times_floor is not None:
        wanted += f", ≤ {target.times_floor:g} x floor"
    return wanted, "met" if finding.is_met() else "not met"
