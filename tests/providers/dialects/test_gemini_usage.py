"""Gemini's counts overlap; ours add up."""

import json

import pytest

from providers.canonical.usage import NOTHING_REPORTED, Usage
from providers.dialects.gemini.usage import read_usage, usage_of, write_usage


def test_edge_50_thoughts_are_output_though_candidates_do_not_count_them():
    report = {"promptTokenCount": 9, "candidatesTokenCount": 20, "thoughtsTokenCount": 55, "totalTokenCount": 84}
    assert usage_of(report) == Usage(input=9, output=75, reasoning=55)


def test_cached_tokens_are_part_of_the_prompt():
    assert usage_of({"promptTokenCount": 100, "cachedContentTokenCount": 64}) == Usage(input=36, cache_read=64)


def test_more_cached_than_prompted_is_nonsense_and_never_negative():
    assert usage_of({"promptTokenCount": 10, "cachedContentTokenCount": 64}) == Usage(input=0, cache_read=10)


def test_what_tools_were_prompted_with_is_input():
    assert usage_of({"promptTokenCount": 10, "toolUsePromptTokenCount": 5}) == Usage(input=15)


def test_thoughts_alone_are_output():
    assert usage_of({"promptTokenCount": 3, "thoughtsTokenCount": 40}) == Usage(input=3, output=40, reasoning=40)


@pytest.mark.parametrize("nonsense", [-1, "7", None, True, [], 1e300])
def test_nonsense_is_not_reported(nonsense: object):
    assert usage_of({"promptTokenCount": nonsense, "candidatesTokenCount": nonsense}) == NOTHING_REPORTED


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input=9, output=75, reasoning=55),
        Usage(input=36, cache_read=64, output=1),
        Usage(input=0, output=0),
        Usage(input=4),
        NOTHING_REPORTED,
    ],
)
def test_what_is_written_is_read_again(usage: Usage):
    assert usage_of(write_usage(usage)) == usage


def test_written_counts_add_up_cache_writes_included():
    written = write_usage(Usage(input=1, cache_read=2, cache_write_5m=4, cache_write_1h=8, output=32, reasoning=30))
    assert written == {
        "promptTokenCount": 15,
        "cachedContentTokenCount": 2,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 30,
        "totalTokenCount": 47,
    }


def test_a_whole_answer_is_read_and_a_list_of_chunks_by_its_last():
    one = {"candidates": [], "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}}
    two = {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 5}}
    assert read_usage(json.dumps(one).encode()) == Usage(input=1, output=2)
    assert read_usage(json.dumps([one, two, {}]).encode()) == Usage(input=1, output=5)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"nonsense", b'{"usageMetadata": 3}', b"[1]"])
def test_without_a_report_nothing_is_reported(body: bytes):
    assert read_usage(body) == NOTHING_REPORTED
