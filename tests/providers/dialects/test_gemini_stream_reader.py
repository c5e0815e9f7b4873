"""An upstream's stream of generateContent, read into events."""

import json
from typing import Any

import pytest

from providers.canonical.answer import Answer, fold
from providers.canonical.events import Event, MessageEnd, StreamFailed, UsageReport
from providers.canonical.parts import Citation, Foreign, Media, Text, Thinking, ToolCall
from providers.canonical.seals import Seal
from providers.canonical.usage import Usage
from providers.dialects.gemini.answer import read_answer
from providers.dialects.gemini.stream_reader import GenerateContentReader

ORIGIN = "google/gemini-3-pro"


def chunk(*parts: Any, **said: Any) -> dict[str, Any]:
    """Return a chunk; what is no member of it is said of its candidate."""
    outer = {name: said.pop(name) for name in ("usageMetadata", "responseId", "modelVersion") if name in said}
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **said, "index": 0}], **outer}


def events(*chunks: Any) -> list[Event]:
    reader = GenerateContentReader(ORIGIN)
    frames = b"".join(b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in chunks)
    return [*reader.feed(frames), *reader.close()]


def read(*chunks: Any) -> Answer:
    return fold(events(*chunks))


def failure(*chunks: Any) -> StreamFailed:
    end = events(*chunks)[-1]
    assert isinstance(end, StreamFailed)
    return end


def seal(payload: str) -> Seal:
    return Seal(origin=ORIGIN, payload=payload)


def test_texts_in_a_row_are_one_and_thoughts_another():
    answer = read(
        chunk({"text": "h", "thought": True}, responseId="r1", modelVersion="gemini-3-pro-001"),
        chunk({"text": "m", "thought": True}, {"text": "Hel"}),
        chunk({"text": "lo"}, finishReason="STOP"),
    )
    assert (answer.id, answer.model, answer.stop) == ("r1", "gemini-3-pro-001", "end_turn")
    assert answer.parts == (Thinking(text="hm"), Text(text="Hello"))


def test_a_signature_may_stand_at_a_text_a_call_or_an_empty_end():
    answer = read(
        chunk({"text": "hm", "thought": True, "thoughtSignature": "T"}),
        chunk({"text": "a"}),
        chunk({"functionCall": {"id": "c", "name": "f", "args": {"a": [1]}}, "thoughtSignature": "C"}),
        chunk({"text": "b"}),
        chunk({"text": "", "thoughtSignature": "E"}, finishReason="STOP"),
    )
    assert answer.parts == (
        Thinking(text="hm", seal=seal("T")),
        Text(text="a"),
        ToolCall(id="c", name="f", arguments='{"a":[1]}', seal=seal("C")),
        Text(text="b", seal=seal("E")),
    )


def test_an_empty_text_with_a_signature_after_calls_is_a_text_of_its_own():
    answer = read(
        chunk({"functionCall": {"id": "c", "name": "f"}}, {"text": "", "thoughtSignature": "E"}, finishReason="STOP")
    )
    assert answer.parts[1] == Text(seal=seal("E"))


def test_edge_93_signatures_of_several_chunks_are_never_joined():
    answer = read(
        chunk({"text": "a", "thoughtSignature": "one"}),
        chunk({"text": "b", "thoughtSignature": "two"}, finishReason="STOP"),
    )
    assert [part.seal.payload for part in answer.parts if isinstance(part, Text) and part.seal] == ["two"]


def test_edge_23_calls_end_with_stop_and_are_tool_use():
    answer = read(chunk({"functionCall": {"name": "f"}}), chunk({"text": ""}, finishReason="STOP"))
    assert answer.stop == "tool_use"
    (call,) = answer.parts
    assert isinstance(call, ToolCall)
    assert call.arguments == "{}"


def test_calls_without_ids_get_their_own_and_the_same_each_time():
    chunks = [
        chunk({"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}, responseId="r1"),
        chunk({"functionCall": {"name": "f"}}, finishReason="STOP", responseId="r1"),
    ]
    ids = [part.id for part in read(*chunks).parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 3
    assert ids == [part.id for part in read(*chunks).parts if isinstance(part, ToolCall)]


def test_edge_114_nothing_is_lost_after_the_finish_reason():
    answer = read(
        chunk({"text": "one"}, finishReason="STOP", usageMetadata={"promptTokenCount": 1}),
        chunk({"text": " two"}, finishReason="STOP"),
        {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}},
    )
    assert answer.parts == (Text(text="one two"),)
    assert answer.usage == Usage(input=1, output=2)


def test_a_stream_is_whole_only_when_it_is_closed():
    reader = GenerateContentReader(ORIGIN)
    frame = b"data: " + json.dumps(chunk({"text": "a"}, finishReason="STOP")).encode() + b"\r\n\r\n"
    assert not any(isinstance(event, MessageEnd) for event in reader.feed(frame))
    assert isinstance(reader.close()[-1], MessageEnd)
    assert reader.close() == []


def test_without_a_finish_reason_it_was_cut():
    assert failure(chunk({"text": "a"})).message == "The upstream broke off in the middle of its answer."
    assert failure().message


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("STOP", "end_turn"),
        ("MAX_TOKENS", "max_tokens"),
        ("SAFETY", "refusal"),
        ("RECITATION", "refusal"),
        ("SPII", "refusal"),
        ("MODEL_ARMOR", "refusal"),
        ("IMAGE_SAFETY", "refusal"),
        ("LANGUAGE", "end_turn"),
        ("OTHER", "end_turn"),
        ("SOMETHING_NEW", "end_turn"),
        ("CONTINUATION", "pause"),
    ],
)
def test_finish_reasons(reason: str, stop: str):
    assert read(chunk({"text": "a"}, finishReason=reason)).stop == stop


def test_calls_that_were_cut_off_are_not_tool_use():
    call = {"functionCall": {"name": "f"}}
    assert read(chunk(call, finishReason="MAX_TOKENS")).stop == "max_tokens"
    assert read(chunk(call, finishReason="OTHER")).stop == "tool_use"


@pytest.mark.parametrize(
    "reason",
    [
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    ],
)
def test_a_model_that_broke_down_has_failed(reason: str):
    end = failure(chunk({"text": "a"}), chunk(finishReason=reason, finishMessage="print(f("))
    assert (end.code, end.message) == (reason, "print(f(")
    assert failure(chunk(finishReason=reason)).message


def test_edge_113_a_blocked_prompt_is_a_refusal_without_words():
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    answer = read(blocked)
    assert (answer.stop, answer.parts, answer.usage) == ("refusal", (), Usage(input=3))
    assert answer.explanation == "The prompt was blocked: SAFETY."
    said = {"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "No."}}
    assert read(said).explanation == "No."


def test_edge_113_a_refusal_tells_why():
    answer = read(chunk(finishReason="SAFETY", finishMessage="It was unsafe."))
    assert (answer.stop, answer.explanation) == ("refusal", "It was unsafe.")


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: [error]])
def test_an_error_fails_the_stream_in_a_list_or_not(wrap: Any):
    error = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
    end = failure(chunk({"text": "a"}), wrap(error), chunk({"text": "b"}, finishReason="STOP"))
    assert (end.message, end.code) == ("Overloaded.", "UNAVAILABLE")


def test_edge_50_usage_is_the_last_report_thoughts_included():
    usage = {"promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 1}
    chunks = [
        chunk({"text": "a"}, usageMetadata=usage),
        chunk({"text": "b"}, finishReason="STOP", usageMetadata={"candidatesTokenCount": 2, "thoughtsTokenCount": 5}),
    ]
    assert read(*chunks).usage == Usage(input=5, cache_read=4, output=7, reasoning=5)
    assert sum(isinstance(event, UsageReport) for event in events(*chunks)) == 2


def test_only_the_first_candidate_is_read():
    both = {
        "candidates": [
            {"content": {"parts": [{"text": "b"}]}, "index": 1},
            {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"},
        ]
    }
    assert read(both).parts == (Text(text="a"),)


def test_files_and_what_only_gemini_knows_are_parts():
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    answer = read(
        chunk({"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "__8="}, "thoughtSignature": "I"}, code),
        chunk({"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thought": True}, finishReason="STOP"),
    )
    image = answer.parts[1]
    assert isinstance(image, Media)
    assert (image.data, image.seal) == ("//8=", seal("I"))
    assert [part.what for part in answer.parts if isinstance(part, Foreign)] == ["executableCode", "inlineData"]


def test_sources_are_counted_in_characters_of_their_text():
    first = {"citations": [{"endIndex": 4, "uri": "https://a", "title": "A"}]}
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://b", "title": "B"}}, {"maps": {}}],
        "groundingSupports": [
            {"segment": {"startIndex": 5, "endIndex": 8}, "groundingChunkIndices": [0, 1, 7]},
            {"segment": {}, "groundingChunkIndices": [0]},
        ],
    }
    answer = read(
        chunk({"text": "Níš "}),
        chunk({"text": "old"}, citationMetadata=first, groundingMetadata=grounding),
        chunk(citationMetadata=first, finishReason="STOP"),
    )
    (text,) = answer.parts
    assert isinstance(text, Text)
    assert text.citations == (
        Citation(url="https://a", title="A", start=0, end=2),
        Citation(url="https://b", title="B", start=3, end=6),
        Citation(url="https://b", title="B"),
    )


@pytest.mark.parametrize(
    "oddity",
    [
        {},
        {"candidates": None},
        {"candidates": []},
        {"candidates": [{}]},
        {"candidates": [{"content": None}]},
        {"candidates": [{"content": {"parts": None, "role": ""}}]},
        {"candidates": [{"content": {"parts": [{"text": None}, {"text": ""}, {}]}}]},
        {"usageMetadata": None, "promptFeedback": {}, "modelStatus": {}},
        chunk(citationMetadata={}, groundingMetadata={"groundingSupports": None}, safetyRatings=[]),
    ],
)
def test_oddities_do_no_harm(oddity: Any):
    answer = read(oddity, chunk({"text": "a"}), oddity, chunk({"text": "b"}, finishReason="STOP"), oddity)
    assert answer.parts == (Text(text="ab"),)


@pytest.mark.parametrize(
    "nonsense",
    [
        5,
        {"candidates": 5},
        {"candidates": [5]},
        chunk(5),
        chunk({"functionCall": {}}),
        chunk({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a"}], "willContinue": True}}),
        chunk({"inlineData": {"mimeType": "image/png"}}),
    ],
)
def test_nonsense_fails_and_is_no_exception(nonsense: Any):
    assert failure(nonsense, chunk({"text": "a"}, finishReason="STOP"))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[]", b"{}", b"5", b'{"candidates": []}', b'"data: x"'])
def test_what_is_no_answer_ends_in_a_failure(body: bytes):
    assert isinstance(read_answer(body, ORIGIN)[-1], StreamFailed)


def test_a_whole_answer_may_be_a_list_of_chunks():
    body = json.dumps([chunk({"text": "a"}), chunk({"text": "b"}, finishReason="STOP")], indent=1).encode()
    assert fold(read_answer(body, ORIGIN)).parts == (Text(text="ab"),)
