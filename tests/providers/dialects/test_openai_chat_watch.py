"""Watching a chat completion's stream: it passes as it came, and what it used is known."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from providers.canonical.inbound import Facts
from providers.canonical.usage import NOTHING_REPORTED, Usage
from providers.dialects.openai_chat import OPENAI_CHAT
from providers.dialects.openai_chat.watch import ChatWatch

DONE = b"data: [DONE]\n\n"
COUNTS = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
USED = Usage(input=10, output=5)


def watch(*, wants_usage: bool = True) -> ChatWatch:
    return ChatWatch(Facts(model="m", size=1, is_stream=True, wants_usage=wants_usage))


def frame(body: object, *, spaced: bool = False) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    return b"data: " + json.dumps(body, separators=separators, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **fields}


def said(text: str, **fields: Any) -> bytes:
    return frame(chunk({"content": text}, **fields))


OPENING = frame(chunk({"role": "assistant", "content": "", "refusal": None}, usage=None))
STOP = frame(chunk(finish="stop", usage=None))
USAGE = frame({**chunk(usage=COUNTS), "choices": []})
SPACED_STOP = frame(chunk(finish="stop", usage=None), spaced=True)
# What a model may say, word for word, without the stream's meaning changing.
WORDS = 'data: [DONE]\n\n"usage":{"completion_tokens":9} "error" {"error":{}} "finish_reason":"stop" é🙂\u2028\r\n'
WHOLE = OPENING + b": ping\n\n" + said("Hel", usage=None) + said(WORDS, usage=None) + STOP + USAGE + DONE


@pytest.mark.parametrize("wants_usage", [True, False])
@pytest.mark.parametrize(
    "data",
    [
        WHOLE,
        WHOLE.replace(b'":', b'": '),
        WHOLE.removesuffix(DONE),
        OPENING + said("a") + STOP + b": ping\n\n" + frame({"choices": [], "usage": None}),
        OPENING + said("a") + SPACED_STOP + b": ping\n\n: ping\n\n",
        OPENING + said("a") + said("b", usage=COUNTS),
        OPENING + said("a") + b"data: {oops\n\n" + said("b") + STOP + USAGE + DONE,
        OPENING + b"data: {oops\n\n" + said("b") + STOP + USAGE + DONE,
        OPENING + said("a") + frame({"error": {"message": "no"}}) + said("b") + STOP + DONE,
        OPENING + frame({"error": {"message": "no"}}) + said("b") + DONE,
        OPENING + said("a") + STOP + USAGE + DONE + said("late") + USAGE + DONE,
        OPENING + said("a") + b"data: {}",
        DONE,
        b"",
    ],
)
def test_any_cutting_tells_the_same_story(play, cuts: Callable[..., Any], data: bytes, wants_usage: bool):
    expected = play(watch(wants_usage=wants_usage), [data]).story
    for packets in cuts(data):
        assert play(watch(wants_usage=wants_usage), packets).story == expected


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["crlf", "cr"])
def test_other_line_ends_pass_as_they_came(play, cuts: Callable[..., Any], end: str):
    data = (OPENING + said("é") + STOP + USAGE + DONE).replace(b"\n", end.encode()) + b": bye"
    for packets in cuts(data):
        played = play(watch(), packets)
        assert played.passed == data.removesuffix(b": bye")
        assert (played.watch.usage, played.watch.is_finished) == (USED, True)


def test_it_passes_every_byte(play):
    assert play(watch(), [WHOLE]).passed == WHOLE


def test_it_passes_what_a_model_says_about_the_protocol(play, cuts: Callable[..., Any]):
    for packets in cuts(WHOLE):
        played = play(watch(), packets)
        assert played.passed == WHOLE
        assert played.watch.usage == USED
        assert played.watch.error is None


def test_the_terminal_frame_is_held_back_until_the_request_is_settled():
    seen = watch()
    assert seen.observe(OPENING + said("a") + STOP + DONE) == OPENING + said("a") + STOP
    assert seen.is_finished
    assert seen.last() == DONE


@pytest.mark.parametrize("spelling", [b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data: [DONE] \r\n\r\n"])
def test_the_terminal_frame_is_the_upstreams_own(play, spelling: bytes):
    assert play(watch(), [OPENING, said("a"), STOP, spelling]).passed.endswith(spelling)


def test_frames_after_the_end_are_dropped(play):
    played = play(watch(), [OPENING + said("a") + STOP + DONE + said("late") + frame({"error": {"message": "x"}})])
    assert played.passed == OPENING + said("a") + STOP + DONE
    assert played.watch.error is None


# Usage


def test_a_usage_chunk_that_was_not_asked_for_is_counted_and_withheld(play):
    played = play(watch(wants_usage=False), [WHOLE])
    assert played.passed == WHOLE.replace(USAGE, b"")
    assert played.watch.usage == USED
    assert played.watch.is_usage_final


def test_usage_beside_choices_is_counted_and_passed_either_way(play):
    data = OPENING + said("a") + frame(chunk(finish="stop", usage=COUNTS)) + DONE
    for wants_usage in (True, False):
        played = play(watch(wants_usage=wants_usage), [data])
        assert (played.passed, played.watch.usage) == (data, USED)


@pytest.mark.parametrize("choices", [[], None])
def test_usage_with_no_choices_at_all_is_withheld(play, choices: object):
    last = frame({"id": "c1", "choices": choices, "usage": COUNTS})
    assert play(watch(wants_usage=False), [OPENING, said("a"), STOP, last, DONE]).passed.endswith(STOP + DONE)


def test_usage_null_beside_a_real_usage_in_one_packet(play):
    packet = said("b", usage=None) + STOP + USAGE + said("", usage=None) + DONE
    assert play(watch(), [OPENING + said("a"), packet]).watch.usage == USED


def test_usage_reported_twice_counts_once(play):
    more = {"prompt_tokens": 10, "completion_tokens": 7}
    played = play(watch(), [OPENING, said("a"), STOP, USAGE, frame({"choices": [], "usage": more}), DONE])
    assert played.watch.usage == Usage(input=10, output=7)


def test_usage_that_comes_with_every_chunk_is_final_at_the_end_only():
    seen = watch()
    seen.observe(OPENING + said("a", usage={"prompt_tokens": 10, "completion_tokens": 1}))
    assert (seen.usage, seen.is_usage_final) == (Usage(input=10, output=1), False)
    seen.observe(said("b", usage={"prompt_tokens": 10, "completion_tokens": 2}))
    assert (seen.usage, seen.is_usage_final) == (Usage(input=10, output=2), False)
    seen.observe(STOP + DONE)
    assert (seen.usage, seen.is_usage_final) == (Usage(input=10, output=2), True)


def test_no_usage_is_not_zero_usage(play):
    played = play(watch(), [OPENING, said("a"), STOP, DONE])
    assert played.watch.usage == NOTHING_REPORTED
    assert not played.watch.is_usage_final


@pytest.mark.parametrize("usage", ["5", [], 7, True, {}, {"prompt_tokens": "10", "completion_tokens": None}])
def test_usage_of_another_shape_is_no_usage(play, usage: object):
    played = play(watch(), [OPENING, said("a"), STOP, frame({"choices": [], "usage": usage}), DONE])
    assert played.watch.usage == NOTHING_REPORTED
    assert not played.watch.is_usage_final


def test_usage_of_a_stream_and_of_a_whole_answer_are_equal(play):
    counts = {
        **COUNTS,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    streamed = play(watch(), [OPENING, said("a"), STOP, frame({"choices": [], "usage": counts}), DONE])
    whole = OPENAI_CHAT.read_usage(json.dumps({"id": "c1", "choices": [], "usage": counts}).encode())
    assert streamed.watch.usage == whole == Usage(input=3, cache_read=4, cache_write_5m=3, output=5, reasoning=2)


# The end


def test_an_end_without_done_is_an_end_if_a_finish_reason_had_come(play):
    played = play(watch(), [OPENING, said("a"), STOP, USAGE])
    assert played.passed == OPENING + said("a") + STOP + USAGE + DONE
    assert (played.watch.is_finished, played.watch.error) == (True, None)


@pytest.mark.parametrize("stop", [STOP, SPACED_STOP, frame(chunk(finish="tool_calls"))])
@pytest.mark.parametrize("after", [b": ping\n\n", frame({"choices": [], "usage": None}), said("", usage=None)])
def test_what_comes_after_the_finish_reason_does_not_make_it_forgotten(play, stop: bytes, after: bytes):
    assert play(watch(), [OPENING, said("a"), stop, after, after]).watch.is_finished


@pytest.mark.parametrize("data", [OPENING + said("a"), OPENING + said('"finish_reason":"stop"'), OPENING, b""])
def test_an_end_without_done_and_without_a_finish_reason_is_a_cut(play, data: bytes):
    played = play(watch(), [data])
    assert played.passed == data
    assert not played.watch.is_finished
    assert "middle of its answer" in played.watch.error
    assert played.watch.last() == b""


def test_done_without_a_finish_reason_is_the_upstreams_word(play):
    assert play(watch(), [OPENING, said("a"), DONE]).watch.is_finished


def test_a_frame_that_was_cut_is_not_passed(play):
    played = play(watch(), [OPENING, said("a"), b'data: {"choices":[{"del'])
    assert played.passed == OPENING + said("a")
    assert played.watch.error is not None


# Errors


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ({"message": "Overloaded", "code": "busy"}, "Overloaded"),
        ({"code": "busy"}, "busy"),
        ({"param": None}, "The upstream failed."),
        ("plain text", "plain text"),
        ({"message": {"nested": 1}}, "{'nested': 1}"),
    ],
)
def test_an_error_before_content_leaves_nothing_to_read(play, error: object, sentence: str):
    played = play(watch(), [OPENING, frame({"error": error}), said("never"), DONE])
    assert played.passed == OPENING
    assert not played.watch.has_content
    assert not played.watch.is_finished
    assert played.watch.error == sentence


@pytest.mark.parametrize("packets", [1, 3])
def test_nothing_passes_after_an_error(play, packets: int):
    data = [OPENING + said("a"), frame({"error": {"message": "no"}}), said("b") + STOP + DONE]
    played = play(watch(), data if packets == 3 else [b"".join(data)])
    assert played.passed == OPENING + said("a")
    assert (played.watch.has_content, played.watch.is_finished, played.watch.error) == (True, False, "no")


@pytest.mark.parametrize("error", [None, {}, "", False])
def test_an_empty_error_member_is_no_error(play, error: object):
    data = OPENING + said("a", error=error) + STOP + DONE
    played = play(watch(), [data])
    assert (played.passed, played.watch.error) == (data, None)


@pytest.mark.parametrize(
    "text", [b"{oops", b"[1]", b"<html>", b"\xff", pytest.param(b"[" * 200_000, id="nested too deeply")]
)
def test_what_is_not_json_before_content_is_an_error(play, text: bytes):
    played = play(watch(), [OPENING, b"data: " + text + b"\n\n", said("a"), STOP, DONE])
    assert played.watch.error == "The upstream sent something that is not JSON."
    assert not played.watch.has_content


@pytest.mark.parametrize("choices", [5, "x", {}, [None], [5], [{"delta": None}], [{"delta": "x"}], [{"delta": []}]])
def test_choices_of_another_shape_do_not_break_it(play, choices: object):
    data = frame({"choices": choices}) + said("a") + STOP + DONE
    assert play(watch(), [data]).passed == data


@pytest.mark.parametrize("text", [b"{oops", b"[1]", b"<html>", b"\xff", b'{"a":1}}'])
def test_what_is_not_json_after_content_is_an_error_too(play, cuts: Callable[..., Any], text: bytes):
    data = OPENING + said("a") + b"data: " + text + b"\n\n" + said("b") + STOP + USAGE + DONE
    for packets in cuts(data):
        played = play(watch(), packets)
        assert played.passed == OPENING + said("a")
        assert played.watch.error == "The upstream sent something that is not JSON."


# Content


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "a"},
        {"role": "assistant", "content": "a"},
        {"reasoning_content": "hm"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}}]},
    ],
)
def test_content_is_what_a_reader_would_see(delta: dict[str, Any]):
    seen = watch()
    seen.observe(OPENING + b": OPENROUTER PROCESSING\n\n" + frame({"choices": []}))
    assert not seen.has_content
    seen.observe(frame(chunk(delta)))
    assert seen.has_content


@pytest.mark.parametrize("delta", [{}, {"role": "assistant"}, {"content": ""}, {"content": None, "tool_calls": []}])
def test_an_empty_delta_is_no_content(delta: dict[str, Any]):
    seen = watch()
    seen.observe(frame(chunk(delta)))
    assert not seen.has_content


def test_an_empty_answer_that_finished_is_an_answer():
    seen = watch()
    seen.observe(OPENING + STOP)
    assert seen.has_content
