"""What comes of an answer is offered to whoever passes it on; what they do not take is read, and nothing comes twice."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from transport_servers import http2_server
from yarl import URL

from providers.transport import Transport, Upstream, UpstreamBroken
from providers.transport.http1_connection import MOST_BUFFERED_BYTES

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n"


class Said:
    """An upstream's side of one connection: what it says comes as one packet."""

    def __init__(self) -> None:
        self.url = URL()
        self._writer: asyncio.StreamWriter | None = None
        self._asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._asked.set()
        await reader.read()  # until the other side leaves
        writer.close()

    async def say(self, *pieces: bytes, end: bytes = b"") -> None:
        await self._asked.wait()
        assert self._writer is not None
        self._writer.write(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end)
        await self._writer.drain()
        await asyncio.sleep(0.01)

    async def begin(self, header: bytes = b"") -> None:
        await self._asked.wait()
        assert self._writer is not None
        self._writer.write(HEAD % header)

    def break_off(self) -> None:
        assert self._writer is not None
        self._writer.transport.abort()


@pytest.fixture
async def said() -> AsyncIterator[Said]:
    found = Said()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    yield found
    server.close()
    await asyncio.sleep(0)


class Sink:
    """Takes what it is offered, unless it says no."""

    def __init__(self, *, takes: bool = True) -> None:
        self.offered: list[bytes] = []
        self.takes = takes

    def __call__(self, data: bytes) -> bool:
        self.offered.append(data)
        return self.takes


async def ask(
    transport: Transport, pool, said: Said, header: bytes = b"", *, takes: bool = True
) -> tuple[Upstream, Sink]:
    """Return an answer that has begun, and the sink that is offered what comes of it."""
    opening = asyncio.create_task(transport.open(pool, said.url, headers=[], body=b"{}"))
    await said.begin(header)
    upstream, sink = await opening, Sink(takes=takes)
    upstream.pass_on(sink)
    return upstream, sink


async def begin(reading: Coroutine[Any, Any, bytes]) -> "asyncio.Task[bytes]":
    """Let somebody wait for what comes."""
    task = asyncio.create_task(reading)
    await asyncio.sleep(0)
    return task


async def test_what_is_taken_is_not_read(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said)
    reading = await begin(upstream.read_chunk())
    await said.say(b"one")
    await said.say(b"two")
    assert (sink.offered, reading.done()) == ([b"one", b"two"], False)
    sink.takes = False
    await said.say(b"three")
    assert (sink.offered, await reading) == ([b"one", b"two", b"three"], b"three")
    upstream.finish(is_answered=False)


async def test_what_comes_while_nobody_waits_is_kept_for_whoever_reads(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said)
    await said.say(b"one")
    await said.say(b"two")
    assert sink.offered == []
    assert await upstream.read_chunk() == b"onetwo"
    upstream.finish(is_answered=False)


async def test_what_was_not_taken_comes_before_what_follows(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said, takes=False)
    reading = await begin(upstream.read_chunk())
    await said.say(b"one", b"two")
    sink.takes = True
    await said.say(b"three")
    assert (await reading, await upstream.read_chunk()) == (b"onetwo", b"three")
    assert sink.offered == [b"onetwo"]
    upstream.finish(is_answered=False)


async def test_the_end_is_for_whoever_reads(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said)
    reading = await begin(upstream.read())
    await said.say(b"taken")
    await said.say(b"last", end=b"0\r\n\r\n")
    assert (await reading, sink.offered) == (b"last", [b"taken"])
    assert transport.statistics()[0].in_use == 0


async def test_half_a_chunks_size_is_nothing_yet(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said)
    reading = await begin(upstream.read_chunk())
    await said.say(end=b"1")
    await said.say(end=b"0\r\nsixteen bytes ok\r\n")
    assert (sink.offered, reading.done()) == ([b"sixteen bytes ok"], False)
    upstream.abort()
    with pytest.raises(UpstreamBroken):
        await reading
    upstream.finish(is_answered=False)


async def test_a_break_is_for_whoever_reads(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said)
    reading = await begin(upstream.read_chunk())
    await said.say(b"taken")
    said.break_off()
    with pytest.raises(UpstreamBroken):
        await reading
    assert sink.offered == [b"taken"]
    upstream.finish(is_answered=False)


async def test_what_cannot_be_parsed_is_for_whoever_reads(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said)
    reading = await begin(upstream.read())
    await said.say(b"fine", end=b"no size\r\n")
    with pytest.raises(UpstreamBroken, match="not an answer"):
        await reading
    assert sink.offered == []


async def test_who_has_let_go_is_offered_nothing(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said)
    upstream.finish(is_answered=True)
    upstream.pass_on(sink)  # too late
    await said.say(b"more", end=b"0\r\n\r\n")
    assert sink.offered == []


async def test_packed_answers_are_always_read(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said, b"Content-Encoding: gzip\r\n")
    reading = await begin(upstream.read_chunk())
    await said.say(gzip.compress(b"plain"))
    assert (await reading, sink.offered) == (b"plain", [])
    upstream.finish(is_answered=False)


async def test_a_large_piece_that_is_taken_does_not_stop_the_server(transport, make_pool, said):
    upstream, sink = await ask(transport, make_pool(), said)
    reading = await begin(upstream.read())
    piece = b"x" * (MOST_BUFFERED_BYTES // 2)
    for _ in range(12):
        await said.say(piece)
    await said.say(end=b"0\r\n\r\n")
    assert len(b"".join(sink.offered)) + len(await reading) == 12 * len(piece)


async def test_streams_of_http_2_are_always_read(transport, make_pool):
    async with http2_server(None) as server:
        upstream = await transport.open(make_pool(http2=True), server.url("/ok"), headers=[], body=b"{}")
        sink = Sink()
        upstream.pass_on(sink)
        assert (await upstream.read() != b"", sink.offered) == (True, [])
