"""An upstream's stream as events, whatever it does."""

import json
from typing import Any

import pytest

from providers.canonical.answer import Answer, fold
from providers.canonical.events import (
    ArgumentsDelta,
    Event,
    MessageEnd,
    MessageStart,
    PartStart,
    Ping,
    SealDelta,
    StreamFailed,
    UsageReport,
)
from providers.canonical.parts import Foreign, Text, Thinking, ToolCall
from providers.canonical.seals import Seal
from providers.canonical.usage import Usage
from providers.dialects.anthropic_messages.answer import read_answer
from providers.dialects.anthropic_messages.stream_reader import MessagesReader

ORIGIN = "anthropic/claude"


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def start(**usage: Any) -> bytes:
    return event("message_start", message={"id": "msg_1", "model": "claude", "content": [], "usage": usage})


def block(index: int, **fields: Any) -> bytes:
    return event("content_block_start", index=index, content_block=fields)


def delta(index: int, kind: str, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def said(index: int, text: str) -> bytes:
    return delta(index, "text_delta", text=text)


def stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


def end(reason: str | None = "end_turn", usage: Any = None, **fields: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, **fields}, usage=usage or {"output_tokens": 9})


START = start(input_tokens=12, output_tokens=1)
STOP = event("message_stop")
TEXT = {"type": "text", "text": ""}
TOOL = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}


def events_of(*frames: bytes) -> list[Event]:
    reader = MessagesReader(ORIGIN)
    return [*(each for frame in frames for each in reader.feed(frame)), *reader.close()]


def answer_of(*frames: bytes) -> Answer:
    return fold(events_of(START, *frames, end(), STOP))


def test_it_reads_thinking_words_and_a_call():
    answer = fold(
        events_of(
            START,
            block(0, type="thinking", thinking="", signature=""),
            delta(0, "thinking_delta", thinking="hm"),
            delta(0, "signature_delta", signature="Eq=="),
            stop(0),
            block(1, **TEXT),
            said(1, "a"),
            said(1, "b"),
            stop(1),
            block(2, **TOOL),
            delta(2, "input_json_delta", partial_json=""),
            delta(2, "input_json_delta", partial_json='{"a"'),
            delta(2, "input_json_delta", partial_json=": 1}"),
            stop(2),
            end("tool_use"),
            STOP,
        )
    )
    assert answer.parts == (
        Thinking(text="hm", seal=Seal(origin=ORIGIN, payload="Eq==")),
        Text(text="ab"),
        ToolCall(id="t1", name="f", arguments='{"a": 1}'),
    )
    assert (answer.stop, answer.id, answer.model) == ("tool_use", "msg_1", "claude")


def test_edge_9_a_delta_of_a_block_that_was_never_opened_opens_it():
    assert answer_of(said(0, "a"), said(0, "b"), stop(0)).parts == (Text(text="ab"),)


def test_edge_9_arguments_of_a_call_that_was_never_opened_are_skipped():
    assert answer_of(delta(0, "input_json_delta", partial_json="{}")).parts == ()


def test_edge_4_thinking_in_a_block_of_text_is_thinking():
    answer = answer_of(block(0, **TEXT), said(0, "a"), delta(0, "thinking_delta", thinking="hm"), stop(0))
    assert answer.parts == (Text(text="a"), Thinking(text="hm"))


def test_edge_14_empty_deltas_open_and_close_nothing():
    empty = event("content_block_delta", index=0, delta={}), said(0, ""), delta(0, "thinking_delta", thinking="")
    assert answer_of(*empty, block(0, **TEXT), said(0, "a"), *empty, said(0, "b"), stop(0)).parts == (Text(text="ab"),)


def test_edge_5_what_a_block_opens_with_is_not_lost():
    tool = TOOL | {"input": {"a": 1}}
    answer = answer_of(block(0, type="text", text="Hel"), said(0, "lo"), stop(0), block(1, **tool), stop(1))
    assert answer.parts == (Text(text="Hello"), ToolCall(id="t1", name="f", arguments='{"a":1}'))


def test_edge_5_arguments_in_pieces_win_over_those_at_the_start():
    tool = TOOL | {"input": {"a": 1}}
    answer = answer_of(block(0, **tool), delta(0, "input_json_delta", partial_json='{"b":2}'), stop(0))
    assert answer.parts == (ToolCall(id="t1", name="f", arguments='{"b":2}'),)


def test_a_call_without_arguments_has_an_empty_object():
    assert ArgumentsDelta(index=0, text="{}") in events_of(START, block(0, **TOOL), stop(0), end(), STOP)


def test_edge_3_a_second_stop_of_a_block_says_nothing():
    answer = answer_of(block(0, **TOOL), stop(0), stop(0), stop(7))
    assert answer.parts == (ToolCall(id="t1", name="f", arguments="{}"),)


def test_edge_2_a_second_start_is_none():
    events = events_of(START, START, block(0, **TEXT), said(0, "a"), stop(0), end(), STOP)
    assert [type(each) for each in events].count(MessageStart) == 1


def test_a_block_that_is_never_closed_ends_with_the_message():
    assert answer_of(block(0, **TEXT), said(0, "a")).parts == (Text(text="a"),)


def test_edge_49_usage_is_cumulative_and_not_summed():
    used = {"output_tokens": 42, "input_tokens": 12, "cache_read_input_tokens": None}
    events = events_of(start(input_tokens=12, cache_read_input_tokens=7, output_tokens=1), end(usage=used), STOP)
    assert fold(events).usage == Usage(input=12, cache_read=7, output=42)


def test_edge_55_a_partial_report_takes_nothing_away():
    kinds = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
    first = start(input_tokens=12, cache_creation_input_tokens=30, cache_creation=kinds, output_tokens=1)
    reports = [
        each.usage for each in events_of(first, end(None, {"output_tokens": 5})) if isinstance(each, UsageReport)
    ]
    assert reports[-1] == Usage(input=12, cache_write_5m=10, cache_write_1h=20, output=5)


def test_what_went_in_is_known_from_the_start_and_what_comes_out_is_not():
    reader = MessagesReader(ORIGIN)
    assert UsageReport(usage=Usage(input=12)) in reader.feed(START)


def test_pings_are_passed_on_and_unknown_events_are_not():
    events = events_of(START, event("ping"), event("of_tomorrow", x=1), b": note\n\n", end(), STOP)
    assert [type(each) for each in events] == [MessageStart, UsageReport, Ping, UsageReport, MessageEnd]


def test_an_event_whose_data_has_no_type_is_what_its_line_says():
    frame = b'event: content_block_delta\ndata: {"index":0,"delta":{"type":"text_delta","text":"a"}}\n\n'
    assert answer_of(frame).parts == (Text(text="a"),)


def test_the_vendors_own_blocks_come_whole():
    call = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    answer = answer_of(
        block(0, **call),
        delta(0, "input_json_delta", partial_json=""),
        delta(0, "input_json_delta", partial_json='{"query"'),
        delta(0, "input_json_delta", partial_json=':"x"}'),
        stop(0),
        block(1, **result),
        stop(1),
        block(2, type="compaction", content=None),
        delta(2, "compaction_delta", content="so "),
        delta(2, "compaction_delta", content="far"),
        stop(2),
    )
    assert [part.value for part in answer.parts if isinstance(part, Foreign)] == [
        call | {"input": {"query": "x"}},
        result,
        {"type": "compaction", "content": "so far"},
    ]
    assert answer.stop == "end_turn"


def test_redacted_thinking_is_whole_and_sealed():
    answer = answer_of(block(0, type="redacted_thinking", data="Em=="), stop(0))
    seal = Seal(origin=ORIGIN, payload="Em==", form="redacted_thinking")
    assert answer.parts == (Thinking(is_redacted=True, seal=seal),)


@pytest.mark.parametrize("signature", [None, ""])
def test_edge_92_no_signature_is_no_seal(signature: str | None):
    frames = block(0, type="thinking", thinking="hm", signature=signature), stop(0)
    events = events_of(START, *frames, end(), STOP)
    assert not [each for each in events if isinstance(each, SealDelta)]


def test_citations_belong_to_their_text():
    citation = {"type": "web_search_result_location", "url": "https://a", "title": "A", "cited_text": "x"}
    (part,) = answer_of(block(0, **TEXT), delta(0, "citations_delta", citation=citation), said(0, "a"), stop(0)).parts
    assert isinstance(part, Text)
    assert [(each.url, each.title, each.quote) for each in part.citations] == [("https://a", "A", "x")]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "end_turn"),  # no call was seen
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("model_context_window_exceeded", "context_exceeded"),
        ("of_tomorrow", "end_turn"),
    ],
)
def test_it_reads_why_the_answer_ended(reason: str, expected: str):
    assert fold(events_of(START, end(reason), STOP)).stop == expected


@pytest.mark.parametrize(("reason", "expected"), [("end_turn", "tool_use"), ("max_tokens", "max_tokens")])
def test_calls_are_to_be_run_unless_the_answer_was_cut(reason: str, expected: str):
    assert fold(events_of(START, block(0, **TOOL), stop(0), end(reason), STOP)).stop == expected


def test_the_stop_sequence_is_told():
    assert fold(events_of(START, end("stop_sequence", stop_sequence="END"), STOP)).stop_sequence == "END"


def test_edge_113_a_refusal_may_say_nothing_but_why():
    details = {"type": "refusal", "category": "cyber", "explanation": "no"}
    answer = fold(events_of(START, end("refusal", stop_details=details), STOP))
    assert (answer.parts, answer.stop, answer.explanation) == ((), "refusal", "no")


def test_an_error_ends_it_with_its_own_words():
    events = events_of(START, event("error", error={"type": "overloaded_error", "message": "Overloaded"}), STOP)
    assert events[-1] == StreamFailed(message="Overloaded", code="overloaded_error")


@pytest.mark.parametrize("error", [None, "plain", {}, {"type": "api_error"}, {"message": 5}])
def test_an_error_of_another_shape_ends_it_too(error: Any):
    assert isinstance(events_of(START, event("error", error=error))[-1], StreamFailed)


def test_edge_10_an_end_without_message_stop_is_one_if_a_reason_was_told():
    assert isinstance(events_of(START, block(0, **TEXT), said(0, "a"), end())[-1], MessageEnd)


@pytest.mark.parametrize("last", [b"", end(None)])
def test_edge_10_a_stream_that_breaks_off_fails(last: bytes):
    events = events_of(START, block(0, **TEXT), said(0, "a"), last)
    assert isinstance(events[-1], StreamFailed)


def test_chat_completions_own_end_is_tolerated():
    assert isinstance(events_of(START, end(), b"data: [DONE]\n\n")[-1], MessageEnd)


@pytest.mark.parametrize(
    "data", [b"{oops", b"[1]", b'{"type":"content_block_stop"}', b'{"type":"content_block_start","index":0}']
)
def test_nonsense_fails(data: bytes):
    events = events_of(START, b"data: " + data + b"\n\n", STOP)
    assert isinstance(events[-1], StreamFailed)
    assert len([each for each in events if isinstance(each, StreamFailed)]) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"type": "error", "error": {"type": "api_error", "message": "Oops"}}, "Oops"),
        ({"error": "Oops"}, "Oops"),
        ({}, "The upstream's answer makes no sense."),
        ({"content": 5}, "The upstream's answer makes no sense."),
        ({"content": [None]}, "The upstream's answer makes no sense."),
        ([], "The upstream's answer makes no sense."),
    ],
)
def test_a_whole_answer_that_is_none_fails(body: Any, message: str):
    events = read_answer(json.dumps(body).encode(), ORIGIN)
    (failed,) = [each for each in events if isinstance(each, StreamFailed)]
    assert (failed.message, events[-1]) == (message, failed)


def test_a_whole_answer_of_imitations_is_read_with_what_it_has():
    answer = fold(read_answer(b'{"content":[{"type":"text","text":"a"}]}', ORIGIN))
    assert (answer.parts, answer.stop) == ((Text(text="a"),), "end_turn")


def test_parts_are_numbered_by_us_and_not_by_the_upstream():
    events = events_of(START, block(3, **TEXT), said(3, "a"), stop(3), block(7, **TOOL), stop(7), end(), STOP)
    assert [each.index for each in events if isinstance(each, PartStart)] == [0, 1]
