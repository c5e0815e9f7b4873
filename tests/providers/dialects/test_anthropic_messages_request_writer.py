"""What an upstream of Messages gets: a body that it takes, and a loss for all that it does not."""

import json
from base64 import b64encode
from typing import Any

import pytest

from providers.canonical.losses import Weight
from providers.canonical.parts import Citation, Media, Text, Thinking, ToolResult
from providers.canonical.request import Turn
from providers.canonical.seals import Seal, native_origin
from providers.dialects.anthropic_messages.wire import NAME
from providers.profiles import PERMISSIVE, Profile, named_profile
from tests.providers.dialects.anthropic_messages_sending import (
    CALL,
    GIF,
    HEIC,
    HELLO,
    JPEG,
    ORIGIN,
    PDF,
    PNG,
    RESULT,
    SVG,
    TOOL,
    WEBP,
    assistant,
    send,
    user,
)


def test_a_plain_question_loses_nothing():
    sent = send()
    assert sent.body == {"model": "upstream", "max_tokens": 1000, "messages": [{"role": "user", "content": "hi"}]}
    assert sent.losses == {}


@pytest.mark.parametrize(
    ("limit", "profile", "expected"),
    [
        (5000, Profile(max_output_tokens=8000), 5000),
        (None, Profile(max_output_tokens=8000), 8000),
        (None, PERMISSIVE, 32000),
    ],
)
def test_a_number_of_tokens_is_always_said(limit: int | None, profile: Profile, expected: int):
    sent = send(limit=limit, profile=profile, sampling={"max_output_tokens": None})
    assert sent.body["max_tokens"] == expected
    assert sent.losses == {"max_output_tokens": Weight.COSMETIC}


@pytest.mark.parametrize("known", [{"profile": Profile(max_output_tokens=500)}, {"limit": 500}])
def test_more_tokens_than_the_model_writes_are_no_reason_to_fail(known: dict[str, Any]):
    sent = send(**known)
    assert (sent.body["max_tokens"], sent.losses) == (500, {"max_output_tokens": Weight.DEGRADES})


# Turns


def test_edge_61_empty_texts_and_turns_are_not_sent():
    turns = (HELLO, assistant(Text(text="", at="e")), user(Text(text="", at="f"), Text(text="go", at="g")))
    sent = send(turns=turns)
    assert sent.body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "go"}]}
    ]
    assert sent.losses == {"e": Weight.COSMETIC, "f": Weight.COSMETIC, "messages[1]": Weight.COSMETIC}


def test_results_come_first_wherever_they_stood():
    turns = (HELLO, assistant(CALL), user(Text(text="by the way", at="x")), user(RESULT))
    assert [block["type"] for block in send(turns=turns, tools=(TOOL,)).body["messages"][2]["content"]] == [
        "tool_result",
        "text",
    ]


def test_instructions_in_mid_conversation_stay_where_they_are():
    order = Turn(role="system", parts=(Text(text="Be brief.", at="s"),), at="messages[1]")
    sent = send(turns=(HELLO, order, assistant(Text(text="ok", at="a")), HELLO))
    assert [message["role"] for message in sent.body["messages"]] == ["user", "system", "assistant", "user"]
    assert sent.losses == {}


@pytest.mark.parametrize(
    ("profile", "before"),
    [(Profile(takes_system_turns=False), ()), (PERMISSIVE, (assistant(Text(text="ok", at="a")),))],
)
def test_instructions_that_may_not_stand_there_become_a_reminder_in_the_same_place(
    profile: Profile, before: tuple[Turn, ...]
):
    order = Turn(role="system", parts=(Text(text="Be brief.", at="s"),), at="messages[1]")
    sent = send(turns=(HELLO, *before, order, HELLO), profile=profile)
    blocks = sent.body["messages"][-1]["content"]
    assert {"type": "text", "text": "<system-reminder>\nBe brief.\n</system-reminder>"} in blocks
    assert blocks[-1]["text"] == "hi"
    assert sent.losses == {"messages[1]": Weight.DEGRADES}


def test_edge_86_a_prefill_has_no_blanks_at_its_end():
    sent = send(turns=(HELLO, assistant(Text(text="It is \n", at="messages[1].content"))))
    assert sent.body["messages"][1] == {"role": "assistant", "content": "It is"}
    assert sent.losses == {"messages[1].content": Weight.COSMETIC}


def test_edge_86_a_prefill_that_the_model_refuses_changes_the_answer():
    sent = send(turns=(HELLO, assistant(Text(text="It is", at="c"))), profile=named_profile("claude-opus-5"))
    assert sent.losses == {"messages[1]": Weight.CHANGES_ANSWER}


def test_what_others_mark_in_a_text_is_lost_by_name():
    citation = Citation(url="https://a")
    text = Text(text="x", is_refusal=True, citations=(citation,), seal=Seal(origin="o", payload="p"), at="t")
    assert send(text).losses == {"t": Weight.COSMETIC, "t.citations": Weight.COSMETIC, "t.seal": Weight.DEGRADES}


# Thinking


@pytest.mark.parametrize("origin", [ORIGIN, native_origin(NAME)])
def test_edge_91_thinking_goes_back_to_its_origin_word_for_word_and_first_in_its_turn(origin: str):
    seal = Seal(origin=origin, payload="Eq==")
    turn = assistant(Text(text="a", at="a"), Thinking(text=" hm\n", seal=seal, at="b"), CALL)
    sent = send(turns=(HELLO, turn, user(RESULT)), tools=(TOOL,))
    blocks = sent.body["messages"][1]["content"]
    assert blocks[0] == {"type": "thinking", "thinking": " hm\n", "signature": "Eq=="}
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"]
    assert sent.losses == {}


def test_edge_91_thinking_between_calls_is_not_moved():
    seal = Seal(origin=ORIGIN, payload="Eq==")
    parts = (Thinking(text="a", seal=seal, at="a"), Text(text="b", at="b"), Thinking(text="c", seal=seal, at="c"))
    sent = send(turns=(HELLO, assistant(*parts), HELLO))
    assert [block["type"] for block in sent.body["messages"][1]["content"]] == ["thinking", "text", "thinking"]


@pytest.mark.parametrize("seal", [None, Seal(origin="google/gemini-3", payload="opaque")])
def test_edges_91_and_92_other_reasoning_is_dropped_and_never_becomes_text(seal: Seal | None):
    turn = assistant(Thinking(text="secret", seal=seal, at="h"), Text(text="a", at="a"))
    sent = send(turns=(HELLO, turn, HELLO))
    assert "secret" not in json.dumps(sent.body)
    assert sent.losses == {"h": Weight.DEGRADES}


def test_edge_94_redacted_thinking_goes_back_as_it_is():
    turn = assistant(Thinking(is_redacted=True, seal=Seal(origin=ORIGIN, payload="Em=="), at="h"))
    sent = send(turns=(HELLO, turn, HELLO))
    assert sent.body["messages"][1]["content"] == [{"type": "redacted_thinking", "data": "Em=="}]


# Images and documents


@pytest.mark.parametrize(
    ("data", "declared", "media_type"),
    [
        (PNG, "image/png", "image/png"),
        (JPEG, "image/png", "image/jpeg"),
        (WEBP, "image/jpg", "image/webp"),
        (GIF, "", "image/gif"),
    ],
)
def test_edge_85_an_images_type_is_what_its_bytes_say(data: str, declared: str, media_type: str):
    sent = send(Media(kind="image", data=data, media_type=declared, at="m"))
    assert sent.content[0]["source"] == {"type": "base64", "media_type": media_type, "data": data}
    assert sent.losses == ({"m.media_type": Weight.COSMETIC} if declared not in ("", media_type) else {})


@pytest.mark.parametrize("field", ["data", "url"])
def test_edge_85_prefixes_and_blanks_are_no_part_of_the_data(field: str):
    data = f"data:image/png;base64,{PNG[:8]}\r\n {PNG[8:]}\n"
    sent = send(Media(kind="image", at="m", **{field: data}))
    assert sent.content[0]["source"] == {"type": "base64", "media_type": "image/png", "data": PNG}


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="image", data=SVG, media_type="image/svg+xml", at="m"),
        Media(kind="image", data=HEIC, media_type="image/heic", at="m"),
        Media(kind="image", data=HEIC, media_type="image/png", at="m"),
        Media(kind="image", url="gs://bucket/a.png", at="m"),
        Media(kind="image", file_id="file-1", at="m"),
        Media(kind="document", data=PNG, media_type="application/zip", at="m"),
        Media(kind="audio", data="AAAA", media_type="audio/wav", at="m"),
        Media(kind="video", url="https://a/b.mp4", at="m"),
    ],
)
def test_what_the_upstream_cannot_see_changes_the_answer(media: Media):
    sent = send(Text(text="look", at="t"), media)
    assert sent.content == "look"
    assert sent.losses == {"m": Weight.CHANGES_ANSWER}


@pytest.mark.parametrize(
    ("media", "profile"),
    [
        (Media(kind="image", data=PNG, media_type="image/png", at="m"), Profile(takes_images=False)),
        (Media(kind="document", data=PDF, media_type="application/pdf", at="m"), Profile(takes_documents=False)),
    ],
)
def test_a_model_that_sees_nothing_is_shown_nothing(media: Media, profile: Profile):
    assert send(Text(text="look", at="t"), media, profile=profile).losses == {"m": Weight.CHANGES_ANSWER}


@pytest.mark.parametrize(
    ("media", "source"),
    [
        (
            {"data": PDF, "media_type": "application/pdf"},
            {"type": "base64", "media_type": "application/pdf", "data": PDF},
        ),
        ({"url": "https://a/b.pdf"}, {"type": "url", "url": "https://a/b.pdf"}),
        ({"text": "words"}, {"type": "text", "media_type": "text/plain", "data": "words"}),
        (
            {"data": b64encode(b"a,b").decode(), "media_type": "text/csv"},
            {"type": "text", "media_type": "text/plain", "data": "a,b"},
        ),
    ],
)
def test_documents_have_a_title_and_a_source(media: dict[str, Any], source: dict[str, Any]):
    sent = send(Media(kind="document", title="report.pdf", at="m", **media))
    assert sent.content == [{"type": "document", "source": source, "title": "report.pdf"}]


def test_an_image_that_another_model_made_is_not_shown_as_the_upstreams_own():
    sent = send(turns=(HELLO, assistant(Media(kind="image", data=PNG, at="m"), Text(text="There.", at="t")), HELLO))
    assert sent.body["messages"][1] == {"role": "assistant", "content": "There."}
    assert sent.losses == {"m": Weight.CHANGES_ANSWER}


def test_images_in_results_stay_in_them():
    image = Media(kind="image", url="https://a/b.png", at="i")
    result = ToolResult(call_id="t1", parts=(Text(text="see", at="r"), image), is_error=True, at="r")
    sent = send(turns=(HELLO, assistant(CALL), user(result)), tools=(TOOL,))
    (block,) = sent.body["messages"][2]["content"]
    assert [part["type"] for part in block["content"]] == ["text", "image"]
    assert block["is_error"] is True
