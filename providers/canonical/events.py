"""An answer as it happens, in no vendor's words. Pure.

    MessageStart → (PartStart → *Delta ... → PartEnd)* → UsageReport* → MessageEnd | StreamFailed

Parts are numbered 0, 1, 2, ... in the order in which they start. Several tool calls may be open at once and their
deltas interleave; a text or thinking part is alone. Exactly one MessageStart comes first and exactly one of MessageEnd
and StreamFailed last: readers see to it (dialects/reader.py), writers may rely on it.
"""

from typing import Literal

import msgspec

from providers.canonical.parts import Citation, Part
from providers.canonical.seals import Seal
from providers.canonical.usage import Usage

type Stop = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "refusal",  # the model's, or a content filter's
    "pause",  # a server tool wants to go on: the client sends the turn again
    "context_exceeded",
]


class MessageStart(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream has begun."""

    id: str = ""
    model: str = ""


class PartStart(msgspec.Struct, frozen=True, kw_only=True):
    """A part begins: empty of what its deltas bring (text, arguments, seal), whole where there are none (Media, Foreign)."""

    index: int
    part: Part


class TextDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More words of a Text."""

    index: int
    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More words of a Thinking."""

    index: int
    text: str


class ArgumentsDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of a ToolCall's arguments."""

    index: int
    text: str


class SealDelta(msgspec.Struct, frozen=True, kw_only=True):
    """The seal of a Text, Thinking or ToolCall: whole, and before the part's end. A later one replaces an earlier."""

    index: int
    seal: Seal


class CitationDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A source of a Text."""

    index: int
    citation: Citation


class PartEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A part is whole."""

    index: int


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts so far: cumulative, merged per field."""

    usage: Usage


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing new; the upstream lives."""


class MessageEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is whole, as far as it goes."""

    stop: Stop
    stop_sequence: str | None = None  # which one, where the upstream says so
    explanation: str = ""  # of a refusal


class StreamFailed(msgspec.Struct, frozen=True, kw_only=True):
    """There will be no end: an error event, a malformed event, or a stream that broke off."""

    message: str
    code: str = ""  # the upstream's own, where it has one


type Event = (
    MessageStart
    | PartStart
    | TextDelta
    | ThinkingDelta
    | ArgumentsDelta
    | SealDelta
    | CitationDelta
    | PartEnd
    | UsageReport
    | Ping
    | MessageEnd
    | StreamFailed
)
