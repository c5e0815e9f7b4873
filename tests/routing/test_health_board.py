"""The board: what calls tell it, what it tells others, and what it takes over from them."""

from time import time
from typing import Any

import pytest

from routing.health import FEWEST_LATENCIES, DeploymentHealth, HealthBoard, HealthChange, Latency, Tally
from routing.runtime import Runtime
from routing.snapshot import Provider, Snapshot

NOW = 1_000_000.0
SETTINGS = {"enabled": True, "failures": 2, "window": 60.0, "open_for": 30.0, "half_open_successes": 1}


@pytest.fixture
def board() -> HealthBoard:
    return HealthBoard("here")


@pytest.fixture
def heard(board) -> list[HealthChange]:
    changes: list[HealthChange] = []
    board.listeners.append(changes.append)
    return changes


@pytest.fixture
def entry(board) -> DeploymentHealth:
    entry = board.of("d", "p")
    entry.configure(SETTINGS, {"enabled": True, "max": 100.0})
    return entry


def fail(board: HealthBoard, entry: DeploymentHealth, *, now: float = NOW, is_trial: bool = False) -> None:
    board.record(entry, now, is_ok=False, reason="status 500", is_trial=is_trial)


def test_what_changes_is_told_with_its_reason(board, entry, heard):
    fail(board, entry)
    assert heard == []
    fail(board, entry)
    (change,) = heard
    assert (change.kind, change.old, change.new, change.reason) == ("breaker_opened", "closed", "open", "status 500")
    assert (change.until, change.worker, change.provider) == (NOW + 30, "here", "p")


def test_the_way_back_is_told_too(board, entry, heard):
    fail(board, entry)
    fail(board, entry)
    assert board.take_slot(entry, NOW + 30)
    board.record(entry, NOW + 31, is_ok=True, is_trial=True)
    assert [change.kind for change in heard] == ["breaker_opened", "breaker_half_open", "breaker_closed"]


def test_a_cooldown_leaves_the_breaker_alone(board, entry, heard):
    board.cool_down(entry, NOW, seconds=20, reason="status 429")
    assert (entry.cooldown_until, entry.breaker.state) == (NOW + 20, "closed")
    assert [(change.kind, change.until) for change in heard] == [("cooled_down", NOW + 20)]


def test_a_cooldown_is_no_longer_than_the_provider_may_ask_for(board, entry):
    board.cool_down(entry, NOW, seconds=10_000, reason="")
    assert entry.cooldown_until == NOW + 100


def test_a_shorter_cooldown_does_not_end_a_longer_one(board, entry, heard):
    board.cool_down(entry, NOW, seconds=20, reason="")
    board.cool_down(entry, NOW, seconds=5, reason="")
    assert (entry.cooldown_until, len(heard)) == (NOW + 20, 1)


def test_who_does_not_want_cooldowns_has_none(board, entry):
    entry.configure(SETTINGS, {"enabled": False})
    board.cool_down(entry, NOW, seconds=20, reason="")
    assert entry.cooldown_until == 0


def test_healthy_traffic_tells_nobody_anything(board, entry, heard):
    for _ in range(100):
        board.record(entry, NOW, is_ok=True, is_trial=False)
    assert (board.take_tallies(), heard) == ([], [])
    assert (entry.successes, entry.failures) == (100, 0)


def test_two_workers_open_together_what_neither_would_alone(board, entry, heard):
    other = HealthBoard("there")
    theirs = other.of("d", "p")
    theirs.configure(SETTINGS, {})
    fail(board, entry)
    fail(other, theirs)
    tallies = other.take_tallies()
    assert tallies == [Tally(deployment="d", ok=0, failed=1, is_trial=False)]
    board.add_tallies(tallies, NOW)
    assert entry.breaker.state == "open"
    assert entry.failures == 1  # its own
    assert other.take_tallies() == []


def test_it_takes_over_what_another_worker_decided(board, entry, heard):
    board.adopt(
        HealthChange(
            deployment="d",
            provider="p",
            kind="breaker_opened",
            old="",
            new="open",
            at=NOW,
            until=NOW + 9,
            worker="there",
        )
    )
    assert (entry.breaker.state, entry.breaker.open_until, heard) == ("open", NOW + 9, [])
    change = HealthChange(
        deployment="d", provider="p", kind="cooled_down", old="", new="", at=NOW, until=NOW + 5, worker="there"
    )
    board.adopt(change)
    assert entry.cooldown_until == NOW + 5


def test_its_own_words_and_those_of_strangers_change_nothing(board, entry):
    mine = HealthChange(deployment="d", provider="p", kind="breaker_opened", old="", new="open", at=NOW, worker="here")
    board.adopt(mine)
    board.adopt(HealthChange(deployment="x", provider="p", kind="breaker_opened", old="", new="", at=NOW, worker="t"))
    board.add_tallies([Tally(deployment="x", ok=0, failed=9, is_trial=False)], NOW)
    assert entry.breaker.state == "closed"


def test_a_new_configuration_keeps_what_is_known(board, entry):
    fail(board, entry)
    fail(board, entry)
    board.keep_only(["d"])
    assert board.of("d", "p").breaker.state == "open"
    board.keep_only([])
    assert board.of("d", "p").breaker.state == "closed"


def test_a_deployment_that_moves_to_another_provider_begins_anew(board, entry):
    fail(board, entry)
    fail(board, entry)
    assert board.of("d", "other").breaker.state == "closed"


def test_deployments_of_one_provider_share_its_retries(board):
    assert board.of("a", "p").retry_budget is board.of("b", "p").retry_budget
    assert board.of("c", "q").retry_budget is not board.of("b", "p").retry_budget


def test_a_latency_follows_what_it_is_told_and_knows_what_is_late():
    latency = Latency()
    assert (latency.average, latency.p95()) == (None, None)
    latency.add(1.0)
    latency.add(2.0)
    assert latency.average == pytest.approx(1.2)
    for _ in range(FEWEST_LATENCIES):
        latency.add(0.5)
    assert latency.p95() is not None
    for number in range(100):
        latency.add(number / 100)
    assert 0.9 <= latency.p95() <= 1.0


# --- A new configuration -------------------------------------------------------------------------------------


def test_what_is_known_of_a_catalogues_deployments_outlives_a_publish(tmp_path):
    runtime = Runtime(
        valkey_url="redis://127.0.0.1:1/0",
        state_dir=tmp_path,
        peppers=[],
        cache_size=10,
        cache_seconds=10,
        seal_secrets=["secret"],
    )
    fields = {"slug": "p", "adapter": "groq", "base_url": "https://x", "dialects": ("openai_chat",)}

    def health(number: int, **changes: Any) -> DeploymentHealth:
        """How the deployment of an unmapped model does, under another revision."""
        runtime.swap(Snapshot(number=number, providers=(Provider(**fields | {"catalogue": ("m",)} | changes),)))
        route = runtime.snapshot.catalogue_route("m")
        assert route is not None
        return route.targets[0].deployment.health

    entry = health(1, breaker=SETTINGS)
    now = time()
    fail(runtime.health, entry, now=now)
    fail(runtime.health, entry, now=now)
    runtime.health.cool_down(entry, now, seconds=20, reason="429")
    later = health(2, breaker={**SETTINGS, "failures": 7}, catalogue=("m", "n"))
    assert (later.breaker.state, later.cooldown_until, later.breaker.settings.failures) == ("open", now + 20, 7)
    runtime.swap(Snapshot(number=3, providers=(Provider(**fields),)))
    assert runtime.health.all() == []
