"""What is counted arrives in the metrics, once, and soon."""

import asyncio
import errno

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway_site.infra import tallies
from gateway_site.infra.tallies import Count, Level, Timing


@pytest.fixture
def registry():
    tallies.flush()
    return CollectorRegistry()


def test_counts_are_handed_over_by_label_and_once(registry):
    count = Count(Counter("asked", "…", ["who"], registry=registry))
    count.add("alice")
    count.add("alice", amount=4)
    count.add("bob")
    assert registry.get_sample_value("asked_total", {"who": "alice"}) is None
    tallies.flush()
    tallies.flush()
    assert registry.get_sample_value("asked_total", {"who": "alice"}) == 5
    assert registry.get_sample_value("asked_total", {"who": "bob"}) == 1


def test_timings_fall_into_the_same_buckets_as_when_they_are_observed_one_by_one(registry):
    durations = [0.7, 0.0, 99.0, 0.05, 0.1, -1.0, 1.0, 0.100001]
    tallied = Histogram("tallied", "…", ["path"], buckets=(0.1, 1), registry=registry)
    observed = Histogram("observed", "…", ["path"], buckets=(0.1, 1), registry=registry)
    timing = Timing(tallied)
    for seconds in durations:
        timing.add(seconds, "/")
        observed.labels("/").observe(seconds)
    tallies.flush()
    for bound in ("0.1", "1.0", "+Inf"):
        labels = {"path": "/", "le": bound}
        assert registry.get_sample_value("tallied_bucket", labels) == registry.get_sample_value(
            "observed_bucket", labels
        )
    assert registry.get_sample_value("tallied_sum", {"path": "/"}) == pytest.approx(sum(durations))


def test_one_that_cannot_be_written_is_not_in_the_way_of_others(registry, monkeypatch):
    full, fine = (Count(Counter(name, "…", registry=registry)) for name in ("full", "fine"))
    fine.add()
    full.add()

    def fails(labels: tuple[str, ...]) -> Counter:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(full._handles, "get", fails)
    tallies.flush()
    assert registry.get_sample_value("fine_total") == 1
    monkeypatch.undo()
    full.add()
    tallies.flush()
    assert registry.get_sample_value("full_total") == 1  # what could not be written is missing


def test_a_metric_without_labels_is_counted_too(registry):
    timing = Timing(Histogram("overhead", "…", [], buckets=(1,), registry=registry))
    timing.add(0.5)
    tallies.flush()
    assert registry.get_sample_value("overhead_count") == 1


def test_a_level_goes_up_and_down(registry):
    level = Level(Gauge("open", "…", registry=registry))
    level.change(1)
    level.change(1)
    level.change(-1)
    tallies.flush()
    assert registry.get_sample_value("open") == 1
    level.change(-1)
    tallies.flush()
    assert registry.get_sample_value("open") == 0


def test_levels_with_labels_are_told_apart(registry):
    level = Level(Gauge("waiting", "…", ["provider"], registry=registry))
    level.change(2, "a")
    level.change(1, "b")
    tallies.flush()
    level.change(-2, "a")
    assert level.value == 1
    tallies.flush()
    assert registry.get_sample_value("waiting", {"provider": "a"}) == 0
    assert registry.get_sample_value("waiting", {"provider": "b"}) == 1


async def test_in_a_loop_nobody_has_to_flush(registry):
    count = Count(Counter("late", "…", registry=registry))
    count.add()
    await asyncio.sleep(tallies.FLUSH_SECONDS + 0.1)
    assert registry.get_sample_value("late_total") == 1
