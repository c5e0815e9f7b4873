"""The only module that talks HTTP to upstreams: aiohttp underneath, our own values and errors above.

One session per provider keeps its connections. Errors of the library are mapped here, once:
    UpstreamUnreachable   no connection: refused, DNS, TLS, no answer within the connect time-out
    UpstreamBroken        the connection broke, or what came is not HTTP
An address that turns out private when its name is resolved is refused like one that cannot be reached.
"""

import asyncio
import io
import socket
from collections.abc import Sequence
from contextlib import suppress

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from providers.addresses import is_private
from providers.pool import Pool

LARGE_BODY = 512 * 1024  # above this aiohttp wants a file, so that the loop is not blocked by one write
KEEPALIVE_SECONDS = 60.0
READ_BUFFER = 64 * 1024
END_SECONDS = 2.0  # how long the end of a body may take after the answer's last frame
CLOSE_AFTER_SECONDS = 660.0  # a replaced session waits so long for its last streams


class TransportError(Exception):
    """The upstream could not be asked, or did not answer to the end."""


class UpstreamUnreachable(TransportError):
    """No connection could be made; the upstream has seen nothing of the request."""


class UpstreamBroken(TransportError):
    """The connection broke after the request was sent."""


_ending: set[asyncio.Future[None]] = set()


async def _read_end(response: aiohttp.ClientResponse) -> None:
    """Read what is left of a finished answer, so that its connection can be used again."""
    try:
        async with asyncio.timeout(END_SECONDS):
            while await response.content.readany():
                pass
    except (aiohttp.ClientError, OSError, TimeoutError):
        response.close()


class Upstream:
    """An upstream's answer: status and headers now, the body as it comes."""

    __slots__ = ("_response", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they came."""
        return self._response.raw_headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty when there is none."""
        return self._response.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """Return the whole body; raises UpstreamBroken when it ends too early."""
        try:
            return await self._response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamBroken(_reason(error)) from error

    async def read_chunk(self) -> bytes:
        """Return what has come, at least one byte; nothing at the end; raises UpstreamBroken when it was cut."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamBroken(_reason(error)) from error

    def finish(self, *, is_answered: bool) -> None:
        """Let go of the connection: it is kept for the next request if the answer is over, and closed if it is not.

        A closed connection is how an upstream sees that nobody reads any more, and stops.
        """
        if self._response.content.is_eof():
            self._response.release()
        elif is_answered:
            # The answer's last frame has come, but not yet the end of the body, which follows at once.
            task = asyncio.ensure_future(_read_end(self._response))
            _ending.add(task)
            task.add_done_callback(_ending.discard)
        else:
            self._response.close()

    def abort(self) -> None:
        """Close the connection now; a pending read raises UpstreamBroken."""
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


class _Request(aiohttp.ClientRequest):
    """aiohttp's request without what it adds by itself: our headers are complete, but for the host and the length."""

    def update_headers(self, headers: "CIMultiDict[str]") -> None:  # type: ignore[override]
        host = self.url.host_port_subcomponent
        assert host is not None
        self.headers = CIMultiDict({hdrs.HOST: host})
        self.headers.extend(headers)

    def update_auto_headers(self, skip_auto_headers: object) -> None:
        """None are added."""


class Transport:
    """Every provider's connections."""

    def __init__(self) -> None:
        self._sessions: dict[Pool, aiohttp.ClientSession] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def open(
        self, pool: Pool, url: URL, *, headers: Sequence[tuple[str, str]], body: bytes, method: str = "POST"
    ) -> Upstream:
        """Send a request and return the answer as soon as its headers are there; the caller releases it."""
        session = self._sessions.get(pool) or self._start(pool)
        try:
            response = await session.request(
                method,
                url,
                data=body if len(body) < LARGE_BODY else io.BytesIO(body),
                headers=CIMultiDict(headers),
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, PrivateAddress) as error:
            raise UpstreamUnreachable(_reason(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamBroken(_reason(error)) from error
        return Upstream(response)

    def keep_only(self, pools: set[Pool]) -> None:
        """Close the connections of pools that no provider has any more, when their last stream is done."""
        for pool in [pool for pool in self._sessions if pool not in pools]:
            task = asyncio.create_task(_close_later(self._sessions.pop(pool)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close everything now."""
        for task in self._closing:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._closing, return_exceptions=True)
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    def _start(self, pool: Pool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=pool.max_connections,
            keepalive_timeout=KEEPALIVE_SECONDS,
            ttl_dns_cache=30,
            resolver=None if pool.allows_private else PublicResolver(),
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=pool.connect_timeout),
            auto_decompress=True,
            read_bufsize=READ_BUFFER,
            request_class=_Request,
            trust_env=False,
        )
        self._sessions[pool] = session
        return session


async def _close_later(session: aiohttp.ClientSession) -> None:
    try:
        await asyncio.sleep(CLOSE_AFTER_SECONDS)
    finally:
        await session.close()


class PrivateAddress(OSError):
    """A public name that leads to a private address."""


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses those that lead into private networks."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the public addresses of a host."""
        found = await self._resolver.resolve(host, port, family)
        if any(is_private(address["host"]) for address in found):
            raise PrivateAddress(f"{host} leads to a private address")
        return found

    async def close(self) -> None:
        """Nothing is kept."""
        await self._resolver.close()


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
