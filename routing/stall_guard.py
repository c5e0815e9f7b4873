"""A watch over a stream that says nothing for too long, or goes on for too long."""

import asyncio
from time import monotonic
from typing import Any

from gateway_site.infra.alarms import Alarm, Alarms
from providers.transport import Upstream
from routing.exchange import Exchange
from tenants.errors import GatewayError, UpstreamTimeout


class StallGuard:
    """Breaks the upstream's connection when it says nothing for too long, or goes on for too long.

    One alarm per stream, set again only when it goes off: a chunk costs two assignments. A client that reads slowly is not
    the upstream's silence: time counts only while we wait for the upstream. When the whole time is over while we wait for
    the client, it is the client that is given up.
    """

    __slots__ = (
        "_alarm",
        "_between",
        "_deadline",
        "_exchange",
        "_task",
        "_upstream",
        "alarms",
        "error",
        "is_out_of_time",
        "waiting_since",
    )

    def __init__(
        self, upstream: Upstream, exchange: Exchange, alarms: Alarms, *, between_tokens: float, deadline: float
    ) -> None:
        self._upstream = upstream
        self._exchange = exchange
        self._between = between_tokens
        self._deadline = deadline  # of the monotonic clock
        self._alarm: Alarm | None = None
        self._task: asyncio.Task[Any] | None = None
        self.alarms = alarms
        self.waiting_since = 0.0
        self.is_out_of_time = False  # the request's time is over, or it was stopped: not the upstream's fault
        self.error: GatewayError | None = None

    def start(self) -> None:
        """Begin to watch, for the task that reads the stream."""
        self._task = asyncio.current_task()
        self._check()

    def stop(self) -> None:
        """End watching."""
        if self._alarm is not None:
            self._alarm.cancel()

    def break_off(self, error: GatewayError) -> None:
        """Break it for a reason that is nobody's fault."""
        self.error, self.is_out_of_time = error, True
        self._upstream.abort()

    def _check(self) -> None:
        now = monotonic()
        silent = now - self.waiting_since if self.waiting_since else 0.0
        if silent >= self._between:
            self._give_up(f"The upstream said nothing for {self._between:g} s in the middle of its answer.")
        elif now >= self._deadline:
            self.is_out_of_time = True
            self._give_up("The answer took longer than it may.")
        else:
            self._alarm = self.alarms.set(min(self._between - silent, self._deadline - now), self._check)

    def _give_up(self, message: str) -> None:
        self.error = UpstreamTimeout(message)
        self._upstream.abort()
        if not self.waiting_since and self._task is not None:
            self._exchange.is_client_gone = True  # as good as: it does not take what there is
            self._task.cancel()
