"""OpenAI's overlapping counts become disjoint ones that add up."""

import json
from typing import Any

import pytest

from providers.canonical.usage import MAX_TOKENS, NOTHING_REPORTED, Usage
from providers.dialects.openai_chat.usage import read_usage, usage_of

ABSURD = (None, 0, 1, 7, 20, -3, 2.5, 1e300, float("inf"), float("-inf"), float("nan"), "9", True, [], {}, 10**40)


def counts(
    prompt: Any = None, completion: Any = None, cached: Any = None, written: Any = None, reasoning: Any = None
) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (counts(10, 5), Usage(input=10, output=5)),
        (counts(10, 5, 4), Usage(input=6, cache_read=4, output=5)),
        (counts(10, 5, 4, 3, 2), Usage(input=3, cache_read=4, cache_write_5m=3, output=5, reasoning=2)),
        (counts(0, 0, 0), Usage(input=0, cache_read=0, output=0)),
        (counts(10, 5, 99), Usage(input=0, cache_read=10, output=5)),
        (counts(10, 5, 4, 99), Usage(input=0, cache_read=4, cache_write_5m=6, output=5)),
        (counts(10, 5, reasoning=9), Usage(input=10, output=5, reasoning=5)),
        (counts(-10, -5, -4), Usage()),
        (counts(8), Usage(input=8)),
        ({"prompt_tokens": 8, "completion_tokens": 0}, Usage(input=8, output=0)),
        ({"prompt_tokens": 10, "prompt_tokens_details": None}, Usage(input=10)),
        ({"prompt_tokens": 10, "prompt_tokens_details": "x"}, Usage(input=10)),
        ({"prompt_tokens": 10, "prompt_cache_hit_tokens": 4}, Usage(input=6, cache_read=4)),  # DeepSeek
        ({"prompt_tokens": 10, "cached_tokens": 4}, Usage(input=6, cache_read=4)),  # Moonshot
        ({}, NOTHING_REPORTED),
    ],
)
def test_it_reads_the_counts(usage: dict[str, Any], expected: Usage):
    assert usage_of(usage) == expected


@pytest.mark.parametrize("prompt", ABSURD)
def test_whatever_is_reported_the_counts_are_possible_and_add_up(prompt: Any):
    for other in ABSURD:
        usage = usage_of(counts(prompt, other, other, prompt, other))
        for count in (usage.input, usage.cache_read, usage.cache_write_5m, usage.output, usage.reasoning):
            assert count is None or (isinstance(count, int) and 0 <= count <= MAX_TOKENS)
        if usage.input is not None:
            whole = usage_of({"prompt_tokens": prompt}).input
            assert usage.input + (usage.cache_read or 0) + (usage.cache_write_5m or 0) == whole
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
    answer = {"choices": [{"message": {"content": '"usage":{"prompt_tokens":9}'}}], "usage": counts(10, 5)}
    assert read_usage(json.dumps(answer).encode()) == Usage(input=10, output=5)


def test_an_embeddings_usage_has_no_output():
    usage = read_usage(b'{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}')
    assert usage == Usage(input=8)
    assert usage.is_reported
