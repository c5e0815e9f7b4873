"""Making connections: names, several addresses, proxies that misbehave, and how long all of it may take."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from transport_servers import Http1Server, http1_server, proxy_server, server_tls
from yarl import URL

from providers.transport import Transport, UpstreamUnreachable
from providers.transport.reasons import reason_of

type Lookup = list[tuple[int, int, int, str, tuple[str, int]]]
NAME = "api.example"


class Resolver:
    """Stands for the network's name servers: an edge that is not ours."""

    def __init__(self) -> None:
        self.addresses = ["127.0.0.1"]
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def look_up(self, host: str, port: int) -> Lookup:
        """Answer as the system would."""
        self.asked.append(host)
        await self.may_answer.wait()
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr("providers.transport.names.look_up", resolver.look_up)
    return resolver


@pytest.fixture
async def server() -> AsyncIterator[Http1Server]:
    async with http1_server() as server:
        yield server


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def ask(transport: Transport, pool, url: URL) -> int:
    """Ask and read the whole answer; returns its status."""
    upstream = await transport.open(pool, url, headers=[], body=b"{}")
    await upstream.read()
    return upstream.status


# --- Names ---------------------------------------------------------------------------------------------------


async def test_a_host_of_this_machine_is_found_by_its_name(transport, make_pool, server):
    assert await ask(transport, make_pool(), server.url("/ok", "localhost")) == 200


async def test_a_name_is_looked_up_once_for_all_who_ask(transport, make_pool, server, names):
    names.may_answer.clear()
    asking = [asyncio.create_task(ask(transport, make_pool(), server.url("/ok", NAME))) for _ in range(5)]
    await asyncio.sleep(0)
    names.may_answer.set()
    assert await asyncio.gather(*asking) == [200] * 5
    assert names.asked == [NAME]


async def test_one_who_leaves_does_not_end_the_lookup_of_the_others(transport, make_pool, server, names):
    names.may_answer.clear()
    leaving, staying = [asyncio.create_task(ask(transport, make_pool(), server.url("/ok", NAME))) for _ in range(2)]
    await asyncio.sleep(0)
    leaving.cancel()
    names.may_answer.set()
    assert await staying == 200
    assert names.asked == [NAME]


async def test_a_name_that_nobody_knows_is_asked_for_again(transport, make_pool, server, names):
    names.addresses = []
    with pytest.raises(
        UpstreamUnreachable, match=rf"the name {NAME} cannot be resolved: Name or service not known"
    ) as caught:
        await ask(transport, make_pool(), server.url("/ok", NAME))
    assert reason_of(caught.value) == "name"
    names.addresses = ["127.0.0.1"]
    assert await ask(transport, make_pool(), server.url("/ok", NAME)) == 200


async def test_a_name_whose_host_refuses_is_asked_for_again(transport, make_pool, server, names):
    names.addresses = ["127.0.0.2"]  # nobody listens there
    with pytest.raises(UpstreamUnreachable, match=f"no connection to {NAME}") as caught:
        await ask(transport, make_pool(), server.url("/ok", NAME))
    assert reason_of(caught.value) == "refused"
    names.addresses = ["127.0.0.1"]
    assert await ask(transport, make_pool(), server.url("/ok", NAME)) == 200


async def test_the_first_address_that_answers_is_taken(transport, make_pool, server, names):
    names.addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    assert await ask(transport, make_pool(), server.url("/ok", NAME)) == 200


@pytest.mark.parametrize("inside", [["10.0.0.1"], ["93.184.216.34", "127.0.0.1"]])
async def test_a_name_that_leads_inside_is_refused(transport, make_pool, server, names, inside):
    names.addresses = inside
    with pytest.raises(UpstreamUnreachable, match="leads to a private address") as caught:
        await ask(transport, make_pool(allows_private=False), server.url("/ok", NAME))
    assert (reason_of(caught.value), server.connections) == ("private", 0)


async def test_a_name_that_is_none_is_unreachable(transport, make_pool):
    with pytest.raises(UpstreamUnreachable):
        await ask(transport, make_pool(), URL(f"http://{'a' * 64}.example/"))


async def test_names_that_take_too_long_are_given_up(transport, make_pool, server, names):
    names.may_answer.clear()
    pool = make_pool(connect_timeout=0.6)
    with pytest.raises(UpstreamUnreachable, match=r"no connection within 0\.6 s") as caught:
        await ask(transport, pool, server.url("/ok", NAME))
    assert reason_of(caught.value) == "time"
    names.may_answer.set()
    assert await ask(transport, pool, server.url("/ok", NAME)) == 200


async def test_nobody_there_is_told_with_the_host(transport, make_pool, free_port):
    with pytest.raises(UpstreamUnreachable, match=r"no connection to 127\.0\.0\.1") as caught:
        await ask(transport, make_pool(), URL(f"http://127.0.0.1:{free_port}/"))
    assert reason_of(caught.value) == "refused"


# --- Proxies -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def odd_proxy(answer: bytes, *, keeps_open: bool = True) -> AsyncIterator[str]:
    """Yield the address of a proxy that answers everything with the same bytes."""
    writers = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if not keeps_open:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "said more than it was asked"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not speak HTTP/1.1"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "opened no tunnel: 503 Busy"),
        (b"HTTP/1.1 407 No\r\n\r\n", "refused the gateway's credentials"),
        (b"x" * 70_000, "the proxy's answer is too large"),
    ],
    ids=["talks", "ssh", "busy", "stranger", "endless"],
)
async def test_a_proxy_that_opens_no_tunnel_makes_an_upstream_unreachable(transport, make_pool, answer, why):
    async with odd_proxy(answer) as proxy:
        with pytest.raises(UpstreamUnreachable, match=why):
            await ask(transport, make_pool(proxy=proxy), URL("https://public.example/"))


async def test_a_proxy_that_closes_is_told_at_once(transport, make_pool):
    async with odd_proxy(b"HTTP/1.1 200", keeps_open=False) as proxy:
        with pytest.raises(UpstreamUnreachable, match="the proxy closed the connection"):
            await ask(transport, make_pool(proxy=proxy), URL("https://public.example/"))


async def test_a_proxy_that_never_answers_is_given_up(transport, make_pool):
    async with odd_proxy(b"HTTP/1.1 200 OK\r\n") as proxy:
        with pytest.raises(UpstreamUnreachable, match=r"no connection within 0\.2 s"):
            await ask(transport, make_pool(proxy=proxy, connect_timeout=0.2), URL("https://public.example/"))


async def test_a_proxy_may_be_reached_over_tls(transport, make_pool, authority, tmp_path):
    tls = server_tls(authority.issue("server"), tmp_path, protocols=["http/1.1"])
    async with http1_server(tls) as server, proxy_server(password="s3cret", tls=tls) as proxy:
        pool = make_pool(proxy=proxy.url("s3cret"), ca_certificate=authority.pem)
        for _ in range(2):
            assert await ask(transport, pool, server.url("/ok")) == 200
        assert proxy.tunnels == [f"127.0.0.1:{server.port}"]
