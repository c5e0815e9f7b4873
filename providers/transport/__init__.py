"""The only place that talks HTTP to upstreams: llhttp and h2 underneath, our own values and errors above.

Every pool makes its connections (connector.py) and keeps them: for HTTP/1.1, and for HTTP/2 where the provider has it
switched on and the server speaks it. Errors are mapped here, once:
    UpstreamUnreachable   no connection: refused, DNS, TLS, proxy, none free, none within the connect time-out
    UpstreamBroken        the connection broke, or what came is not HTTP
An address that turns out private when its name is resolved is refused like one that cannot be reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from yarl import URL

from providers.pool import Pool, PoolStatistics
from providers.transport.connector import Connector
from providers.transport.http1 import Http1Connections
from providers.transport.tunnel import PROXY_WANTS_CREDENTIALS
from providers.transport.upstream import NotConnected, TransportError, Upstream, UpstreamBroken, UpstreamUnreachable

if TYPE_CHECKING:
    from providers.transport.http2 import Http2Connections

__all__ = ["Transport", "TransportError", "Upstream", "UpstreamBroken", "UpstreamUnreachable"]

CLOSE_AFTER_SECONDS = 660.0  # a replaced pool waits so long for its last streams


class Transport:
    """Every provider's connections."""

    def __init__(self) -> None:
        self._pools: dict[Pool, _Connections] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def open(
        self, pool: Pool, url: URL, *, headers: Sequence[tuple[str, str]], body: bytes, method: str = "POST"
    ) -> Upstream:
        """Send a request and return the answer as soon as its headers are there; the caller releases it."""
        connections = self._pools.get(pool) or self._start(pool)
        return await connections.open(method, url, headers, body)

    def statistics(self) -> list[PoolStatistics]:
        """Return how the pools in use are doing, in order of their providers."""
        return sorted((pool.statistics() for pool in self._pools.values()), key=lambda found: found.provider)

    def keep_only(self, pools: set[Pool]) -> None:
        """Close the connections of pools that no provider has any more, when their last stream is done."""
        for pool in [pool for pool in self._pools if pool not in pools]:
            task = asyncio.create_task(_close_later(self._pools.pop(pool)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close everything now."""
        for task in self._closing:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._closing, return_exceptions=True)
        for connections in self._pools.values():
            await connections.aclose()
        self._pools.clear()

    def _start(self, pool: Pool) -> _Connections:
        try:
            connections = self._pools[pool] = _Connections(pool)
        except (OSError, ValueError) as error:  # ssl.SSLError is one of the first
            raise UpstreamUnreachable(f"the connection cannot be set up: {error}") from error
        return connections


class _Connections:
    """A pool's connections of both kinds, and the count of what went over them."""

    __slots__ = ("_connector", "_http1", "_http2", "_pool", "_requests")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connector = Connector(pool)
        self._http1 = Http1Connections(self._connector)
        self._http2 = _http2_connections(self._connector) if pool.http2 else None
        self._requests = 0

    async def open(self, method: str, url: URL, headers: Sequence[tuple[str, str]], body: bytes) -> Upstream:
        """Send a request over whichever HTTP the server speaks."""
        try:
            upstream = None
            if self._http2 is not None:
                upstream = await self._http2.open(method, url, headers, body)
            if upstream is None:
                upstream = await self._http1.open(method, url, headers, body)
        except NotConnected as error:
            raise UpstreamUnreachable(self._reason(error)) from error
        except UpstreamBroken:
            self._requests += 1
            raise
        except (OSError, ValueError) as error:
            self._requests += 1
            raise UpstreamBroken(self._reason(error)) from error
        self._requests += 1
        if upstream.status == PROXY_WANTS_CREDENTIALS and self._pool.proxy:
            upstream.finish(is_answered=False)
            raise UpstreamUnreachable("the proxy refused the gateway's credentials")
        return upstream

    def statistics(self) -> PoolStatistics:
        """Return the counts of this moment."""
        connector, http1, http2 = self._connector, self._http1, self._http2
        return PoolStatistics(
            provider=self._pool.provider,
            http2=http2 is not None and bool(http2.in_use + http2.idle),
            in_use=http1.in_use + (http2.in_use if http2 else 0),
            idle=http1.idle + (http2.idle if http2 else 0),
            waiting=http1.waiting + (http2.waiting if http2 else 0),
            opened=connector.opened,
            requests=self._requests,
            reuse=max(0.0, 1 - connector.opened / self._requests) if self._requests else 0.0,
        )

    async def aclose(self) -> None:
        """Close them all."""
        if self._http2 is not None:
            await self._http2.aclose()
        await self._http1.aclose()

    def _reason(self, error: BaseException) -> str:
        reason, proxy = str(error) or type(error).__name__, self._connector.proxy
        return reason.replace(str(proxy), str(proxy.with_user(None))) if proxy is not None else reason


def _http2_connections(connector: Connector) -> Http2Connections:
    from providers.transport.http2 import Http2Connections  # 7 MB that most workers never need

    return Http2Connections(connector)


async def _close_later(connections: _Connections) -> None:
    try:
        await asyncio.sleep(CLOSE_AFTER_SECONDS)
    finally:
        await connections.aclose()
