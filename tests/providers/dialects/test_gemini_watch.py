"""A stream of generateContent that is passed through: no frame says that it is the last."""

import json

import pytest

from providers.canonical.inbound import Facts
from providers.canonical.usage import Usage
from providers.dialects.gemini.watch import GenerateContentWatch

FACTS = Facts(model="gemini-3-pro", size=2, is_stream=True)


def watch() -> GenerateContentWatch:
    return GenerateContentWatch(FACTS)


def chunk(*parts: object, end: str = "\r\n\r\n", **said: object) -> bytes:
    """Return a frame; what is not a usage report or a feedback is said of the candidate."""
    outer = {name: said.pop(name) for name in ("usageMetadata", "promptFeedback") if name in said}
    candidate = {"content": {"role": "model", "parts": list(parts)}, **said, "index": 0}
    body = {"candidates": [candidate], **outer} if parts or said else outer
    return f"data: {json.dumps(body)}{end}".encode()


WORDS = chunk({"text": "Grüß "}, usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 1})
LAST = chunk({"text": "Gott 🌊"}, finishReason="STOP", usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 4})
STREAM = WORDS + LAST


def test_a_stream_is_passed_on_as_it_is_however_it_was_cut(play, cuts):
    stories = {play(watch(), packets).story for packets in cuts(STREAM)}
    assert stories == {(STREAM, Usage(input=5, output=4), True, True, True, None)}


def test_line_ends_may_be_any(play):
    stream = WORDS.replace(b"\r\n", b"\n") + LAST.replace(b"\r\n", b"\n")
    played = play(watch(), [stream])
    assert played.passed == stream
    assert played.watch.is_finished


def test_the_last_frame_is_held_back_until_the_stream_is_over():
    seen = watch()
    assert seen.observe(WORDS) == WORDS
    assert seen.observe(LAST) == b""
    assert not seen.is_finished
    seen.end()
    assert seen.is_finished
    assert seen.last() == LAST


def test_edge_114_frames_after_the_finish_reason_are_passed_on_in_order(play, cuts):
    more = chunk({"text": "and more"}, finishReason="STOP")
    usage = chunk(usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 9})
    stream = STREAM + more + usage
    for packets in cuts(stream):
        played = play(watch(), packets)
        assert played.passed == stream
        assert played.watch.usage == Usage(input=5, output=9)
        assert played.watch.is_finished


def test_a_stream_without_a_finish_reason_was_cut(play):
    played = play(watch(), [WORDS])
    assert played.watch.error == "It ended in the middle of its answer."
    assert not played.watch.is_usage_final


def test_edge_113_a_blocked_prompt_is_a_whole_answer(play):
    blocked = chunk(promptFeedback={"blockReason": "SAFETY"}, usageMetadata={"promptTokenCount": 7})
    played = play(watch(), [blocked])
    assert played.passed == blocked
    assert played.watch.is_finished
    assert played.watch.has_content
    assert not played.watch.is_usage_final


@pytest.mark.parametrize("wrap", ["{}", "[{}]"])
def test_an_error_ends_the_stream_in_a_list_or_not(play, wrap: str):
    error = json.dumps({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}})
    played = play(watch(), [WORDS, b"data: " + wrap.replace("{}", error).encode() + b"\r\n\r\n"])
    assert played.watch.error == "The model is overloaded."
    assert played.passed == WORDS


def test_an_error_after_the_finish_reason_takes_the_end_back():
    seen = watch()
    assert seen.observe(STREAM + b'data: {"error": "gone"}\r\n\r\n') == WORDS
    assert seen.error == "gone"


def test_what_is_not_json_ends_the_stream(play):
    played = play(watch(), [WORDS, b"data: <html>\r\n\r\n"])
    assert played.watch.error == "The upstream sent something that is not JSON."


def test_a_chunk_of_usage_alone_is_no_content():
    seen = watch()
    seen.observe(chunk(usageMetadata={"promptTokenCount": 5}) + chunk({"text": ""}))
    assert not seen.has_content
    seen.observe(chunk({"functionCall": {"name": "f"}}))
    assert seen.has_content


@pytest.mark.parametrize(
    "body",
    [
        {"candidates": None},
        {"candidates": [None]},
        {"candidates": [{"content": None}]},
        {"candidates": [{"content": {"parts": None}}]},
        {"candidates": {}, "usageMetadata": [], "promptFeedback": None},
    ],
)
def test_oddities_are_passed_on(body: object):
    frame = f"data: {json.dumps(body)}\r\n\r\n".encode()
    seen = watch()
    assert seen.observe(frame) == frame
    assert seen.error is None


def test_comments_are_passed_on_and_end_nothing():
    seen = watch()
    assert seen.observe(LAST + b": still here\r\n\r\n") == b": still here\r\n\r\n"
    seen.end()
    assert seen.last() == LAST


def test_each_field_of_usage_keeps_its_newest_report():
    seen = watch()
    seen.observe(chunk({"text": "a"}, usageMetadata={"promptTokenCount": 9, "cachedContentTokenCount": 4}))
    seen.observe(chunk({"text": "b"}, usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 2}))
    assert seen.usage == Usage(input=5, cache_read=4, output=2)
