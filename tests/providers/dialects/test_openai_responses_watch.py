"""Watching a stream of Responses: it passes as it came, and what it used is known."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from providers.canonical.inbound import Facts
from providers.canonical.usage import NOTHING_REPORTED, Usage
from providers.dialects.openai_responses import OPENAI_RESPONSES
from providers.dialects.openai_responses.watch import ResponsesWatch

COUNTS = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5}
USED = Usage(input=6, cache_read=4, output=5)
WORDS = '"response.completed" "error" {"type":"response.failed"} \n\n é🙂\u2028'


def watch() -> ResponsesWatch:
    return ResponsesWatch(Facts(model="m", size=1, is_stream=True))


def event(kind: str, **members: Any) -> bytes:
    data = json.dumps({"type": kind, **members}, separators=(",", ":"), ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def ending(kind: str, **members: Any) -> bytes:
    return event(f"response.{kind}", response={"id": "resp_1", "status": kind, "error": None, **members})


OPENING = event("response.created", response={"id": "resp_1", "error": None, "usage": None})
ADDED = event("response.output_item.added", output_index=0, item={"type": "message", "content": []})
DONE = ending("completed", usage=COUNTS)


def said(text: str) -> bytes:
    return event("response.output_text.delta", delta=text, output_index=0)


STREAMS = [
    OPENING + ADDED + said("Hel") + said(WORDS) + DONE,
    OPENING + b": ping\n\n" + said(WORDS) + DONE + said("late") + DONE,
    OPENING + ADDED + said("a") + ending("incomplete", usage=COUNTS),
    OPENING + said("a") + ending("failed", usage=COUNTS) + said("b"),
    OPENING + said("a") + event("error", code="server_error", message="no") + DONE,
    OPENING + said("a") + b"data: {oops\n\n" + DONE,
    OPENING + said("a"),
]


@pytest.mark.parametrize("data", STREAMS)
def test_it_does_not_matter_how_the_network_cut_the_stream(
    data: bytes, play: Any, cuts: Callable[[bytes], Iterator[list[bytes]]]
):
    stories = {play(watch(), packets).story for packets in cuts(data)}
    assert len(stories) == 1


def test_a_whole_stream_passes_byte_for_byte(play: Any):
    played = play(watch(), [STREAMS[0]])
    assert played.passed == STREAMS[0]
    assert (played.watch.usage, played.watch.is_usage_final, played.watch.is_finished) == (USED, True, True)


def test_nothing_follows_the_end(play: Any):
    assert play(watch(), [STREAMS[1]]).passed == STREAMS[1].partition(said("late"))[0]


@pytest.mark.parametrize("kind", ["incomplete", "failed"])
def test_edge_51_usage_is_read_of_an_answer_that_was_cut_off_or_failed(kind: str, play: Any):
    played = play(watch(), [OPENING + said("a") + ending(kind, usage=COUNTS)])
    assert (played.watch.usage, played.watch.is_usage_final) == (USED, True)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (event("error", code="server_error", message="no"), "no"),
        (event("error", error={"code": "x", "message": "nested"}), "nested"),
        (ending("failed", error={"code": "rate_limit_exceeded", "message": "slow down"}), "slow down"),
        (ending("failed"), "The upstream failed."),
    ],
)
def test_a_failure_says_what_went_wrong(last: bytes, message: str, play: Any):
    played = play(watch(), [OPENING + said("a") + last])
    assert played.watch.error == message
    assert not played.watch.is_finished
    assert played.passed == OPENING + said("a")


def test_a_stream_without_its_end_was_cut(play: Any):
    played = play(watch(), [OPENING + said("a")])
    assert played.watch.error
    assert played.watch.usage == NOTHING_REPORTED


@pytest.mark.parametrize(
    ("kind", "is_content"),
    [
        ("response.in_progress", False),
        ("response.output_item.added", False),
        ("response.content_part.added", False),
        ("response.output_text.delta", True),
        ("response.refusal.delta", True),
        ("response.function_call_arguments.delta", True),
        ("response.custom_tool_call_input.delta", True),
        ("response.reasoning_summary_text.delta", True),
        ("response.output_item.done", True),
    ],
)
def test_the_choice_of_upstream_is_final_when_a_reader_would_see_something(kind: str, is_content: bool):
    seen = watch()
    seen.observe(OPENING + event(kind, output_index=0, item={}))
    assert seen.has_content == is_content


def test_it_is_the_dialects_watch():
    assert isinstance(OPENAI_RESPONSES.watch(Facts(model="m", size=1)), ResponsesWatch)
