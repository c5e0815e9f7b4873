"""How many tokens a request has, where nobody said: what goes in is text by its bytes, and media by the piece."""

import base64
import json
from typing import Any

import pytest

from providers.canonical.estimate import TOKENS_PER_MEDIA, estimate_input

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(300_000)).decode()
PDF = base64.b64encode(b"%PDF-1.7" + bytes(300_000)).decode()
WAV = base64.b64encode(b"RIFF0000WAVE" + bytes(60_000)).decode()
IMAGES = {
    "chat": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    "messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    "responses": {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
    "gemini": {"inlineData": {"mimeType": "image/png", "data": PNG}},
    "gemini, in the other spelling": {"inline_data": {"mime_type": "image/png", "data": PNG}},
}
OTHERS = {
    "a document in chat": (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        5,
    ),
    "a document in messages": ({"type": "document", "source": {"type": "base64", "data": PDF}}, 5),
    "speech in chat": ({"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}, 1),
}


def body(*parts: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()


BARE = estimate_input(body())


def test_text_is_counted_by_its_bytes():
    text = "word " * 4000
    assert estimate_input(body({"type": "text", "text": text})) == pytest.approx(BARE + len(text) / 4, abs=20)


@pytest.mark.parametrize("size", [0, 1, 3, 4])
def test_an_estimate_is_never_nothing(size: int):
    assert estimate_input(b"x" * size) == 1


@pytest.mark.parametrize("part", IMAGES.values(), ids=list(IMAGES))
def test_an_image_counts_by_the_piece_whatever_its_bytes(part: Any):
    assert estimate_input(body(part)) == pytest.approx(BARE + TOKENS_PER_MEDIA, abs=50)
    assert estimate_input(body(part, part)) == pytest.approx(BARE + 2 * TOKENS_PER_MEDIA, abs=90)


@pytest.mark.parametrize(("part", "pages"), OTHERS.values(), ids=list(OTHERS))
def test_other_media_count_by_their_size(part: Any, pages: int):
    assert estimate_input(body(part)) == pytest.approx(BARE + pages * TOKENS_PER_MEDIA, abs=50)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": PNG},
        {"type": "text", "text": f"data:image/png;base64,{PNG}"},
        {"type": "tool_result", "content": "base64 " + PNG},
        {"base64": PNG},
        {"type": "image_url", "image_url": {"url": "https://example.org/" + "a b " * 100_000}},
    ],
)
def test_text_that_only_looks_like_an_image_is_text(part: Any):
    """Whoever hangs up would have his prompt for the price of a picture."""
    assert estimate_input(body({"type": "text", "text": "base64"}, part)) > 99_000


@pytest.mark.parametrize(
    "raw", [b"", b'"', b'""', b"{" * 5000, b'"base64' * 5000, b'"data":"' + b"base64" * 999, b"\xff" * 9000]
)
def test_whatever_comes_there_is_an_estimate(raw: bytes):
    assert 1 <= estimate_input(raw) <= 1 + len(raw) // 4 + TOKENS_PER_MEDIA
