"""Adding up what workers tell: each interval once, silence said, and to tenants their own only."""

from typing import Any

from routing.flights import Counts
from routing.live import Condition, Flight, Interval, Telling
from routing.live_view import (
    LiveView,
    Place,
    Snapshot,
    deployment_line,
    provider_state,
    show_to_operator,
    show_to_tenant,
)

ALICE, CHARLIE = 1, 2
PLACES = [Place(deployment="gpt", provider="acme", is_enabled=True)]
NOW = 1_800_000_000.0


def flight(request_id: str, tenant_id: int = ALICE, **changes: Any) -> Flight:
    known: dict[str, Any] = {
        "age": 1.0,
        "tenant": f"tenant-{tenant_id}",
        "key": "ci",
        "alias": "smart",
        "provider": "acme",
        "deployment": "gpt",
        "is_stream": True,
        "phase": "streaming",
        "tokens": 3,
        "attempts": 1,
        "can_stop": True,
    }
    return Flight(request_id=request_id, tenant_id=tenant_id, **(known | changes))


def interval(number: int, seconds: float = 1.0, calls: tuple[int, int] | None = None, **counts: Counts) -> Interval:
    tenants = {int(name.removeprefix("t")): count for name, count in counts.items()}
    return Interval(number=number, seconds=seconds, tenants=tenants, deployments={"gpt": calls} if calls else {})


def telling(worker: str = "w1", at: float = NOW, *intervals: Interval, **changes: Any) -> Telling:
    known: dict[str, Any] = {"began_at": 5.0, "revision": 7, "flights": [], "in_flight": {}, "conditions": []}
    return Telling(worker=worker, at=at, intervals=list(intervals), **(known | changes))


def condition(**changes: Any) -> Condition:
    known: dict[str, Any] = {
        "deployment": "gpt",
        "provider": "acme",
        "breaker": "closed",
        "open_until": 0.0,
        "cooldown_until": 0.0,
        "cooldown_reason": "",
        "probe": "",
        "active": 0,
    }
    return Condition(**(known | changes))


class Clock:
    """A view that is shown second after second."""

    def __init__(self) -> None:
        self.view, self.second = LiveView(), 0

    def show(self, *tellings: Telling, silent: tuple[str, ...] = ()) -> Snapshot:
        self.second += 1
        told: dict[str, Telling | None] = {each.worker: each for each in tellings} | dict.fromkeys(silent)
        return self.view.add_up(told, PLACES, sequence=int(NOW) + self.second, at=NOW + self.second)


def shown(snapshot: Snapshot) -> dict[str, Any]:
    return show_to_operator(snapshot, sees_upstreams=True)


# --- Rates --------------------------------------------------------------------------------------------------


def test_the_rates_of_all_workers_add_up():
    snapshot = Clock().show(
        telling("w1", NOW, interval(1, t1=Counts(requests=10, output=500, client=1))),
        telling("w2", NOW, interval(1, 2.0, t1=Counts(requests=10, output=100), t2=Counts(requests=2, upstream=2))),
    )
    rates = shown(snapshot)["rates"]
    assert (rates["requests"], rates["output"], rates["client"], rates["upstream"]) == (16.0, 550.0, 1.0, 1.0)


def test_an_interval_counts_once_however_often_it_is_told():
    clock = Clock()
    first, second = interval(1, calls=(1, 1)), interval(2, calls=(3, 0))
    clock.show(telling("w1", NOW, first))
    clock.show(telling("w1", NOW + 1, first, second))
    snapshot = clock.show(telling("w1", NOW + 1, first, second))
    assert snapshot.providers[0].error_rate == 1 / 5


def test_an_interval_that_was_missed_counts_with_the_next_one():
    clock = Clock()
    clock.show(telling("w1", NOW, interval(1)))
    snapshot = clock.show(
        telling("w1", NOW + 2, interval(2, t1=Counts(requests=4)), interval(3, t1=Counts(requests=2)))
    )
    assert shown(snapshot)["rates"]["requests"] == 3.0


def test_rates_hold_between_two_tellings():
    clock = Clock()
    said = telling("w1", NOW, interval(1, t1=Counts(requests=4)))
    clock.show(said)
    assert shown(clock.show(said))["rates"]["requests"] == 4.0


def test_a_worker_heard_for_the_first_time_brings_its_last_second_only():
    snapshot = Clock().show(telling("w1", NOW, interval(8, t1=Counts(requests=90)), interval(9, t1=Counts(requests=1))))
    assert shown(snapshot)["rates"]["requests"] == 1.0


def test_a_worker_that_begins_anew_is_heard_from_its_first_number():
    clock = Clock()
    clock.show(telling("w1", NOW, interval(40)))
    snapshot = clock.show(telling("w1", NOW + 9, interval(1, t1=Counts(requests=5)), began_at=NOW + 8))
    assert shown(snapshot)["rates"]["requests"] == 5.0


# --- Silence ------------------------------------------------------------------------------------------------


def test_a_silent_worker_is_said_to_be_and_counts_no_more():
    clock = Clock()
    clock.show(telling("w1", NOW, interval(1, t1=Counts(requests=4)), flights=[flight("a")], in_flight={ALICE: 1}))
    for _ in range(3):
        snapshot = clock.show(silent=("w1",))
    told = shown(snapshot)
    assert told["workers"] == [{"name": "w1", "revision": 7, "in_flight": 0, "silent_since": NOW + 1}]
    assert (told["silent_workers"], told["in_flight"], told["requests"], told["rates"]["requests"]) == (1, 0, [], 0.0)


def test_a_worker_that_nobody_knows_any_more_is_forgotten():
    clock = Clock()
    clock.show(telling("gone"), telling("stays"))
    for second in range(32):
        snapshot = clock.show(telling("stays", NOW + second))
    assert [line.worker for line in snapshot.workers] == ["stays"]


def test_a_worker_that_has_not_told_yet_is_not_silent_at_once():
    assert Clock().show(silent=("new",)).workers[0].silent_since is None


# --- Requests -----------------------------------------------------------------------------------------------


def test_requests_of_all_workers_stand_oldest_first_and_the_rest_is_counted():
    snapshot = Clock().show(
        telling("w1", NOW, flights=[flight("young", age=1.0)], in_flight={ALICE: 5}),
        telling("w2", NOW, flights=[flight("old", age=60.0)], in_flight={ALICE: 1, CHARLIE: 1}),
    )
    told = shown(snapshot)
    assert [each["id"] for each in told["requests"]] == ["old", "young"]
    assert (told["in_flight"], told["unlisted"]) == (7, 5)


# --- Health -------------------------------------------------------------------------------------------------


def test_a_deployment_stands_as_the_worker_that_knows_the_worst_says():
    line = deployment_line(
        PLACES[0], [condition(active=2), condition(breaker="open", open_until=NOW + 9, active=1)], NOW
    )
    assert (line.state, line.why, line.until, line.in_flight) == ("down", "breaker open", NOW + 9, 3)


def test_cooling_down_half_open_and_a_failed_probe_degrade():
    cooling = deployment_line(PLACES[0], [condition(cooldown_until=NOW + 5, cooldown_reason="429")], NOW)
    assert (cooling.state, cooling.why, cooling.until) == ("degraded", "cooling down: 429", NOW + 5)
    assert deployment_line(PLACES[0], [condition(breaker="half_open")], NOW).why == "breaker half-open"
    assert deployment_line(PLACES[0], [condition(probe="rejected")], NOW).why == "last probe: rejected"


def test_what_is_switched_off_is_off_whatever_else_is_known():
    place = Place(deployment="gpt", provider="acme", is_enabled=False)
    assert deployment_line(place, [condition(breaker="open", open_until=NOW + 9)], NOW).state == "off"


def test_a_provider_is_down_when_no_deployment_that_is_on_is_left():
    assert provider_state(["down", "off"]) == "down"
    assert provider_state(["down", "up"]) == "degraded"
    assert provider_state(["up", "off"]) == "up"
    assert provider_state(["off", "off"]) == "off"


# --- Tenants ------------------------------------------------------------------------------------------------


def busy() -> Snapshot:
    """Alice and charlie both ask, in a worker whose deployment cools down."""
    return Clock().show(
        telling(
            "w1",
            NOW,
            interval(1, t1=Counts(requests=3, output=30), t2=Counts(requests=40, output=400, gateway=1)),
            flights=[flight("hers"), flight("his", CHARLIE)],
            in_flight={ALICE: 1, CHARLIE: 1},
            conditions=[condition(cooldown_until=NOW + 5, cooldown_reason="429 of key sk-…")],
        )
    )


def test_members_see_their_own_tenant_only():
    told = show_to_tenant(busy(), ALICE, frozenset({"gpt"}))
    assert [each["id"] for each in told["requests"]] == ["hers"]
    assert (told["in_flight"], told["rates"]["requests"], told["rates"]["gateway"]) == (1, 3.0, 0.0)


def test_charlie_finds_no_word_of_alice():
    told = str(show_to_tenant(busy(), CHARLIE, frozenset()))
    assert "hers" not in told
    assert "tenant-1" not in told


def test_members_see_of_what_serves_them_whether_it_is_up_and_nothing_else():
    told = show_to_tenant(busy(), ALICE, frozenset({"gpt"}))
    assert told["providers"] == [{"name": "acme", "state": "up"}]
    assert "workers" not in told
    assert show_to_tenant(busy(), CHARLIE, frozenset({"another"}))["providers"] == []


def test_operators_who_may_not_see_providers_see_no_health():
    told = show_to_operator(busy(), sees_upstreams=False)
    assert "providers" not in told
    assert "workers" not in told


def test_the_last_two_minutes_are_kept_for_each_tenant():
    clock = Clock()
    for number in range(1, 130):
        clock.show(telling("w1", NOW + number, interval(number, t1=Counts(requests=1), t2=Counts(requests=9))))
    points = clock.view.history(ALICE)
    assert len(points) == 120
    assert points[-1] == [int(NOW) + 129, 0, 1.0, 0.0, 0.0]
    assert clock.view.history(None)[-1][2] == 10.0
