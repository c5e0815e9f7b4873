"""Names to addresses: each is resolved once for all who ask at the time, and remembered for a while."""

import asyncio
import socket
from collections.abc import Sequence

from aiohappyeyeballs import AddrInfoType

from providers.addresses import is_private
from providers.transport.upstream import NotConnected, PrivateAddress

MEMORY_SECONDS = 30.0


class Names:
    """What a pool knows of hosts; where no private addresses are allowed, the trusted host (its proxy) may have one."""

    def __init__(self, *, allows_private: bool, trusted: str | None = None) -> None:
        self._allows_private = allows_private
        self._trusted = trusted
        self._lookups: dict[
            tuple[str, int], tuple[float, asyncio.Task[Sequence[AddrInfoType]]]
        ] = {}  # until when they hold

    async def addresses(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """Return where to connect to; raises NotConnected when nobody knows the name, PrivateAddress when it is refused."""
        now = asyncio.get_running_loop().time()
        until, lookup = self._lookups.get((host, port), (0.0, None))
        if lookup is None or until <= now:
            lookup = asyncio.create_task(_resolve(host, port))
            self._lookups[host, port] = (now + MEMORY_SECONDS, lookup)
            lookup.add_done_callback(lambda done: self._looked_up(host, port, done))
        found = await asyncio.shield(lookup)
        if not self._allows_private and host != self._trusted and any(is_private(each[4][0]) for each in found):
            raise PrivateAddress(f"{host} leads to a private address")
        return found

    def forget(self, host: str, port: int) -> None:
        """Ask again the next time."""
        self._lookups.pop((host, port), None)

    def _looked_up(self, host: str, port: int, lookup: asyncio.Task[Sequence[AddrInfoType]]) -> None:
        if lookup.cancelled() or lookup.exception() is not None:  # whoever asked may be gone
            self.forget(host, port)


async def look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    """Ask the system, which asks the network; raises OSError."""
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


async def _resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    try:
        return await look_up(host, port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NotConnected(f"the name {host} cannot be resolved: {reason}") from error
