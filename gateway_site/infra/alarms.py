"""Alarms that hardly ever go off: they may be late, and cost next to nothing to set and to cancel.

Every request is given some seconds for this and that, and needs a hundredth of them. A timer of the event loop is exact,
which takes 1 µs of a busy worker's time and some 40 µs in one that has rested. Here one timer looks after all of them.
"""

import asyncio
from asyncio import CancelledError
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any

TICK_SECONDS = 0.05  # how late an alarm may be
REST_AFTER = 100  # ticks without any alarm, after which nobody looks until there is one: a rested timer is slow to set


class Alarm:
    """Something to be done at some time, unless it is cancelled."""

    __slots__ = ("_callback", "_pending", "due")

    def __init__(self, pending: dict["Alarm", None], due: float, callback: Callable[[], object]) -> None:
        self._pending = pending
        self._callback: Callable[[], object] | None = callback
        self.due = due  # of the monotonic clock

    def cancel(self) -> None:
        """Let it be; once is enough, twice does no harm, nor does it after it went off."""
        self._pending.pop(self, None)
        self._callback = None  # whoever set it holds it: nothing is left for the garbage collector

    def go_off(self) -> None:
        """Do it, unless it was cancelled."""
        callback = self._callback
        self.cancel()
        if callback is not None:
            callback()


class Alarms:
    """The alarms of one event loop."""

    __slots__ = ("_idle", "_is_ticking", "_pending")

    def __init__(self) -> None:
        self._pending: dict[Alarm, None] = {}
        self._is_ticking = False
        self._idle = 0  # ticks that found no alarm, in a row

    def set(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """Have something done in so many seconds, or a twentieth of a second later."""
        alarm = Alarm(self._pending, monotonic() + seconds, callback)
        self._pending[alarm] = None
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        return alarm

    def within(self, seconds: float) -> "Within":
        """Return a context that ends its task's work after so many seconds, or a twentieth of a second later."""
        return Within(self, seconds)

    def _tick(self) -> None:
        self._idle = 0 if self._pending else self._idle + 1
        self._is_ticking = self._idle < REST_AFTER
        if self._is_ticking:
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        now = monotonic()
        for alarm in [alarm for alarm in self._pending if alarm.due <= now]:
            alarm.go_off()  # if one raises, the loop hears of it, and the rest go off with the next tick


class Within:
    """As asyncio.timeout(), with an alarm: TimeoutError when the time is over, and others' cancelling stays what it is."""

    __slots__ = ("_alarm", "_alarms", "_cancelling", "_is_over", "_seconds", "_task")

    def __init__(self, alarms: Alarms, seconds: float) -> None:
        self._alarms = alarms
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> None:
        if self._seconds <= 0:
            raise TimeoutError
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self._alarm = self._alarms.set(self._seconds, self._end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._alarm.cancel()
        if self._is_over and self._task.uncancel() <= self._cancelling and isinstance(error, CancelledError):
            raise TimeoutError from error

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()
