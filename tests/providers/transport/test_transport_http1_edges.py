"""What a server may do on a connection of HTTP/1.1, and what it may not: each answer goes to whoever asked for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from providers.transport import Transport, Upstream, UpstreamBroken
from providers.transport.http1_connection import MOST_BUFFERED_BYTES, MOST_HEAD_BYTES

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[URL]:
    """A server that does what it is told on each connection, and closes it then."""
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the other side left, which is what some of the tests are about
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # they close in the loop's next round


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read a request with the body that `ask` sends."""
    return await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)


def answering(*answers: bytes) -> Serve:
    """Answer the requests of a connection in order, then wait for its end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request(reader)
            writer.write(answer)
        await reader.read()

    return serve


async def ask(transport: Transport, pool, url: URL) -> Upstream:
    """Ask; the answer has begun."""
    return await transport.open(pool, url, headers=[("X-Ours", "1")], body=b"{}")


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
    ],
)
async def test_interim_answers_are_passed_over(transport, make_pool, interim):
    pool = make_pool()
    async with serving(answering(interim + OK, OK)) as url:
        for _ in range(2):
            upstream = await ask(transport, pool, url)
            assert upstream.status == 200
            assert list(upstream.headers) == [(b"content-length", b"2")]
            assert await upstream.read() == b"ok"
    assert transport.statistics()[0].opened == 1


async def test_a_body_without_a_length_ends_with_its_connection(transport, make_pool):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")

    async with serving(serve) as url:
        upstream = await ask(transport, make_pool(), url)
        assert (await upstream.read(), upstream.content_type) == (b"all of it", "text/plain")
    assert transport.statistics()[0].in_use == transport.statistics()[0].idle == 0


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12",
    ],
)
async def test_a_body_that_is_shorter_than_said_is_broken(transport, make_pool, cut):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(cut)

    async with serving(serve) as url:
        upstream = await ask(transport, make_pool(), url)
        with pytest.raises(UpstreamBroken, match="the server closed the connection"):
            await upstream.read()
    assert transport.statistics()[0].in_use == 0


async def test_trailers_are_nobodys(transport, make_pool):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n"
    async with serving(answering(chunked, OK)) as url:
        for _ in range(2):
            upstream = await ask(transport, pool := make_pool(), url)
            assert await upstream.read() == b"ok"
            assert b"x-late" not in dict(upstream.headers)
    assert pool


@pytest.mark.parametrize("more", [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", b"\x00junk"])
async def test_what_follows_an_answer_is_not_taken_for_the_next_one(transport, make_pool, more):
    pool = make_pool()
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst" + more, OK)) as url:
        assert await (await ask(transport, pool, url)).read() == b"first"
        assert transport.statistics()[0].idle == 0
    async with serving(answering(OK)) as url:
        assert await (await ask(transport, pool, url)).read() == b"ok"


async def test_what_comes_before_it_was_asked_for_is_not_taken_for_an_answer(transport, make_pool):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        if not connections:
            connections.append(1)
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        await reader.read()

    connections: list[int] = []
    pool = make_pool()
    async with serving(serve) as url:
        assert await (await ask(transport, pool, url)).read() == b"first"
        while transport.statistics()[0].idle:
            await asyncio.sleep(0.01)
        assert await (await ask(transport, pool, url)).read() == b"first"
    assert transport.statistics()[0].opened == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not an answer in HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "not an answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "not an answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", "not an answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nX-Large: " + b"x" * (MOST_HEAD_BYTES + 10), "headers are too large"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Many: x\r\n" * (MOST_HEAD_BYTES // 10), "headers are too large"),
    ],
)
async def test_what_is_no_answer_is_refused(transport, make_pool, answer, said):
    async with serving(answering(answer)) as url:
        with pytest.raises(UpstreamBroken, match=said):
            await ask(transport, make_pool(), url)
    assert transport.statistics()[0].in_use == 0


async def test_a_server_that_wants_the_connection_closed_gets_it_closed(transport, make_pool):
    pool = make_pool()
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")) as url:
        for _ in range(2):
            assert await (await ask(transport, pool, url)).read() == b"ok"
    assert transport.statistics()[0].opened == 2


async def test_answers_of_http_1_0_end_their_connection(transport, make_pool):
    pool = make_pool()
    async with serving(answering(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")) as url:
        for _ in range(2):
            assert await (await ask(transport, pool, url)).read() == b"ok"
    assert transport.statistics()[0].opened == 2


async def test_a_server_has_to_wait_when_nobody_reads(transport, make_pool):
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1000 * PIECE))
        for _ in range(1000):
            writer.write(bytes(PIECE))
            await writer.drain()
            sent += PIECE

    PIECE = 64 * 1024
    async with serving(serve) as url:
        upstream = await ask(transport, make_pool(), url)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 500 * PIECE  # the kernel's buffers, and ours
        read = len(await upstream.read_chunk())
        assert read < 4 * MOST_BUFFERED_BYTES
        assert read + len(await upstream.read()) == 1000 * PIECE


async def test_the_connection_is_free_as_soon_as_the_answer_has_come(transport, make_pool):
    pool = make_pool(max_connections=1)
    async with serving(answering(OK, OK)) as url:
        first = await ask(transport, pool, url)
        second = await ask(transport, pool, url)  # the first one is not read yet
        assert [await first.read(), await second.read()] == [b"ok", b"ok"]
        first.finish(is_answered=True)
        assert transport.statistics()[0].in_use == 0


async def test_an_answer_whose_end_is_yet_to_come_frees_its_connection_then(transport, make_pool):
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await go_on.wait()
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with serving(serve) as url:
        upstream = await ask(transport, make_pool(), url)
        assert await upstream.read_chunk() == b"ok"
        upstream.finish(is_answered=True)
        assert transport.statistics()[0].in_use == 1
        go_on.set()
        while transport.statistics()[0].in_use:
            await asyncio.sleep(0.01)
        assert transport.statistics()[0].idle == 1


async def test_an_answer_whose_end_does_not_come_costs_the_connection(transport, make_pool, monkeypatch):
    monkeypatch.setattr("providers.transport.http1_connection.END_SECONDS", 0.05)
    async with serving(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")) as url:
        upstream = await ask(transport, make_pool(), url)
        assert await upstream.read_chunk() == b"ok"
        upstream.finish(is_answered=True)
        while transport.statistics()[0].in_use:
            await asyncio.sleep(0.01)
        assert transport.statistics()[0].idle == 0


async def test_a_pending_read_ends_when_the_answer_is_aborted(transport, make_pool):
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")) as url:
        upstream = await ask(transport, make_pool(), url)
        reading = asyncio.create_task(upstream.read_chunk())
        await asyncio.sleep(0.01)
        upstream.abort()
        with pytest.raises(UpstreamBroken):
            await reading
        upstream.finish(is_answered=False)
    assert transport.statistics()[0].in_use == 0


async def test_a_large_body_may_be_answered_before_it_was_read(transport, make_pool):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await reader.read(1)
        await asyncio.sleep(5)

    pool = make_pool()
    async with serving(serve) as url:
        upstream = await transport.open(pool, url, headers=[], body=bytes(50_000_000))
        assert (upstream.status, await upstream.read()) == (413, b"no")
        found = transport.statistics()[0]
        assert (found.in_use, found.idle) == (0, 0)  # the rest of the body would be the next request


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
async def test_no_header_has_a_line_break(transport, make_pool, value):
    async with serving(answering(OK)) as url:
        with pytest.raises(UpstreamBroken, match="line break"):
            await transport.open(make_pool(), url, headers=[("X-Ours", value)], body=b"{}")


async def test_connections_are_closed_when_they_were_idle_for_long(transport, make_pool, monkeypatch):
    monkeypatch.setattr("providers.transport.http1.KEEPALIVE_SECONDS", 0.1)
    async with serving(answering(OK)) as url:
        await (await ask(transport, make_pool(), url)).read()
        assert transport.statistics()[0].idle == 1
        while transport.statistics()[0].idle:
            await asyncio.sleep(0.01)


async def test_closing_the_transport_ends_what_is_under_way(make_pool):
    transport = Transport()
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")) as url:
        upstream = await ask(transport, make_pool(), url)
        await transport.aclose()
        with pytest.raises(UpstreamBroken):
            await upstream.read()
