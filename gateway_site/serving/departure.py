"""A client that goes away: its request is cancelled, or read to its end where the route drains."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from gateway_site.infra.alarms import Alarm, Alarms
from routing.exchange import Exchange

type Receive = Callable[[], Awaitable[Any]]

WATCH_AFTER_SECONDS = 0.25  # short requests end before anybody could have left
DRAIN_SECONDS = 120.0  # how long an upstream is read on for a client that has left


class Departure:
    """Cancels the task that made it when the client closes its connection.

    Where the route's policy is `drain` the task goes on, for `DRAIN_SECONDS` at most: what it sends goes nowhere, and
    what the upstream reports of its usage is known in the end.
    """

    __slots__ = ("_alarm", "_alarms", "_exchange", "_receive", "_task", "_watcher")

    def __init__(self, receive: Receive, exchange: Exchange, alarms: Alarms) -> None:
        self._receive = receive
        self._exchange = exchange
        self._alarms = alarms
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[Any] | None = None
        self._alarm: Alarm = alarms.set(WATCH_AFTER_SECONDS, self._watch)

    def stop(self) -> None:
        """Stop watching."""
        self._alarm.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _watch(self) -> None:
        self._watcher = asyncio.ensure_future(self._receive())
        self._watcher.add_done_callback(self._left)

    def _left(self, watcher: "asyncio.Task[Any]") -> None:
        if watcher.cancelled() or watcher.exception() is not None or self._task is None:
            return
        if watcher.result()["type"] != "http.disconnect" or self._task.done():
            return
        exchange, now = self._exchange, monotonic()
        exchange.is_client_gone = True
        if exchange.left_at is None:
            exchange.left_at = now
        rest = exchange.left_at + DRAIN_SECONDS - now
        drains = exchange.route is not None and exchange.route.facts.on_disconnect == "drain"
        if drains and exchange.generating and rest > 0:
            self._alarm = self._alarms.set(rest, self._task.cancel)
        else:
            self._task.cancel()
