"""Anthropic's counts are disjoint already; cache writes have kinds."""

import json
from typing import Any

import pytest

from providers.canonical.usage import MAX_TOKENS, NOTHING_REPORTED, Usage
from providers.dialects.anthropic_messages.usage import read_usage, usage_of

ABSURD = (None, 0, 1, 7, -3, 2.5, 1e300, float("inf"), float("-inf"), float("nan"), "9", True, [], {}, 10**40)


def writes(total: Any = None, minutes: Any = None, hour: Any = None) -> dict[str, Any]:
    kinds = {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour}
    return {"cache_creation_input_tokens": total, "cache_creation": kinds}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 10, "output_tokens": 5}, Usage(input=10, output=5)),
        ({"input_tokens": 0, "cache_read_input_tokens": 7}, Usage(input=0, cache_read=7)),
        (
            {"cache_read_input_tokens": 7, "cache_creation_input_tokens": 30, "output_tokens": 5},
            Usage(output=5),  # what went in will be estimated, all of it
        ),
        ({"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 9}}, Usage(output=5, reasoning=5)),
        ({"output_tokens": 5, "output_tokens_details": None}, Usage(output=5)),
        ({"server_tool_use": {"web_search_requests": 1}}, NOTHING_REPORTED),
    ],
)
def test_it_reads_the_counts(usage: dict[str, Any], expected: Usage):
    assert usage_of(usage) == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"cache_creation_input_tokens": 30}, Usage(input=0, cache_write_5m=30)),
        (writes(30, 10, 20), Usage(input=0, cache_write_5m=10, cache_write_1h=20)),
        (writes(30, None, 20), Usage(input=0, cache_write_5m=10, cache_write_1h=20)),
        (writes(30, 10), Usage(input=0, cache_write_5m=30)),
        (writes(None, 10, 20), Usage(input=0, cache_write_5m=10, cache_write_1h=20)),
        (writes(0, 10, 20), Usage(input=0, cache_write_5m=10, cache_write_1h=20)),
        (writes(40, 10, 20), Usage(input=0, cache_write_5m=20, cache_write_1h=20)),
        (writes(-5, -5, -5), Usage(input=0)),
        ({"cache_creation_input_tokens": 3, "cache_creation": "x"}, Usage(input=0, cache_write_5m=3)),
    ],
)
def test_it_reads_what_was_written_to_the_cache(usage: dict[str, Any], expected: Usage):
    assert usage_of({"input_tokens": 0, **usage}) == expected


@pytest.mark.parametrize("one", ABSURD)
def test_whatever_is_reported_the_counts_are_possible(one: Any):
    for other in ABSURD:
        reported = {"input_tokens": one, "output_tokens": other, "cache_read_input_tokens": other}
        details = {"output_tokens_details": {"thinking_tokens": one}}
        usage = usage_of({**reported, **writes(one, other, one), **details})
        for name in usage.__struct_fields__:
            count = getattr(usage, name)
            assert count is None or (isinstance(count, int) and 0 <= count <= MAX_TOKENS)
        if usage.output is not None:
            assert (usage.reasoning or 0) <= usage.output


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"<html>", b'{"usage":null}', b'{"usage":[1]}', b"\xff"),
        pytest.param(b'{"usage":' + b"[" * 200_000, id="nested too deeply"),
    ],
)
def test_an_answer_without_usage_reports_nothing(body: bytes):
    assert read_usage(body) == NOTHING_REPORTED


def test_it_reads_a_whole_answers_usage_and_skips_the_rest():
    content = [{"type": "tool_use", "input": {"usage": {"input_tokens": 99}}}]
    answer = {"type": "message", "content": content, "usage": {"input_tokens": 3, "output_tokens": 4}}
    assert read_usage(json.dumps(answer).encode()) == Usage(input=3, output=4)
