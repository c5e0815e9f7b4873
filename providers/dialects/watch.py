"""Watching a stream that is passed through. Pure.

Most packets are only searched for a few words; JSON is parsed for the first content, usage, errors and the end. A dialect
says which words those are and what its events mean.
"""

from abc import ABC, abstractmethod

from providers.canonical.usage import NOTHING_REPORTED, Usage
from providers.dialects.fields import read_object
from providers.wire.sse import frame_event, frames

CUT = "It ended in the middle of its answer."
NOT_JSON = "The upstream sent something that is not JSON."


class Watch(ABC):
    """Sees every frame of a stream, says what is to be sent on, and knows how the stream stands."""

    __slots__ = ("error", "error_code", "has_content", "is_finished", "is_usage_final", "usage")

    needs_pings = False  # True: through a long silence somebody has to tell the client that we live
    is_slow = False  # True: a frame takes so long that those before it should not wait for it

    def __init__(self) -> None:
        self.usage: Usage = NOTHING_REPORTED
        self.is_usage_final = False  # no later report will change it
        self.has_content = False  # a frame that a reader would see has come: the choice of upstream is final
        self.is_finished = False  # the dialect's terminal event has come
        self.error: str | None = None  # what an error event said
        self.error_code = ""  # its code, where the upstream gave one that clients know

    @abstractmethod
    def observe(self, data: bytes) -> bytes:
        """Look at whole frames; return what is to be sent now."""

    def passes(self, data: bytes) -> bool:
        """Whether `observe` would return these very frames and remember nothing of them."""
        return False

    @abstractmethod
    def end(self) -> None:
        """The upstream closed the stream: set `is_finished` if the answer was whole all the same, else `error`."""

    @abstractmethod
    def last(self) -> bytes:
        """Return the terminal frames, which were held back until the request is settled."""

    def ping(self) -> bytes:
        """Return a sign of life; nothing where the upstream gives its own."""
        return b""


class StreamWatch(Watch):
    """Watches a stream that is passed through."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        super().__init__()
        self._held = b""

    def observe(self, data: bytes) -> bytes:
        """Look at whole frames; return those that are to be passed on now."""
        if self.passes(data):
            return data
        return b"".join([frame for frame in frames(data) if self._passes(frame)])

    def passes(self, data: bytes) -> bool:
        """Whether frames go on as they are: those in the middle of an answer, which are almost all."""
        return self.has_content and not self._held and self._is_plain(data)

    def end(self) -> None:
        """The upstream closed the stream: set `is_finished` if the answer was whole all the same, else `error`."""
        if self.error is None and not self._ends_whole():
            self.error = CUT

    def last(self) -> bytes:
        """Return the terminal frame, which was held back until the request is settled."""
        return self._held

    def _passes(self, frame: bytes) -> bool:
        if self.is_finished or self.error is not None:
            return False  # nothing may follow the end
        if self.has_content and self._is_plain(frame):
            return True
        _, data = frame_event(frame)
        return self._passes_data(data, frame) if data else True

    def _read(self, data: bytes) -> dict[str, object] | None:
        """Return an event's object; None, and an error, when it is none."""
        event = read_object(data)
        if event is None:
            self.error = NOT_JSON
        return event

    def _finish(self, terminal: bytes) -> None:
        self.is_finished = True
        self._held = terminal

    @staticmethod
    @abstractmethod
    def _is_plain(data: bytes) -> bool:
        """Whether frames hold JSON and none of the words that need a closer look."""

    @abstractmethod
    def _passes_data(self, data: bytes, frame: bytes) -> bool:
        """Take one event; return whether its frame is to be passed on."""

    @abstractmethod
    def _ends_whole(self) -> bool:
        """Whether a stream that ends here without its terminal event has a whole answer; then finish it."""
