"""Connections whose requests wait at the entrance: what comes meanwhile, who leaves, and a stop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway_site.serving.entrance import AT_ONCE, Entrance
from gateway_site.serving.protocol import Protocol
from routing.observe import active_connections
from tests.gateway_site.infra.own_valkey import eventually


class Closed(Entrance):
    """An entrance at which everybody waits until it is opened."""

    __slots__ = ("outside",)

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[Callable[[], bool]] = []

    def enter(self, begin: Callable[[], bool]) -> bool:
        self.outside.append(begin)
        return False

    def open(self) -> list[bool]:
        begun = [begin() for begin in self.outside]
        self.outside.clear()
        return begun


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Served:
    """A server, its connections, and clients of it."""

    def __init__(self, entrance: Entrance, app: Any) -> None:
        self.entrance = entrance
        self.port = 0
        self.state = ServerState()
        self._config = uvicorn.Config(app, loop="asyncio", lifespan="off", log_config=None, timeout_keep_alive=1)
        self._config.load()

    def protocol(self) -> Protocol:
        return Protocol(config=self._config, server_state=self.state, app_state={}, entrance=self.entrance)

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    @property
    def connections(self) -> list[Protocol]:
        return [each for each in self.state.connections if isinstance(each, Protocol)]


@asynccontextmanager
async def served(entrance: Entrance, app: Any = echo) -> AsyncIterator[Served]:
    found = Served(entrance, app)
    server = await asyncio.get_running_loop().create_server(found.protocol, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for each in found.connections:
            each.transport.close()


@pytest.fixture
async def closed() -> AsyncIterator[Served]:
    async with served(Closed()) as found:
        yield found


def request(body: bytes, *, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    return b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n%b" % (length, body)


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        return await reader.readexactly(length)


async def test_hundreds_at_once_are_all_answered():
    async with served(Entrance()) as here:
        clients = [await here.client() for _ in range(300)]
        for number, (_, writer) in enumerate(clients):
            writer.write(request(b"%d" % number))
        answers = [await answer(reader) for reader, _ in clients]
        assert answers == [b"%d" % number for number in range(300)]
        for number, (_, writer) in enumerate(clients):
            writer.write(request(b"again %d" % number))
        assert [await answer(reader) for reader, _ in clients] == [b"again %d" % number for number in range(300)]
        for _, writer in clients:
            writer.close()
            await writer.wait_closed()


async def test_of_those_that_come_in_one_turn_the_rest_is_not_even_read():
    here = Served(Entrance(), echo)
    connections = [here.protocol() for _ in range(3 * AT_ONCE)]
    for each in connections:
        each.connection_made(_Nowhere())
        each.data_received(request(b"x"))
    assert [each.cycle is not None for each in connections] == [True] * AT_ONCE + [False] * 2 * AT_ONCE
    await eventually(lambda: all(each.cycle is not None for each in connections))
    for each in connections:
        each.connection_lost(None)


async def test_what_comes_while_it_waits_comes_in_its_order(closed: Served):
    reader, writer = await closed.client()
    body = b"0123456789" * 100_000  # more than anybody holds for it
    writer.write(request(b"", length=len(body)))
    await eventually(lambda: closed.entrance.outside)
    sending = asyncio.create_task(_send(writer, body))
    (connection,) = closed.connections
    await eventually(lambda: connection.flow.read_paused)
    assert len(connection.outside) < len(body)
    assert closed.entrance.open() == [True]
    await sending
    assert await answer(reader) == body
    writer.close()


async def test_two_requests_that_come_together_are_answered_in_turn(closed: Served):
    reader, writer = await closed.client()
    writer.write(request(b"one") + request(b"two"))
    await eventually(lambda: closed.entrance.outside)
    closed.entrance.open()
    assert [await answer(reader), await answer(reader)] == [b"one", b"two"]
    writer.close()


async def test_who_leaves_does_not_begin(closed: Served):
    before = active_connections.value
    _, writer = await closed.client()
    writer.write(request(b"never mind"))
    await eventually(lambda: closed.entrance.outside)
    assert active_connections.value == before + 1
    writer.close()
    await eventually(lambda: not closed.connections)
    assert closed.entrance.open() == [False]
    assert active_connections.value == before


@pytest.mark.parametrize("behind", [b"", request(b"two")], ids=["alone", "with_another_behind"])
async def test_a_request_that_is_being_answered_is_told_that_its_client_has_left(behind: bytes):
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        told.append((await receive())["type"])
        await send({"type": "http.response.body", "body": b"goes nowhere", "more_body": True})

    async with served(Entrance(), app) as here:
        reader, writer = await here.client()
        writer.write(request(b"one") + behind)
        await reader.readuntil(b"first")
        writer.close()
        await eventually(lambda: told and not here.state.tasks)
        assert told == ["http.disconnect"]


async def test_a_connection_that_waits_is_not_closed_as_idle(closed: Served):
    reader, writer = await closed.client()
    writer.write(request(b"one"))
    await eventually(lambda: closed.entrance.outside)
    closed.entrance.open()
    await answer(reader)
    writer.write(request(b"two"))  # within the second after which it would be closed
    await eventually(lambda: closed.entrance.outside)
    (connection,) = closed.connections
    assert connection.timeout_keep_alive_task is None
    closed.entrance.open()
    assert await answer(reader) == b"two"
    writer.close()


async def test_a_stop_answers_what_waits(closed: Served):
    reader, writer = await closed.client()
    writer.write(request(b"last"))
    await eventually(lambda: closed.entrance.outside)
    (connection,) = closed.connections
    connection.shutdown()
    assert await answer(reader) == b"last"
    assert await reader.read() == b""  # and closes
    assert closed.entrance.open() == [False]
    writer.close()


async def test_a_stop_closes_who_asks_for_nothing(closed: Served):
    reader, writer = await closed.client()
    await eventually(lambda: closed.connections)
    (connection,) = closed.connections
    connection.shutdown()
    assert await reader.read() == b""
    writer.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


class _Nowhere(asyncio.Transport):
    """Where nobody reads."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        pass

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False
