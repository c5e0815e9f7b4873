import asyncio
from types import TracebackType
from typing import Self

from providers.simulator.connection import CONTROL, Connection
from providers.simulator.control import Control
from providers.simulator.counters import Counters
from providers.simulator.outages import Outages
from providers.simulator.provider import Provider
from providers.simulator.requests import Request, RequestLog
from providers.simulator.script import Script


class Simulator:
    """A provider on a local port: ``async with Simulator(port=0) as simulator: simulator.url``.

    `counters` and `requests` (newest last) are live. With a `key`, no other is accepted.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 9100, key: str | None = None) -> None:
        self._address = (host, port)
        self.counters = Counters()
        self.requests = RequestLog()
        self.connections: set[Connection] = set()
        self.outages = Outages()
        self._provider = Provider(key=key, counters=self.counters, outages=self.outages)
        self._control = Control(counters=self.counters, requests=self.requests, outages=self.outages, reset=self.reset)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        host, port = self._address
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=4096)

    async def stop(self) -> None:
        """Stop listening and close every connection, whatever it is in the middle of."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None

    @property
    def port(self) -> int:
        """The real one, where 0 was asked for."""
        if self._server is None:
            raise RuntimeError("The simulator is not running.")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        host = self._address[0]
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def answer(self, request: Request) -> Script:
        if request.path.startswith(CONTROL):
            return self._control.answer(request)
        return self._provider.answer(request)

    def reset(self) -> None:
        """Forget counts, requests, failures and outages; ids go on, so that none is given twice."""
        self.counters.reset()
        self.requests.clear()
        self.outages.clear()
        self._provider.reset()
