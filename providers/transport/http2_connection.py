"""One HTTP/2 connection to an upstream, on h2, which knows the protocol and does no I/O; each request is a stream of it.

What h2 does not do by itself:
- A server that wants to end a connection says so (GOAWAY) and still finishes the streams it has; h2 alone would drop them.
- A connection that died silently would take every new request with it. One on which nothing came while somebody waited in
  vain gets no further streams until it has answered a ping.
- What a slow reader has not read is not acknowledged, so its upstream waits; the window of the connection is large enough
  for all its streams, so that no other stream waits with it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import NoAvailableStreamIDError, ProtocolError
from h2.settings import SettingCodes, Settings

from providers.transport.connector import KEEPALIVE_SECONDS
from providers.transport.packing import unpacker_for
from providers.transport.upstream import END_SECONDS, STALE_SECONDS, Upstream, UpstreamBroken

if TYPE_CHECKING:
    from hyperframe.frame import GoAwayFrame

MAX_STREAMS = 100  # at once on a connection; a server may allow fewer
STREAM_WINDOW = 256 * 1024  # unread bytes of one stream
CONNECTION_WINDOW = MAX_STREAMS * STREAM_WINDOW
DEFAULT_WINDOW = 65_535
MAX_HEADER_BYTES = 64 * 1024
DOUBT_SECONDS = 1.0  # of silence, after which a stream that is given up makes its connection suspect
PING_SECONDS = 5.0

type Origin = tuple[str, str | None, int | None]
type Head = list[tuple[bytes, bytes]]


class SpeaksHttp1(Exception):
    """The server does not speak HTTP/2."""


class NotProcessed(Exception):
    """The server has seen nothing of a request: it can be asked once more."""


class Http2Upstream(Upstream):
    """An answer that is a stream of a connection."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_error",
        "_headers",
        "_is_left",
        "_unread",
        "_waiter",
        "id",
        "is_over",
        "is_sent",
        "sent_at",
    )

    def __init__(self, connection: "Http2Connection", stream_id: int) -> None:
        self.id = stream_id
        self.status = 0  # until the headers are there
        self.is_sent = False  # the request, to its end
        self.is_over = False  # nothing more will come
        self.sent_at = monotonic()
        self._connection = connection
        self._headers: Sequence[tuple[bytes, bytes]] = ()
        self._chunks: list[bytes] = []
        self._unread = 0  # bytes that the server may not yet replace by others
        self._unpacker = None
        self._is_left = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they came; their names are in lower case."""
        return self._headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty when there is none."""
        return self._header(b"content-type").partition(";")[0].strip().lower()

    def pass_on(self, sink: Callable[[bytes], bool]) -> None:
        """Grant nothing: what comes is always read, since reading it is what gives the server room for more."""

    def finish(self, *, is_answered: bool) -> None:
        """Let go of the stream: what is left of an answered one is thrown away as it comes, any other is reset."""
        self._is_left = True
        self._take()
        if is_answered and not self.is_over:
            # The answer's last frame has come, but not yet the end of the stream, which follows at once.
            asyncio.get_running_loop().call_later(END_SECONDS, self._connection.reset, self)
        else:
            self._connection.reset(self)

    def abort(self) -> None:
        """Reset the stream now; a pending read raises UpstreamBroken."""
        self._chunks.clear()
        self._connection.reset(self)
        self.fail(UpstreamBroken("the request was given up"))

    # What its connection and whoever asks have to do with it.

    async def head(self) -> None:
        """Wait for status and headers; raises what came instead."""
        while not self.status:
            if self._error is not None:
                raise self._error
            if self.is_over:
                raise UpstreamBroken("the stream ended without an answer")
            await self.wait()

    async def wait(self) -> None:
        """Wait until something has happened to the stream."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Something has happened."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def answered(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Take status and headers."""
        self.status = next((int(value) for name, value in headers if name == b":status"), 0)
        self._headers = [pair for pair in headers if not pair[0].startswith(b":")]
        self._unpacker = unpacker_for(self._header(b"content-encoding"))
        self.wake()

    def received(self, data: bytes, length: int) -> None:
        """Take a part of the body, for which the server has used up so many bytes of its window."""
        self._unread += length
        if self._is_left:
            self._take()
        else:
            self._chunks.append(data)
            self.wake()

    def ended(self) -> None:
        """Nothing more will come."""
        self.is_over = True
        self.wake()

    def fail(self, error: Exception) -> None:
        """Nothing more will come, and something should have."""
        if not self.is_over:
            self._error = error
        self.ended()

    async def _receive(self) -> bytes:
        while True:
            while not self._chunks:
                if self._error is not None:
                    raise UpstreamBroken(str(self._error)) from self._error
                if self.is_over:
                    return b""
                await self.wait()
            data = self._take()
            if data:
                return data

    def _take(self) -> bytes:
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        unread, self._unread = self._unread, 0
        self._connection.acknowledge(self, unread)
        return data

    def _header(self, name: bytes) -> str:
        return next((value.decode("latin-1") for key, value in self._headers if key == name), "")


class _Protocol(H2Connection):
    """h2's state of a connection, which goes on after a GOAWAY with the streams that the server still answers."""

    last_answered: int | None = None

    def _receive_goaway_frame(self, frame: "GoAwayFrame") -> tuple[list[Any], list[Event]]:
        self.last_answered = frame.last_stream_id
        return [], []


class Http2Connection(asyncio.Protocol):
    """A connection and its streams."""

    def __init__(self, origin: Origin, on_room: Callable[[], None]) -> None:
        self.origin = origin
        self.is_closed = False
        self._on_room = on_room  # told when a stream has ended, or the connection
        self._loop = asyncio.get_running_loop()
        self._h2 = _Protocol(H2Configuration(client_side=True, header_encoding=None))
        self._streams: dict[int, Http2Upstream] = {}
        self._settled: asyncio.Future[None] = self._loop.create_future()  # the server has said how it wants things
        self._is_ending = False  # takes no further streams
        self._is_suspect = False
        self._is_paused = False  # what was written has not left yet
        self._heard_at = self._idle_since = monotonic()

    def start(self, transport: asyncio.Transport, early: bytes) -> None:
        """Begin, on a transport that is connected; `early` is what has come on it already."""
        self._transport = transport
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
            },
        )
        del self._h2.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]  # some servers stumble over it
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - DEFAULT_WINDOW)
        self._flush()
        self._loop.call_later(KEEPALIVE_SECONDS, self._close_if_idle)
        if early:
            self.data_received(early)

    async def settled(self) -> None:
        """Wait until the server has shown that it speaks HTTP/2; raises SpeaksHttp1."""
        await self._settled

    @property
    def has_room(self) -> bool:
        """Whether it can take another stream."""
        if self.is_closed or self._is_ending or self._is_suspect:
            return False
        return len(self._streams) < min(MAX_STREAMS, self._h2.remote_settings.max_concurrent_streams)

    @property
    def is_idle(self) -> bool:
        """Whether it has no streams."""
        return not self._streams

    async def ask(self, head: Head, body: bytes) -> Http2Upstream:
        """Send a request and return the answer with its headers; raises NotProcessed, SpeaksHttp1, UpstreamBroken."""
        try:
            upstream = Http2Upstream(self, self._h2.get_next_available_stream_id())
        except NoAvailableStreamIDError:
            self._end()
            raise NotProcessed("the connection is used up") from None
        self._streams[upstream.id] = upstream
        try:
            self._begin(upstream, head, has_body=bool(body))
            await self._send(upstream, body)
            await upstream.head()
        except ProtocolError as error:
            self._end()  # the other streams go on
            self.reset(upstream)
            raise UpstreamBroken(f"the request cannot be sent: {error}") from error
        except BaseException:
            self.reset(upstream)
            raise
        return upstream

    def acknowledge(self, upstream: Http2Upstream, length: int) -> None:
        """Let the server send as many bytes anew."""
        if length and not self.is_closed:
            self._h2.acknowledge_received_data(length, upstream.id)
            self._flush()

    def reset(self, upstream: Http2Upstream) -> None:
        """End a stream whose end is not awaited; one that has ended is left alone."""
        if self._streams.pop(upstream.id, None) is None or self.is_closed:
            return
        with suppress(ProtocolError):
            self._h2.reset_stream(upstream.id, ErrorCodes.CANCEL)
        if self._heard_at < upstream.sent_at < monotonic() - DOUBT_SECONDS:
            self._doubt()
        self._flush()
        self._has_ended_stream()

    def close(self) -> None:
        """End it; streams that are still going on fail."""
        if not self.is_closed:
            with suppress(ProtocolError):
                self._h2.close_connection()
            self._flush()
            self._transport.close()
            self._lost("the connection was closed")

    # --- What asyncio tells ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._heard_at, self._is_suspect = monotonic(), False
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except ProtocolError as error:
            self._fail(f"{type(error).__name__}: {error}")
            return
        self._flush()
        if self._h2.last_answered is not None:
            self._go_away(self._h2.last_answered)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(str(exc or "the server closed the connection"))

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake_all()

    # --- What the server says ----------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        match event:
            case RemoteSettingsChanged():
                if not self._settled.done():
                    self._settled.set_result(None)
                self._wake_all()
                self._on_room()
            case WindowUpdated(stream_id=0):
                self._wake_all()
            case WindowUpdated(stream_id=stream_id) if stream_id in self._streams:
                self._streams[stream_id].wake()
            case ResponseReceived(stream_id=stream_id, headers=headers) if stream_id in self._streams:
                self._streams[stream_id].answered(headers)
            case DataReceived(stream_id=stream_id, data=data, flow_controlled_length=length):
                if stream_id in self._streams:
                    self._streams[stream_id].received(bytes(data), length)
                else:
                    self._h2.acknowledge_received_data(length, stream_id)
            case StreamEnded(stream_id=stream_id) if stream_id in self._streams:
                self._has_answered(self._streams.pop(stream_id))
            case StreamReset(stream_id=stream_id, error_code=code) if stream_id in self._streams:
                self._streams.pop(stream_id).fail(_why(code))
                self._has_ended_stream()

    def _has_answered(self, upstream: Http2Upstream) -> None:
        if not upstream.is_sent:  # it was answered before its end, which nobody wants any more
            with suppress(ProtocolError):
                self._h2.reset_stream(upstream.id, ErrorCodes.CANCEL)
        upstream.ended()
        self._has_ended_stream()

    def _go_away(self, last_answered: int) -> None:
        """The server takes no further streams, and will not answer those after a certain one."""
        self._is_ending = True
        for stream_id in [stream_id for stream_id in self._streams if stream_id > last_answered]:
            self._streams.pop(stream_id).fail(NotProcessed("the server ends the connection"))
        if not self._streams:
            self.close()

    # --- What happens to it ------------------------------------------------------------------------------------

    def _begin(self, upstream: Http2Upstream, head: Head, *, has_body: bool) -> None:
        try:
            self._h2.send_headers(upstream.id, head, end_stream=not has_body)
        except ProtocolError:
            # Not reset: the server has not heard of the stream, and would end the connection over it.
            del self._streams[upstream.id]
            raise
        self._flush()

    async def _send(self, upstream: Http2Upstream, body: bytes) -> None:
        """Send a body as fast as the server takes it; a refusal that comes before its end is the end of it."""
        sent = 0
        while sent < len(body):
            if upstream.is_over or upstream.status >= 400:
                return
            room = min(self._h2.local_flow_control_window(upstream.id), self._h2.max_outbound_frame_size)
            if self._is_paused or room <= 0:
                await upstream.wait()
                continue
            chunk = body[sent : sent + room]
            sent += len(chunk)
            self._h2.send_data(upstream.id, chunk, end_stream=sent == len(body))
            self._flush()
        upstream.is_sent = True

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self.is_closed:
            self._transport.write(data)

    def _has_ended_stream(self) -> None:
        if not self._streams:
            self._idle_since = monotonic()
            if self._is_ending:
                self.close()
        self._on_room()

    def _end(self) -> None:
        """Take no further streams, and close with the last one."""
        self._is_ending = True
        if not self._streams:
            self.close()

    def _doubt(self) -> None:
        """Nothing came for a while: see whether there is still somebody at the other end."""
        if not self._is_suspect:
            self._is_suspect = True
            self._h2.ping(bytes(8))
            self._loop.call_later(PING_SECONDS, self._give_up_if_suspect)

    def _give_up_if_suspect(self) -> None:
        if self._is_suspect and not self.is_closed:
            self._transport.abort()
            self._lost("the server did not answer a ping")

    def _close_if_idle(self) -> None:
        if self.is_closed:
            return
        left = KEEPALIVE_SECONDS - (monotonic() - self._idle_since) if self.is_idle else KEEPALIVE_SECONDS
        if left <= 0:
            self.close()
        else:
            self._loop.call_later(left, self._close_if_idle)

    def _fail(self, reason: str) -> None:
        """What came is not HTTP/2, or not as it should be."""
        if not self.is_closed:
            self._flush()  # h2 has said why
            self._transport.abort()
            self._lost(reason)

    def _lost(self, reason: str) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if not self._settled.done():
            self._settled.set_exception(SpeaksHttp1(reason))
            self._settled.exception()  # nobody may be waiting any more
        streams, self._streams = self._streams, {}
        now = monotonic()
        for upstream in streams.values():
            is_stale = upstream.id > 1 and not upstream.status and now - upstream.sent_at <= STALE_SECONDS
            upstream.fail(NotProcessed(reason) if is_stale else UpstreamBroken(reason))
        self._on_room()

    def _wake_all(self) -> None:
        for upstream in self._streams.values():
            upstream.wake()


def _why(code: int | None) -> Exception:
    """Return what a stream that the server has reset comes to."""
    if code == ErrorCodes.REFUSED_STREAM:
        return NotProcessed("the server refused the stream")
    if code == ErrorCodes.HTTP_1_1_REQUIRED:
        return SpeaksHttp1("the server wants HTTP/1.1")
    name = code.name if isinstance(code, ErrorCodes) else str(code)
    return UpstreamBroken(f"the upstream reset the stream: {name}")
