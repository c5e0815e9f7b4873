"""Making connections: where to, through which proxy, with which certificates, and how long that may take.

One time limit over all of name, connection, proxy and TLS. Of a host's addresses, IPv6 and IPv4, the first that answers is
taken (RFC 8305). No private addresses where the provider allows none.
"""

import asyncio
import ssl
from functools import cached_property

from aiohappyeyeballs import start_connection
from yarl import URL

from providers.addresses import refuse_private_address
from providers.pool import Pool
from providers.transport.names import Names
from providers.transport.tls import http1_context, http2_context
from providers.transport.tunnel import Opening, open_tunnel
from providers.transport.upstream import NotConnected, PrivateAddress

KEEPALIVE_SECONDS = 60.0
NEXT_ADDRESS_SECONDS = 0.25  # until the next address of a host is tried beside the one before


class Connector:
    """Makes the connections of one pool."""

    def __init__(self, pool: Pool) -> None:
        """Raise OSError when the pool's certificates cannot be used, ValueError when its proxy cannot."""
        self.pool = pool
        self.proxy = _proxy(pool)
        self.opened = 0
        trusted = self.proxy.raw_host if self.proxy is not None else None
        self._names = Names(allows_private=pool.allows_private, trusted=trusted)
        if pool.ca_certificate or pool.client_certificate:
            _ = self._http1_context  # what is wrong with them is said now

    async def open(self, url: URL, *, offers_http2: bool = False) -> tuple[asyncio.Transport, bytes]:
        """Make a connection, for whoever asks; return with it what has come on it already. Raises NotConnected."""
        if not self.pool.allows_private:
            _refuse_private(url)
        try:
            async with asyncio.timeout(self.pool.connect_timeout) as limit:
                transport, opening = await self._connect(url, offers_http2)
        except ssl.SSLError as error:
            raise NotConnected(f"no TLS with {url.host}: {error}") from error
        except OSError as error:
            if limit.expired():
                raise NotConnected(f"no connection within {self.pool.connect_timeout:g} s") from None
            raise NotConnected(f"no connection to {url.host}: {error.strerror or error}") from error
        if transport.is_closing():
            raise NotConnected("the server closed the connection at once")
        self.opened += 1
        return transport, opening.take()

    async def _connect(self, url: URL, offers_http2: bool) -> tuple[asyncio.Transport, Opening]:
        if self.proxy is None:
            return await self._reach(url, self._context(url, offers_http2))
        transport, opening = await self._reach(self.proxy, self._context(self.proxy))
        if url.scheme != "https":
            return transport, opening  # the proxy passes requests on as they are
        try:
            await open_tunnel(transport, opening, url, self.proxy)
            loop, context = asyncio.get_running_loop(), self._context(url, offers_http2)
            assert context is not None
            secured = await loop.start_tls(transport, opening, context, server_hostname=url.raw_host)
        except BaseException:
            transport.abort()
            raise
        if secured is None:
            raise ConnectionResetError("the proxy closed the connection")
        return secured, opening

    async def _reach(self, url: URL, context: ssl.SSLContext | None) -> tuple[asyncio.Transport, Opening]:
        host, port = url.raw_host, url.port
        assert host is not None
        assert port is not None
        addresses = await self._names.addresses(host, port)
        try:
            sock = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS)
        except OSError:
            self._names.forget(host, port)  # it may live elsewhere by now
            raise
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_connection(
                Opening, sock=sock, ssl=context, server_hostname=host if context is not None else None
            )
        except BaseException:
            sock.close()
            raise

    def _context(self, url: URL, offers_http2: bool = False) -> ssl.SSLContext | None:
        if url.scheme != "https":
            return None
        return self._http2_context if offers_http2 else self._http1_context

    @cached_property
    def _http1_context(self) -> ssl.SSLContext:
        return http1_context(self.pool)

    @cached_property
    def _http2_context(self) -> ssl.SSLContext:
        return http2_context(self.pool)


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
        raise PrivateAddress(f"{url.host} is a private address") from None
