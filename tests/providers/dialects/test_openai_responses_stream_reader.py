"""Reading what an upstream that speaks Responses streams, however much of it is missing or said twice."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from providers.canonical.answer import Answer, AnswerFailed, fold
from providers.canonical.events import Event, MessageEnd, MessageStart, Ping, StreamFailed
from providers.canonical.parts import Foreign, Media, Text, Thinking, ToolCall
from providers.canonical.seals import Seal
from providers.canonical.usage import Usage
from providers.dialects.openai_responses import OPENAI_RESPONSES
from providers.dialects.reader import CUT, NONSENSE
from tests.providers.laws.answers import disorder

ORIGIN = "openai/gpt"
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
}
USED = Usage(input=30, cache_read=60, cache_write_5m=10, output=7, reasoning=3)


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def ended(status: str = "completed", **members: Any) -> bytes:
    return event(f"response.{status}", response={"id": "resp_1", "model": "gpt", "status": status, **members})


CREATED = event("response.created", response={"id": "resp_1", "model": "gpt", "status": "in_progress"})
COMPLETED = ended(output=[], usage=USAGE)
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
SAID = {"type": "output_text", "text": "Hello", "annotations": []}


def added(item: Any, place: int = 0) -> bytes:
    return event("response.output_item.added", output_index=place, item=item)


def done(item: Any, place: int = 0) -> bytes:
    return event("response.output_item.done", output_index=place, item=item)


def piece(kind: str, place: int = 0, **members: Any) -> bytes:
    return event(f"response.{kind}", output_index=place, **members)


def text(delta: str, place: int = 0, index: int = 0) -> bytes:
    return piece("output_text.delta", place, content_index=index, delta=delta)


def read(*frames: bytes) -> list[Event]:
    reader = OPENAI_RESPONSES.reader(ORIGIN)
    events = [event for frame in frames for event in reader.feed(frame)]
    events += reader.close()
    assert disorder(events) is None, events
    return events


def answered(*frames: bytes) -> Answer:
    return fold(read(CREATED, *frames))


def failure(events: Sequence[Event]) -> StreamFailed:
    last = events[-1]
    assert isinstance(last, StreamFailed)
    return last


def words(answer: Answer) -> list[str]:
    return [part.text for part in answer.parts if isinstance(part, Text)]


def test_a_message_is_read():
    answer = answered(
        added(MESSAGE),
        piece("content_part.added", content_index=0, part={"type": "output_text", "text": "", "annotations": []}),
        text("Hel"),
        text("lo"),
        piece("output_text.done", content_index=0, text="Hello"),
        piece("content_part.done", content_index=0, part=SAID),
        done({**MESSAGE, "status": "completed", "content": [SAID]}),
        ended(output=[{**MESSAGE, "content": [SAID]}], usage=USAGE),
    )
    assert (answer.id, answer.model, answer.stop, answer.usage) == ("resp_1", "gpt", "end_turn", USED)
    assert words(answer) == ["Hello"]


@pytest.mark.parametrize(
    "frames",
    [
        [added(MESSAGE), piece("output_text.done", content_index=0, text="Hello"), COMPLETED],
        [added(MESSAGE), piece("content_part.done", content_index=0, part=SAID), COMPLETED],
        [added(MESSAGE), done({**MESSAGE, "content": [SAID]}), COMPLETED],
        [added(MESSAGE), text("Hel"), done({**MESSAGE, "content": [SAID]}), COMPLETED],
        [done({**MESSAGE, "content": [SAID]}), COMPLETED],
        [ended(output=[{**MESSAGE, "content": [SAID]}], usage=USAGE)],
        [added(MESSAGE), text("Hel"), ended(output=[{**MESSAGE, "content": [SAID]}], usage=USAGE)],
        [text("Hel"), text("lo"), COMPLETED],
    ],
)
def test_edge_101_words_may_come_in_deltas_or_only_later(frames: list[bytes]):
    assert words(answered(*frames)) == ["Hello"]


ARGUED = {**CALL, "arguments": '{"a":1}'}
HALF = piece("function_call_arguments.delta", delta='{"a"')


@pytest.mark.parametrize(
    "frames",
    [
        [added(CALL), piece("function_call_arguments.done", arguments='{"a":1}'), COMPLETED],
        [added(CALL), done(ARGUED), COMPLETED],
        [added(CALL), HALF, done(ARGUED), COMPLETED],
        [added(ARGUED), done(ARGUED), COMPLETED],
        [HALF, done(ARGUED), COMPLETED],
        [added({**CALL, "name": None}), HALF, done(ARGUED), COMPLETED],
        [ended(output=[ARGUED], usage=USAGE)],
    ],
)
def test_edge_101_arguments_may_come_in_deltas_or_only_later(frames: list[bytes]):
    answer = answered(*frames)
    assert answer.parts == (ToolCall(id="call_1", name="f", arguments='{"a":1}'),)
    assert answer.stop == "tool_use"


def test_edge_101_an_answer_without_its_output_is_whole_all_the_same():
    answer = answered(added(CALL), piece("function_call_arguments.delta", delta="{}"), COMPLETED)
    assert answer.parts == (ToolCall(id="call_1", name="f", arguments="{}"),)


def test_edge_102_items_that_are_not_known_are_foreign_and_whole():
    item = {"type": "computer_call", "id": "cu_1", "call_id": "c", "action": {"type": "click"}}
    answer = answered(added(item), done({**item, "status": "completed"}), done({"type": "new"}, 1), COMPLETED)
    assert [part.what for part in answer.parts if isinstance(part, Foreign)] == ["computer_call", "new"]
    assert answer.parts[0].value["status"] == "completed"  # type: ignore[union-attr]


@pytest.mark.parametrize("status", ["incomplete", "completed"])
def test_edge_51_and_52_usage_is_read_of_every_end(status: str):
    assert answered(text("a"), ended(status, output=[], usage=USAGE)).usage == USED


def test_edge_51_usage_is_read_of_a_failure():
    events = read(CREATED, ended("failed", usage=USAGE, error={"code": "server_error", "message": "no"}))
    assert [each.usage for each in events if hasattr(each, "usage")] == [USED]
    assert (failure(events).code, failure(events).message) == ("server_error", "no")


def test_custom_calls_and_namespaces_are_read():
    custom = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "exec", "input": ""}
    spaced = {**CALL, "namespace": "mcp"}
    answer = answered(
        added(custom),
        piece("custom_tool_call_input.delta", delta="ls "),
        piece("custom_tool_call_input.done", input="ls -l"),
        done({**custom, "input": "ls -l"}),
        added(spaced, 1),
        done({**spaced, "arguments": "{}"}, 1),
        COMPLETED,
    )
    assert answer.parts == (
        ToolCall(id="c1", name="exec", kind="custom", arguments="ls -l"),
        ToolCall(id="call_1", name="f", namespace="mcp", arguments="{}"),
    )


def test_calls_that_interleave_stay_apart():
    other = {**CALL, "id": "fc_2", "call_id": "call_2"}
    answer = answered(
        added(CALL),
        added(other, 1),
        piece("function_call_arguments.delta", 0, delta='{"a":'),
        piece("function_call_arguments.delta", 1, delta='{"b":'),
        piece("function_call_arguments.delta", 0, delta="1}"),
        piece("function_call_arguments.delta", 1, delta="2}"),
        COMPLETED,
    )
    assert [part.arguments for part in answer.parts if isinstance(part, ToolCall)] == ['{"a":1}', '{"b":2}']


def test_reasoning_is_one_part_with_its_seal_from_the_end_of_the_item():
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "half"}
    whole = {**item, "summary": [{"type": "summary_text", "text": "a b"}, {"type": "summary_text", "text": "c"}]}
    answer = answered(
        added(item),
        piece("reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}),
        piece("reasoning_summary_text.delta", summary_index=0, delta="a "),
        piece("reasoning_summary_text.delta", summary_index=0, delta="b"),
        piece("reasoning_summary_text.done", summary_index=0, text="a b"),
        piece("reasoning_summary_text.delta", summary_index=1, delta="c"),
        done({**whole, "encrypted_content": "whole"}),
        text("x", 1),
        COMPLETED,
    )
    assert answer.parts[0] == Thinking(text="a b\n\nc", seal=Seal(origin=ORIGIN, payload="whole"))


def test_reasoning_that_says_nothing_and_is_not_sealed_is_no_part():
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert words(answered(added(item), done(item), text("x", 1), COMPLETED)) == ["x"]


def test_reasoning_in_the_open_is_read():
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hmm"}]}
    streamed = answered(added(item), piece("reasoning_text.delta", content_index=0, delta="hm"), done(item), COMPLETED)
    assert streamed.parts == (Thinking(text="hmm"),)


def test_edge_113_a_refusal_is_an_answer():
    part = {"type": "refusal", "refusal": "No."}
    answer = answered(
        added(MESSAGE),
        piece("content_part.added", content_index=0, part={"type": "refusal", "refusal": ""}),
        piece("refusal.delta", content_index=0, delta="N"),
        piece("refusal.done", content_index=0, refusal="No."),
        done({**MESSAGE, "content": [part]}),
        COMPLETED,
    )
    assert answer.stop == "refusal"
    assert [(part.text, part.is_refusal) for part in answer.parts if isinstance(part, Text)] == [("No.", True)]


def test_edge_113_a_filter_may_leave_nothing_at_all():
    answer = answered(ended("incomplete", output=[], incomplete_details={"reason": "content_filter"}))
    assert (answer.stop, answer.parts) == ("refusal", ())


@pytest.mark.parametrize(
    ("details", "stop"),
    [
        ({"reason": "max_output_tokens"}, "max_tokens"),
        ({"reason": "content_filter"}, "refusal"),
        ({"reason": "steered"}, "end_turn"),
        (None, "end_turn"),
    ],
)
def test_edge_104_why_an_answer_is_incomplete(details: Any, stop: str):
    assert answered(text("a"), ended("incomplete", output=[], incomplete_details=details)).stop == stop


def test_edge_104_a_call_that_is_cut_off_is_no_wish_to_use_a_tool():
    answer = answered(
        added(CALL),
        piece("function_call_arguments.delta", delta='{"a'),
        ended("incomplete", output=[], incomplete_details={"reason": "max_output_tokens"}),
    )
    assert answer.stop == "max_tokens"


def test_sources_are_read_once():
    note = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 5}
    answer = answered(
        added(MESSAGE),
        text("Hello"),
        piece("output_text.annotation.added", content_index=0, annotation_index=0, annotation=note),
        done({**MESSAGE, "content": [{**SAID, "annotations": [note, {**note, "url": "https://b"}]}]}),
        COMPLETED,
    )
    (part,) = answer.parts
    assert isinstance(part, Text)
    assert [citation.url for citation in part.citations] == ["https://a", "https://b"]


def test_an_image_that_the_model_made_is_an_image():
    item = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"}
    (part,) = answered(added({**item, "result": None}), done(item), COMPLETED).parts
    assert isinstance(part, Media)
    assert (part.media_type, part.data) == ("image/png", "AAAA")


def test_a_part_that_begins_ends_the_one_before():
    answer = answered(
        added(MESSAGE), text("a"), added(CALL, 1), added({**MESSAGE, "id": "msg_2"}, 2), text("b", 2), COMPLETED
    )
    assert [type(part).__name__ for part in answer.parts] == ["Text", "ToolCall", "Text"]


def test_signs_of_life_are_told():
    for frame in (event("keepalive"), event("response.web_search_call.searching", output_index=0)):
        assert any(isinstance(each, Ping) for each in read(CREATED, frame, COMPLETED))


@pytest.mark.parametrize(
    ("frame", "message", "code"),
    [
        (event("error", code="rate_limit_exceeded", message="slow"), "slow", "rate_limit_exceeded"),
        (event("error", error={"type": "server_error", "message": "no"}), "no", "server_error"),
        (b'event: error\ndata: {"message":"no","code":"x"}\n\n', "no", "x"),
        (b'data: {"error":{"message":"no","code":"x"}}\n\n', "no", "x"),
        (ended("failed", error={"code": "invalid_prompt", "message": "bad"}), "bad", "invalid_prompt"),
        (ended("failed", error=None), "The upstream failed.", ""),
        (b"data: {oops\n\n", NONSENSE, ""),
        (b"data: [1]\n\n", NONSENSE, ""),
        (b'data: {"type":"response.completed"}\n\n', NONSENSE, ""),
        (b'data: {"type":"response.output_item.done","output_index":0,"item":7}\n\n', NONSENSE, ""),
        (b": nothing\n\n", CUT, ""),
        (b"data: [DONE]\n\n", CUT, ""),
    ],
)
def test_what_is_no_answer_is_a_failure(frame: bytes, message: str, code: str):
    events = read(CREATED, text("a"), frame)
    assert (failure(events).message, failure(events).code) == (message, code)


def test_nothing_follows_the_end():
    events = read(CREATED, text("a"), COMPLETED, text("late"), COMPLETED, b"data: [DONE]\n\n")
    assert isinstance(events[-1], MessageEnd)
    assert sum(isinstance(each, MessageStart) for each in events) == 1


def test_what_ends_the_output_elsewhere_is_found_by_its_id():
    """Some leave reasoning out of the final output, so that places do not match."""
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    final = {**MESSAGE, "content": [SAID]}
    answer = answered(
        added(reasoning), done(reasoning), added(MESSAGE, 1), text("Hel", 1), ended(output=[final], usage=USAGE)
    )
    assert words(answer) == ["Hello"]
    assert len(answer.parts) == 2


# Whole answers


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no","code":"x"}}', "no"),
        (b'{"id":"r","status":"failed","error":{"code":"x","message":"late"},"output":[]}', "late"),
        (b'{"id":"r","status":"in_progress","output":[]}', "The upstream answered before it had finished."),
        (b'{"choices":[]}', "The upstream's answer is none."),
        (b'{"id":"r","status":"completed","output":[7]}', NONSENSE),
        (b"<html>", NONSENSE),
        (b"", NONSENSE),
    ],
)
def test_a_body_that_is_no_answer_ends_in_a_failure(body: bytes, message: str):
    events = OPENAI_RESPONSES.read_answer(body, ORIGIN)
    with pytest.raises(AnswerFailed) as failed:
        fold(events)
    assert failed.value.failure.message == message
    assert disorder(list(events)) is None


def test_a_call_without_an_id_gets_the_same_one_each_time():
    item = {"type": "function_call", "name": "f", "arguments": "{}"}
    body = json.dumps({"id": "r", "status": "completed", "output": [item]}).encode()
    first, second = (fold(OPENAI_RESPONSES.read_answer(body, ORIGIN)) for _ in range(2))
    assert first == second
    assert isinstance(first.parts[0], ToolCall)
    assert first.parts[0].id.startswith("call_")
