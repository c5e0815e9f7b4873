"""When alert rules fire, repeat, resolve and keep quiet, and how they are put in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tenants.alerting import (
    Labels,
    Reading,
    State,
    Terms,
    Wording,
    is_covered,
    judge,
    minutes,
    number,
    sentence,
    with_unit,
)

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def terms(**given: Any) -> Terms:
    values: dict[str, Any] = {
        "metric": "error_rate",
        "comparison": "above",
        "threshold": Decimal(5),
        "sustained": 5 * MINUTE,
        "cooldown": 60 * MINUTE,
        "minimum_requests": 20,
    }
    return Terms(**values | given)


def played(rule: Terms, *values: float | None, hush: str = "", every: int = 1, state: State | None = None) -> list[Any]:
    """What happens, by minute, when values are measured one after the other."""
    state, found = state or State(), []
    for place, value in enumerate(values):
        reading = Reading(value=None if value is None else Decimal(str(value)), requests=100)
        state, steps = judge(rule, state, reading, NOON + place * every * MINUTE, hush)  # type: ignore[arg-type]
        found += [(place * every, step.kind, step.is_told) for step in steps]
    return found


def test_it_fires_when_it_has_held_long_enough():
    assert played(terms(), *[9] * 7) == [(5, "firing", True)]
    assert played(terms(sustained=timedelta()), 9) == [(0, "firing", True)]


def test_a_moment_below_begins_anew():
    assert played(terms(), 9, 9, 9, 9, 5, 9, 9, 9, 9, 9) == []


def test_the_threshold_itself_is_not_beyond():
    assert played(terms(sustained=timedelta()), 5) == []
    assert played(terms(sustained=timedelta(), comparison="below"), 5) == []
    assert played(terms(sustained=timedelta(), comparison="below"), 4.99) == [(0, "firing", True)]


def test_it_resolves_once_and_says_so():
    assert played(terms(), *[9] * 6, 1, 1) == [(5, "firing", True), (6, "resolved", True)]


def test_it_is_repeated_after_the_cooldown_while_it_goes_on():
    steps = played(terms(cooldown=10 * MINUTE), *[9] * 27)
    assert steps == [(5, "firing", True), (15, "repeated", True), (25, "repeated", True)]


def test_it_does_not_fire_again_before_the_cooldown():
    rule = terms(sustained=timedelta(), cooldown=10 * MINUTE)
    steps = played(rule, 9, 1, 9, 1, 9, 9, 9, 9, 9, 9, 9)
    assert steps == [(0, "firing", True), (1, "resolved", True), (10, "firing", True)]


def test_without_data_nothing_changes():
    assert played(terms(), *[9] * 6, None, None, None) == [(5, "firing", True)]
    assert played(terms(), 9, 9, 9, None, None, 9) == [(5, "firing", True)]
    state, _ = judge(terms(), State(), Reading(), NOON)
    state, _ = judge(terms(), state, Reading(), NOON + MINUTE)
    assert state.no_data_since == NOON
    state, _ = judge(terms(), state, Reading(value=Decimal(1), requests=99), NOON + MINUTE)
    assert state.no_data_since is None


def test_one_failure_of_one_request_is_no_alarm():
    rule = terms(sustained=timedelta())
    assert judge(rule, State(), Reading(value=Decimal(100), requests=1), NOON)[1] == ()
    assert judge(rule, State(), Reading(value=Decimal(100), requests=20), NOON)[1] != ()


def test_few_requests_are_data_where_requests_are_counted():
    rule = terms(metric="requests_per_minute", comparison="below", sustained=timedelta())
    assert judge(rule, State(), Reading(value=Decimal(0), requests=0), NOON)[1] != ()


def test_a_late_beat_catches_up():
    assert played(terms(), 9, 9, every=17) == [(17, "firing", True)]


def test_the_worst_is_remembered_in_the_direction_that_is_bad():
    for comparison, values, worst in (("above", (9, 20, 7), 20), ("below", (4, 1, 3), 1)):
        state = State()
        for place, value in enumerate(values):
            reading = Reading(value=Decimal(value), requests=100)
            rule = terms(comparison=comparison, sustained=timedelta())
            state, _ = judge(rule, state, reading, NOON + place * MINUTE)
        assert state.worst == worst


# --- Silences ----------------------------------------------------------------------------------------------


def test_what_is_silenced_is_noted_and_not_told():
    assert played(terms(), *[9] * 6, 1, hush="silenced") == [(5, "firing", False), (6, "resolved", False)]


def test_what_a_silence_has_kept_back_is_told_when_it_ends():
    rule = terms(sustained=timedelta())
    reading = Reading(value=Decimal(9), requests=100)
    state, _ = judge(rule, State(), reading, NOON, "silenced")
    state, steps = judge(rule, state, reading, NOON + MINUTE)
    assert [(step.kind, step.is_told) for step in steps] == [("firing", True)]
    state, steps = judge(rule, state, reading, NOON + 2 * MINUTE)
    assert steps == ()


def test_what_somebody_takes_care_of_is_not_repeated_but_its_end_is_told():
    rule = terms(sustained=timedelta(), cooldown=MINUTE)
    state, _ = judge(rule, State(), Reading(value=Decimal(9), requests=100), NOON)
    again = played(rule, 9, 9, 1, hush="acknowledged", state=state)
    assert [(kind, told) for _, kind, told in again] == [("repeated", False), ("resolved", True)]


RULE = Labels(owner=None, rule=1, tenant=2, provider="anthropic", severity="critical")


@pytest.mark.parametrize(
    ("named", "is_about"),
    [
        ({}, True),
        ({"rule": 1}, True),
        ({"rule": 2}, False),
        ({"tenant": 2, "provider": "anthropic"}, True),
        ({"tenant": 2, "provider": "openai"}, False),
        ({"severity": "critical"}, True),
        ({"severity": "warning"}, False),
    ],
)
def test_a_silence_is_about_what_it_names(named: dict[str, Any], is_about: bool):
    assert is_covered(Labels(owner=None, **named), RULE) is is_about


def test_charlie_silences_nobody_else():
    charlies = Labels(owner=7)
    assert not is_covered(charlies, RULE)
    assert not is_covered(charlies, Labels(owner=8))
    assert not is_covered(Labels(owner=None), charlies)
    assert is_covered(charlies, Labels(owner=7, rule=3))


# --- Words -------------------------------------------------------------------------------------------------


def wording(**given: Any) -> Wording:
    values: dict[str, Any] = {
        "metric": "error_rate",
        "comparison": "above",
        "threshold": Decimal("5.000000"),
        "currency": "USD",
        "window": 10,
        "sustained": 5,
        "cooldown": 60,
        "minimum_requests": 20,
        "filters": {"model": "smart", "provider": ""},
        "told": ["ops@example.com"],
    }
    return Wording(**values | given)


def test_a_rule_explains_itself():
    assert sentence(wording()) == (
        "When the error rate of model smart is above 5% over 10 minutes (with at least 20 requests), "
        "sustained for 5 minutes: tell ops@example.com, and again every hour while it goes on."
    )
    assert sentence(wording(metric="cost_per_day", threshold=Decimal(250), filters={}, sustained=0, told=[])) == (
        "When the cost per day of all requests is above 250 USD per day over 10 minutes: note it, and tell nobody."
    )
    gateway = sentence(
        wording(metric="breaker_open", filters={"provider": "openai"}, threshold=Decimal(0), cooldown=90)
    )
    assert gateway.startswith("When the number of open breakers of provider openai is above 0, sustained for 5 minutes")
    assert "every 90 minutes" in gateway


def test_numbers_are_as_long_as_they_tell_something():
    assert [number(Decimal(each)) for each in ("5.000000", "0.123456", "1234.56", "100")] == [
        "5",
        "0.12",
        "1,235",
        "100",
    ]
    assert number(Decimal("0.000120"), "cost_per_hour") == "0.00012"
    assert with_unit(Decimal("7.25"), "error_rate") == "7.25%"
    assert with_unit(None, "error_rate") == "\N{EN DASH}"
    assert [minutes(each) for each in (0, 1, 45, 60, 90, 180, 1440)] == [
        "0 minutes",
        "1 minute",
        "45 minutes",
        "1 hour",
        "90 minutes",
        "3 hours",
        "1 day",
    ]
