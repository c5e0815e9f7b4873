"""Writing events as a client's stream: what every dialect's writer stands on. Pure.

A writer may rely on the order that readers guarantee. Dialects in which one part is open at a time put a `Sequencer`
before it: it holds back what belongs to a later part until the earlier one has ended.
"""

from abc import ABC, abstractmethod
from collections import deque

import msgspec

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
from providers.canonical.losses import Losses
from providers.canonical.request import Request
from providers.canonical.seals import SealBox
from providers.canonical.usage import NOTHING_REPORTED
from tenants.errors import GatewayError, UpstreamFailed


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer is written for."""

    request: Request
    model: str  # the alias that the client asked for, and is told: it keys its own limits by it
    id: str  # the exchange's; dialects put their own prefix before it
    created: int  # seconds since 1970
    seals: SealBox
    losses: Losses  # what the answer loses on its way: the writer adds to it
    continues: str = ""  # the stored response that the request goes on from


class Sequencer:
    """Puts interleaved parts one after the other: the one that is open goes through live, the others wait."""

    __slots__ = ("_current", "_waiting")

    def __init__(self) -> None:
        self._current: int | None = None
        self._waiting: dict[int, deque[Event]] = {}

    def feed(self, event: Event) -> list[Event]:
        """Return what may be written now."""
        index = getattr(event, "index", None)
        if index is None:
            return [event]
        if self._current is None:
            self._current = index
        if index != self._current:
            self._waiting.setdefault(index, deque()).append(event)
            return []
        ready = [event]
        while isinstance(ready[-1], PartEnd):
            self._current = min(self._waiting, default=None)
            if self._current is None:
                break
            ready += self._waiting.pop(self._current)
        return ready


class EventWriter(ABC):
    """Events in (`feed`), bytes of the client's stream out.

    What MessageEnd returns is the terminal part of the stream: it is sent when the request is settled.
    """

    __slots__ = ("_sequencer", "reply", "usage")

    is_sequential = True  # False: parts may interleave in this dialect

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.usage = NOTHING_REPORTED  # of all reports so far
        self._sequencer = Sequencer() if self.is_sequential else None

    def feed(self, event: Event) -> bytes:
        """Return what to send for an event; nothing for what the dialect does not show, or not yet."""
        if self._sequencer is None:
            return self._write(event)
        return b"".join([self._write(ready) for ready in self._sequencer.feed(event)])

    @abstractmethod
    def fail(self, error: GatewayError) -> bytes:
        """Return what ends a stream in mid-answer: never what a whole answer ends with."""

    def _write(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self.text(event)
            case ThinkingDelta():
                return self.thinking(event)
            case ArgumentsDelta():
                return self.arguments(event)
            case PartStart():
                return self.part_start(event)
            case PartEnd():
                return self.part_end(event)
            case SealDelta():
                return self.seal(event)
            case CitationDelta():
                return self.citation(event)
            case UsageReport():
                self.usage = self.usage.merge(event.usage)
                return b""
            case Ping():
                return self.ping()
            case MessageStart():
                return self.message_start(event)
            case MessageEnd():
                return self.message_end(event)
            case StreamFailed():
                return self.fail(UpstreamFailed(f"The upstream failed: {event.message}"))

    @abstractmethod
    def message_start(self, event: MessageStart) -> bytes:
        """Open the answer."""

    @abstractmethod
    def part_start(self, event: PartStart) -> bytes:
        """Open a part, or write one that comes whole."""

    @abstractmethod
    def text(self, event: TextDelta) -> bytes:
        """More words of the open Text."""

    @abstractmethod
    def thinking(self, event: ThinkingDelta) -> bytes:
        """More words of the open Thinking."""

    @abstractmethod
    def arguments(self, event: ArgumentsDelta) -> bytes:
        """More arguments of a ToolCall."""

    @abstractmethod
    def seal(self, event: SealDelta) -> bytes:
        """The seal of a part, packed by `reply.seals`."""

    @abstractmethod
    def citation(self, event: CitationDelta) -> bytes:
        """A source of the open Text."""

    @abstractmethod
    def part_end(self, event: PartEnd) -> bytes:
        """Close a part."""

    @abstractmethod
    def ping(self) -> bytes:
        """A sign of life."""

    @abstractmethod
    def message_end(self, event: MessageEnd) -> bytes:
        """Close the answer: stop reason, usage, the dialect's terminal event."""
