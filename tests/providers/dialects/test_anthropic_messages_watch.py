"""Watching a message's stream: it passes as it came, and what it used is known."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from providers.canonical.inbound import Facts
from providers.canonical.usage import NOTHING_REPORTED, Usage
from providers.dialects.anthropic_messages import ANTHROPIC_MESSAGES
from providers.dialects.anthropic_messages.watch import MessagesWatch

SYNTHETIC_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
WORDS = 'event: message_stop\ndata: [DONE]\n\n "message_stop" "usage":{"output_tokens":9} "error" é🙂\u2028\r\n'


def watch() -> MessagesWatch:
    return MessagesWatch(Facts(model="m", size=1, is_stream=True))


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"), ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def start(usage: object = None) -> bytes:
    return event("message_start", message={"id": "msg_1", "role": "assistant", "content": [], "usage": usage})


def said(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def end(usage: object = None, stop_reason: str | None = "end_turn") -> bytes:
    return event("message_delta", delta={"stop_reason": stop_reason, "stop_sequence": None}, usage=usage)


START = start({"input_tokens": 12, "output_tokens": 1})
PING = event("ping")
OPEN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
CLOSE = event("content_block_stop", index=0)
END = end({"output_tokens": 42})
STOP = event("message_stop")
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
USED = Usage(input=12, output=42)
WHOLE = START + PING + OPEN + b": note\n\n" + said("Hel") + said(WORDS) + CLOSE + END + STOP


@pytest.mark.parametrize(
    "data",
    [
        WHOLE,
        WHOLE.replace(b'":', b'": '),
        WHOLE.replace(b": ", b":"),
        WHOLE.removesuffix(STOP),
        START + OPEN + said("a") + CLOSE + end() + PING + PING,
        START + OPEN + said("a") + CLOSE + end(None) + end({"output_tokens": 42}, None) + STOP,
        START + OPEN + said("a") + CLOSE,
        START + OPEN + said("a") + ERROR + said("b") + END + STOP,
        START + OPEN + ERROR + said("b") + STOP,
        START + OPEN + said("a") + b"event: x\ndata: {oops\n\n" + said("b") + END + STOP,
        START + b"data: {oops\n\n" + said("b"),
        WHOLE + said("late") + END + STOP,
        START + OPEN + said("a") + start({"input_tokens": 99}) + END + STOP,
        START + OPEN + b"event: content_block_delta\ndata: {",
        STOP,
        b"",
    ],
)
def test_any_cutting_tells_the_same_story(play, cuts: Callable[..., Any], data: bytes):
    expected = play(watch(), [data]).story
    for packets in cuts(data):
        assert play(watch(), packets).story == expected


@pytest.mark.parametrize("line_end", ["\r\n", "\r"], ids=["crlf", "cr"])
def test_other_line_ends_pass_as_they_came(play, cuts: Callable[..., Any], line_end: str):
    data = (START + OPEN + said("é") + CLOSE + END + STOP).replace(b"\n", line_end.encode()) + b": bye"
    for packets in cuts(data):
        played = play(watch(), packets)
        assert played.passed == data.removesuffix(b": bye")
        assert (played.watch.usage, played.watch.is_finished) == (USED, True)


def test_it_passes_what_a_model_says_about_the_protocol(play, cuts: Callable[..., Any]):
    for packets in cuts(WHOLE):
        played = play(watch(), packets)
        assert played.passed == WHOLE
        assert (played.watch.usage, played.watch.error) == (USED, None)


def test_events_and_fields_that_nobody_knows_pass(play):
    news = event("brand_new", a=1.50) + event("content_block_start", index=1, content_block={"type": "new_tool"})
    data = START + news + said("a") + news + END + STOP
    assert play(watch(), [data]).passed == data


def test_the_terminal_event_is_held_back_until_the_request_is_settled():
    seen = watch()
    assert seen.observe(WHOLE) == WHOLE.removesuffix(STOP)
    assert seen.is_finished
    assert seen.last() == STOP


def test_events_after_the_end_are_dropped(play):
    played = play(watch(), [WHOLE + said("late") + ERROR + STOP])
    assert (played.passed, played.watch.error) == (WHOLE, None)


# Usage


def test_usage_is_cumulative_and_not_summed(play):
    played = play(watch(), [START, OPEN, said("a"), end({"output_tokens": 20}), END, STOP])
    assert played.watch.usage == USED


def test_a_later_report_fills_in_what_an_earlier_one_lacked_and_null_takes_nothing_away(play):
    first = start({"input_tokens": 0, "cache_read_input_tokens": 7, "output_tokens": 1})
    last = end({"input_tokens": 12, "cache_read_input_tokens": None, "output_tokens": 42})
    played = play(watch(), [first, OPEN, said("a"), last, STOP])
    assert played.watch.usage == Usage(input=12, cache_read=7, output=42)


@pytest.mark.parametrize("last", [{"output_tokens": 42}, {"output_tokens": 42, "cache_creation_input_tokens": 30}])
def test_cache_writes_of_both_kinds_count_once(play, last: dict[str, int]):
    # The end repeats their sum without their kinds: https://docs.anthropic.com/en/api/messages-streaming
    kinds = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
    first = {"input_tokens": 12, "cache_creation_input_tokens": 30, "cache_creation": kinds, "output_tokens": 1}
    played = play(watch(), [start(first), OPEN, said("a"), end(last), STOP])
    assert played.watch.usage == Usage(input=12, cache_write_5m=10, cache_write_1h=20, output=42)


def test_usage_of_a_stream_and_of_a_whole_answer_are_equal(play):
    details = {"output_tokens_details": {"thinking_tokens": 9}}
    kinds = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 20}
    prompt = {"input_tokens": 12, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 20}
    first = start({**prompt, "cache_creation": kinds, "output_tokens": 1})
    streamed = play(watch(), [first, OPEN, said("a"), end({**prompt, "output_tokens": 42, **details}), STOP])
    answer = {"type": "message", "usage": {**prompt, "cache_creation": kinds, "output_tokens": 42, **details}}
    whole = ANTHROPIC_MESSAGES.read_usage(json.dumps(answer).encode())
    expected = Usage(input=12, cache_read=3, cache_write_5m=0, cache_write_1h=20, output=42, reasoning=9)
    assert streamed.watch.usage == whole == expected


def test_usage_is_final_with_the_last_report_only():
    seen = watch()
    seen.observe(START + OPEN + said("a"))
    assert (seen.usage, seen.is_usage_final) == (Usage(input=12), False)
    seen.observe(CLOSE + END)
    assert (seen.usage, seen.is_usage_final) == (USED, True)


@pytest.mark.parametrize("usage", [None, {}, [], "x", {"output_tokens": None}, {"output_tokens": "9"}])
def test_an_end_that_reports_nothing_makes_no_usage_final(play, usage: object):
    played = play(watch(), [START, OPEN, said("a"), end(usage), STOP])
    assert played.watch.usage == Usage(input=12)
    assert not played.watch.is_usage_final
    assert played.watch.is_finished


@pytest.mark.parametrize("message", [None, [], "x", {}, {"usage": 5}])
def test_a_start_of_another_shape_does_not_break_it(play, message: object):
    data = event("message_start", message=message) + OPEN + said("a") + end() + STOP
    played = play(watch(), [data])
    assert (played.passed, played.watch.usage) == (data, NOTHING_REPORTED)


# The end


@pytest.mark.parametrize("after", [b"", PING, PING + PING, end(None, None), end({"output_tokens": 42}, None)])
@pytest.mark.parametrize("last", [END, end()])
def test_an_end_without_message_stop_is_an_end_if_a_stop_reason_had_come(play, last: bytes, after: bytes):
    data = START + OPEN + said("a") + CLOSE + last
    played = play(watch(), [START, OPEN, said("a"), CLOSE, last, after])
    assert played.passed == data + after + SYNTHETIC_STOP
    assert (played.watch.is_finished, played.watch.error) == (True, None)


@pytest.mark.parametrize("data", [b"", START, START + OPEN + said("a"), START + OPEN + said("a") + end(None, None)])
def test_an_end_without_message_stop_and_without_a_stop_reason_is_a_cut(play, data: bytes):
    played = play(watch(), [data])
    assert played.passed == data
    assert not played.watch.is_finished
    assert "middle of its answer" in played.watch.error


# Errors


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "Overloaded"),
        ({"type": "overloaded_error"}, "overloaded_error"),
        ("plain", "plain"),
        (None, "The upstream failed."),
        ({}, "The upstream failed."),
    ],
)
def test_an_error_before_content_leaves_nothing_to_read(play, error: object, sentence: str):
    played = play(watch(), [START + OPEN + event("error", error=error) + said("never") + STOP])
    assert played.passed == START + OPEN
    assert (played.watch.has_content, played.watch.is_finished, played.watch.error) == (False, False, sentence)


@pytest.mark.parametrize("packets", [1, 3])
def test_nothing_passes_after_an_error(play, packets: int):
    data = [START + OPEN + said("a"), ERROR, said("b") + END + STOP]
    played = play(watch(), data if packets == 3 else [b"".join(data)])
    assert played.passed == START + OPEN + said("a")
    assert (played.watch.has_content, played.watch.is_finished, played.watch.error) == (True, False, "Overloaded")


@pytest.mark.parametrize(
    "text", [b"{oops", b"[1]", b"<html>", b"\xff", pytest.param(b"[" * 200_000, id="nested too deeply")]
)
def test_what_is_not_json_before_content_is_an_error(play, text: bytes):
    played = play(watch(), [START, b"data: " + text + b"\n\n", said("a"), END, STOP])
    assert played.watch.error == "The upstream sent something that is not JSON."
    assert not played.watch.has_content


@pytest.mark.parametrize("text", [b"{oops", b"[1]", b"<html>", b"\xff", b'{"a":1}}'])
def test_what_is_not_json_after_content_is_an_error_too(play, cuts: Callable[..., Any], text: bytes):
    data = START + OPEN + said("a") + b"data: " + text + b"\n\n" + said("b") + END + STOP
    for packets in cuts(data):
        played = play(watch(), packets)
        assert played.passed == START + OPEN + said("a")
        assert played.watch.error == "The upstream sent something that is not JSON."


# Content


@pytest.mark.parametrize("block", [{"type": "text", "text": ""}, {"type": "thinking", "thinking": ""}, None, "x"])
def test_blocks_that_open_empty_are_no_content(block: object):
    seen = watch()
    seen.observe(START + PING + b": note\n\n" + event("content_block_start", index=0, content_block=block))
    assert not seen.has_content


@pytest.mark.parametrize("block", [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "toolu_1", "input": {}}])
def test_blocks_that_say_something_are_content(block: dict[str, Any]):
    seen = watch()
    seen.observe(START + event("content_block_start", index=0, content_block=block))
    assert seen.has_content


def test_an_empty_answer_that_ended_is_an_answer():
    seen = watch()
    seen.observe(START + end({"output_tokens": 0}, "refusal"))
    assert seen.has_content
    assert seen.usage == Usage(input=12, output=0)
