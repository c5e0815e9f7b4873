"""Events as a client of Gemini's gets them, and as google-genai makes history of them."""

import json
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types

from providers.canonical.answer import Answer, fold
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
    Stop,
    StreamFailed,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from providers.canonical.inbound import Facts
from providers.canonical.losses import Losses, Weight
from providers.canonical.parts import Citation, Foreign, Media, Text, Thinking, ToolCall
from providers.canonical.request import Request
from providers.canonical.seals import Seal, SealBox
from providers.canonical.usage import Usage
from providers.dialects.gemini.answer import write_answer
from providers.dialects.gemini.request_reader import read_request
from providers.dialects.gemini.stream_reader import GenerateContentReader
from providers.dialects.gemini.stream_writer import GenerateContentWriter
from providers.dialects.writer import Reply
from providers.wire.splice import read_members

SEALS = SealBox([b"secret"], 1)
SEAL = Seal(origin="anthropic/claude", payload="opaque", form="x")


def reply() -> Reply:
    return Reply(request=Request(model="fast"), model="fast", id="0123", created=0, seals=SEALS, losses=Losses())


def thinking(*deltas: str, index: int = 0) -> list[Event]:
    words = [ThinkingDelta(index=index, text=each) for each in deltas]
    return [PartStart(index=index, part=Thinking()), *words, SealDelta(index=index, seal=SEAL), PartEnd(index=index)]


def words(*deltas: str, index: int = 0) -> list[Event]:
    said = [TextDelta(index=index, text=each) for each in deltas]
    return [PartStart(index=index, part=Text()), *said, PartEnd(index=index)]


def call(*deltas: str, index: int = 0, **more: Any) -> list[Event]:
    pieces = [ArgumentsDelta(index=index, text=each) for each in deltas]
    return [PartStart(index=index, part=ToolCall(id=f"c{index}", name="f", **more)), *pieces, PartEnd(index=index)]


def write(*events: Event, to: Reply | None = None, stop: Stop = "end_turn") -> bytes:
    writer = GenerateContentWriter(to or reply())
    return b"".join(writer.feed(event) for event in (MessageStart(), *events, MessageEnd(stop=stop)))


def chunks(stream: bytes) -> list[dict[str, Any]]:
    lines = stream.decode().split("\r\n\r\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: {") and "\n" not in line for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def parts(stream: bytes) -> list[dict[str, Any]]:
    return [part for each in chunks(stream) for part in each["candidates"][0]["content"]["parts"]]


def test_each_frame_is_one_line_that_tells_who_answers():
    usage = UsageReport(usage=Usage(input=3, cache_read=1, output=5, reasoning=2))
    first, last = chunks(write(*words("a\nb"), usage))
    assert first == {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "a\nb"}]}, "index": 0}],
        "modelVersion": "fast",
        "responseId": "0123",
    }
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"] == {
        "promptTokenCount": 4,
        "cachedContentTokenCount": 1,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 9,
    }


def test_a_ping_and_a_beginning_say_nothing():
    writer = GenerateContentWriter(reply())
    assert writer.feed(MessageStart()) == writer.feed(Ping()) == b""


def test_calls_come_whole_and_with_their_seal():
    sealed = call('{"a":', " 1}")
    sealed.insert(2, SealDelta(index=0, seal=SEAL))
    assert parts(write(*sealed, *call(index=1), stop="tool_use")) == [
        {"functionCall": {"id": "c0", "name": "f", "args": {"a": 1}}, "thoughtSignature": SEALS.pack(SEAL)},
        {"functionCall": {"id": "c1", "name": "f", "args": {}}},
        {"text": ""},
    ]


def test_calls_that_interleave_are_written_one_after_the_other():
    first, second = call('{"a":', "1}"), call('{"b":', "2}", index=1)
    mixed = [first[0], second[0], first[1], second[1], second[2], second[3], first[2], first[3]]
    assert [part["functionCall"]["args"] for part in parts(write(*mixed))[:2]] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(("stop", "reason"), [("tool_use", "MALFORMED_FUNCTION_CALL"), ("max_tokens", "MAX_TOKENS")])
def test_a_call_in_pieces_is_never_a_call(stop: Stop, reason: str):
    stream = write(*call('{"a": [1'), stop=stop)
    assert parts(stream) == [{"text": ""}]
    assert chunks(stream)[-1]["candidates"][0]["finishReason"] == reason


def test_a_free_form_call_is_a_function_of_one_text():
    (written, _) = parts(write(*call("free", kind="custom")))
    assert written["functionCall"]["args"] == {"input": "free"}


def test_files_are_written_whole_and_foreign_parts_only_to_their_own():
    answered = reply()
    image = Media(kind="image", media_type="image/png", data="AA==")
    own = Foreign(origin="gemini", what="executableCode", value={"executableCode": {"code": "1"}})
    other = Foreign(origin="anthropic_messages", what="server_tool_use", value={})
    events = [
        each for i, part in enumerate((image, own, other)) for each in (PartStart(index=i, part=part), PartEnd(index=i))
    ]
    assert parts(write(*events, to=answered))[:2] == [
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        {"executableCode": {"code": "1"}},
    ]
    assert [(loss.path, loss.weight) for loss in answered.losses] == [("answer.parts[2]", Weight.CHANGES_ANSWER)]


@pytest.mark.parametrize(
    ("stop", "reason", "lost"),
    [
        ("end_turn", "STOP", []),
        ("stop_sequence", "STOP", []),
        ("tool_use", "STOP", []),
        ("max_tokens", "MAX_TOKENS", []),
        ("context_exceeded", "MAX_TOKENS", []),
        ("refusal", "SAFETY", []),
        ("pause", "STOP", ["answer.stop"]),
    ],
)
def test_finish_reasons(stop: Stop, reason: str, lost: list[str]):
    answered = reply()
    assert chunks(write(to=answered, stop=stop))[-1]["candidates"][0]["finishReason"] == reason
    assert [loss.path for loss in answered.losses] == lost


def test_edge_113_a_refusal_tells_why_in_a_whole_answer_too():
    writer = GenerateContentWriter(reply())
    (last,) = chunks(writer.feed(MessageEnd(stop="refusal", explanation="No.")))
    assert (last["candidates"][0]["finishReason"], last["candidates"][0]["finishMessage"]) == ("SAFETY", "No.")
    whole = json.loads(write_answer(Answer(stop="refusal", explanation="No."), reply()))
    assert whole["candidates"][0]["finishMessage"] == "No."


def test_sources_are_counted_in_bytes_of_the_whole_answer():
    source = Citation(url="https://a", title="A", start=1, end=3, quote="what is there")
    second = words("é: ", "Níš", index=1)
    second.insert(3, CitationDelta(index=1, citation=source))
    events = [*words("Niš. "), *second]
    (cited,) = chunks(write(*events))[-1]["candidates"][0]["citationMetadata"]["citations"]
    assert cited == {"startIndex": 8, "endIndex": 10, "uri": "https://a", "title": "A"}
    whole = json.loads(write_answer(fold([MessageStart(), *events, MessageEnd(stop="end_turn")]), reply()))
    assert whole["candidates"][0]["citationMetadata"]["citations"] == [cited]


def test_a_failure_is_an_error_and_no_end():
    writer = GenerateContentWriter(reply())
    stream = writer.feed(MessageStart()) + writer.feed(StreamFailed(message="gone"))
    assert json.loads(stream.removeprefix(b"data: "))["error"]["status"] == "INTERNAL"


def test_a_whole_answer_tells_what_the_stream_tells():
    events = [*thinking("hm"), *words("a", "b", index=1), *call('{"a":1}', index=2)]
    answer = fold([MessageStart(), *events, UsageReport(usage=Usage(input=1, output=2)), MessageEnd(stop="tool_use")])
    whole = json.loads(write_answer(answer, reply()))
    assert whole["candidates"][0]["content"]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": SEALS.pack(SEAL)},
        {"text": "ab"},
        {"functionCall": {"id": "c2", "name": "f", "args": {"a": 1}}},
    ]
    assert whole["usageMetadata"]["totalTokenCount"] == 3
    assert (whole["modelVersion"], whole["responseId"]) == ("fast", "0123")


def test_it_is_read_again_as_it_was():
    events = [*words("Grüße", " 🌊"), *call('{"a":"\\u003c"}', index=1)]
    reader = GenerateContentReader("p/m")
    answer = fold([*reader.feed(write(*events, stop="tool_use")), *reader.close()])
    assert [part.text for part in answer.parts if isinstance(part, Text)] == ["Grüße 🌊"]
    assert answer.stop == "tool_use"


def test_google_genai_keeps_the_whole_turn_and_sends_its_seals_back():
    """A chat of the SDK: what one turn's stream brought comes back in the next request, seals, words, calls and all."""
    stream = write(
        *thinking("first ", "second"), *words("Look", "ing.", index=1), *call('{"a":1}', index=2), stop="tool_use"
    )
    sent: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.content)
        return httpx2.Response(200, content=stream, headers={"content-type": "text/event-stream"})

    client = httpx2.Client(transport=httpx2.MockTransport(answer))
    options = types.HttpOptions(base_url="http://g", httpx_client=client)
    chat = genai.Client(api_key="tg_x", http_options=options).chats.create(model="fast")
    for _ in chat.send_message_stream("hi"):
        pass
    result = types.Part.from_function_response(name="f", response={"result": "done"})
    for _ in chat.send_message_stream(result):
        pass
    request = read_request(read_members(sent[1]), Facts(model="fast", size=1), SEALS)
    said = [part for turn in request.turns for part in turn.parts if not isinstance(part, Text) or part.text]
    thought, *texts, called, answered = said[1:]
    assert isinstance(thought, Thinking)
    assert (thought.text, thought.seal) == ("first second", SEAL)
    assert [text.text for text in texts if isinstance(text, Text)] == ["Look", "ing."]
    assert isinstance(called, ToolCall)
    assert called.id == getattr(answered, "call_id", None) == "c2"
