"""Writing answers for clients of Chat Completions, as a stream and whole."""

import json
from typing import Any

import openai
import pytest

from providers.canonical.answer import fold
from providers.canonical.events import (
    ArgumentsDelta,
    CitationDelta,
    Event,
    MessageEnd,
    MessageStart,
    PartEnd,
    PartStart,
    Ping,
    SealDelta,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from providers.canonical.losses import Losses, Native, Weight
from providers.canonical.parts import Citation, Media, Part, Text, Thinking, ToolCall
from providers.canonical.request import Request
from providers.canonical.seals import Seal, SealBox
from providers.canonical.usage import Usage
from providers.dialects.openai_chat.answer import write_answer
from providers.dialects.openai_chat.forms import BodyForm
from providers.dialects.openai_chat.stream_writer import ChatWriter
from providers.dialects.openai_chat.wire import NAME
from providers.dialects.writer import Reply
from tenants.errors import UpstreamFailed

SEALS = SealBox([b"secret"], 1)
SEAL = Seal(origin="anthropic/claude", payload="sig")
START, END = MessageStart(id="up", model="up-model"), MessageEnd(stop="end_turn")
LEGACY = Native(origin=NAME, form=BodyForm(is_legacy=True))


def reply(*, wants_usage: bool = True, native: Native | None = None) -> Reply:
    request = Request(model="alias", wants_usage=wants_usage, native=native)
    return Reply(request=request, model="alias", id="x1", created=7, seals=SEALS, losses=Losses())


def write(*events: Event, to: Reply | None = None) -> bytes:
    writer = ChatWriter(to or reply())
    return b"".join([writer.feed(event) for event in events])


def chunks(*events: Event, to: Reply | None = None) -> list[Any]:
    data = write(*events, to=to)
    assert data.endswith(b"data: [DONE]\n\n")
    return [json.loads(line.removeprefix(b"data: ")) for line in data.split(b"\n\n")[:-2]]


def deltas(*events: Event, to: Reply | None = None) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(*events, to=to) if chunk["choices"]]


def finish(*events: Event, to: Reply | None = None) -> Any:
    return [chunk["choices"][0]["finish_reason"] for chunk in chunks(*events, to=to) if chunk["choices"]][-1]


def text(index: int, words: str, **fields: Any) -> list[Event]:
    return [PartStart(index=index, part=Text(**fields)), TextDelta(index=index, text=words), PartEnd(index=index)]


def thinking(index: int, words: str, seal: Seal | None = None) -> list[Event]:
    said: list[Event] = [ThinkingDelta(index=index, text=words)] if words else []
    sealed: list[Event] = [SealDelta(index=index, seal=seal)] if seal else []
    return [PartStart(index=index, part=Thinking()), *said, *sealed, PartEnd(index=index)]


def call(index: int, *fragments: str, **fields: Any) -> list[Event]:
    part = ToolCall(**{"id": f"c{index}", "name": "f", **fields})
    said = [ArgumentsDelta(index=index, text=fragment) for fragment in fragments]
    return [PartStart(index=index, part=part), *said, PartEnd(index=index)]


def whole(*events: Event, to: Reply | None = None) -> Any:
    return json.loads(write_answer(fold(events), to or reply()))


def test_a_stream_begins_with_the_role_and_ends_with_done():
    assert chunks(START, *text(0, "Hi"), UsageReport(usage=Usage(input=3, output=2)), END) == [
        {
            **HEAD,
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
            **NO_USAGE,
        },
        {**HEAD, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}], **NO_USAGE},
        {**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **NO_USAGE},
        {**HEAD, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
    ]


HEAD = {"id": "chatcmpl-x1", "object": "chat.completion.chunk", "created": 7, "model": "alias"}
NO_USAGE = {"usage": None}


def test_edge_54_usage_is_for_those_who_asked():
    events = START, *text(0, "Hi"), UsageReport(usage=Usage(input=3, output=2)), END
    assert b'"usage"' not in write(*events, to=reply(wants_usage=False))


def test_edge_17_the_usage_chunk_has_its_empty_choices():
    usage = Usage(input=3, cache_read=4, cache_write_5m=1, cache_write_1h=2, output=5, reasoning=1)
    last = chunks(START, UsageReport(usage=usage), END)[-1]
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def test_edge_20_all_chunks_have_one_id():
    assert {chunk["id"] for chunk in chunks(START, *text(0, "a"), *text(1, "b"), END)} == {"chatcmpl-x1"}


def test_edge_15_a_ping_is_a_comment():
    assert write(Ping()) == b": ping\n\n"


def test_edge_28_calls_have_a_count_of_their_own():
    said = deltas(START, *text(0, "a"), *call(1, "{}"), *text(2, "b"), *call(3, '{"x":', "1}"), END)
    fragments = [delta["tool_calls"][0] for delta in said if "tool_calls" in delta]
    assert [fragment["index"] for fragment in fragments] == [0, 0, 1, 1, 1]
    assert fragments[0] == {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert fragments[3:] == [
        {"index": 1, "function": {"arguments": '{"x":'}},
        {"index": 1, "function": {"arguments": "1}"}},
    ]


def test_interleaved_arguments_keep_their_index():
    parts = [PartStart(index=i, part=ToolCall(id=f"c{i}", name="f")) for i in range(2)]
    said = deltas(START, *parts, ArgumentsDelta(index=1, text="{}"), ArgumentsDelta(index=0, text="[]"), END)
    assert [delta["tool_calls"][0]["index"] for delta in said if "tool_calls" in delta] == [0, 1, 1, 0]


def test_edge_31_a_call_without_arguments_has_an_empty_object():
    [*_, last, _] = deltas(START, *call(0), MessageEnd(stop="tool_use"))
    assert last == {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    message = whole(START, *call(0), MessageEnd(stop="tool_use"))["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


def test_edge_32_arguments_are_not_held_back():
    writer = ChatWriter(reply())
    writer.feed(PartStart(index=0, part=ToolCall(id="c", name="f")))
    assert b'{\\"a' in writer.feed(ArgumentsDelta(index=0, text='{"a'))


def test_edge_34_all_texts_are_in_a_whole_answer():
    assert whole(START, *text(0, "a"), *call(1), *text(2, "b"), END)["choices"][0]["message"]["content"] == "ab"


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause", "stop"),
        ("max_tokens", "length"),
        ("context_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ],
)
def test_every_end_has_its_reason(stop: Any, reason: str):
    assert finish(START, MessageEnd(stop=stop)) == reason
    assert whole(START, MessageEnd(stop=stop))["choices"][0]["finish_reason"] == reason


def test_edge_113_a_refusal_in_words_is_an_ordinary_end():
    events = START, *text(0, "I cannot.", is_refusal=True), MessageEnd(stop="refusal")
    assert {"refusal": "I cannot."} in deltas(*events)
    assert finish(*events) == "stop"
    choice = whole(*events)["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "I cannot.")


def test_edge_113_a_refusal_without_words_is_told_with_its_explanation():
    events = START, MessageEnd(stop="refusal", explanation="Not allowed.")
    assert {"refusal": "Not allowed."} in deltas(*events)
    assert finish(*events) == "content_filter"
    assert whole(*events)["choices"][0]["message"]["refusal"] == "Not allowed."


def test_reasoning_and_its_seals_travel_beside_the_words():
    events = START, *thinking(0, "abc", SEAL), *thinking(1, "", SEAL), *thinking(2, "de", SEAL), *text(3, "7"), END
    said = deltas(*events)
    entries = [entry for delta in said for entry in delta.get("reasoning_details", [])]
    assert [(each["index"], each["start_index"], each["end_index"]) for each in entries] == [
        (0, 0, 3),
        (1, 3, 3),
        (2, 3, 5),
    ]
    assert all(SEALS.open(entry["data"], NAME) == SEAL for entry in entries)
    message = whole(*events)["choices"][0]["message"]
    assert message["reasoning_content"] == "abcde"
    assert message["reasoning_details"] == entries


def test_a_calls_seal_is_in_its_opener():
    start, end = call(0)
    said = deltas(START, start, SealDelta(index=0, seal=SEAL), ArgumentsDelta(index=0, text="{}"), end, END)
    [opener, *rest] = [delta["tool_calls"][0] for delta in said if "tool_calls" in delta]
    assert SEALS.open(opener["extra_content"]["google"]["thought_signature"], NAME) == SEAL
    assert not any("extra_content" in fragment for fragment in rest)


def test_a_calls_seal_may_come_late():
    start, arguments, end = call(0, "{}")
    said = deltas(START, start, arguments, SealDelta(index=0, seal=SEAL), end, END)
    fragments = [delta["tool_calls"][0] for delta in said if "tool_calls" in delta]
    assert ["extra_content" in fragment for fragment in fragments] == [False, False, True]


def test_the_last_texts_seal_is_the_messages():
    to = reply()
    start, words, end = text(0, "a")
    later = [PartStart(index=1, part=Text()), SealDelta(index=1, seal=SEAL), PartEnd(index=1)]
    said = deltas(START, start, words, SealDelta(index=0, seal=SEAL), end, *later, END, to=to)
    assert "extra_content" in said[-2]
    assert [loss.path for loss in to.losses] == ["answer.parts[0].seal"]


def test_sources_name_the_words_that_they_belong_to():
    to, source = reply(), Citation(url="http://x", title="X")
    start, words, end = text(1, "cited")
    cites = [CitationDelta(index=1, citation=source), CitationDelta(index=1, citation=Citation(quote="no address"))]
    events = START, *text(0, "Now "), start, words, *cites, end, END
    told = {"url": "http://x", "title": "X", "start_index": 4, "end_index": 9}
    [annotations] = [delta["annotations"] for delta in deltas(*events, to=to) if "annotations" in delta]
    assert annotations == [{"index": 0, "type": "url_citation", "url_citation": told}]
    assert whole(*events)["choices"][0]["message"]["annotations"] == [{"type": "url_citation", "url_citation": told}]
    assert [loss.path for loss in to.losses] == ["answer.parts[1].citations"]


def test_custom_calls_are_custom():
    events = START, *call(0, "*** ", "a", kind="custom"), MessageEnd(stop="tool_use")
    fragments = [delta["tool_calls"][0] for delta in deltas(*events) if "tool_calls" in delta]
    assert fragments[0] == {"index": 0, "id": "c0", "type": "custom", "custom": {"name": "f", "input": ""}}
    assert fragments[1] == {"index": 0, "custom": {"input": "*** "}}
    [made] = whole(*events)["choices"][0]["message"]["tool_calls"]
    assert made == {"id": "c0", "type": "custom", "custom": {"name": "f", "input": "*** a"}}


def test_edge_88_a_client_of_functions_gets_a_function_call():
    events = START, *call(0, "{}"), *call(1, "{}"), MessageEnd(stop="tool_use")
    to = reply(native=LEGACY)
    said = [delta["function_call"] for delta in deltas(*events, to=to) if "function_call" in delta]
    assert said == [{"name": "f", "arguments": ""}, {"arguments": "{}"}]
    assert finish(*events, to=to) == "function_call"
    assert whole(*events, to=to)["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert [(loss.path, loss.weight) for loss in to.losses] == [("answer.parts[1]", Weight.CHANGES_ANSWER)]


def test_what_the_format_has_no_place_for_is_named():
    part: Part = Media(kind="image", media_type="image/png", data="AA==")
    for told in (
        lambda to: write(START, PartStart(index=0, part=part), PartEnd(index=0), END, to=to),
        lambda to: whole(START, PartStart(index=0, part=part), PartEnd(index=0), END, to=to),
    ):
        to = reply()
        told(to)
        assert [loss.path for loss in to.losses] == ["answer.parts[0]"]


def test_a_failure_is_never_followed_by_done():
    frame = ChatWriter(reply()).fail(UpstreamFailed("Gone."))
    assert json.loads(frame.removeprefix(b"data: "))["error"]["message"] == "Gone."
    assert b"[DONE]" not in frame


def test_edge_69_ids_fit_the_clients_rule():
    made = whole(START, *call(0, id="i" * 80), MessageEnd(stop="tool_use"))["choices"][0]["message"]["tool_calls"][0]
    assert len(made["id"]) == 64


def test_openais_own_client_puts_it_all_together(openai_client: openai.OpenAI, upstream_answer: dict[str, object]):
    events = (
        START,
        *thinking(0, "Hm", SEAL),
        *text(1, "a"),
        *call(2, '{"x":', "1}"),
        *call(3),
        MessageEnd(stop="tool_use"),
    )
    headers = {"content-type": "text/event-stream"}
    upstream_answer |= {"status_code": 200, "headers": headers, "content": write(*events)}
    with openai_client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "hi"}]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.content == "a"
    assert [made.function.arguments for made in message.tool_calls or []] == ['{"x":1}', "{}"]
