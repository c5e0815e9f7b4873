"""Answers that come packed, over either HTTP: whole, in bounded pieces, and never half."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest
from transport_servers import Http1Server, Http2Server, http1_server, http2_server

from providers.pool import Pool
from providers.transport import Transport, Upstream, UpstreamBroken, upstream
from providers.transport.packing import PIECE_BYTES, Unpacker

TEXT = b'{"answer": "' + b"abc" * 50_000 + b'"}'


@pytest.fixture(params=["http1", "http2"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Http1Server | Http2Server]:
    async with http1_server() if request.param == "http1" else http2_server(None) as server:
        yield server


@pytest.fixture
def pool(make_pool, server) -> Pool:
    return make_pool(http2=isinstance(server, Http2Server))


async def begin(transport: Transport, pool: Pool, server: Http1Server | Http2Server) -> Upstream:
    return await transport.open(pool, server.url("/packed"), headers=[], body=b"{}")


async def ask(transport: Transport, pool: Pool, server: Http1Server | Http2Server) -> bytes:
    return await (await begin(transport, pool, server)).read()


def bare(data: bytes) -> bytes:
    """Deflate without the header that it ought to have."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed", "expected"),
    [
        ("gzip", gzip.compress(TEXT), TEXT),
        ("X-GZIP", gzip.compress(TEXT), TEXT),
        ("deflate", zlib.compress(TEXT), TEXT),
        ("deflate", bare(TEXT), TEXT),
        ("deflate", gzip.compress(TEXT), TEXT),
        ("gzip", gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(TEXT), b"one " + TEXT),
        ("gzip", gzip.compress(b"") * 3_000 + gzip.compress(b"end"), b"end"),
        ("gzip", b"", b""),
        ("identity", TEXT, TEXT),
        ("utf-8", TEXT, TEXT),  # some say that
    ],
)
async def test_a_packed_answer_is_read_whole(transport, pool, server, encoding, packed, expected):
    server.packed = (encoding, packed)
    assert await ask(transport, pool, server) == expected


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("left_out", [1, 100])
async def test_a_packed_answer_that_was_cut_is_not_taken_for_whole(transport, pool, server, encoding, left_out):
    packed = gzip.compress(TEXT) if encoding == "gzip" else zlib.compress(TEXT)
    server.packed = (encoding, packed[:-left_out])
    with pytest.raises(UpstreamBroken, match="cut short"):
        await ask(transport, pool, server)


@pytest.mark.parametrize(
    ("encoding", "packed", "reason"),
    [
        ("gzip", TEXT, "cannot be unpacked"),
        ("gzip", gzip.compress(TEXT) + b"and more", "cannot be unpacked"),
        ("br", b"\x0b\x02\x80hello\x03", "packed with br"),
    ],
)
async def test_what_cannot_be_unpacked_is_no_answer(transport, pool, server, encoding, packed, reason):
    server.packed = (encoding, packed)
    with pytest.raises(UpstreamBroken, match=reason):
        await ask(transport, pool, server)


async def test_a_little_that_unpacks_to_a_lot_comes_in_pieces(transport, pool, server):
    large = bytes(50_000_000)
    server.packed = ("gzip", gzip.compress(large))
    answer, sizes, turns = await begin(transport, pool, server), [], 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count_turns())
    try:
        while piece := await answer.read_chunk():
            sizes.append(len(piece))
    finally:
        counting.cancel()
    assert (sum(sizes), max(sizes)) == (len(large), PIECE_BYTES)
    assert turns >= len(sizes) - 10  # others had theirs in between


@pytest.mark.parametrize("encoding", ["gzip", ""])
async def test_an_answer_that_is_too_large_is_given_up(transport, pool, server, encoding, monkeypatch):
    monkeypatch.setattr(upstream, "MAX_ANSWER_BYTES", 3 * 1024 * 1024)
    body = bytes(3 * 1024 * 1024)
    for extra in (b"", b"x"):
        server.packed = (encoding, gzip.compress(body + extra) if encoding else body + extra)
        if extra:
            with pytest.raises(UpstreamBroken, match="larger than 3 MiB"):
                await ask(transport, pool, server)
        else:
            assert await ask(transport, pool, server) == body
    (found,) = transport.statistics()
    assert found.in_use == 0


@pytest.mark.parametrize("size", [PIECE_BYTES, 2 * PIECE_BYTES, PIECE_BYTES + 100])
async def test_what_fills_its_last_piece_is_not_cut(size):
    """zlib may keep the end of a repetition to itself when the piece is full, though it has read all that came."""
    for level in (1, 9):
        packed = iter([*(bytes([byte]) for byte in zlib.compress(b"ab" * (size // 2), level)), b""])

        async def receive() -> bytes:
            return next(packed)  # noqa: B023

        unpacker, found = Unpacker("deflate"), b""
        while piece := await unpacker.read(receive):
            found += piece
        assert found == b"ab" * (size // 2)
