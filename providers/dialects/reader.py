"""Reading an upstream's stream into events: the state machine that every dialect's reader stands on. Pure.

A dialect's reader says what an upstream's event means by calling the verbs below; none of them can be called so that the
events come out of order. Whatever the upstream does, there is one MessageStart, each part starts once and ends once, and
one terminal event ends it all: a stream that breaks off or makes no sense ends in StreamFailed. Nothing follows the end.
"""

from abc import ABC, abstractmethod
from typing import Any, NoReturn

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
    StreamFailed,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from providers.canonical.parts import Citation, Part
from providers.canonical.seals import Seal
from providers.canonical.usage import Usage
from providers.wire.json import read_json
from providers.wire.sse import frame_event, frames

CUT = "The upstream broke off in the middle of its answer."
NONSENSE = "The upstream sent an event that makes no sense."

# What an upstream sends is not ours to trust: a dialect's reader checks what it expects, and the rest of what can be
# wrong with a piece of JSON raises one of these.
MAKES_NO_SENSE = (LookupError, TypeError, ValueError, AttributeError)


class EventReader(ABC):
    """Whole frames in (`feed`), events out; `close` when the upstream has closed the stream."""

    __slots__ = ("_events", "_next", "_open", "is_ended", "is_started", "origin")

    def __init__(self, origin: str) -> None:
        self.origin = origin  # of the seals that this upstream mints
        self.is_started = False
        self.is_ended = False
        self._events: list[Event] = []
        self._open: set[int] = set()
        self._next = 0

    def feed(self, data: bytes) -> list[Event]:
        """Return the events of whole frames."""
        for frame in frames(data):
            if self.is_ended:
                break
            name, payload = frame_event(frame)
            if payload:
                try:
                    self._read(name, payload)
                except MAKES_NO_SENSE:
                    self._fail(NONSENSE)
        return self._take()

    def close(self) -> list[Event]:
        """Return what is left to say now that nothing follows."""
        if not self.is_ended:
            try:
                self._close()
            except MAKES_NO_SENSE:
                self._fail(NONSENSE)
            self._fail(CUT)
        return self._take()

    @abstractmethod
    def _read(self, name: bytes, payload: bytes) -> None:
        """Take one event: its name, if it has one, and its data."""

    def _close(self) -> None:  # noqa: B027
        """Finish a stream that may end without a terminal event of its own, if its answer is whole; else do nothing."""

    def _parse(self, payload: bytes) -> dict[str, Any]:
        """Return an event's object; raises ValueError, which ends the stream."""
        value = read_json(payload)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return value

    def _start(self, *, id: str, model: str) -> None:
        if not self.is_started:
            self.is_started = True
            self._emit(MessageStart(id=id, model=model))

    def _open_part(self, part: Part) -> int:
        """Start the next part; return its index."""
        self._start(id="", model="")
        index = self._next
        self._next += 1
        self._open.add(index)
        self._emit(PartStart(index=index, part=part))
        return index

    def _whole_part(self, part: Part) -> None:
        """Start and end a part that has no deltas."""
        self._end_part(self._open_part(part))

    def _text(self, index: int, text: str) -> None:
        if text:
            self._delta(TextDelta(index=index, text=text))

    def _thinking(self, index: int, text: str) -> None:
        if text:
            self._delta(ThinkingDelta(index=index, text=text))

    def _arguments(self, index: int, text: str) -> None:
        if text:
            self._delta(ArgumentsDelta(index=index, text=text))

    def _seal(self, index: int, payload: str, *, form: str = "") -> None:
        if payload:
            self._delta(SealDelta(index=index, seal=Seal(origin=self.origin, payload=payload, form=form)))

    def _cite(self, index: int, citation: Citation) -> None:
        self._delta(CitationDelta(index=index, citation=citation))

    def _delta(self, event: TextDelta | ThinkingDelta | ArgumentsDelta | SealDelta | CitationDelta) -> None:
        if event.index not in self._open:
            raise ValueError("a delta of a part that is not open")
        self._emit(event)

    def _end_part(self, index: int) -> None:
        """End a part; one that has ended stays so."""
        if index in self._open:
            self._open.discard(index)
            self._emit(PartEnd(index=index))

    def _end_parts(self) -> None:
        for index in sorted(self._open):
            self._end_part(index)

    def _report(self, usage: Usage) -> None:
        self._start(id="", model="")
        self._emit(UsageReport(usage=usage))

    def _ping(self) -> None:
        if self.is_started:
            self._emit(Ping())

    def _finish(self, end: MessageEnd) -> None:
        """End the answer: parts that are open end first."""
        self._start(id="", model="")
        self._end_parts()
        self._emit(end)
        self.is_ended = True

    def _fail(self, message: str, code: str = "") -> None:
        """End in a failure; parts that are open stay so, for they are not whole."""
        self._emit(StreamFailed(message=message, code=code))
        self.is_ended = True

    def _refuse(self) -> NoReturn:
        raise ValueError(NONSENSE)

    def _emit(self, event: Event) -> None:
        """Say something; nothing follows the end."""
        if not self.is_ended:
            self._events.append(event)

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events
