"""Pools of HTTP/1.1: connections are kept, bounded and counted, and what a server closed meanwhile is no failure."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from transport_servers import Http1Server, http1_server
from yarl import URL

from providers.pool import Pool
from providers.transport import Transport, Upstream, UpstreamBroken, UpstreamUnreachable

HEADERS = [("Content-Type", "application/json"), ("X-Ours", "1")]


@pytest.fixture
async def server() -> AsyncIterator[Http1Server]:
    async with http1_server() as server:
        yield server


async def ask(transport: Transport, pool: Pool, url: URL, body: bytes = b"{}") -> Upstream:
    """Ask and read the whole answer."""
    upstream = await transport.open(pool, url, headers=HEADERS, body=body)
    await upstream.read()
    return upstream


async def test_it_returns_status_headers_and_body(transport, make_pool, server):
    upstream = await transport.open(make_pool(), server.url("/ok"), headers=HEADERS, body=b"hello")
    assert (upstream.status, upstream.content_type) == (200, "application/json")
    assert (b"content-length", b"10") in list(upstream.headers)
    assert await upstream.read() == b'{"read":5}'


@pytest.mark.parametrize("at_once", [1, 10])
async def test_nine_of_ten_requests_need_no_new_connection(transport, make_pool, server, at_once):
    pool = make_pool()
    for _ in range(200 // at_once):
        await asyncio.gather(*(ask(transport, pool, server.url("/ok")) for _ in range(at_once)))
    (found,) = transport.statistics()
    assert found.requests == len(server.requests) == 200
    assert found.opened == server.connections <= at_once
    assert found.reuse >= 0.9
    assert (found.provider, found.http2, found.in_use, found.waiting) == ("p", False, 0, 0)
    assert found.idle == server.connections


async def test_statistics_tell_what_is_going_on(transport, make_pool, server):
    pool = make_pool(max_connections=2)
    asked = [asyncio.create_task(ask(transport, pool, server.url("/held"))) for _ in range(3)]
    while len(server.requests) < 2:
        await asyncio.sleep(0.01)
    (found,) = transport.statistics()
    assert (found.in_use, found.idle, found.waiting) == (2, 0, 1)
    server.go_on.set()
    await asyncio.gather(*asked)
    (found,) = transport.statistics()
    assert (found.in_use, found.idle, found.waiting, found.opened, found.requests) == (0, 2, 0, 2, 3)


async def test_pools_have_statistics_of_their_own_in_order(transport, make_pool, server):
    for provider in ("b", "a"):
        await ask(transport, make_pool(provider=provider), server.url("/ok"))
    assert [(found.provider, found.opened) for found in transport.statistics()] == [("a", 1), ("b", 1)]


async def test_what_waits_too_long_for_a_free_connection_has_reached_nobody(transport, make_pool, server):
    pool = make_pool(max_connections=1, connect_timeout=0.5)
    first = asyncio.create_task(ask(transport, pool, server.url("/held")))
    while not server.requests:
        await asyncio.sleep(0.01)
    with pytest.raises(UpstreamUnreachable, match="no free connection"):
        await ask(transport, pool, server.url("/ok"))
    server.go_on.set()
    await first
    assert (server.connections, len(server.requests)) == (1, 1)


async def test_a_pool_never_has_more_connections_than_it_may(transport, make_pool, server):
    pool = make_pool(max_connections=3, connect_timeout=5)
    await asyncio.gather(*(ask(transport, pool, server.url("/ok")) for _ in range(40)))
    assert (server.connections, len(server.requests)) == (3, 40)


async def test_whoever_leaves_the_queue_does_not_take_the_turn_along(transport, make_pool, server):
    pool = make_pool(max_connections=1, connect_timeout=5)
    first = asyncio.create_task(ask(transport, pool, server.url("/held")))
    while not server.requests:
        await asyncio.sleep(0.01)
    leaving, staying = [asyncio.create_task(ask(transport, pool, server.url("/ok"))) for _ in range(2)]
    while transport.statistics()[0].waiting < 2:
        await asyncio.sleep(0.01)
    server.go_on.set()
    await first
    leaving.cancel()
    assert (await asyncio.wait_for(staying, 5)).status == 200


@pytest.mark.parametrize("body", [b"{}", b"x" * 600_000])
async def test_a_connection_that_the_server_has_closed_meanwhile_fails_no_request(transport, make_pool, server, body):
    pool = make_pool()
    await ask(transport, pool, server.url("/ok"))
    server.closes_quietly_at = {2}  # it closes while the request is on its way
    assert (await ask(transport, pool, server.url("/ok"), body)).status == 200
    assert server.connections == 2
    assert server.bodies[-1] == body


async def test_connections_that_were_closed_while_idle_are_not_used(transport, make_pool, server):
    pool = make_pool()
    await asyncio.gather(*(ask(transport, pool, server.url("/ok")) for _ in range(5)))
    server.close_idle()
    for _ in range(5):
        assert (await ask(transport, pool, server.url("/ok"))).status == 200


async def test_a_new_connection_that_is_closed_without_an_answer_is_not_asked_again(transport, make_pool, server):
    with pytest.raises(UpstreamBroken):
        await ask(transport, make_pool(), server.url("/gone"))
    assert len(server.requests) == 1


async def test_it_asks_again_once_only(transport, make_pool, server):
    pool = make_pool()
    await ask(transport, pool, server.url("/ok"))
    with pytest.raises(UpstreamBroken):
        await ask(transport, pool, server.url("/gone"))
    assert len(server.requests) == 3


async def test_an_answer_that_breaks_off_is_not_asked_for_again(transport, make_pool, server):
    pool = make_pool()
    await ask(transport, pool, server.url("/ok"))
    with pytest.raises(UpstreamBroken):
        await ask(transport, pool, server.url("/cut"))
    assert len(server.requests) == 2


async def test_a_request_that_is_given_up_closes_its_connection(transport, make_pool, server):
    asked = asyncio.create_task(ask(transport, make_pool(), server.url("/held")))
    while not server.requests:
        await asyncio.sleep(0.01)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    server.go_on.set()
    while server.open_connections:
        await asyncio.sleep(0.01)
    assert transport.statistics()[0].in_use == 0


async def test_no_server_and_no_answer_to_connecting_are_told_apart_from_broken_ones(transport, make_pool):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = URL(f"http://127.0.0.1:{silent.getsockname()[1]}/ok")
        with pytest.raises(UpstreamUnreachable):
            await ask(transport, make_pool(), url)
    with pytest.raises(UpstreamUnreachable):
        await ask(transport, make_pool(), URL("http://nowhere.invalid/"))
    assert transport.statistics()[0].requests == 0


async def test_a_server_that_never_ends_the_handshake_is_unreachable(transport, make_pool):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = URL(f"https://127.0.0.1:{silent.getsockname()[1]}/ok")
        with pytest.raises(UpstreamUnreachable, match=r"no connection within 0\.2 s"):
            await ask(transport, make_pool(connect_timeout=0.2), url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_private_addresses_are_refused_where_they_are_not_allowed(transport, make_pool, server, host):
    with pytest.raises(UpstreamUnreachable, match="private"):
        await ask(transport, make_pool(allows_private=False), server.url("/ok", host))
    assert server.connections == 0


async def test_pools_that_no_provider_has_any_more_leave_the_statistics(transport, make_pool, server):
    kept, gone = make_pool(provider="kept"), make_pool(provider="gone")
    for pool in (kept, gone):
        await ask(transport, pool, server.url("/ok"))
    transport.keep_only({kept})
    assert [found.provider for found in transport.statistics()] == ["kept"]


def test_a_pool_shows_no_secrets(make_pool):
    pool = make_pool(proxy="http://u:secret@proxy", client_key="secret", client_certificate="c", ca_certificate="c")
    assert "secret" not in repr(pool)
    assert pool == make_pool(
        **{name: getattr(pool, name) for name in ("proxy", "client_key")}, client_certificate="c", ca_certificate="c"
    )
    assert len({pool, make_pool()}) == 2
