"""Files in the body and at an address."""

from base64 import b64encode
from typing import Any

import pytest

from providers.canonical.parts import Media
from providers.dialects.gemini.media import can_open, kind_of, read_file, read_inline, write_media
from providers.dialects.gemini.spelling import read_node, respell
from providers.dialects.gemini.weights import PART, PART_WEIGHTS


def read(raw: dict[str, Any]) -> Media:
    reading = read_node(raw, PART, PART_WEIGHTS, "at")
    return read_inline(reading, "at") if "inlineData" in reading.node else read_file(reading, "at")


@pytest.mark.parametrize(
    "raw",
    [
        {"inlineData": {"mimeType": "image/png", "data": "__77-A=="}},
        {"inline_data": {"mime_type": "image/png", "data": "//77+A=="}},
        {"inlineData": {"mimeType": "image/png", "data": "__77-A", "displayName": "a"}},
        {"inlineData": {"data": "//77"}},
        {"inlineData": {"mimeType": "text/plain", "data": b64encode("Grüße".encode()).decode()}},
        {"inlineData": {"mimeType": "text/plain", "data": "_-=="}},
        {"inlineData": {"mimeType": "text/plain", "data": ""}},
        {"fileData": {"fileUri": "https://example.org/cat.png"}},
        {"file_data": {"file_uri": "files/abc", "mime_type": "application/pdf"}},
    ],
)
def test_any_spelling_comes_back(raw: dict[str, Any]):
    media = read(raw)
    assert respell(write_media(media), media.native) == raw


def test_base64_is_standard_and_padded_for_everybody_else():
    media = read({"inlineData": {"mimeType": "image/png", "data": "__77-A"}})
    assert (media.kind, media.media_type, media.data) == ("image", "image/png", "//77+A==")


def test_plain_text_is_text():
    media = read({"inlineData": {"mimeType": "text/plain", "data": b64encode("Grüße".encode()).decode()}})
    assert (media.kind, media.text, media.data) == ("document", "Grüße", "")


@pytest.mark.parametrize(
    ("address", "is_stored", "kind"),
    [
        ("gs://bucket/a.png", True, "image"),
        ("https://generativelanguage.googleapis.com/v1beta/files/x", True, "document"),
        ("files/x", True, "document"),
        ("https://www.youtube.com/watch?v=x", False, "video"),
        ("https://example.org/a.mp3?x=1", False, "audio"),
        ("https://example.org/a", False, "document"),
    ],
)
def test_an_address_is_a_store_of_googles_or_of_the_web(address: str, is_stored: bool, kind: str):
    media = read({"fileData": {"fileUri": address}})
    assert (media.file_id, media.url) == ((address, "") if is_stored else ("", address))
    assert media.kind == kind
    assert can_open(media)  # its own client's word


@pytest.mark.parametrize(
    ("media", "is_open"),
    [
        (Media(kind="image", url="https://example.org/a.png"), False),
        (Media(kind="video", url="https://youtu.be/x"), True),
        (Media(kind="image", url="gs://b/a.png"), True),
        (Media(kind="document", file_id="file-abc"), False),
        (Media(kind="document", file_id="https://generativelanguage.googleapis.com/v1beta/files/x"), True),
    ],
)
def test_only_google_and_youtube_can_be_opened(media: Media, is_open: bool):
    assert can_open(media) is is_open


def test_another_dialects_file_gets_the_type_that_it_has_to_have():
    assert write_media(Media(kind="document", text="hi", title="a.txt")) == {
        "inlineData": {"mimeType": "text/plain", "data": "aGk="}
    }
    assert write_media(Media(kind="image", data="AA=="))["inlineData"]["mimeType"] == "image/png"


def test_kinds_follow_the_media_type():
    assert [kind_of(each, "") for each in ("image/png", "audio/wav", "video/mp4", "text/csv", "")] == [
        "image",
        "audio",
        "video",
        "document",
        "document",
    ]
