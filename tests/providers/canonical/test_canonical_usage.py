"""Counts add up, and nonsense is none."""

from decimal import Decimal

import pytest

from providers.canonical.usage import (
    MAX_TOKENS,
    NOTHING_REPORTED,
    Usage,
    add,
    at_most,
    count,
    money,
    seconds,
    service_tier,
)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (7, 7), (7.0, 7), (MAX_TOKENS, MAX_TOKENS)])
def test_a_count_is_a_count(value: object, expected: int):
    assert count(value) == expected


@pytest.mark.parametrize(
    "value", [-1, MAX_TOKENS + 1, 1e300, float("nan"), float("inf"), float("-inf"), True, "7", None, [], {}]
)
def test_edge_53_what_is_no_count_is_not_reported(value: object):
    assert count(value) is None


def test_edge_55_a_later_report_replaces_only_what_it_says():
    assert Usage(input=1, cache_read=2, output=3).merge(Usage(output=4)) == Usage(input=1, cache_read=2, output=4)


def test_zero_is_a_report():
    assert Usage(output=9).merge(Usage(output=0)) == Usage(output=0)
    assert Usage(output=0).is_reported


def test_nothing_changes_nothing():
    usage = Usage(input=1)
    assert usage.merge(NOTHING_REPORTED) is usage
    assert not NOTHING_REPORTED.is_reported
    assert not Usage(cache_read=5).is_reported


@pytest.mark.parametrize(
    ("usage", "is_complete"),
    [
        (Usage(input=0, output=0), True),
        (Usage(input=5, output=5), True),
        (Usage(input=5), False),
        (Usage(output=5), False),
        (NOTHING_REPORTED, False),
    ],
)
def test_a_report_is_complete_with_both_halves(usage: Usage, is_complete: bool):
    assert usage.is_complete is is_complete


NO_NUMBERS = [None, True, False, "7", [], {}, -1, -0.5, float("nan"), float("inf"), float("-inf"), 1e300, 10**40]


@pytest.mark.parametrize(("value", "expected"), [(0, "0"), (9, "9"), (8.47, "8.47"), (1e-7, "1E-7"), (0.1, "0.1")])
def test_seconds_are_exactly_what_was_written(value: float, expected: str):
    assert seconds(value) == Decimal(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.00014, "0.00014"), (1e-10, "1E-10"), (1e-11, "0"), (1.5e-10, "2E-10"), (0.1 + 0.2, "0.3000000000")],
)
def test_money_has_ten_places(value: float, expected: str):
    assert money(value) == Decimal(expected)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_amount_is_not_reported(value: object):
    assert seconds(value) is None
    assert money(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("batch", "batch"),
        ("FLEX", "flex"),
        ("priority", "priority"),
        *((usual, None) for usual in ("default", "standard", "auto", "on_demand", "")),
        *((bad, None) for bad in (None, 7, True, [], {}, "x" * 17, "a b", "a\n", "é", "'; --")),
    ],
)
def test_a_tier_is_named_where_it_is_not_the_usual_one(value: object, expected: str | None):
    assert service_tier(value) == expected


def test_a_part_is_never_larger_than_its_whole():
    assert [at_most(9, 5), at_most(3, 5), at_most(None, 5), at_most(3, None)] == [5, 3, None, None]


def test_what_is_unknown_adds_nothing():
    assert [add(), add(None, None), add(None, 2), add(1, 2)] == [None, None, 2, 3]
