"""One HTTP/1.1 connection to an upstream, with one request at a time, parsed by llhttp.

What comes is given on as it comes: no copy of a body, and no task switch for the body of an answer that arrives whole.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from providers.transport.packing import unpacker_for
from providers.transport.upstream import END_SECONDS, STALE_SECONDS, Upstream, UpstreamBroken

MOST_HEAD_BYTES = 256 * 1024  # of an answer's status and headers
MOST_BUFFERED_BYTES = 256 * 1024  # of an answer that nobody reads: then the server has to wait
LARGE_BODY = 512 * 1024  # above this a body goes out in pieces: encrypting all of it at once would hold up the others
PIECE = 256 * 1024
FRAMING = frozenset({b"content-length", b"transfer-encoding"})

type Origin = tuple[str, str]  # scheme, and host with port


class Owner(Protocol):
    """Whoever keeps the connections."""

    def take_back(self, connection: "Http1Connection") -> None:
        """Its request is over; the connection may be closed, too."""

    def forget(self, connection: "Http1Connection") -> None:
        """An idle one was closed."""


class Http1Upstream(Upstream):
    """An answer that has a connection to itself."""

    __slots__ = (
        "_came",
        "_connection",
        "_error",
        "_headers",
        "_sink",
        "_size",
        "_waiter",
        "content_type",
        "is_over",
    )

    content_type: str

    def __init__(self, connection: "Http1Connection") -> None:
        self._connection: Http1Connection | None = connection  # until it is let go
        self._headers: Sequence[tuple[bytes, bytes]] = ()
        self._came: list[bytes] = []  # of the body, not read yet
        self._size = 0  # of it
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], bool] | None = None
        self._error = ""
        self._unpacker = None
        self.status = 0  # the headers have not come yet
        self.content_type = ""
        self.is_over = False  # the body has come to its end

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they came; their names are in lower case."""
        return self._headers

    @property
    def is_framed(self) -> bool:
        """Whether it says where it ends; else it ends with the connection."""
        return any(name in FRAMING for name, _ in self._headers)

    async def begun(self) -> None:
        """Wait for the headers; raises UpstreamBroken when there will be none."""
        while not self.status:
            await self._more()

    async def _receive(self) -> bytes:
        while not self._came:
            if self.is_over:
                return b""
            await self._more()
        data = self._joined()
        self._clear()
        return data

    def _joined(self) -> bytes:
        if len(self._came) > 1:
            self._came = [b"".join(self._came)]
        return self._came[0]

    def _clear(self) -> None:
        """Make room for more."""
        self._came = []
        size, self._size = self._size, 0
        if size > MOST_BUFFERED_BYTES and self._connection is not None:
            self._connection.resume()

    async def _more(self) -> None:
        if self._error or self._connection is None:
            raise UpstreamBroken(self._error or "the answer was given up")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def pass_on(self, sink: Callable[[bytes], bool]) -> None:
        """Offer what comes to `sink` first, until the answer is over or given up; never what is packed."""
        if self._unpacker is None:
            self._sink = sink

    def finish(self, *, is_answered: bool) -> None:
        """Let go of the connection: it is kept for the next request if the answer is over, and closed if it is not."""
        self._sink = None
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self.is_over:
            connection.free()
        elif is_answered and not self._error:
            connection.free_soon()  # the answer's last frame has come, but not yet the end of the body
        else:
            connection.break_off()

    def abort(self) -> None:
        """Close the connection now; a pending read raises UpstreamBroken."""
        if self._connection is not None:
            self._connection.abort()

    # --- What the connection tells it -------------------------------------------------------------------------

    def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """The headers have come."""
        self._headers, self.status = headers, status
        by_name = dict(headers)
        content_type, encoding = by_name.get(b"content-type"), by_name.get(b"content-encoding")
        if content_type is not None:
            self.content_type = _media_type(content_type)
        if encoding is not None:
            self._unpacker = unpacker_for(encoding.decode("latin-1"))

    def add(self, piece: bytes) -> int:
        """A piece of the body has come; return how much waits to be read: nothing when nobody will."""
        if self._connection is not None:
            self._came.append(piece)
            self._size += len(piece)
        return self._size

    def fail(self, reason: str) -> None:
        """Nothing more will come; the first reason is the one."""
        self._error = self._error or reason

    def wake(self) -> None:
        """Let whoever waits look at what has come, unless it goes on without them."""
        if self._waiter is None or self._waiter.done():
            return
        if self._sink is not None and self._came and not self._error and self._sink(self._joined()):
            self._clear()
        else:
            self._waiter.set_result(None)


@lru_cache(maxsize=256)
def _media_type(content_type: bytes) -> str:
    return content_type.decode("latin-1").partition(";")[0].strip().lower()


class Http1Connection(asyncio.Protocol):
    """One connection, and the answer that is under way on it."""

    def __init__(self, owner: Owner, origin: Origin, transport: asyncio.Transport) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._owner = owner
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._answer: Http1Upstream | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._is_in_head = True
        self._keeps_alive = False
        self._is_paused = False
        self._is_new = True  # it has answered nothing yet
        self._sent_at = 0.0
        self._has_come = 0  # bytes, since the request was sent
        self._writing: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._end_timer: asyncio.TimerHandle | None = None
        transport.set_protocol(self)

    @property
    def is_closing(self) -> bool:
        """Whether it is of no more use."""
        return self._transport.is_closing()

    @property
    def was_stale(self) -> bool:
        """Whether a request met a kept connection that the server had closed meanwhile.

        A server closes an idle connection whenever it likes, and a request may be under way to it at that moment. It has
        then seen nothing of it, which is why only a kept connection that ends at once and without a byte counts as stale.
        """
        return not (self._is_new or self._has_come) and self._loop.time() - self._sent_at <= STALE_SECONDS

    def send(self, head: bytes, body: bytes) -> Http1Upstream:
        """Send a request; its answer has yet to begin."""
        answer = self._answer = Http1Upstream(self)
        self._headers, self._is_in_head, self._has_come = [], True, 0
        self._sent_at = self._loop.time()
        if len(body) < LARGE_BODY:
            self._transport.write(head + body)
        else:
            self._writing = asyncio.create_task(self._write(head, memoryview(body)))
        return answer

    async def _write(self, head: bytes, body: memoryview) -> None:
        self._transport.write(head)
        for start in range(0, len(body), PIECE):
            await self._may_write.wait()
            if self._transport.is_closing():
                return
            self._transport.write(body[start : start + PIECE])
            await asyncio.sleep(0)  # the others' turn

    # --- What whoever has the answer does with the connection --------------------------------------------------

    def resume(self) -> None:
        """Go on reading."""
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def free(self) -> None:
        """The answer is over: wait for the next request, if the server does; a request it has not read is not over."""
        if not self._keeps_alive or (self._writing is not None and not self._writing.done()):
            self.break_off()
            return
        self.resume()
        self._is_new = False
        self._let_go()

    def free_soon(self) -> None:
        """The same when the end of the body has come, which follows at once; else it is closed."""
        self.resume()
        self._end_timer = self._loop.call_later(END_SECONDS, self.break_off)

    def break_off(self) -> None:
        """Close it, in the middle of an answer: that is how a server sees that nobody reads any more."""
        self._transport.abort()
        self._let_go()

    def _let_go(self) -> None:
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        self._answer = None
        self._owner.take_back(self)

    def abort(self) -> None:
        """Close it now, whatever is under way."""
        self._transport.abort()

    def close(self) -> None:
        """Close it when what was written has left."""
        self._transport.close()

    # --- What the event loop says ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and wake the reader once for all of it."""
        answer = self._answer
        if answer is None:
            self._transport.abort()  # nobody has asked for anything
            return
        self._has_come += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(answer, f"what came is not an answer in HTTP/1.1: {error}")
        if self._is_in_head and self._has_come > MOST_HEAD_BYTES:
            self._fail(answer, "the answer's headers are too large")
        answer.wake()

    def _fail(self, answer: Http1Upstream, reason: str) -> None:
        """What came cannot be read on; an answer that was over before is one all the same."""
        self._keeps_alive = False
        self._transport.abort()
        answer.fail(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed it, or we have."""
        self._may_write.set()
        answer = self._answer
        if answer is None:
            self._owner.forget(self)
            return
        if answer.status and exc is None and not answer.is_framed:
            self._end(answer)
        else:
            answer.fail(str(exc or "") or "the server closed the connection")
        if self._end_timer is not None:
            self.break_off()
        answer.wake()

    def pause_writing(self) -> None:
        """The server reads slower than we write."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._may_write.set()

    # --- What the parser says ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Let nothing follow the answer: it would be taken for the next one's."""
        if self._answer is None or self._answer.is_over:
            raise HttpParserError("more came than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind the body are nobody's."""
        if self._is_in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin the answer, unless it is an interim one."""
        status, headers = self._parser.get_status_code(), self._headers
        self._headers = []
        if self._answer is not None and status >= 200:
            self._is_in_head = False
            self._keeps_alive = self._parser.should_keep_alive()
            self._answer.begin(status, headers)

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body; when nobody reads, the server has to wait."""
        answer = self._answer
        if answer is not None and answer.add(piece) > MOST_BUFFERED_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """End the answer, unless it was an interim one."""
        if self._answer is not None and not self._is_in_head:
            self._end(self._answer)

    def _end(self, answer: Http1Upstream) -> None:
        """Let another request have the connection: who reads the answer needs it no more."""
        answer.is_over = True
        answer.finish(is_answered=True)
        if self._end_timer is not None:  # it had let go before
            self.free()
