"""The short way of a stream's frames, from the upstream's socket to the client's.

Almost all that comes in the middle of an answer is passed on as it is, and nothing of it has to be remembered. It is
written where it comes in, without waking the task of its request: that takes a future, a turn of the event loop and a dozen
coroutines that are resumed one in the other. Whatever needs a decision goes that way all the same: the end, usage, errors,
half frames, and a client that reads too slowly.
"""

from collections.abc import Callable
from time import monotonic

from providers.dialects.watch import Watch
from providers.wire.sse import FrameSplitter, count_events
from routing.exchange import Exchange
from routing.stall_guard import StallGuard


class Shortcut:
    """Passes on what needs no decision."""

    __slots__ = ("_exchange", "_guard", "_splitter", "_watch", "_write")

    def __init__(
        self,
        watch: Watch,
        splitter: FrameSplitter,
        exchange: Exchange,
        guard: StallGuard,
        write: Callable[[bytes], bool],
    ) -> None:
        self._watch = watch
        self._splitter = splitter
        self._exchange = exchange
        self._guard = guard
        self._write = write

    def take(self, data: bytes) -> bool:
        """Pass on what has come; False when the request's task has to look at it."""
        if not (self._splitter.is_whole(data) and self._watch.passes(data) and self._write(data)):
            return False
        exchange = self._exchange
        exchange.frames += count_events(data)
        exchange.answer_size += len(data)
        self._guard.waiting_since = monotonic()
        return True
