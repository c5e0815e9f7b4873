"""Usage as vendors report it, word for word, and what we make of it: counts that add up and are billed once."""

import json
from decimal import Decimal
from typing import Any

import pytest

from providers.canonical.answer import fold
from providers.canonical.inbound import Facts
from providers.canonical.usage import MAX_TOKENS, NOTHING_REPORTED, Usage
from providers.conformance.crossing import ORIGIN
from providers.dialects.reports import take_report
from providers.registry import DIALECTS
from tests.providers.dialects.usage_shapes import STREAMS, WHOLE, chat_last, chat_whole, frame, messages_split

CHAT: dict[str, tuple[dict[str, Any], Usage]] = {
    "openai": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 64, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 192,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        Usage(input=22, cache_read=1920, cache_write_5m=64, output=300, reasoning=192),
    ),
    "openai, spoken": (
        {
            "prompt_tokens": 120,
            "completion_tokens": 90,
            "prompt_tokens_details": {"audio_tokens": 100, "cached_tokens": 0, "text_tokens": 20},
            "completion_tokens_details": {"audio_tokens": 70, "text_tokens": 20, "reasoning_tokens": 0},
        },
        Usage(input=120, cache_read=0, output=90, reasoning=0, audio_input=100, audio_output=70),
    ),
    "deepseek": (
        {
            "prompt_tokens": 1100,
            "completion_tokens": 40,
            "total_tokens": 1140,
            "prompt_cache_hit_tokens": 1024,
            "prompt_cache_miss_tokens": 76,
        },
        Usage(input=76, cache_read=1024, output=40),
    ),
    "deepseek, by its halves": (
        {"completion_tokens": 40, "prompt_cache_hit_tokens": 1024, "prompt_cache_miss_tokens": 76},
        Usage(input=76, cache_read=1024, output=40),
    ),
    "moonshot": (
        {"prompt_tokens": 1000, "completion_tokens": 7, "total_tokens": 1007, "cached_tokens": 256},
        Usage(input=744, cache_read=256, output=7),
    ),
    "xai": (  # completion without reasoning
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6},
            "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0},
            "num_sources_used": 0,
            "cost_in_usd_ticks": 37756000,
        },
        Usage(input=26, cache_read=6, output=103, reasoning=94, reported_cost=Decimal("0.0037756000")),
    ),
    "gemini, translated word for word": (
        {
            "prompt_tokens": 21,
            "completion_tokens": 0,
            "total_tokens": 81,
            "completion_tokens_details": {"reasoning_tokens": 60},
        },
        Usage(input=21, output=60, reasoning=60),
    ),
    "groq": (
        {
            "queue_time": 0.037,
            "prompt_tokens": 18,
            "prompt_time": 0.0006,
            "completion_tokens": 556,
            "completion_time": 0.46,
            "total_tokens": 574,
            "total_time": 0.46,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        Usage(input=18, cache_read=0, output=556),
    ),
    "mistral, heard": (
        {
            "prompt_audio_seconds": 203,
            "prompt_tokens": 4,
            "total_tokens": 3264,
            "completion_tokens": 635,
            "num_cached_tokens": 0,
        },
        Usage(input=4, cache_read=0, output=635, seconds=Decimal(203)),
    ),
    "openrouter": (
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "total_tokens": 196,
            "cost": 0.00014,
            "is_byok": False,
            "cost_details": {"upstream_inference_cost": 0.00014},
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        Usage(input=194, cache_read=0, output=2, reasoning=0, reported_cost=Decimal("0.00014")),
    ),
    "openrouter, with a key of one's own": (
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "cost": 0.05,
            "is_byok": True,
            "cost_details": {"upstream_inference_cost": 0.95},
        },
        Usage(input=194, output=2, reported_cost=Decimal("1")),
    ),
    "perplexity": (
        {"prompt_tokens": 9, "completion_tokens": 70, "cost": {"input_tokens_cost": 0.1, "total_cost": 0.006}},
        Usage(input=9, output=70, reported_cost=Decimal("0.006")),
    ),
    "gigachat": (  # cached beside the prompt
        {"prompt_tokens": 18, "completion_tokens": 68, "total_tokens": 86, "precached_prompt_tokens": 37},
        Usage(input=18, cache_read=37, output=68),
    ),
    "gigachat, cached in the prompt": (
        {"prompt_tokens": 55, "completion_tokens": 68, "total_tokens": 86, "precached_prompt_tokens": 37},
        Usage(input=18, cache_read=37, output=68),
    ),
    "gigachat, nothing cached": (
        {"prompt_tokens": 18, "completion_tokens": 68, "total_tokens": 86, "precached_prompt_tokens": 0},
        Usage(input=18, cache_read=0, output=68),
    ),
    "vllm": (
        {"prompt_tokens": 7, "total_tokens": 24, "completion_tokens": 17, "prompt_tokens_details": None},
        Usage(input=7, output=17),
    ),
    "more cached than prompted": (
        {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}},
        Usage(input=0, cache_read=10, output=5),
    ),
    "more heard than said anew": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 9},
            "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 4},
        },
        Usage(input=2, cache_read=8, output=5, reasoning=4, audio_input=2, audio_output=1),
    ),
    "cached, of an unknown prompt": (
        {"prompt_tokens": None, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}},
        Usage(output=5),
    ),
    "a negative prompt": ({"prompt_tokens": -7, "completion_tokens": 5}, Usage(output=5)),
    "an absurd completion": ({"prompt_tokens": 7, "completion_tokens": MAX_TOKENS + 1}, Usage(input=7)),
}
MESSAGES: dict[str, tuple[dict[str, Any], Usage]] = {
    "anthropic": (
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 456,
            "cache_read_input_tokens": 188086,
            "cache_creation": {"ephemeral_5m_input_tokens": 356, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 393,
            "output_tokens_details": {"thinking_tokens": 120},
            "server_tool_use": {"web_search_requests": 0},
            "service_tier": "standard",
            "inference_geo": "us",
        },
        Usage(input=21, cache_read=188086, cache_write_5m=356, cache_write_1h=100, output=393, reasoning=120),
    ),
    "anthropic, batch": (
        {"input_tokens": 21, "output_tokens": 3, "service_tier": "batch"},
        Usage(input=21, output=3, service_tier="batch"),
    ),
    "anthropic, fast": (
        {"input_tokens": 21, "output_tokens": 3, "service_tier": "standard", "speed": "fast"},
        Usage(input=21, output=3, service_tier="fast"),
    ),
    "a compaction, which the sums leave out": (
        {
            "input_tokens": 23000,
            "output_tokens": 1000,
            "iterations": [
                {"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
                {"type": "message", "input_tokens": 23000, "output_tokens": 1000},
            ],
        },
        Usage(input=203000, output=4500),
    ),
    "an advisor, and what it cached": (
        {
            "input_tokens": 412,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 10,
            "output_tokens": 531,
            "iterations": [
                {"type": "message", "input_tokens": 412, "cache_creation_input_tokens": 10, "output_tokens": 89},
                {
                    "type": "advisor_message",
                    "model": "claude-opus-5",
                    "input_tokens": 823,
                    "cache_read_input_tokens": 50,
                    "cache_creation_input_tokens": 30,
                    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 30},
                    "output_tokens": 1612,
                },
                {"type": "message", "input_tokens": 0, "output_tokens": 442},
            ],
        },
        Usage(input=1235, cache_read=50, cache_write_5m=10, cache_write_1h=30, output=2143),
    ),
    "a server's fallback, which the sums have": (
        {
            "input_tokens": 50,
            "output_tokens": 9,
            "iterations": [
                {"type": "message", "input_tokens": 25, "output_tokens": 1},
                {"type": "fallback_message", "model": "x", "input_tokens": 25, "output_tokens": 8},
            ],
        },
        Usage(input=50, output=9),
    ),
    "iterations of another shape": (
        {
            "input_tokens": 5,
            "output_tokens": 9,
            "iterations": [
                None,
                7,
                {},
                {"type": None},
                {"type": "compaction", "input_tokens": -9, "output_tokens": True},
            ],
        },
        Usage(input=5, output=9),
    ),
}
RESPONSES: dict[str, tuple[dict[str, Any], Usage]] = {
    "openai": (
        {
            "input_tokens": 328,
            "input_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 20},
            "output_tokens": 52,
            "output_tokens_details": {"reasoning_tokens": 12},
            "total_tokens": 380,
        },
        Usage(input=8, cache_read=300, cache_write_5m=20, output=52, reasoning=12),
    ),
    "xai": (
        {
            "input_tokens": 125,
            "input_tokens_details": {"cached_tokens": 98},
            "output_tokens": 48,
            "output_tokens_details": {"reasoning_tokens": 30},
            "total_tokens": 173,
            "cost_in_usd_ticks": 1_158_500,
        },
        Usage(input=27, cache_read=98, output=48, reasoning=30, reported_cost=Decimal("0.0001158500")),
    ),
    "cached, of an unknown input": (
        {"input_tokens": "9", "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5},
        Usage(output=5),
    ),
}
GEMINI: dict[str, tuple[dict[str, Any], Usage]] = {
    "gemini": (
        {
            "promptTokenCount": 5000,
            "cachedContentTokenCount": 4096,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 55,
            "toolUsePromptTokenCount": 300,
            "totalTokenCount": 5375,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5000}],
            "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 4096}],
        },
        Usage(input=1204, cache_read=4096, output=75, reasoning=55),
    ),
    "gemini, heard and spoken": (
        {
            "promptTokenCount": 900,
            "cachedContentTokenCount": 500,
            "candidatesTokenCount": 300,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 100},
                {"modality": "AUDIO", "tokenCount": 800},
            ],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 500}],
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 290}],
        },
        Usage(input=400, cache_read=500, output=300, audio_input=300, audio_output=290),
    ),
    "nothing came out, and zeros are left out": (
        {"promptTokenCount": 9, "totalTokenCount": 9},
        Usage(input=9, output=0),
    ),
    "thoughts alone": (
        {"promptTokenCount": 9, "thoughtsTokenCount": 60, "totalTokenCount": 69},
        Usage(input=9, output=60, reasoning=60),
    ),
    "vertex, flex": (
        {"promptTokenCount": 9, "candidatesTokenCount": 1, "trafficType": "ON_DEMAND_FLEX"},
        Usage(input=9, output=1, service_tier="flex"),
    ),
    "vertex": (
        {"promptTokenCount": 9, "candidatesTokenCount": 1, "trafficType": "ON_DEMAND"},
        Usage(input=9, output=1),
    ),
    "cached, of an unknown prompt": (
        {"cachedContentTokenCount": 9, "toolUsePromptTokenCount": 4, "candidatesTokenCount": 1},
        Usage(output=1),
    ),
    "lists of another shape": (
        {
            "promptTokenCount": 9,
            "candidatesTokenCount": 1,
            "promptTokensDetails": [None, 7, {"modality": "AUDIO", "tokenCount": -3}, {"modality": ["AUDIO"]}],
            "candidatesTokensDetails": "AUDIO",
            "trafficType": ["ON_DEMAND_FLEX"],
        },
        Usage(input=9, output=1),
    ),
}
REPORTS = [
    pytest.param(name, usage, expected, id=f"{name}: {vendor}")
    for name, vendors in zip(WHOLE, (CHAT, MESSAGES, RESPONSES, GEMINI), strict=True)
    for vendor, (usage, expected) in vendors.items()
]


def watched(name: str, stream: bytes) -> Any:
    watch = DIALECTS[name].watch(Facts(model="m", size=1, is_stream=True))
    watch.observe(stream)
    watch.end()
    return watch


@pytest.mark.parametrize(("name", "usage", "expected"), REPORTS)
def test_it_is_read_the_same_wherever_it_stands(name: str, usage: dict[str, Any], expected: Usage):
    dialect, whole = DIALECTS[name], WHOLE[name](usage)
    assert dialect.read_usage(whole) == expected
    assert fold(dialect.read_answer(whole, ORIGIN)).usage == expected
    stream = STREAMS[name][0](usage)
    assert watched(name, stream).usage == expected
    reader = dialect.reader(ORIGIN)
    assert fold([*reader.feed(stream), *reader.close()]).usage == expected


@pytest.mark.parametrize(
    ("tier", "expected"), [("default", None), ("flex", "flex"), ("Priority", "priority"), (7, None)]
)
def test_the_tier_that_served_stands_beside_openais_usage(tier: object, expected: str | None):
    counts = {"prompt_tokens": 1, "completion_tokens": 1, "input_tokens": 1, "output_tokens": 1}
    for name in ("openai_chat", "openai_responses"):
        whole = json.dumps({**json.loads(WHOLE[name](counts)), "service_tier": tier}).encode()
        assert DIALECTS[name].read_usage(whole).service_tier == expected
        assert fold(DIALECTS[name].read_answer(whole, ORIGIN)).usage.service_tier == expected
    chunk = {"choices": [], "usage": counts, "service_tier": tier}
    stream = chat_last(counts).replace(b"data: [DONE]", frame(chunk).strip() + b"\n\ndata: [DONE]")
    assert watched("openai_chat", stream).usage.service_tier == expected


@pytest.mark.parametrize("name", ["openai_chat", "openai_responses"])
def test_the_tier_that_was_asked_for_is_not_the_one_that_served(name: str):
    """OpenAI falls back from priority to default, and says so at the end."""
    counts = {"prompt_tokens": 1, "completion_tokens": 1, "input_tokens": 1, "output_tokens": 1}
    asked = {
        "openai_chat": {"choices": [{"index": 0, "delta": {"role": "assistant"}}], "service_tier": "priority"},
        "openai_responses": {"type": "response.created", "response": {"id": "r", "service_tier": "priority"}},
    }
    stream = frame(asked[name]) + STREAMS[name][0]({**counts, "service_tier": "default"})
    assert watched(name, stream).usage == Usage(input=1, output=1)
    reader = DIALECTS[name].reader(ORIGIN)
    assert fold([*reader.feed(stream), *reader.close()]).usage == Usage(input=1, output=1)


# Whole answers that are not quite JSON, or have their usage elsewhere.


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("oddity", ['"\\ud83d"', "1e999", "9" * 40])
def test_an_oddity_elsewhere_in_a_whole_answer_does_not_lose_its_usage(name: str, oddity: str):
    """Models cut a surrogate pair in two where their tokens end."""
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "input_tokens": 3,
        "output_tokens": 4,
        "promptTokenCount": 3,
        "candidatesTokenCount": 4,
    }
    body = WHOLE[name](usage)[:-1] + b', "said": ' + oddity.encode() + b"}"
    assert DIALECTS[name].read_usage(body) == Usage(input=3, output=4)


@pytest.mark.parametrize(
    "where",
    [
        {"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}},
        {"usage": {}, "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}},
        {"usage": None, "choices": [{"message": {}, "usage": {"prompt_tokens": 3, "completion_tokens": 4}}]},
    ],
)
def test_a_whole_answers_usage_may_stand_where_a_streams_does(where: dict[str, Any]):
    assert DIALECTS["openai_chat"].read_usage(json.dumps(where).encode()) == Usage(input=3, output=4)


# Several reports of one stream.

NONSENSE = (None, -1, True, "9", [], float("nan"), float("inf"), MAX_TOKENS + 1)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([{"a": 5}, {"a": 7}], {"a": 7}),
        ([{"a": 7}, {"a": 5}], {"a": 5}),
        ([{"a": 7}, {"a": 0}], {"a": 7}),
        ([{"a": 0}, {"a": 7}], {"a": 7}),
        ([{"a": 0}, {"a": 0}], {"a": 0}),
        *(
            ([{"a": 7}, {"a": bad}], {"a": 7})
            for bad in (None, -1, True, "9", [], float("nan"), float("inf"), MAX_TOKENS + 1)
        ),
        *(([{"a": bad}], {}) for bad in (None, -1, float("nan"), float("inf"), 10**40)),
        ([{"a": True}, {"a": False}, {"a": 3}, {"a": True}], {"a": 3}),
        ([{"d": {"x": 1, "y": 2}}, {"d": {"x": 3}}], {"d": {"x": 3, "y": 2}}),
        ([{"d": {"x": 1}}, {"d": {"x": 0}}, {"d": None}, {"d": {}}], {"d": {"x": 1}}),
        ([{"d": 7}, {"d": {"x": 1}}], {"d": {"x": 1}}),
        ([{"t": "flex"}, {"t": "priority"}], {"t": "priority"}),
        ([None, 7, [], "x", {"a": 1}], {"a": 1}),
    ],
)
def test_reports_are_cumulative_and_nonsense_takes_nothing_away(reports: list[Any], expected: dict[str, Any]):
    reported: dict[str, Any] = {}
    for report in reports:
        take_report(reported, report)
    assert reported == expected


def test_cached_tokens_that_one_report_names_and_the_next_does_not_are_not_billed_twice():
    detailed = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 60}}
    last = frame({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 9}})
    stream = chat_last(detailed).replace(b"data: [DONE]\n\n", last + b"data: [DONE]\n\n")
    assert watched("openai_chat", stream).usage == Usage(input=40, cache_read=60, output=9)


def test_a_cache_that_only_the_end_knows_takes_its_tokens_from_the_input():
    """Imitations of Messages estimate what goes in, and know of the cache when all is over."""
    stream = messages_split({"input_tokens": 100, "output_tokens": 9})
    end = b'"usage": {"input_tokens": 0, "cache_read_input_tokens": 100, "output_tokens": 9}'
    stream = stream.replace(b'"usage": {"output_tokens": 9}', end)
    assert watched("anthropic_messages", stream).usage == Usage(input=0, cache_read=100, output=9)


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("openai_chat", {"completion_tokens": 5}),
        ("openai_chat", {"prompt_tokens": 5}),
        ("anthropic_messages", {"output_tokens": 5}),
        ("openai_responses", {"output_tokens": 5}),
        ("openai_responses", {"input_tokens": 5}),
        ("gemini", {"candidatesTokenCount": 5}),
        ("gemini", {"promptTokenCount": 5}),
    ],
)
def test_half_a_report_is_no_final_one(name: str, half: dict[str, Any]):
    """What the other half used would be free."""
    watch = watched(name, STREAMS[name][0](half))
    assert (watch.is_finished, watch.is_usage_final) == (True, False)


def test_what_has_come_out_at_the_start_of_a_stream_of_messages_is_no_count():
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
    said = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    stream = b"".join(frame(each, each["type"]) for each in (start, said, ended, {"type": "message_stop"}))
    watch = watched("anthropic_messages", stream)
    assert (watch.usage, watch.is_usage_final) == (Usage(input=9), False)


def test_a_count_in_the_middle_of_a_stream_of_messages_is_not_final():
    stream = messages_split({"input_tokens": 9, "output_tokens": 2}).replace(b'"end_turn"', b"null")
    middle = stream[: stream.index(b"event: message_stop")]
    watch = watched("anthropic_messages", middle)
    assert (watch.usage, watch.is_usage_final) == (Usage(input=9, output=2), False)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 7}])
def test_an_empty_report_does_not_end_a_translated_stream_before_the_real_one(usage: dict[str, Any]):
    last = frame({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}})
    stream = chat_last(usage).replace(b"data: [DONE]\n\n", last + b"data: [DONE]\n\n")
    reader = DIALECTS["openai_chat"].reader(ORIGIN)
    assert fold(reader.feed(stream)).usage == Usage(input=7, output=9)
    assert watched("openai_chat", stream).usage == Usage(input=7, output=9)


# What clients see of it.


def test_the_report_that_only_we_asked_for_is_withheld_whatever_it_says():
    watch = DIALECTS["openai_chat"].watch(Facts(model="m", size=1, is_stream=True, wants_usage=False))
    for usage in ({}, {"prompt_tokens": 1}, {"prompt_tokens": 1, "completion_tokens": 2}, {"a": None}):
        assert b"usage" not in watch.observe(frame({"choices": [], "usage": usage}))


def test_an_answer_without_any_usage_reports_nothing():
    body = json.loads(chat_whole({}))
    del body["usage"]
    assert DIALECTS["openai_chat"].read_usage(json.dumps(body).encode()) == NOTHING_REPORTED
