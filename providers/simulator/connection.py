"""The only file that knows sockets: requests in through httptools, scripts out packet by packet.

Requests of one connection are answered one after the other, in the order they came: a client may pipeline
them. The socket is read all the time, also while an answer is being played, so that a client which goes
away is noticed at once.
"""

import asyncio
import socket
import struct
from collections import deque
from typing import Protocol, cast

import httptools

from providers.simulator.counters import Counters
from providers.simulator.requests import Outcome, Request, RequestLog
from providers.simulator.script import Ending, Script

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER, zero seconds
CONTROL = "/_simulator/"


class Host(Protocol):
    """What a connection needs from the simulator."""

    counters: Counters
    requests: RequestLog
    connections: set["Connection"]

    def answer(self, request: Request) -> Script: ...


class Connection(asyncio.Protocol):
    def __init__(self, host: Host) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._request: Request | None = None  # the one being answered
        self._script = Script(packets=())
        self._position = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._has_waited = False  # for the packet at `_position`
        self._is_full = False  # the socket takes no more for now
        self._is_counted = False

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.write(BAD_REQUEST)
            self._transport.close()
            return
        self._serve()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._timer is None:
            self._play_on()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for request in [self._request, *self._waiting]:
            if request is not None:
                request.outcome = Outcome.DISCONNECTED
                self._host.counters.disconnects += 1
        self._request = None
        self._waiting.clear()
        self._host.connections.discard(self)
        if self._is_counted:
            self._host.counters.open_connections -= 1

    def abort(self) -> None:
        """Close without ceremony; what was not answered was cut by us, not given up by the client."""
        for request in [self._request, *self._waiting]:
            if request is not None:
                request.outcome = Outcome.CUT
        self._request = None
        self._waiting.clear()
        self._transport.abort()

    # The parser's side.

    def on_message_begin(self) -> None:
        self._target: list[bytes] = []
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._target.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        # A client that asks before it sends its body would wait a second for nothing.
        if name.lower() == b"expect" and self._request is None:
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        http_version = self._parser.get_http_version()
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            target=b"".join(self._target),
            headers=self._headers,
            body=b"".join(self._body),
            http_version=http_version,
            keep_alive=http_version == "1.1" and self._parser.should_keep_alive(),
        )
        self._waiting.append(request)

    # The answer.

    def _serve(self) -> None:
        """Answer what waits, in order, up to the first answer that takes time."""
        while self._waiting and self._request is None and not self._transport.is_closing():
            request = self._waiting.popleft()
            self._count(request)
            self._script = self._host.answer(request)
            self._host.counters.streams_started += self._script.is_stream
            self._request, self._position, self._has_waited = request, 0, False
            self._due = self._loop.time()
            self._play()

    def _count(self, request: Request) -> None:
        if request.path.startswith(CONTROL):
            return
        counters = self._host.counters
        counters.requests += 1
        counters.by_path[request.path] += 1
        self._host.requests.append(request)
        if not self._is_counted:
            self._is_counted = True
            counters.connections += 1
            counters.open_connections += 1

    def _play(self) -> None:
        """Write every packet whose time has come, then wait for the next one or end."""
        packets = self._script.packets
        while self._position < len(packets):
            delay, data = packets[self._position]
            if delay and not self._has_waited:
                # Due times add up, so that a late packet does not delay the ones after it.
                self._due += delay
                self._timer = self._loop.call_at(self._due, self._wake)
                return
            if self._is_full:
                return
            self._has_waited = False
            self._position += 1
            self._transport.write(data)
        self._end(self._script.ending)

    def _wake(self) -> None:
        self._timer = None
        self._has_waited = True
        self._play_on()

    def _play_on(self) -> None:
        if self._request is not None:
            self._play()
        self._serve()

    def _end(self, ending: Ending) -> None:
        request = self._request
        if ending is Ending.STALL or request is None:
            return
        self._request = None
        if ending in (Ending.CUT, Ending.RESET):
            request.outcome = Outcome.CUT
            self._close(is_reset=ending is Ending.RESET)
            return
        request.outcome = Outcome.FINISHED
        self._host.counters.streams_finished += self._script.is_stream
        if ending is Ending.FINISH_AND_CLOSE or not request.keep_alive:
            self._close()

    def _close(self, *, is_reset: bool = False) -> None:
        """Close once what was written has left."""
        if is_reset:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._waiting.clear()
        self._transport.close()
