"""Making connections: where to, through which proxy, with which certificates, and how long that may take.

aiohttp's connector does the work for HTTP/1.1 and HTTP/2 alike. What is ours: one time limit over all of name, connection,
proxy and TLS; no private addresses where the provider allows none.
"""

import asyncio
import ssl
from functools import cached_property
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from providers.addresses import is_private, refuse_private_address
from providers.pool import Pool
from providers.transport.tls import http1_context, http2_context

if TYPE_CHECKING:
    import socket

    from aiohttp.tracing import Trace

KEEPALIVE_SECONDS = 60.0
DNS_SECONDS = 30
NO_TIMEOUT = aiohttp.ClientTimeout(total=None)


class NotConnected(aiohttp.ClientConnectionError):
    """No connection, for a reason of our own."""


class PrivateAddress(OSError):
    """A public name that leads to a private address."""


class Request(aiohttp.ClientRequest):
    """What aiohttp's connector wants to know of where to connect to."""

    offers_http2 = False


class Connector(aiohttp.TCPConnector):
    """The connections of one pool."""

    def __init__(self, pool: Pool) -> None:
        """Raise OSError when the pool's certificates cannot be used, ValueError when its proxy cannot."""
        self.pool = pool
        self.proxy = _proxy(pool)
        self.opened = 0
        super().__init__(
            ttl_dns_cache=DNS_SECONDS,
            resolver=None
            if pool.allows_private
            else PublicResolver(allowed=self.proxy.raw_host if self.proxy is not None else None),
            ssl=http1_context(pool),
        )

    async def open(self, url: URL, *, offers_http2: bool = False) -> tuple[asyncio.Transport, bytes]:
        """Make a connection, for whoever asks; return with it what has come on it already."""
        request = Request(hdrs.METH_GET, url, loop=self._loop, proxy=self.proxy)
        request.offers_http2 = offers_http2
        protocol = await self._create_connection(request, [], NO_TIMEOUT)
        transport = protocol.transport
        if transport is None:
            raise NotConnected("the server closed the connection at once")
        return transport, bytes(protocol._tail)

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: "list[Trace]", timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        if not self.pool.allows_private:
            _refuse_private(req.url)
        try:
            async with asyncio.timeout(self.pool.connect_timeout):
                protocol = await super()._create_connection(req, traces, timeout)
        except TimeoutError:
            raise NotConnected(f"no connection within {self.pool.connect_timeout:g} s") from None
        self.opened += 1
        return protocol

    def _get_ssl_context(self, req: aiohttp.ClientRequest) -> ssl.SSLContext | None:
        # Asked for the server and for a proxy that is reached over TLS; only the server is offered HTTP/2.
        if isinstance(req, Request) and req.offers_http2 and req.is_ssl():
            return self._http2_context
        return super()._get_ssl_context(req)

    @cached_property
    def _http2_context(self) -> ssl.SSLContext:
        return http2_context(self.pool)


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses those that lead into private networks, but for the proxy's."""

    def __init__(self, *, allowed: str | None = None) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._allowed = allowed

    async def resolve(self, host: str, port: int = 0, family: "socket.AddressFamily | int" = 0) -> list[ResolveResult]:
        """Return the public addresses of a host."""
        found = await self._resolver.resolve(host, port, family)  # type: ignore[arg-type]
        if host != self._allowed and any(is_private(address["host"]) for address in found):
            raise PrivateAddress(f"{host} leads to a private address")
        return found

    async def close(self) -> None:
        """Nothing is kept."""
        await self._resolver.close()


def _proxy(pool: Pool) -> URL | None:
    if not pool.proxy:
        return None
    if not pool.proxy.startswith(("http://", "https://")):
        raise ValueError("the proxy cannot be used: its address must begin with http:// or https://")
    return URL(pool.proxy)


def _refuse_private(url: URL) -> None:
    """Names that are no addresses are checked when they are resolved, or are resolved by the proxy."""
    try:
        refuse_private_address(str(url))
    except ValueError:
        raise NotConnected(f"{url.host} is a private address") from None
