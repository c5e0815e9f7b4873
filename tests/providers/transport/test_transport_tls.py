"""Certificates of a company's own, and proxies: who may be talked to, and by which way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from transport_servers import Authority, Http1Server, Proxy, http1_server, proxy_server, server_tls
from yarl import URL

from providers.pool import UNREADABLE, Pool
from providers.transport import Transport, UpstreamUnreachable


@asynccontextmanager
async def tls_server(folder: Path, authority: Authority, *, client_authority: str = "") -> AsyncIterator[Http1Server]:
    """Serve HTTPS; with an authority for clients, only those that it vouches for."""
    certificate = authority.issue("server")
    tls = server_tls(certificate, folder, protocols=["http/1.1"], client_authority=client_authority)
    async with http1_server(tls) as server:
        yield server


async def ask(transport: Transport, pool: Pool, url: URL) -> int:
    """Ask and read the whole answer; returns its status."""
    upstream = await transport.open(pool, url, headers=[], body=b"{}")
    await upstream.read()
    return upstream.status


async def test_a_server_is_trusted_by_the_providers_own_authority_only(transport, make_pool, authority, tmp_path):
    async with tls_server(tmp_path, authority) as server:
        assert await ask(transport, make_pool(ca_certificate=authority.pem), server.url("/ok")) == 200
        for other in (make_pool(), make_pool(ca_certificate=Authority("other").pem)):
            with pytest.raises(UpstreamUnreachable, match="certificate"):
                await ask(transport, other, server.url("/ok"))
        assert len(server.requests) == 1


async def test_an_authority_does_not_vouch_for_another_host(transport, make_pool, authority, tmp_path):
    async with tls_server(tmp_path, authority) as server:
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await ask(transport, make_pool(ca_certificate=authority.pem), server.url("/ok", "localhost"))


async def test_it_shows_its_own_certificate_to_a_server_that_wants_one(transport, make_pool, authority, tmp_path):
    ours = authority.issue("gateway")
    trusting = {"ca_certificate": authority.pem}
    async with tls_server(tmp_path, authority, client_authority=authority.pem) as server:
        shown = make_pool(**trusting, client_certificate=ours.pem, client_key=ours.key)
        assert await ask(transport, shown, server.url("/ok")) == 200
        assert server.peer_names == ["gateway"]
        with pytest.raises(Exception, match=r"certificate required|reset|disconnected|closed") as caught:
            await ask(transport, make_pool(**trusting), server.url("/ok"))
        assert type(caught.value).__module__.startswith("providers.transport")
        assert len(server.requests) == 1


async def test_no_file_is_left_of_a_key(transport, make_pool, authority, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    ours = authority.issue("gateway")
    pool = make_pool(ca_certificate=authority.pem, client_certificate=ours.pem, client_key=ours.key)
    async with tls_server(tmp_path, authority) as server:
        assert await ask(transport, pool, server.url("/ok")) == 200
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("fields", [{"ca_certificate": "no PEM"}, {"client_certificate": "no PEM"}])
async def test_certificates_that_cannot_be_read_make_a_provider_unreachable(transport, make_pool, fields):
    with pytest.raises(UpstreamUnreachable, match="cannot be set up"):
        await ask(transport, make_pool(**fields), URL("https://127.0.0.1:1/"))
    assert transport.statistics() == []


async def test_a_certificate_without_its_key_makes_a_provider_unreachable(transport, make_pool, authority):
    with pytest.raises(UpstreamUnreachable, match="cannot be set up"):
        await ask(transport, make_pool(client_certificate=authority.pem), URL("https://127.0.0.1:1/"))


# --- Proxies -----------------------------------------------------------------------------------------------


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with proxy_server(password="s3cret/!") as proxy:
        yield proxy


def credentials(proxy: Proxy) -> str:
    """The proxy's URL with the right password in it."""
    return str(URL(proxy.url()).with_user("alice").with_password(proxy.password))


async def test_plain_requests_are_passed_on_by_the_proxy(transport, make_pool, proxy):
    pool = make_pool(proxy=credentials(proxy))
    async with http1_server() as server:
        for _ in range(3):
            assert await ask(transport, pool, server.url("/ok")) == 200
        assert server.requests == [("POST", str(server.url("/ok")))] * 3
        assert (len(proxy.passed_on), proxy.tunnels) == (1, [])
    assert transport.statistics()[0].opened == 1


async def test_requests_over_tls_go_through_a_tunnel_that_is_kept(transport, make_pool, proxy, authority, tmp_path):
    pool = make_pool(proxy=credentials(proxy), ca_certificate=authority.pem)
    async with tls_server(tmp_path, authority) as server:
        for _ in range(3):
            assert await ask(transport, pool, server.url("/ok")) == 200
        assert proxy.tunnels == [f"127.0.0.1:{server.port}"]
        assert server.requests == [("POST", "/ok")] * 3


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_proxy_that_refuses_the_password_is_told_without_it(
    transport, make_pool, proxy, authority, tmp_path, is_tls
):
    pool = make_pool(proxy=proxy.url("wrong-one"), ca_certificate=authority.pem)
    async with tls_server(tmp_path, authority) as secure, http1_server() as plain:
        with pytest.raises(UpstreamUnreachable) as caught:
            await ask(transport, pool, (secure if is_tls else plain).url("/ok"))
        assert "wrong-one" not in str(caught.value)
        assert (secure.requests, plain.requests) == ([], [])


async def test_a_proxy_that_cannot_reach_the_upstream_makes_it_unreachable(transport, make_pool):
    async with proxy_server(status="502 Bad Gateway") as proxy:
        with pytest.raises(UpstreamUnreachable, match="502"):
            await ask(transport, make_pool(proxy=proxy.url()), URL("https://127.0.0.1:1/ok"))


@pytest.mark.parametrize("url", [UNREADABLE, "socks5://127.0.0.1:1", "http://127.0.0.1:1"])
async def test_nothing_goes_past_a_proxy_that_cannot_be_used(transport, make_pool, url):
    async with http1_server() as server:
        with pytest.raises(UpstreamUnreachable):
            await ask(transport, make_pool(proxy=url), server.url("/ok"))
        assert server.connections == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "https://10.0.0.1/x", "https://[::1]/x", "http://localhost/x"])
async def test_a_proxy_is_not_asked_for_private_addresses(transport, make_pool, proxy, url):
    pool = make_pool(proxy=credentials(proxy), allows_private=False)
    with pytest.raises(UpstreamUnreachable, match="private"):
        await ask(transport, pool, URL(url))
    assert (proxy.passed_on, proxy.tunnels) == ([], [])


async def test_the_proxy_itself_may_be_in_a_private_network(transport, make_pool):
    async with proxy_server(status="403 Forbidden") as proxy:
        pool = make_pool(proxy=f"http://localhost:{proxy.port}", allows_private=False)
        with pytest.raises(UpstreamUnreachable, match="403"):
            await ask(transport, pool, URL("https://public.example/x"))
