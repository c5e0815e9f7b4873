"""Counting on the hot path: numbers are added up in memory and go to their metrics together, four times a second.

A metric of the Prometheus client takes a lock and, with several workers, writes to a mapped file: some 2 µs each, a dozen
times a request. What a killed worker had not written yet is missing from the metrics; usage is not counted here.
"""

import asyncio
from bisect import bisect_right
from contextlib import suppress
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge, Histogram

log = structlog.get_logger("tollgate.metrics")

FLUSH_SECONDS = 0.25
MAX_HANDLES = 10_000  # labels come from configuration, but a cache without a bound is a leak


class Tally(Protocol):
    """Something that is counted here and written elsewhere."""

    def write(self) -> None:
        """Hand over what was counted since the last time."""


_dirty: list[Tally] = []


def flush() -> None:
    """Write all that was counted; what cannot be written (a full disk) is missing from the metrics."""
    while _dirty:
        try:
            _dirty.pop().write()
        except Exception:
            log.exception("metrics_not_written")


def _touch(tally: Tally) -> None:
    """Note that a tally has something to write; without an event loop it is written when somebody flushes."""
    if not _dirty:
        with suppress(RuntimeError):  # commands have no loop, and flush themselves
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, flush)
    _dirty.append(tally)


class _Handles[M: (Counter, Histogram, Gauge)]:
    """A metric's label handles, each made once: `labels()` takes a lock and builds a tuple."""

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._handles: dict[tuple[str, ...], M] = {}

    def get(self, labels: tuple[str, ...]) -> M:
        """Return the handle for these label values."""
        handle = self._handles.get(labels)
        if handle is None:
            handle = self._metric.labels(*labels) if labels else self._metric
            if len(self._handles) < MAX_HANDLES:
                self._handles[labels] = handle
        return handle


class Count:
    """A counter: `count.add("label", …)`."""

    def __init__(self, metric: Counter) -> None:
        self._handles = _Handles(metric)
        self._added: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str, amount: int = 1) -> None:
        """Add to the counter of these label values."""
        added = self._added
        if not added:
            _touch(self)
        added[labels] = added.get(labels, 0) + amount

    def write(self) -> None:
        """Hand over what was counted."""
        added, self._added = self._added, {}
        for labels, amount in added.items():
            self._handles.get(labels).inc(amount)


class Timing:
    """A histogram: `timing.add(seconds, "label", …)`."""

    def __init__(self, metric: Histogram) -> None:
        self._handles = _Handles(metric)
        self._bounds = tuple(metric._upper_bounds)
        self._added: dict[tuple[str, ...], list[float]] = {}

    def add(self, seconds: float, *labels: str) -> None:
        """Count one duration."""
        if not self._added:
            _touch(self)
        durations = self._added.get(labels)
        if durations is None:
            durations = self._added[labels] = []
        durations.append(seconds)

    def write(self) -> None:
        """Hand over what was counted; the client offers no way to observe many at once."""
        added, self._added = self._added, {}
        for labels, durations in added.items():
            handle = self._handles.get(labels)
            handle._sum.inc(sum(durations))
            durations.sort()
            begin = 0
            for bucket, bound in zip(handle._buckets, self._bounds, strict=True):
                end = bisect_right(durations, bound)
                if end > begin:
                    bucket.inc(end - begin)
                begin = end


class Level:
    """A gauge of how many there are at the moment: `level.change(+1, "label", …)`."""

    def __init__(self, metric: Gauge) -> None:
        self._handles = _Handles(metric)
        self._changed: set[tuple[str, ...]] = set()
        self._values: dict[tuple[str, ...], int] = {}

    @property
    def value(self) -> int:
        """How many there are, of all labels."""
        return sum(self._values.values())

    def change(self, by: int, *labels: str) -> None:
        """One more, or one less."""
        self._values[labels] = self._values.get(labels, 0) + by
        if not self._changed:
            _touch(self)
        self._changed.add(labels)

    def write(self) -> None:
        """Hand over how many there are."""
        changed, self._changed = self._changed, set()
        for labels in changed:
            self._handles.get(labels).set(self._values[labels])
