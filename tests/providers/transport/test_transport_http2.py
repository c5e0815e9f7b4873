"""Pools of HTTP/2: many requests on one connection, none of which harms another."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from transport_servers import Authority, Http2Server, http1_server, http2_server, proxy_server, server_tls
from yarl import URL

from providers.pool import Pool
from providers.transport import Transport, Upstream, UpstreamBroken, UpstreamUnreachable, http2, http2_connection

HEADERS = [("Content-Type", "application/json"), ("X-Ours", "é"), ("Connection", "keep-alive")]


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    return server_tls(authority.issue("server"), tmp_path, protocols=["h2"])


@pytest.fixture
async def server(tls) -> AsyncIterator[Http2Server]:
    async with http2_server(tls) as server:
        yield server


@pytest.fixture
def pool(make_pool, authority) -> Pool:
    return make_pool(http2=True, ca_certificate=authority.pem)


@pytest.fixture
def narrow(make_pool, authority) -> Pool:
    """A pool with one connection and little patience."""
    return make_pool(http2=True, ca_certificate=authority.pem, max_connections=1, connect_timeout=0.5)


async def begin(transport: Transport, pool: Pool, url: URL, body: bytes = b"{}") -> Upstream:
    """Ask, and return when the headers are there."""
    return await transport.open(pool, url, headers=HEADERS, body=body)


async def ask(transport: Transport, pool: Pool, url: URL, body: bytes = b"{}") -> bytes:
    """Ask and read the whole answer."""
    return await (await begin(transport, pool, url, body)).read()


async def until(condition) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_it_returns_status_headers_and_body(transport, pool, server):
    upstream = await begin(transport, pool, server.url("/ok?a=%20b"), b"hello")
    assert (upstream.status, upstream.content_type) == (200, "application/json")
    assert list(upstream.headers) == [(b"content-type", b"Application/JSON; charset=utf-8")]
    assert await upstream.read() == b'{"read":5}'
    (sent,) = server.requests
    assert (sent[":method"], sent[":path"], sent[":authority"]) == ("POST", "/ok?a=%20b", f"127.0.0.1:{server.port}")
    assert (sent["x-ours"], sent["content-length"]) == ("é", "5")
    assert "connection" not in sent


async def test_a_hundred_requests_at_once_share_one_connection(transport, pool, server):
    for _ in range(2):
        assert await asyncio.gather(*(ask(transport, pool, server.url("/ok")) for _ in range(100)))
    (found,) = transport.statistics()
    assert (found.http2, found.opened, found.requests, found.in_use, found.idle) == (True, 1, 200, 0, 1)
    assert found.reuse >= 0.9
    assert len(server.connections) == 1


async def test_it_makes_another_connection_when_one_is_full(transport, pool, tls):
    async with http2_server(tls, max_streams=2) as server:
        asked = [asyncio.create_task(ask(transport, pool, server.url("/held"))) for _ in range(6)]
        await until(lambda: len(server.requests) == 6)
        assert len(server.connections) == transport.statistics()[0].in_use == 3
        server.go_on.set()
        assert await asyncio.gather(*asked) == [b"at last"] * 6


async def test_what_waits_too_long_for_room_has_reached_nobody(transport, narrow, tls):
    async with http2_server(tls, max_streams=1) as server:
        first = asyncio.create_task(ask(transport, narrow, server.url("/held")))
        await until(lambda: server.requests)
        with pytest.raises(UpstreamUnreachable, match="no free connection"):
            await ask(transport, narrow, server.url("/ok"))
        next_one = asyncio.create_task(ask(transport, narrow, server.url("/ok")))
        await until(lambda: transport.statistics()[0].waiting == 1)
        server.go_on.set()
        await asyncio.gather(first, next_one)
        assert (len(server.connections), len(server.requests)) == (1, 2)


async def test_large_bodies_go_both_ways(transport, pool, server):
    body = bytes(3_000_000)
    assert await ask(transport, pool, server.url("/ok"), body) == b'{"read":3000000}'
    assert len(await ask(transport, pool, server.url("/large"))) == server.large


async def test_a_reader_that_is_slow_holds_up_nobody_else(transport, pool, server):
    slow = await begin(transport, pool, server.url("/large"))
    await until(lambda: server.connections[0].unsent)  # the server waits for the reader
    for _ in range(3):
        assert len(await ask(transport, pool, server.url("/large"))) == server.large
    assert len(await slow.read()) == server.large
    assert len(server.connections) == 1


async def test_streams_that_are_given_up_leave_the_connection_as_it_was(transport, pool, server):
    server.large = 8_000_000
    for _ in range(10):  # more than the window of the connection
        upstream = await begin(transport, pool, server.url("/large"))
        await upstream.read_chunk()
        upstream.finish(is_answered=False)
    assert len(await ask(transport, pool, server.url("/large"))) == server.large
    assert (server.resets, len(server.connections)) == (10, 1)


async def test_a_request_that_is_cancelled_resets_its_stream_only(transport, pool, server):
    other = asyncio.create_task(ask(transport, pool, server.url("/held")))
    asked = asyncio.create_task(ask(transport, pool, server.url("/silent")))
    await until(lambda: len(server.requests) == 2)
    asked.cancel()
    await until(lambda: server.resets == 1)
    server.go_on.set()
    assert await other == b"at last"
    assert transport.statistics()[0].in_use == 0


async def test_an_aborted_stream_breaks_its_pending_read(transport, pool, server):
    upstream = await begin(transport, pool, server.url("/begun"))
    assert await upstream.read_chunk() == b"data: 1\n\n"
    reading = asyncio.create_task(upstream.read_chunk())
    await asyncio.sleep(0.01)
    upstream.abort()
    with pytest.raises(UpstreamBroken):
        await reading
    await until(lambda: server.resets == 1)


async def test_an_answered_stream_is_left_to_end_by_itself(transport, pool, server, monkeypatch):
    monkeypatch.setattr(http2_connection, "END_SECONDS", 0.4)
    upstream = await begin(transport, pool, server.url("/begun"))
    await upstream.read_chunk()
    upstream.finish(is_answered=True)
    await asyncio.sleep(0.02)
    assert server.resets == 0
    await until(lambda: server.resets == 1)


async def test_a_connection_that_is_lost_in_an_answer_breaks_it(transport, pool, server):
    upstream = await begin(transport, pool, server.url("/begun"))
    await upstream.read_chunk()
    server.connections[0].transport.abort()
    with pytest.raises(UpstreamBroken):
        await upstream.read_chunk()
    assert await ask(transport, pool, server.url("/ok")) == b'{"read":2}'


async def test_a_kept_connection_that_closes_at_once_is_replaced_and_a_new_one_is_not(transport, pool, server):
    with pytest.raises(UpstreamBroken):
        await ask(transport, pool, server.url("/lost"))
    assert len(server.requests) == 1
    await ask(transport, pool, server.url("/ok"))
    with pytest.raises(UpstreamBroken):
        await ask(transport, pool, server.url("/lost"))
    assert len(server.requests) == 4


async def test_a_server_that_says_goodbye_still_answers_what_it_has(transport, pool, tls):
    async with http2_server(tls, goes_away_after=2) as server:
        held = asyncio.create_task(ask(transport, pool, server.url("/held")))
        await until(lambda: server.requests)
        await ask(transport, pool, server.url("/ok"))
        server.connections[0].say_goodbye(3)
        await asyncio.sleep(0.02)
        assert await ask(transport, pool, server.url("/ok")) == b'{"read":2}'
        assert len(server.connections) == 2
        server.go_on.set()
        assert await held == b"at last"
        await until(lambda: server.open_connections == 1)


async def test_what_a_server_that_says_goodbye_will_not_answer_is_asked_elsewhere(transport, pool, server):
    asked = [asyncio.create_task(ask(transport, pool, server.url("/held"))) for _ in range(3)]
    await until(lambda: len(server.requests) == 3)
    server.connections[0].say_goodbye(1)
    await until(lambda: len(server.requests) == 5)
    assert [len(peer.received) for peer in server.connections] == [3, 2]
    server.go_on.set()
    assert await asyncio.gather(*asked) == [b"at last"] * 3


async def test_goodbyes_under_load_fail_no_request(transport, pool, tls):
    async with http2_server(tls, goes_away_after=7) as server:
        for _ in range(10):
            await asyncio.gather(*(ask(transport, pool, server.url("/ok")) for _ in range(5)))
        assert transport.statistics()[0].requests == 50
        assert len(server.connections) >= 5


async def test_a_refused_stream_is_asked_for_once_more(transport, pool, tls):
    async with http2_server(tls, refusals=1) as server:
        assert await ask(transport, pool, server.url("/ok")) == b'{"read":2}'
        server.refusals = 2
        with pytest.raises(UpstreamBroken, match="refused"):
            await ask(transport, pool, server.url("/ok"))
        assert len(server.requests) == 4


async def test_a_refusal_before_the_bodys_end_is_the_answer(transport, pool, server):
    upstream = await begin(transport, pool, server.url("/early"), bytes(1_000_000))
    assert (upstream.status, await upstream.read()) == (413, b"too long")
    assert await ask(transport, pool, server.url("/ok")) == b'{"read":2}'
    assert len(server.connections) == 1


async def test_a_connection_that_died_silently_takes_no_further_requests(transport, pool, server, monkeypatch):
    monkeypatch.setattr(http2_connection, "DOUBT_SECONDS", 0.05)
    monkeypatch.setattr(http2_connection, "PING_SECONDS", 0.1)
    await ask(transport, pool, server.url("/ok"))
    server.connections[0].is_deaf = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6):
            await ask(transport, pool, server.url("/ok"))
    assert await ask(transport, pool, server.url("/ok")) == b'{"read":2}'
    assert len(server.connections) == 2
    await until(lambda: transport.statistics()[0].idle == 1)


async def test_idle_connections_are_closed_after_a_while(transport, pool, server, monkeypatch):
    monkeypatch.setattr(http2_connection, "KEEPALIVE_SECONDS", 0.1)
    await ask(transport, pool, server.url("/ok"))
    await until(lambda: server.open_connections == 0)
    assert transport.statistics()[0].idle == 0


async def test_a_server_without_http2_is_asked_over_http1(transport, make_pool, authority, tmp_path):
    pool = make_pool(http2=True, ca_certificate=authority.pem)
    tls = server_tls(authority.issue("server"), tmp_path, protocols=["http/1.1"])
    async with http1_server(tls) as secure, http1_server() as plain:
        for server in (secure, plain):
            assert await ask(transport, pool, server.url("/ok")) == b'{"read":2}'
            connections = server.connections
            await asyncio.gather(*(ask(transport, pool, server.url("/ok")) for _ in range(3)))
            assert server.connections <= connections + 2  # it is not tried again each time
            assert len(server.requests) == 4
    assert not transport.statistics()[0].http2


async def test_it_speaks_http2_without_tls_to_a_server_that_does(transport, pool):
    async with http2_server(None) as server:
        assert await ask(transport, pool, server.url("/ok")) == b'{"read":2}'
        assert transport.statistics()[0].http2


async def test_it_speaks_http1_unless_it_is_switched_on(transport, make_pool, authority, tmp_path):
    tls = server_tls(authority.issue("server"), tmp_path, protocols=["h2", "http/1.1"])
    async with http1_server(tls) as server:
        assert await ask(transport, make_pool(ca_certificate=authority.pem), server.url("/ok")) == b'{"read":2}'


async def test_it_goes_through_a_proxys_tunnel(transport, make_pool, authority, server):
    async with proxy_server(password="s3cret") as proxy:
        pool = make_pool(http2=True, ca_certificate=authority.pem, proxy=proxy.url("s3cret"))
        await asyncio.gather(*(ask(transport, pool, server.url("/ok")) for _ in range(3)))
        assert (proxy.tunnels, len(server.connections)) == ([f"127.0.0.1:{server.port}"], 1)
        await transport.aclose()


async def test_who_cannot_be_reached_is_told_to_all_who_wait(transport, make_pool, authority, server):
    strangers = make_pool(http2=True)
    for pool, reason in ((strangers, "certificate"), (make_pool(http2=True, allows_private=False), "private")):
        asked = [ask(transport, pool, server.url("/ok")) for _ in range(3)]
        for failure in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(failure, UpstreamUnreachable)
            assert reason in str(failure)
    assert server.requests == []


async def test_what_a_connection_transfers_in_is_not_said_again(transport, pool, server):
    upstream = await transport.open(pool, server.url("/ok"), headers=[("TE", "gzip")], body=b"")
    assert await upstream.read() == b'{"read":0}'
    assert "te" not in server.requests[0]


async def test_a_request_that_cannot_be_sent_breaks_no_other(transport, pool, server, monkeypatch):
    held = asyncio.create_task(ask(transport, pool, server.url("/held")))
    await until(lambda: server.requests)
    monkeypatch.setattr(http2, "NOT_SENT", frozenset({"connection"}))
    with pytest.raises(UpstreamBroken, match="cannot be sent"):
        await transport.open(pool, server.url("/ok"), headers=[("TE", "gzip")], body=b"")
    assert await ask(transport, pool, server.url("/ok")) == b'{"read":2}'
    assert len(server.connections) == 2  # that one takes no more
    server.go_on.set()
    assert await held == b"at last"
    await until(lambda: server.open_connections == 1)
    with pytest.raises(UpstreamBroken, match="cannot be sent"):
        await transport.open(pool, server.url("/ok"), headers=[("TE", "gzip")], body=b"")
    await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("header", [("x", "a\r\nb: c"), (":path", "/other")])
async def test_a_header_that_would_become_another_is_not_sent(transport, pool, server, header):
    with pytest.raises(UpstreamBroken, match="cannot be sent"):
        await transport.open(pool, server.url("/ok"), headers=[header], body=b"")
    assert server.requests == []
