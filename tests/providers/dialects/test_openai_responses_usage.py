"""Counts of Responses, there and back."""

from typing import Any

import pytest

from providers.canonical.usage import NOTHING_REPORTED, Usage
from providers.dialects.openai_responses.usage import read_usage, usage_of, write_usage


def test_edge_52_cached_and_written_tokens_are_part_of_the_input():
    details = {"cached_tokens": 60, "cache_write_tokens": 30}
    assert usage_of({"input_tokens": 100, "input_tokens_details": details, "output_tokens": 7}) == Usage(
        input=10, cache_read=60, cache_write_5m=30, output=7
    )


def test_what_is_kept_for_twelve_hours_is_the_longer_of_our_two_lifetimes():
    details = {
        "cached_tokens": 0,
        "cache_write_tokens": 30,
        "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20},
    }
    read = usage_of({"input_tokens": 100, "input_tokens_details": details, "output_tokens": 7})
    assert (read.cache_write_5m, read.cache_write_1h) == (10, 20)
    assert write_usage(read)["input_tokens_details"] == details  # type: ignore[index]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 9}},
            Usage(input=0, cache_read=5, cache_write_5m=0),
        ),
        ({"input_tokens": -5, "output_tokens": True}, NOTHING_REPORTED),
        (
            {"input_tokens": 5, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 9}},
            Usage(input=5, output=2, reasoning=2),
        ),
        ({"input_tokens": 5, "input_tokens_details": None, "output_tokens": "2"}, Usage(input=5)),
        ({}, NOTHING_REPORTED),
    ],
)
def test_edge_53_counts_that_make_no_sense_stay_within_bounds(usage: dict[str, Any], expected: Usage):
    assert usage_of(usage) == expected


def test_edge_51_both_details_are_always_there():
    assert write_usage(Usage(input=3, output=4)) == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    }


def test_nothing_reported_is_not_zero():
    assert write_usage(NOTHING_REPORTED) is None
    assert read_usage(b'{"usage":null}') == read_usage(b"oops") == NOTHING_REPORTED


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input=1, cache_read=2, cache_write_5m=3, cache_write_1h=4, output=5, reasoning=1),
        Usage(input=1, cache_read=0, cache_write_5m=0, output=0, reasoning=0),
    ],
)
def test_what_is_written_is_read_again(usage: Usage):
    written = write_usage(usage)
    assert written is not None
    assert usage_of(written) == usage
