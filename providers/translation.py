"""From one dialect to another: what comes back from an upstream, as the client's own. Pure.

`TranslatedStream` stands where a passed-through stream has its watch, so whoever relays sees no difference.
"""

from collections.abc import Iterable, Sequence

from providers.canonical.answer import Answer, fold
from providers.canonical.events import (
    ArgumentsDelta,
    Event,
    MessageEnd,
    PartStart,
    SealDelta,
    StreamFailed,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from providers.canonical.parts import Text, Thinking
from providers.canonical.tool_names import ToolNames
from providers.dialects.base import Dialect
from providers.dialects.reader import EventReader
from providers.dialects.watch import Watch
from providers.dialects.writer import EventWriter, Reply
from providers.wire.sse import frames

CONTENT = (TextDelta, ThinkingDelta, ArgumentsDelta, SealDelta, MessageEnd)


class TranslatedStream(Watch):
    """Frames of the upstream's dialect in, frames of the client's out."""

    __slots__ = ("_last", "_reader", "_tools", "writer")

    needs_pings = is_slow = True

    def __init__(self, reader: EventReader, tools: ToolNames | None, writer: EventWriter) -> None:
        super().__init__()
        self._reader = reader
        self._tools = tools
        self.writer = writer
        self._last = b""

    def observe(self, data: bytes) -> bytes:
        """Translate whole frames; return what is to be sent now."""
        return self._translate(self._reader.feed(data)) if data else b""

    def end(self) -> None:
        """The upstream closed the stream."""
        self._last = self._translate(self._reader.close()) + self._last

    def last(self) -> bytes:
        """Return what ends the client's stream."""
        return self._last

    def ping(self) -> bytes:
        """Return what the client's dialect has for a sign of life."""
        return self.writer.ping()

    def _translate(self, events: Sequence[Event]) -> bytes:
        written = []
        for event in events if self._tools is None else self._tools.restore(events):
            if isinstance(event, StreamFailed):
                self.error, self.error_code = event.message, event.code
                break
            self._note(event)
            frames_of_event = self.writer.feed(event)
            if isinstance(event, MessageEnd):
                self._last = frames_of_event
            elif frames_of_event:
                written.append(frames_of_event)
        return b"".join(written)

    def _note(self, event: Event) -> None:
        if isinstance(event, UsageReport):
            self.usage = self.usage.merge(event.usage)
        elif isinstance(event, CONTENT):
            self.has_content = True
            if isinstance(event, MessageEnd):
                self.is_finished = True
                self.is_usage_final = self.usage.is_complete
        elif isinstance(event, PartStart) and not isinstance(event.part, Text | Thinking):
            self.has_content = True


def read_events(content: bytes, dialect: Dialect, origin: str, *, is_stream: bool) -> Sequence[Event]:
    """Return the events of an answer that is there, whichever way it came."""
    if not is_stream:
        return dialect.read_answer(content, origin)
    reader = dialect.reader(origin)
    return [*(event for frame in frames(content) for event in reader.feed(frame)), *reader.close()]


def write_whole(events: Iterable[Event], dialect: Dialect, reply: Reply) -> tuple[bytes, Answer]:
    """Return an answer's body for a client that wants it whole; raises AnswerFailed."""
    answer = fold(events)
    return dialect.write_answer(answer, reply), answer


def write_stream(events: Sequence[Event], dialect: Dialect, reply: Reply) -> tuple[bytes, Answer]:
    """Return an answer's body for a client that wants a stream; raises AnswerFailed."""
    answer = fold(events)
    writer = dialect.writer(reply)
    return b"".join([writer.feed(event) for event in events]), answer
