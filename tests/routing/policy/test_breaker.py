"""The breaker: when it opens, who may try, and when it closes."""

import pytest

from routing.policy.breaker import Breaker, BreakerSettings

NOW = 1_000_000.0
SETTINGS = BreakerSettings(failures=3, window=60.0, open_for=30.0, half_open_successes=2)


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(SETTINGS)


def opened(breaker: Breaker, now: float = NOW) -> Breaker:
    for _ in range(3):
        breaker.record(now, failed=1)
    assert breaker.state == "open"
    return breaker


def test_it_opens_with_the_last_of_so_many_failures(breaker):
    assert [breaker.record(NOW, failed=1) for _ in range(3)] == [None, None, "open"]
    assert breaker.open_until == NOW + 30


def test_failures_that_are_few_among_many_successes_do_not_open_it(breaker):
    for number in range(200):
        assert breaker.record(NOW + number / 10, ok=9, failed=1) is None
    assert breaker.state == "closed"


def test_half_of_all_outcomes_are_enough(breaker):
    breaker.record(NOW, ok=3)
    assert [breaker.record(NOW, failed=1) for _ in range(3)] == [None, None, "open"]


def test_failures_are_forgotten_when_they_leave_the_window(breaker):
    breaker.record(NOW, failed=2)
    assert breaker.record(NOW + 61, failed=1) is None
    assert breaker.window(NOW + 61) == (0, 1)


def test_a_clock_that_goes_back_does_no_harm(breaker):
    breaker.record(NOW, failed=1)
    breaker.record(NOW - 3600, failed=1)
    assert breaker.state == "closed"


def test_it_is_half_open_when_its_time_is_over(breaker):
    opened(breaker)
    assert breaker.look(NOW + 29.9) == "open"
    assert breaker.look(NOW + 30) == "half_open"


def test_nothing_may_try_before_that(breaker):
    assert not opened(breaker).take_slot(NOW + 29.9)


def test_one_request_at_a_time_may_try(breaker):
    opened(breaker)
    assert breaker.take_slot(NOW + 31)
    assert breaker.state == "half_open"
    assert not breaker.take_slot(NOW + 31)


def test_a_request_that_ends_without_an_outcome_gives_its_slot_back(breaker):
    opened(breaker)
    breaker.take_slot(NOW + 31)
    breaker.give_back_slot()
    assert breaker.take_slot(NOW + 32)
    assert breaker.state == "half_open"


def test_enough_successes_close_it(breaker):
    opened(breaker)
    breaker.take_slot(NOW + 31)
    assert breaker.record(NOW + 32, ok=1, is_trial=True) is None
    breaker.give_back_slot()
    breaker.take_slot(NOW + 33)
    assert breaker.record(NOW + 34, ok=1, is_trial=True) == "closed"
    assert breaker.window(NOW + 34) == (0, 0)  # what was is forgotten


def test_one_failure_opens_it_again_for_as_long(breaker):
    opened(breaker)
    breaker.take_slot(NOW + 31)
    assert breaker.record(NOW + 40, failed=1, is_trial=True) == "open"
    assert breaker.open_until == NOW + 70
    assert not breaker.take_slot(NOW + 69)


def test_what_began_before_it_opened_changes_nothing_afterwards(breaker):
    opened(breaker)
    assert breaker.record(NOW + 1, ok=5) is None
    breaker.take_slot(NOW + 31)
    assert breaker.record(NOW + 32, failed=1) is None
    assert breaker.state == "half_open"


def test_one_that_is_switched_off_never_opens():
    breaker = Breaker(BreakerSettings(enabled=False, failures=1))
    assert breaker.record(NOW, failed=9) is None
    assert breaker.state == "closed"


def test_it_adopts_what_another_worker_decided(breaker):
    breaker.adopt("open", NOW, open_until=NOW + 30)
    assert breaker.look(NOW + 1) == "open"
    breaker.adopt("closed", NOW + 40)
    assert breaker.look(NOW + 41) == "closed"


def test_adopting_what_it_is_already_keeps_its_slot(breaker):
    opened(breaker)
    breaker.take_slot(NOW + 31)
    breaker.adopt("half_open", NOW + 31)
    assert not breaker.is_slot_free


def test_others_hear_of_its_outcomes_only_while_something_is_wrong(breaker):
    breaker.record(NOW, ok=1)
    assert not breaker.is_troubled
    breaker.record(NOW, failed=1)
    assert breaker.is_troubled
    breaker.record(NOW + 120, ok=1)
    assert not breaker.is_troubled


def test_failures_in_a_row_are_counted(breaker):
    breaker.record(NOW, failed=1)
    breaker.record(NOW, failed=1)
    assert breaker.consecutive_failures == 2
    breaker.record(NOW, ok=1)
    assert breaker.consecutive_failures == 0
