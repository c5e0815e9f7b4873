"""Counts add up, and nonsense is none."""

import pytest

from providers.canonical.usage import MAX_TOKENS, NOTHING_REPORTED, Usage, count


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
