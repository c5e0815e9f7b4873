"""A connection until somebody takes it over, and the tunnel through a proxy (RFC 9110, 9.3.6)."""

import asyncio
from base64 import b64encode

from yarl import URL

from providers.transport.upstream import NotConnected

MOST_HEAD_BYTES = 64 * 1024  # of a proxy's answer
PROXY_WANTS_CREDENTIALS = 407


class Opening(asyncio.Protocol):
    """Keeps what comes on a new connection, until its owner sets a protocol of its own."""

    def __init__(self) -> None:
        self._came = b""
        self._is_lost = False
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._came += data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._changed.set()

    def take(self) -> bytes:
        """Return what has come, and forget it."""
        came, self._came = self._came, b""
        return came

    async def head(self) -> bytes:
        """Return what comes up to the first empty line; raises NotConnected when none comes."""
        while b"\r\n\r\n" not in self._came:
            if self._is_lost:
                raise NotConnected("the proxy closed the connection")
            if len(self._came) > MOST_HEAD_BYTES:
                raise NotConnected("the proxy's answer is too large")
            self._changed.clear()
            await self._changed.wait()
        head, _, self._came = self._came.partition(b"\r\n\r\n")
        return head


async def open_tunnel(transport: asyncio.Transport, opening: Opening, url: URL, proxy: URL) -> None:
    """Ask a proxy for a tunnel to a server; raises NotConnected, which says what it answered."""
    target = f"{url.host_subcomponent}:{url.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *credentials_of(proxy)]
    transport.write("\r\n".join([*lines, "", ""]).encode())
    status_line = (await opening.head()).partition(b"\r\n")[0].decode("latin-1")
    version, _, status = status_line.partition(" ")
    if not version.startswith("HTTP/1."):
        raise NotConnected("the proxy does not speak HTTP/1.1")
    if status.startswith(str(PROXY_WANTS_CREDENTIALS)):
        raise NotConnected("the proxy refused the gateway's credentials")
    if not status.startswith("2"):
        raise NotConnected(f"the proxy opened no tunnel: {status[:100]}")
    if opening.take():
        raise NotConnected("the proxy said more than it was asked")


def credentials_of(proxy: URL) -> tuple[str, ...]:
    """Return the header that names who asks; none where the proxy's URL has no user."""
    if proxy.user is None:
        return ()
    credentials = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    return (f"Proxy-Authorization: Basic {credentials}",)
