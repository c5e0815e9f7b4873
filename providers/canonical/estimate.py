"""Counting a request's tokens where nobody who knows can be asked: an estimate. Pure.

`estimate_tokens` reads the whole request: not for the event loop. `estimate_input` looks at a body's bytes, which takes a
few microseconds, and a millisecond for megabytes of images.
"""

from collections.abc import Iterable, Iterator

from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Request, Tool
from providers.wire.json import write_json

BYTES_PER_TOKEN = 4  # of English text and of JSON, in all vendors' tokenisers, roughly
TOKENS_PER_MEDIA = 1_500  # an image of medium size; a page of a document
TOKENS_PER_TURN = 4
BASE64_BYTES_PER_PAGE = 100_000  # of a document
SMALLEST_MEDIA_BYTES = 2_000  # in base64; what is smaller counts as text
MEDIA_MARKS = (b"base64", b"input_audio", b"inlineData", b"inline_data")  # a body without them has none
# The names under which all formats carry base64: a text that only looks like it is counted as text.
MEDIA_NAMES = frozenset({b"data", b"url", b"image_url", b"file_data"})
# PNG, JPEG, GIF and WebP as base64 begins them, and whatever says what it is.
IMAGE_STARTS = (b"iVBOR", b"/9j/", b"\\/9j", b"R0lGOD", b"UklGR", b"data:image/", b"data:image\\/")


def estimate_tokens(request: Request) -> int:
    """Return roughly how many tokens a request has: for planning, not for billing."""
    parts = [*request.system, *(part for turn in request.turns for part in turn.parts)]
    size = sum(_sizes(parts)) + sum(map(_tool_size, request.tools))
    media = sum(map(_pages, parts))
    return max(1, -(-size // BYTES_PER_TOKEN) + media * TOKENS_PER_MEDIA + len(request.turns) * TOKENS_PER_TURN)


def estimate_input(body: bytes) -> int:
    """Return roughly how many tokens a request's body has; images and documents count by the piece, not by their bytes."""
    size, pages = len(body), 0
    if size > SMALLEST_MEDIA_BYTES and any(mark in body for mark in MEDIA_MARKS):
        words = body.split(b'"')
        for place, word in enumerate(words):
            if len(word) >= SMALLEST_MEDIA_BYTES and words[place - 2] in MEDIA_NAMES and _is_base64(word):
                size -= len(word)
                pages += 1 if word.startswith(IMAGE_STARTS) else 1 + len(word) // BASE64_BYTES_PER_PAGE
    return max(1, size // BYTES_PER_TOKEN) + pages * TOKENS_PER_MEDIA


def _is_base64(word: bytes) -> bool:
    return word.isascii() and b" " not in word and b"\\n" not in word


def _sizes(parts: Iterable[Part]) -> Iterator[int]:
    for part in parts:
        match part:
            case Text() | Thinking():
                yield _bytes(part.text)
            case ToolCall():
                yield _bytes(part.name) + _bytes(part.arguments)
            case ToolResult():
                yield sum(_sizes(part.parts))
            case Media():
                yield _bytes(part.text)
            case Foreign():
                yield len(write_json(part.value))


def _tool_size(tool: Tool | Foreign) -> int:
    if isinstance(tool, Foreign):
        return len(write_json(tool.value))
    schema = 0 if tool.parameters is None else len(write_json(tool.parameters))
    return _bytes(tool.name) + _bytes(tool.description) + schema


def _pages(part: Part) -> int:
    """Return how many pages of media a part is worth."""
    if isinstance(part, ToolResult):
        return sum(map(_pages, part.parts))
    if not isinstance(part, Media) or part.text:
        return 0
    return 1 if part.kind == "image" else 1 + len(part.data) // BASE64_BYTES_PER_PAGE


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
