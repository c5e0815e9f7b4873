"""Signs of life for a client that waits long for its stream to begin.

Until an upstream's first content nothing is sent, so that another one can be asked and errors have a status of their own.
Models can think for minutes, and what lies between client and gateway gives up on silence. So after a while the answer
begins all the same, with pings of the client's dialect; what goes wrong from then on is told as an error event.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.http.response import HttpResponseBase

from gateway_site.infra.alarms import Alarm, Alarms
from gateway_site.serving.answer_headers import stream_headers
from providers.registry import DIALECTS
from routing.exchange import Exchange
from routing.outbound import rejection
from routing.relay import PING_SECONDS
from tenants.errors import GatewayError

type Send = Callable[[dict[str, Any]], Awaitable[None]]

EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


class Patience:
    """Begins the answer of a streamed request when its upstream takes long."""

    __slots__ = ("_alarm", "_alarms", "_exchange", "_pinging", "_seconds", "_send", "has_begun")

    def __init__(self, exchange: Exchange, send: Send, alarms: Alarms, *, seconds: float = PING_SECONDS) -> None:
        self._seconds = seconds
        self._exchange = exchange
        self._send = send
        self._alarms = alarms
        self._pinging: asyncio.Task[None] | None = None
        self.has_begun = False
        self._alarm: Alarm = alarms.set(seconds, self._begin)

    def stop(self) -> None:
        """Send no more pings: a task that is cancelled sends nothing any more."""
        self._alarm.cancel()
        if self._pinging is not None:
            self._pinging.cancel()

    async def fail(self, error: GatewayError) -> None:
        """End an answer that has begun with an error event."""
        exchange = self._exchange
        exchange.error_code = error.code
        await self._end(DIALECTS[exchange.dialect].error_frame(error, exchange.request_id))

    async def end_with(self, response: HttpResponseBase) -> None:
        """End an answer that has begun with one that is whole: an upstream's error, or all frames of an answer."""
        content: bytes = response.content  # type: ignore[attr-defined]
        if response.status_code < 400:
            await self._end(content)
            return
        status = response.status_code
        failure = DIALECTS[self._exchange.dialect].read_failure(status, content)
        await self.fail(rejection(status, failure))

    def _begin(self) -> None:
        facts = self._exchange.facts
        if facts is None:  # its body is still on its way
            self._alarm = self._alarms.set(self._seconds, self._begin)
        elif facts.is_stream and DIALECTS[self._exchange.dialect].ping:
            self._pinging = asyncio.create_task(self._ping())
            self._pinging.add_done_callback(_forget_outcome)

    async def _ping(self) -> None:
        exchange = self._exchange
        headers = [EVENT_STREAM, *stream_headers(exchange)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self.has_begun = True
        exchange.status = 200
        while True:
            await self._body(DIALECTS[exchange.dialect].ping, more=True)
            await asyncio.sleep(self._seconds)

    async def _end(self, content: bytes) -> None:
        if self._exchange.kept is not None:
            self._exchange.kept.add(content)
        await self._body(content, more=False)

    async def _body(self, content: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": more})


def _forget_outcome(pinging: "asyncio.Task[None]") -> None:
    """A client that cannot be sent a ping is noticed by the request itself."""
    if not pinging.cancelled():
        pinging.exception()
