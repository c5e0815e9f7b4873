"""Byte-exact edits of a JSON object: read its members once, replace, add or remove some, keep every other byte. Pure.

`read_members` finds where each top-level member stands without building what is inside it, so a body of any size costs
one pass in C. What comes out of `splice` differs from what went in only where an edit was asked for: key order, number
spelling, white space, escapes and unknown fields survive.
"""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from providers.wire.json import read_any

BLANKS = b" \t\r\n"
BLANK_BYTES = frozenset(BLANKS)
QUOTE, COMMA, COLON, CLOSING = b'",:}'
EMPTY_VALUES = frozenset({b"null", b'""', b"[]", b"{}"})
LONGEST_EMPTY = 16  # bytes, with blanks


class MalformedJson(ValueError):
    """The body is not a JSON object; the message says where."""


class Span(NamedTuple):
    """Where a member stands: its name and value, as offsets into the body."""

    name: str
    name_start: int
    start: int
    end: int


class Members:
    """The members of a JSON object, by name, as the bytes of their values."""

    __slots__ = ("_spans", "_values", "raw")

    def __init__(
        self, raw: bytes, values: Mapping[str, msgspec.Raw | bytes], spans: tuple[Span, ...] | None = None
    ) -> None:
        self.raw = raw
        self._values = values
        self._spans = spans

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def has(self, name: str) -> bool:
        """Whether there is such a member and its value holds something: it is not null and no empty text, list or object."""
        value = self._values.get(name)
        if value is None:
            return False
        return len(value) > LONGEST_EMPTY or bytes(value).translate(None, BLANKS) not in EMPTY_VALUES

    def get(self, name: str) -> bytes | None:
        """Return the bytes of a member's value; None when there is no such member."""
        value = self._values.get(name)
        return None if value is None else bytes(value)

    def first_byte(self, name: str) -> int | None:
        """Return the byte that a member's value begins with, which tells its type, without copying the value."""
        value = self._values.get(name)
        return None if value is None else memoryview(value)[0]

    def read(self, name: str) -> object:
        """Return a member's value as Python's own, None when it is missing or null; raises MalformedJson.

        For small members.
        """
        value = self.get(name)
        try:
            return None if value is None else read_any(value)
        except (ValueError, RecursionError) as error:
            raise MalformedJson(_sentence(error)) from None

    @property
    def spans(self) -> tuple[Span, ...]:
        """Where each member stands; a name that occurs twice has two."""
        if self._spans is None:
            self._spans = _walk(self.raw, self._values) or _scan(self.raw)
        return self._spans


class _Object(msgspec.Struct):
    """A JSON object whose members are looked through and not built."""


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
look_through = msgspec.json.Decoder(_Object).decode  # raises msgspec.DecodeError, RecursionError


def read_members(raw: bytes) -> Members:
    """Read a JSON object's members in one pass; raises MalformedJson."""
    try:
        return Members(raw, _decode_members(raw))
    except RecursionError as error:
        raise MalformedJson(_sentence(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if b"\\u" not in raw:
            raise MalformedJson(_sentence(error)) from None
    # Lone surrogates are legal JSON and refused by the fast decoder; the slow one takes them.
    spans = _scan(raw)
    return Members(raw, {span.name: raw[span.start : span.end] for span in spans}, spans)


def is_object(raw: bytes) -> bool:
    """Whether this is one whole JSON object, for clients as lenient as Python's own decoder."""
    try:
        look_through(raw)
    except (msgspec.DecodeError, RecursionError):
        try:
            return isinstance(json.loads(raw), dict)
        except (ValueError, RecursionError):
            return False
    return True


def splice(members: Members, edits: Mapping[str, bytes | None]) -> bytes:
    """Return the body with members set to the given JSON text, or removed where it is None."""
    if not edits:
        return members.raw
    raw, position, spans = members.raw, 0, members.spans
    view = memoryview(raw)  # slices of it copy nothing: the one copy of a large body is the join
    pieces: list[bytes | memoryview] = []
    last_kept = max((index for index, span in enumerate(spans) if edits.get(span.name, b"") is not None), default=-1)
    for index, span in enumerate(spans):
        if span.name not in edits:
            continue
        replacement = edits[span.name]
        if replacement is None:
            start, end = _removal(spans, index, last_kept)
            pieces.append(view[position : max(position, start)])
            position = max(position, end)
        else:
            pieces += (view[position : span.start], replacement)
            position = span.end
    present = {span.name for span in spans}
    added = [(name, text) for name, text in edits.items() if text is not None and name not in present]
    if added:
        closing = raw.rindex(b"}")
        text = b",".join(json.dumps(name).encode() + b":" + value for name, value in added)
        pieces += (view[position:closing], b"," + text if last_kept >= 0 else text)
        position = closing
    pieces.append(view[position:])
    return b"".join(pieces)


def _removal(spans: tuple[Span, ...], index: int, last_kept: int) -> tuple[int, int]:
    """Return what goes with a member: up to the next one, or from the end of the last that stays when none follows."""
    if index < last_kept:
        return spans[index].name_start, spans[index + 1].name_start
    start = spans[last_kept].end if last_kept >= 0 else spans[0].name_start
    return start, spans[index].end


def _walk(raw: bytes, values: Mapping[str, msgspec.Raw | bytes]) -> tuple[Span, ...] | None:
    """Find the spans from the values' lengths; None when names are escaped or occur twice: lengths cannot tell then.

    A value that does not stand where its length puts it belongs to the second occurrence of its name.
    """
    spans, position, view = [], raw.index(b"{") + 1, memoryview(raw)
    for name, value in values.items():
        if raw[position] == COMMA:
            position += 1
        if raw[position] != QUOTE:
            position = _skip(raw, position, COMMA)
        key = b'"' + name.encode("utf-8", "surrogatepass") + b'"'
        if not raw.startswith(key, position):
            return None
        start = position + len(key)
        if raw[start] == COLON and raw[start + 1] not in BLANK_BYTES:
            start += 1
        else:
            start = _skip(raw, start, COLON)
        end = start + len(value)
        if msgspec.Raw(view[start:end]) != value:
            return None
        spans.append(Span(name, position, start, end))
        position = end
    return tuple(spans) if raw[_skip(raw, position, 0)] == CLOSING else None


def _skip(raw: bytes, position: int, mark: int) -> int:
    """Step over blanks and at most one mark."""
    while raw[position] in BLANK_BYTES:
        position += 1
    if raw[position] == mark:
        position += 1
        while raw[position] in BLANK_BYTES:
            position += 1
    return position


def _scan(raw: bytes) -> tuple[Span, ...]:
    """Find the spans the slow way, with the standard library's lenient decoder; raises MalformedJson."""
    try:
        return tuple(_scan_members(raw))
    except (ValueError, IndexError, RecursionError) as error:
        raise MalformedJson(_sentence(error)) from None


def _scan_members(raw: bytes) -> Iterator[Span]:
    text = raw.decode("latin-1")  # a character is a byte: positions are offsets, and all that is structure is ASCII
    decode = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant).raw_decode
    position = _after_blanks(text, 0)
    _expect(text, position, "{")
    position = _after_blanks(text, position + 1)
    while text[position] != "}":
        _expect(text, position, '"')
        name_start = position
        _, position = decode(text, position)
        name = json.loads(raw[name_start:position])
        position = _after_blanks(text, position)
        _expect(text, position, ":")
        start = _after_blanks(text, position + 1)
        _, end = decode(text, start)
        yield Span(name, name_start, start, end)
        position = _after_blanks(text, end)
        if text[position] == ",":
            position = _after_blanks(text, position + 1)
            _expect(text, position, '"')
        else:
            _expect(text, position, "}")
    if text[position + 1 :].strip(BLANKS.decode()):
        raise ValueError(f"there is something after the object (character {position + 1})")


def _after_blanks(text: str, position: int) -> int:
    while text[position] in " \t\r\n":
        position += 1
    return position


def _expect(text: str, position: int, character: str) -> None:
    if text[position] != character:
        raise ValueError(f"expected {character!r} (character {position})")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _sentence(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return "The body must be a JSON object."
    if isinstance(error, RecursionError):
        return "The body is nested too deeply."
    text = str(error).removeprefix("JSON is malformed: ")
    if isinstance(error, IndexError) or "truncated" in text:
        text = "it ends too early"
    return f"The body is not valid JSON: {text}."
