"""A Valkey that a test may stop, kill and start again, stand-ins for one that misbehaves, and waiting without sleeping."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from gateway_site.embedded import EmbeddedValkey, wait_ready
from gateway_site.node.supervisor import spawn, stop_process


async def eventually(holds: Callable[[], object], *, within: float = 5.0) -> float:
    """Wait until something holds and return how many seconds it took; AssertionError when it takes too long."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, f"not within {within} s"
        await asyncio.sleep(0.002)
    return time.monotonic() - began


class OwnValkey:
    """A server process of a test's own; it starts empty every time."""

    def __init__(self, state_dir: Path) -> None:
        self._store = EmbeddedValkey(state_dir, durable=False)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self._store.url()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._store.prepare()
        self._process = spawn(self._store.service())
        wait_ready(self._store, self._process)

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None:
            self.thaw()
            stop_process(self._process, self._store.service())


@contextmanager
def own_valkey(state_dir: Path) -> Iterator[OwnValkey]:
    """A server that runs."""
    server = OwnValkey(state_dir)
    try:
        server.start()
        yield server
    finally:
        server.close()


class StandIn(asyncio.Protocol):
    """Plays Valkey: keeps the packets that it gets, and answers each with what `answer` says."""

    def __init__(self, packets: list[bytes], answer: Callable[[bytes], bytes]) -> None:
        self.packets = packets
        self.answer = answer
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.packets.append(data)
        self.transport.write(self.answer(data))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True


@asynccontextmanager
async def stand_in(
    answer: Callable[[bytes], bytes],
) -> AsyncIterator[tuple[str, list[bytes], list[StandIn]]]:
    """Yield the URL, the packets received and the connections accepted so far."""
    packets: list[bytes] = []
    connections: list[StandIn] = []

    def accept() -> StandIn:
        connections.append(StandIn(packets, answer))
        return connections[-1]

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", packets, connections
    finally:
        server.close()
        for connection in connections:
            connection.transport.abort()
        await server.wait_closed()
