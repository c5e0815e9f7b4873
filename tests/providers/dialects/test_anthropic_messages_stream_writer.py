"""A stream as a client of Messages gets it: the vendor's own client puts it together."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import anthropic
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
    StreamFailed,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from providers.canonical.losses import Losses, Native, Weight
from providers.canonical.parts import Citation, Foreign, Media, Text, Thinking, ToolCall
from providers.canonical.request import Request
from providers.canonical.seals import Seal, SealBox
from providers.canonical.usage import Usage
from providers.dialects.anthropic_messages.answer import write_answer
from providers.dialects.anthropic_messages.facts import read_facts
from providers.dialects.anthropic_messages.request_reader import read_request
from providers.dialects.anthropic_messages.stream_writer import MessagesWriter
from providers.dialects.anthropic_messages.wire import CHAT, NAME
from providers.dialects.writer import Reply
from providers.wire.splice import read_members
from providers.wire.sse import frame_event, frames
from tenants.errors import UpstreamFailed

SEALS = SealBox([b"a secret of ours"], 1)
SEAL = Seal(origin="openai/gpt-6", payload="opaque", form="encrypted_content")
START = MessageStart(id="resp_1", model="gpt-6")
USED = UsageReport(usage=Usage(input=12, cache_read=5, cache_write_5m=3, output=42, reasoning=9))

type Stream = Callable[[bytes], anthropic.types.Message]


def reply_with(losses: Losses | None = None) -> Reply:
    losses = Losses() if losses is None else losses
    request = Request(model="alias", is_stream=True)
    return Reply(request=request, model="alias", id="0001", created=1, seals=SEALS, losses=losses)


def written(*events: Event, losses: Losses | None = None) -> bytes:
    writer = MessagesWriter(reply_with(losses))
    return b"".join([writer.feed(each) for each in events])


def data_of(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame_event(frame)[1]) for frame in frames(stream)]


def say(index: int, *words: str, part: Text | None = None) -> list[Event]:
    return [
        PartStart(index=index, part=part or Text()),
        *(TextDelta(index=index, text=word) for word in words),
        PartEnd(index=index),
    ]


def think(index: int, *words: str, seal: Seal | None = None) -> list[Event]:
    sealed = [SealDelta(index=index, seal=seal)] if seal else []
    thoughts = [ThinkingDelta(index=index, text=word) for word in words]
    return [PartStart(index=index, part=Thinking()), *sealed, *thoughts, PartEnd(index=index)]


def call(index: int, *pieces: str, id: str = "t1", seal: Seal | None = None) -> list[Event]:
    sealed = [SealDelta(index=index, seal=seal)] if seal else []
    return [
        PartStart(index=index, part=ToolCall(id=id, name="f")),
        *(ArgumentsDelta(index=index, text=piece) for piece in pieces),
        *sealed,
        PartEnd(index=index),
    ]


def whole(*parts: Sequence[Event], stop: Any = "end_turn") -> list[Event]:
    return [START, *(event for part in parts for event in part), USED, MessageEnd(stop=stop)]


def types_of(stream: bytes) -> list[str]:
    return [data["type"].removeprefix("content_") for data in data_of(stream)]


def blocks_of(stream: bytes) -> list[dict[str, Any]]:
    return [data["content_block"] for data in data_of(stream) if data["type"] == "content_block_start"]


@pytest.fixture
def heard(anthropic_client: anthropic.Anthropic, upstream_answer: dict[str, object]) -> Stream:
    """Let the vendor's client put a stream together."""

    def heard(stream: bytes) -> anthropic.types.Message:
        headers = {"content-type": "text/event-stream"}
        upstream_answer.update(status_code=200, content=stream, headers=headers)
        messages: Any = [{"role": "user", "content": "hi"}]
        with anthropic_client.messages.stream(model="m", max_tokens=9, messages=messages) as events:
            return events.get_final_message()

    return heard


EVERYTHING = whole(
    think(0, "h", "m", seal=SEAL), say(1, "Hel", "lo"), call(2, '{"a":', "1}"), call(3, id="t2"), stop="tool_use"
)


def test_the_client_hears_all_of_it(heard: Stream):
    message = heard(written(*EVERYTHING))
    thinking, text, first, second = message.content
    assert thinking.type == "thinking"
    assert text.type == "text"
    assert (thinking.thinking, SEALS.open(thinking.signature, NAME)) == ("hm", SEAL)
    assert text.text == "Hello"
    assert [(each.name, each.id, each.input) for each in (first, second) if each.type == "tool_use"] == [
        ("f", "t1", {"a": 1}),
        ("f", "t2", {}),
    ]
    assert (message.stop_reason, message.model, message.id) == ("tool_use", "alias", "msg_0001")


def test_edge_1_the_start_is_a_whole_message():
    (start,) = data_of(written(START))
    assert start["message"] == {
        "id": "msg_0001",
        "type": "message",
        "role": "assistant",
        "model": "alias",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 0,
        },
    }


def test_edges_2_3_and_9_one_start_each_block_once_and_in_order():
    data = data_of(written(*EVERYTHING))
    kinds = [each["type"] for each in data]
    assert kinds.count("message_start") == kinds.count("message_delta") == kinds.count("message_stop") == 1
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert [each["index"] for each in data if each["type"] == "content_block_start"] == [0, 1, 2, 3]
    assert [each["index"] for each in data if each["type"] == "content_block_stop"] == [0, 1, 2, 3]


def test_every_event_has_a_line_with_its_name():
    for frame in frames(written(*EVERYTHING)):
        name, data = frame_event(frame)
        assert json.loads(data)["type"].encode() == name


def test_edge_4_thinking_and_words_have_blocks_of_their_own():
    stream = written(*whole(think(0, "hm"), say(1, "a"), think(2, "hm")))
    deltas = {"thinking": "thinking_delta", "text": "text_delta"}
    kinds = {i: block["type"] for i, block in enumerate(blocks_of(stream))}
    for each in data_of(stream):
        if each["type"] == "content_block_delta":
            assert each["delta"]["type"] == deltas[kinds[each["index"]]]


def test_edge_5_arguments_that_a_call_opens_with_are_sent():
    part = ToolCall(id="t1", name="f", arguments='{"a":1}')
    stream = written(*whole([PartStart(index=0, part=part), PartEnd(index=0)]))
    assert [each["delta"]["partial_json"] for each in data_of(stream) if "delta" in each and "index" in each] == [
        '{"a":1}'
    ]


def test_edge_6_there_is_no_empty_block_of_text_and_calls_are_to_be_run():
    stream = written(*whole(say(0), say(1, ""), call(2, "{}"), stop="end_turn"))
    assert [block["type"] for block in blocks_of(stream)] == ["tool_use"]
    assert data_of(stream)[-2]["delta"]["stop_reason"] == "tool_use"


def test_edges_7_and_8_calls_that_interleave_come_one_after_the_other(heard: Stream):
    first, second = call(1, '{"a":', "1}"), call(2, '{"b":', "2}", id="t2")
    order = [*say(0, "a"), first[0], second[0], first[1], second[1], second[2], first[2], second[3], first[3]]
    message = heard(written(*whole(order)))
    assert [each.input for each in message.content if each.type == "tool_use"] == [{"a": 1}, {"b": 2}]
    assert types_of(written(*whole(order))).count("block_start") == 3


def test_edge_10_a_failure_ends_in_an_error_and_not_as_a_whole_answer(heard: Stream):
    writer = MessagesWriter(reply_with())
    events = [START, PartStart(index=0, part=Text()), TextDelta(index=0, text="a")]
    stream = b"".join([writer.feed(each) for each in events]) + writer.fail(UpstreamFailed("It broke off."))
    assert types_of(stream) == ["message_start", "block_start", "block_delta", "error"]
    with pytest.raises(anthropic.APIStatusError, match="It broke off"):
        heard(stream)


def test_edge_10_a_stream_that_failed_is_ended_by_the_same_error():
    assert types_of(written(START, StreamFailed(message="Overloaded"))) == ["message_start", "error"]


def test_edges_11_and_12_all_counts_are_told_once_at_the_end(heard: Stream):
    data = data_of(written(*whole(say(0, "a"))))
    (end,) = [each for each in data if each["type"] == "message_delta"]
    assert end["usage"] == {
        "input_tokens": 12,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 42,
        "output_tokens_details": {"thinking_tokens": 9},
    }
    usage = heard(written(*whole(say(0, "a")))).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (12, 5, 42)


def test_edge_13_the_signature_is_the_last_thing_before_its_block_ends():
    data = data_of(written(*whole(think(0, "h", "m", seal=SEAL))))
    kinds = [each["delta"]["type"] for each in data if each["type"] == "content_block_delta"]
    assert kinds == ["thinking_delta", "thinking_delta", "signature_delta"]
    assert data[-3]["type"] == "content_block_stop"


def test_thinking_without_a_seal_has_an_empty_signature_and_no_delta_for_it():
    stream = written(*whole(think(0, "hm")))
    assert blocks_of(stream) == [{"type": "thinking", "thinking": "", "signature": ""}]
    assert b"signature_delta" not in stream


def test_a_seal_without_words_is_thinking_all_the_same(heard: Stream):
    (block,) = heard(written(*whole(think(0, seal=SEAL)))).content
    assert block.type == "thinking"
    assert SEALS.open(block.signature, NAME) == SEAL


def test_thinking_that_says_nothing_is_not_written():
    assert blocks_of(written(*whole(think(0), say(1, "a")))) == [{"type": "text", "text": ""}]


def test_edge_94_redacted_thinking_is_written_whole():
    seal = Seal(origin="anthropic/claude", payload="Em==", form="redacted_thinking")
    part = Thinking(is_redacted=True, seal=seal)
    (block,) = blocks_of(written(*whole([PartStart(index=0, part=part), PartEnd(index=0)])))
    assert block["type"] == "redacted_thinking"
    assert SEALS.open(block["data"], NAME) == seal


def test_edge_14_empty_deltas_are_not_sent():
    stream = written(*whole([*say(0, "a", "", "b")]))
    assert types_of(stream).count("block_delta") == 2


def test_edge_15_pings_are_sent():
    assert written(START, Ping()).endswith(b'event: ping\ndata: {"type":"ping"}\n\n')


def test_a_calls_seal_goes_out_beside_it_and_comes_back_to_it(heard: Stream):
    seal = Seal(origin="google/gemini-3", payload="opaque", form="thoughtSignature")
    message = heard(written(*whole(call(0, "{}", seal=seal), call(1, "{}", id="t2"))))
    assert [block.type for block in message.content] == ["tool_use", "redacted_thinking", "tool_use"]
    content = [block.model_dump() for block in message.content]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": content}]}
    members = read_members(json.dumps(body).encode())
    (turn,) = read_request(members, read_facts(members, CHAT), SEALS).turns
    assert [part.seal for part in turn.parts if isinstance(part, ToolCall)] == [seal, None]
    assert len(turn.parts) == 2


def test_the_seal_of_a_text_is_lost_by_name():
    losses = Losses()
    written(*whole([PartStart(index=0, part=Text()), SealDelta(index=0, seal=SEAL), PartEnd(index=0)]), losses=losses)
    assert [(loss.path, loss.weight) for loss in losses] == [("answer.parts[0].seal", Weight.DEGRADES)]


def test_citations_of_the_format_are_sent_and_others_lost_by_name(heard: Stream):
    raw = {"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}
    own = Citation(quote="x", native=Native(origin=NAME, form=raw))
    losses = Losses()
    events = [
        PartStart(index=0, part=Text()),
        TextDelta(index=0, text="a"),
        CitationDelta(index=0, citation=own),
        CitationDelta(index=0, citation=Citation(url="https://a")),
        PartEnd(index=0),
    ]
    (block,) = heard(written(*whole(events), losses=losses)).content
    assert block.type == "text"
    assert [each.cited_text for each in block.citations or []] == ["x"]
    assert [loss.path for loss in losses] == ["answer.parts[0].citations"]


@pytest.mark.parametrize(
    "part", [Media(kind="image", data="x"), Foreign(origin="gemini", what="executableCode", value={})]
)
def test_what_the_formats_answers_have_not_is_lost_by_name(part: Media | Foreign):
    losses = Losses()
    events = whole([PartStart(index=0, part=part), PartEnd(index=0)], say(1, "a"))
    assert blocks_of(written(*events, losses=losses)) == [{"type": "text", "text": ""}]
    write_answer(fold(events), reply_with(losses))
    assert [(loss.path, loss.weight) for loss in losses] == [("answer.parts[0]", Weight.CHANGES_ANSWER)]


def test_edge_113_a_refusal_in_words_is_a_refusal(heard: Stream):
    stream = written(*whole(say(0, "I ", "will not.", part=Text(is_refusal=True))))
    message = heard(stream)
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert message.stop_details.explanation == "I will not."


def test_edge_113_a_refusal_may_have_no_content(heard: Stream):
    message = heard(written(START, USED, MessageEnd(stop="refusal", explanation="Blocked.")))
    assert (message.content, message.stop_reason) == ([], "refusal")


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "end_turn"),
        ("pause", "pause_turn"),
        ("context_exceeded", "model_context_window_exceeded"),
    ],
)
def test_why_it_ended_is_told_in_the_formats_words(stop: Any, reason: str):
    assert data_of(written(*whole(say(0, "a"), stop=stop)))[-2]["delta"]["stop_reason"] == reason


def test_a_call_that_was_cut_is_not_to_be_run():
    assert data_of(written(*whole(call(0, '{"a":'), stop="max_tokens")))[-2]["delta"]["stop_reason"] == "max_tokens"


def test_ids_of_other_characters_fit(heard: Stream):
    (block,) = heard(written(*whole(call(0, "{}", id="call:1|2")))).content
    assert block.type == "tool_use"
    assert block.id.replace("_", "").isalnum()


# Whole answers


def test_edge_108_blocks_of_a_whole_answer_have_all_their_fields():
    body = json.loads(write_answer(fold(EVERYTHING), reply_with()))
    thinking, text, first, second = body["content"]
    assert thinking.keys() == {"type", "thinking", "signature"}
    assert text == {"type": "text", "text": "Hello", "citations": None}
    assert (first["input"], second["input"]) == ({"a": 1}, {})
    assert (body["stop_reason"], body["stop_sequence"], body["id"]) == ("tool_use", None, "msg_0001")


def test_edge_108_thinking_without_words_or_seal_has_both_fields():
    body = json.loads(write_answer(fold(whole(think(0, "hm"), think(1, seal=SEAL))), reply_with()))
    assert [(block["thinking"], bool(block["signature"])) for block in body["content"]] == [("hm", False), ("", True)]


def test_a_whole_answer_of_nothing_has_a_list_of_nothing():
    body = json.loads(write_answer(fold(whole(say(0, ""))), reply_with()))
    assert (body["content"], body["stop_reason"]) == ([], "end_turn")


@pytest.mark.parametrize("arguments", ['{"a":', "[1]"])
def test_arguments_that_are_no_object_are_wrapped_in_a_whole_answer(arguments: str):
    body = json.loads(write_answer(fold(whole(call(0, arguments), stop="max_tokens")), reply_with()))
    assert body["content"][0]["input"] == {"_raw": arguments}
