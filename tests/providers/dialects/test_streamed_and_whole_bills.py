"""Streamed and whole answers of one exchange cost the same to the last digit, passed through and translated.

The numbers are any; the shapes are those in which vendors report them. What is billed is read four ways: from the whole
answer and from the stream, each as it passes through and as it is translated for a client of every dialect.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.answer import fold
from providers.canonical.inbound import Facts
from providers.canonical.losses import Losses
from providers.canonical.request import Request
from providers.canonical.usage import Usage
from providers.conformance.crossing import ORIGIN, reply_to
from providers.dialects.base import Dialect
from providers.dialects.watch import Watch
from providers.pricing import Price, cost
from providers.registry import DIALECTS
from providers.translation import TranslatedStream
from providers.wire.sse import FrameSplitter
from tests.providers.dialects.usage_shapes import STREAMS, WHOLE, Json, shapes

# Primes, so that no two units can be taken for each other.
PRICE = Price(
    side="sell",
    effective_from=0.0,
    input=Decimal("2.000003"),
    cache_read=Decimal("0.300007"),
    cache_write_5m=Decimal("3.700011"),
    cache_write_1h=Decimal("6.100013"),
    output=Decimal("15.000017"),
    reasoning=Decimal("19.000019"),
    audio_input=Decimal("40.000023"),
    audio_output=Decimal("80.000029"),
    per_request=Decimal("0.000031"),
    second=Decimal("0.000037"),
)
counted = st.integers(1, 5_000_000)
rarely_nothing = st.one_of(counted, counted, st.just(0))
nonsense = st.sampled_from([None, -1, -5_000_000, 10**9, 10**30, "7", True, False, [], {}, [None], {"a": None}, 2.5])
sloppy = st.one_of(rarely_nothing, rarely_nothing, nonsense)


def chat_usage(number: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {"prompt_tokens": number, "completion_tokens": number},
        optional={
            "total_tokens": number,
            "prompt_tokens_details": st.fixed_dictionaries(
                {}, optional=dict.fromkeys(("cached_tokens", "cache_write_tokens", "audio_tokens"), number)
            ),
            "completion_tokens_details": st.fixed_dictionaries(
                {}, optional=dict.fromkeys(("reasoning_tokens", "audio_tokens"), number)
            ),
            "prompt_cache_hit_tokens": number,
            "cached_tokens": number,
            "cost": st.integers(0, 50_000),
            "service_tier": st.sampled_from(["default", "flex", "priority"]),
        },
    )


def messages_usage(number: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    kinds = st.fixed_dictionaries(dict.fromkeys(("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"), number))
    tokens = {
        "input_tokens": number,
        "cache_read_input_tokens": number,
        "cache_creation_input_tokens": number,
        "cache_creation": kinds,
        "output_tokens": number,
    }
    kind = st.sampled_from(["message", "compaction", "advisor_message"])
    iterations = st.lists(st.fixed_dictionaries({"type": kind, **tokens}), max_size=3)
    thinking = st.fixed_dictionaries({"thinking_tokens": number})
    return st.fixed_dictionaries(tokens, optional={"output_tokens_details": thinking, "iterations": iterations})


def responses_usage(number: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    lifetimes = st.fixed_dictionaries(dict.fromkeys(("ttl_30m_tokens", "ttl_12h_tokens"), number))
    return st.fixed_dictionaries(
        {"input_tokens": number, "output_tokens": number},
        optional={
            "total_tokens": number,
            "input_tokens_details": st.fixed_dictionaries(
                {"cached_tokens": number},
                optional={"cache_write_tokens": number, "cache_write_tokens_details": lifetimes},
            ),
            "output_tokens_details": st.fixed_dictionaries({"reasoning_tokens": number}),
        },
    )


def gemini_usage(number: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    modalities = st.lists(
        st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO"]), "tokenCount": number}), max_size=2
    )
    names = ("cachedContentTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount", "totalTokenCount")
    return st.fixed_dictionaries(
        {"promptTokenCount": number, "candidatesTokenCount": number},
        optional=dict.fromkeys(names, number)
        | dict.fromkeys(("promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails"), modalities),
    )


USAGES = {
    "openai_chat": chat_usage,
    "anthropic_messages": messages_usage,
    "openai_responses": responses_usage,
    "gemini": gemini_usage,
}
each_shape = pytest.mark.parametrize(
    ("name", "make"), [pytest.param(*shape, id=shape[1].__name__) for shape in shapes()]
)
each_dialect = pytest.mark.parametrize("name", STREAMS)


def play(watch: Watch, stream: bytes) -> Watch:
    """Let a watch see a stream as the relay does, in packets that end anywhere."""
    splitter = FrameSplitter()
    for start in range(0, len(stream), 97):
        watch.observe(splitter.feed(stream[start : start + 97]))
    watch.observe(splitter.close())
    if not watch.is_finished:
        watch.end()
    assert watch.error is None
    return watch


def streamed(upstream: Dialect, stream: bytes) -> Iterator[Watch]:
    """Watch a stream as it passes through, asked for usage or not, and on its way to a client of every other dialect."""
    for wants_usage in (True, False):
        facts = Facts(model="m", size=1, is_stream=True, wants_usage=wants_usage)
        yield play(upstream.watch(facts), stream)
    for client in DIALECTS.values():
        if client is not upstream:
            writer = client.writer(reply_to(Request(model="m", turns=()), Losses()))
            yield play(TranslatedStream(upstream.reader(ORIGIN), None, writer), stream)


def wholes(upstream: Dialect, answer: bytes) -> Iterator[Usage]:
    """Read a whole answer as it passes through, and as it is translated."""
    yield upstream.read_usage(answer)
    yield fold(upstream.read_answer(answer, ORIGIN)).usage


def is_possible(usage: Usage) -> bool:
    """Whether counts are none, or not negative, and parts no larger than their wholes."""
    parts = (usage.reasoning or 0) + (usage.audio_output or 0), usage.audio_input or 0
    counts = [value for value in (getattr(usage, name) for name in usage.__struct_fields__) if isinstance(value, int)]
    return all(value >= 0 for value in counts) and parts[0] <= (usage.output or 0) and parts[1] <= (usage.input or 0)


@each_shape
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_streamed_and_whole_cost_the_same_to_the_last_digit(
    name: str, make: Callable[[Json], bytes], data: st.DataObject
):
    usage = data.draw(USAGES[name](counted))
    upstream = DIALECTS[name]
    expected, *others = wholes(upstream, WHOLE[name](usage))
    assert others == [expected]
    assert is_possible(expected)
    amount = cost(expected, PRICE)
    assert amount is not None
    for watch in streamed(upstream, make(usage)):
        assert (watch.usage, watch.is_usage_final) == (expected, True)
        assert cost(watch.usage, PRICE) == amount


@each_dialect
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nonsense_costs_the_same_either_way_too(name: str, data: st.DataObject):
    usage = data.draw(USAGES[name](sloppy))
    upstream = DIALECTS[name]
    expected, *others = wholes(upstream, WHOLE[name](usage))
    assert others == [expected]
    assert is_possible(expected)
    assert (cost(expected, PRICE) or 0) >= 0
    for watch in streamed(upstream, STREAMS[name][0](usage)):
        assert (watch.usage, watch.is_usage_final) == (expected, expected.is_complete)


@each_dialect
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_client_is_told_what_is_billed(name: str, data: st.DataObject):
    usage = data.draw(USAGES[name](counted))
    upstream = DIALECTS[name]
    events = upstream.read_answer(WHOLE[name](usage), ORIGIN)
    billed = fold(events).usage
    for client in DIALECTS.values():
        writer = client.writer(reply_to(Request(model="m", turns=()), Losses()))
        reader = client.reader(ORIGIN)
        told = fold([*reader.feed(b"".join([writer.feed(event) for event in events])), *reader.close()]).usage
        assert (_prompt(told), told.output) == (_prompt(billed), billed.output)
        assert (told.cache_read or 0) == (billed.cache_read or 0)
        assert (told.reasoning or 0) == (billed.reasoning or 0)


def _prompt(usage: Usage) -> int:
    return sum(count or 0 for count in (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h))
