"""HTTP/2 to upstreams: a pool's connections, kept, bounded and counted. Imported with the first pool that wants it.

    Http2Connections   a pool: finds a connection with room, makes one, or waits
    Http2Connection    bytes to events and back; knows its streams (http2_connection.py)
    Http2Upstream      a stream, and the answer that comes on it (there, too)

Whether a server speaks HTTP/2 is found out while connecting: over TLS it says so (ALPN); over plain http:// we begin with it
and see what comes back. Of one that does not, this is remembered for a while, and it is asked over HTTP/1.1.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from time import monotonic

from yarl import URL

from providers.transport.connector import Connector
from providers.transport.http2_connection import Head, Http2Connection, NotProcessed, Origin, SpeaksHttp1
from providers.transport.tls import HTTP2
from providers.transport.upstream import NotConnected, Upstream, UpstreamBroken

HTTP1_SECONDS = 600.0  # how long it is remembered that a server does not speak HTTP/2
# Of one connection only, and HTTP/2 has other words for them: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
NOT_SENT = frozenset({"connection", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"})


class Http2Connections:
    """A pool's connections, each with many requests at a time."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._pool = connector.pool
        self._connections: list[Http2Connection] = []
        self._connecting: dict[Origin, asyncio.Task[None]] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._http1_until: dict[Origin, float] = {}

    @property
    def in_use(self) -> int:
        """Connections that are working."""
        return sum(not connection.is_idle for connection in self._connections)

    @property
    def idle(self) -> int:
        """Connections that are kept for the next request."""
        return len(self._connections) - self.in_use

    @property
    def waiting(self) -> int:
        """Requests that wait for room on a connection."""
        return sum(not waiter.done() for waiter in self._waiters)

    async def open(self, method: str, url: URL, headers: Sequence[tuple[str, str]], body: bytes) -> Upstream | None:
        """Send a request and return the answer with its headers; None when the server does not speak HTTP/2.

        Raises UpstreamBroken and NotConnected.
        """
        origin = (url.scheme, url.raw_host, url.port)
        if self._is_http1(origin):
            return None
        head = _head(method, url, headers, body)
        reason = ""
        for _ in range(2):
            try:
                connection = await self._find(url, origin)
                return await connection.ask(head, body)
            except SpeaksHttp1:
                self._http1_until[origin] = monotonic() + HTTP1_SECONDS
                return None
            except NotProcessed as error:
                reason = str(error)
        raise UpstreamBroken(reason)

    async def aclose(self) -> None:
        """Close them all."""
        for task in self._connecting.values():
            task.cancel()
        await asyncio.gather(*self._connecting.values(), return_exceptions=True)
        for connection in list(self._connections):
            connection.close()
        await asyncio.sleep(0)  # transports close in the loop's next round

    def _is_http1(self, origin: Origin) -> bool:
        """Whether a server is known not to speak HTTP/2; a proxy passes plain requests on in HTTP/1.1."""
        if origin[0] == "http" and self._connector.proxy is not None:
            return True
        return origin in self._http1_until and monotonic() < self._http1_until[origin]

    async def _find(self, url: URL, origin: Origin) -> Http2Connection:
        """Return a connection with room for a stream, which is to be begun at once."""
        deadline = asyncio.get_running_loop().time() + self._pool.connect_timeout
        while True:
            for connection in self._connections:
                if connection.has_room and connection.origin == origin:
                    return connection
            if origin in self._connecting or self._may_connect():
                await self._connected(url, origin)
            else:
                await self._room(deadline)

    def _may_connect(self) -> bool:
        return len(self._connections) + len(self._connecting) < self._pool.max_connections

    async def _connected(self, url: URL, origin: Origin) -> None:
        """Wait for another connection; all that want one wait for the same."""
        task = self._connecting.get(origin)
        if task is None:
            task = self._connecting[origin] = asyncio.create_task(self._connect(url, origin))
            task.add_done_callback(lambda done: self._has_connected(origin, done))
        await asyncio.shield(task)

    def _has_connected(self, origin: Origin, task: asyncio.Task[None]) -> None:
        self._connecting.pop(origin, None)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone
        self._on_room()

    async def _connect(self, url: URL, origin: Origin) -> None:
        transport, early = await self._connector.open(url, offers_http2=True)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != HTTP2:
            transport.abort()
            raise SpeaksHttp1
        connection = Http2Connection(origin, self._on_room)
        transport.set_protocol(connection)
        connection.start(transport, early)
        try:
            async with asyncio.timeout(self._pool.connect_timeout):
                await connection.settled()
        except BaseException as error:
            connection.close()
            if not isinstance(error, SpeaksHttp1 | TimeoutError):
                raise
            if tls is None:
                raise SpeaksHttp1 from error
            raise NotConnected(f"the server agreed to HTTP/2 and did not begin it: {error}") from error
        self._connections.append(connection)

    async def _room(self, deadline: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except TimeoutError:
            self._pass_on(waiter)
            raise NotConnected("no free connection") from None
        except asyncio.CancelledError:
            self._pass_on(waiter)
            raise

    def _pass_on(self, waiter: asyncio.Future[None]) -> None:
        """Give the turn of a waiter that leaves to the next one."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        else:
            self._on_room()

    def _on_room(self) -> None:
        """A stream or a connection has ended, or there is a new one: somebody may have waited for it."""
        self._connections = [connection for connection in self._connections if not connection.is_closed]
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


def _head(method: str, url: URL, headers: Sequence[tuple[str, str]], body: bytes) -> Head:
    """Return a request's head as HTTP/2 has it; raises ValueError on line breaks in a header."""
    authority = url.host_port_subcomponent
    assert authority is not None
    pairs = [(":method", method), (":scheme", url.scheme), (":authority", authority), (":path", url.raw_path_qs)]
    for name, value in headers:
        name = name.strip().lower()
        if any(character in f"{name}{value}" for character in "\r\n\0") or name.startswith(":"):
            raise ValueError(f"header {name!r} cannot be sent")
        if name not in NOT_SENT:
            pairs.append((name, value.strip()))
    if body or method == "POST":
        pairs.append(("content-length", str(len(body))))
    return [(name.encode(), value.encode()) for name, value in pairs]
