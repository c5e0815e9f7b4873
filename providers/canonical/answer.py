"""A whole answer: what its events fold to. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec

from providers.canonical.events import (
    ArgumentsDelta,
    CitationDelta,
    Event,
    MessageEnd,
    MessageStart,
    PartStart,
    SealDelta,
    Stop,
    StreamFailed,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from providers.canonical.parts import Part
from providers.canonical.usage import NOTHING_REPORTED, Usage


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a model said."""

    id: str = ""
    model: str = ""  # the upstream's name for itself
    parts: tuple[Part, ...] = ()
    stop: Stop = "end_turn"
    stop_sequence: str | None = None
    explanation: str = ""  # of a refusal
    usage: Usage = NOTHING_REPORTED


class AnswerFailed(Exception):
    """The events end in a failure: there is no answer."""

    def __init__(self, failure: StreamFailed) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Building:
    """A part that is still growing."""

    __slots__ = ("citations", "part", "pieces", "seal")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.pieces: list[str] = []
        self.seal: Any = None
        self.citations: list[Any] = []

    def built(self, field: str) -> Part:
        part: Any = self.part
        changes: dict[str, Any] = {}
        if self.pieces:
            changes[field] = getattr(part, field) + "".join(self.pieces)
        if self.seal is not None:
            changes["seal"] = self.seal
        if self.citations:
            changes["citations"] = (*part.citations, *self.citations)
        return msgspec.structs.replace(part, **changes) if changes else part  # type: ignore[no-any-return]


def fold(events: Iterable[Event]) -> Answer:
    """Put an answer together from its events; raises AnswerFailed when they end in a failure."""
    start, end, usage = MessageStart(), MessageEnd(stop="end_turn"), NOTHING_REPORTED
    parts: dict[int, _Building] = {}
    for event in events:
        match event:
            case PartStart():
                parts[event.index] = _Building(event.part)
            case TextDelta() | ThinkingDelta() | ArgumentsDelta():
                parts[event.index].pieces.append(event.text)
            case SealDelta():
                parts[event.index].seal = event.seal
            case CitationDelta():
                parts[event.index].citations.append(event.citation)
            case UsageReport():
                usage = usage.merge(event.usage)
            case MessageStart():
                start = event
            case MessageEnd():
                end = event
            case StreamFailed():
                raise AnswerFailed(event)
    return Answer(
        id=start.id,
        model=start.model,
        parts=tuple(
            building.built("arguments" if hasattr(building.part, "arguments") else "text")
            for _, building in sorted(parts.items())
        ),
        stop=end.stop,
        stop_sequence=end.stop_sequence,
        explanation=end.explanation,
        usage=usage,
    )
