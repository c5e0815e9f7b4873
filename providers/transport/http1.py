"""HTTP/1.1 to upstreams: a pool's connections, kept, bounded and counted."""

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from yarl import URL

from providers.transport.connector import KEEPALIVE_SECONDS, Connector
from providers.transport.http1_connection import Http1Connection, Origin
from providers.transport.tunnel import credentials_of
from providers.transport.upstream import NotConnected, Upstream, UpstreamBroken


class Http1Connections:
    """A pool's connections, each with one request at a time."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._free = connector.pool.max_connections  # places that nobody has, and nobody waits for
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._used: set[Http1Connection] = set()
        self._idle: dict[Origin, deque[Http1Connection]] = {}  # the one used last at the end
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.in_use = 0  # connections that are working, or being made
        self.waiting = 0  # requests that wait for a free connection

    @property
    def idle(self) -> int:
        """Connections that are kept for the next request."""
        return sum(map(len, self._idle.values()))

    async def open(self, method: str, url: URL, headers: Sequence[tuple[str, str]], body: bytes) -> Upstream:
        """Send a request and return the answer with its headers; raises UpstreamBroken and NotConnected.

        `method` is one whose answers have a body. A request is sent again, once, that met a connection which the server
        was closing: it has seen nothing of it.
        """
        head = _head(method, url, headers, body, self._connector.proxy)
        origin = (url.scheme, url.authority)
        connection = await self._connection(origin, url)
        try:
            return await self._ask(connection, head, body)
        except UpstreamBroken:
            if not connection.was_stale:
                raise
        self._drop_idle(origin)  # they are as old as the one that was closed
        connection = await self._connection(origin, url)
        return await self._ask(connection, head, body)

    async def aclose(self) -> None:
        """Close them."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._used):
            connection.abort()
        for origin in list(self._idle):
            self._drop_idle(origin)
        await asyncio.sleep(0)  # transports close in the loop's next round

    async def _ask(self, connection: Http1Connection, head: bytes, body: bytes) -> Upstream:
        answer = connection.send(head, body)
        try:
            await answer.begun()
        except BaseException:
            answer.finish(is_answered=False)
            raise
        return answer

    # --- Taking a connection, and giving it back ---------------------------------------------------------------

    async def _connection(self, origin: Origin, url: URL) -> Http1Connection:
        """Return a free connection, kept or new; raises NotConnected when none is free in time."""
        if self._free:
            self._free -= 1
        else:
            await self._wait_for_place()
        self.in_use += 1
        try:
            connection = self._kept(origin) or await self._connect(origin, url)
        except BaseException:
            self._give_place()
            raise
        self._used.add(connection)
        return connection

    async def _wait_for_place(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.waiting += 1
        try:
            async with asyncio.timeout(self._connector.pool.connect_timeout):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self._pass_on()  # it was our turn just now: the next one's then
            if isinstance(error, TimeoutError):
                raise NotConnected("no free connection") from None
            raise
        finally:
            self.waiting -= 1

    def _give_place(self) -> None:
        self.in_use -= 1
        self._pass_on()

    def _pass_on(self) -> None:
        """Let the one who has waited longest have the place."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def _kept(self, origin: Origin) -> Http1Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.is_closing:
                return connection
        return None

    async def _connect(self, origin: Origin, url: URL) -> Http1Connection:
        transport, early = await self._connector.open(url)
        if early:
            transport.abort()
            raise UpstreamBroken("the server spoke before it was asked")
        return Http1Connection(self, origin, transport)

    def take_back(self, connection: Http1Connection) -> None:
        """A request is over: keep its connection, unless it is closing."""
        self._used.discard(connection)
        self._give_place()
        if connection.is_closing:
            return
        if self._is_closed:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.setdefault(connection.origin, deque()).append(connection)
        if self._sweep is None:
            self._sweep_in(KEEPALIVE_SECONDS)

    def forget(self, connection: Http1Connection) -> None:
        """An idle connection was closed."""
        idle = self._idle.get(connection.origin)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def _drop_idle(self, origin: Origin) -> None:
        for connection in self._idle.pop(origin, ()):
            connection.close()

    def _sweep_in(self, seconds: float) -> None:
        self._sweep = asyncio.get_running_loop().call_later(seconds, self._close_old)

    def _close_old(self) -> None:
        """Close what has been idle for too long, and come again for the rest."""
        self._sweep = None
        now = asyncio.get_running_loop().time()
        for origin, idle in list(self._idle.items()):
            while idle and idle[0].idle_since + KEEPALIVE_SECONDS <= now:
                idle.popleft().close()
            if not idle:
                del self._idle[origin]
        if self._idle:
            self._sweep_in(min(idle[0].idle_since for idle in self._idle.values()) + KEEPALIVE_SECONDS - now)


def _head(method: str, url: URL, headers: Sequence[tuple[str, str]], body: bytes, proxy: URL | None) -> bytes:
    """Return a request's head; raises ValueError on line breaks in a header."""
    lines = [*_first_lines(method, url, proxy), *[f"{name}: {value}" for name, value in headers]]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a header of the request holds a line break")
    return f"{text}\r\n\r\n".encode()


@lru_cache(maxsize=1024)
def _first_lines(method: str, url: URL, proxy: URL | None) -> tuple[str, ...]:
    """Return the request line, the host, and what a proxy wants that passes requests on as they are."""
    host = f"Host: {url.host_port_subcomponent}"
    if proxy is None or url.scheme == "https":  # through a tunnel, if there is a proxy
        return (f"{method} {url.raw_path_qs} HTTP/1.1", host)
    line = f"{method} {url.with_user(None).with_fragment(None)} HTTP/1.1"
    return (line, host, *credentials_of(proxy))
