"""A body is read up to a cap, within a time, and decoded."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from routing.inbound_body import ClientGone, check_media_type, decode_body, read_away, read_body
from tenants.errors import BodyTimeout, BodyTooLarge, GatewayError, InvalidRequest, UnsupportedMediaType

DISCONNECT = {"type": "http.disconnect"}


class Client:
    """Sends these pieces; `asked` counts how often it was asked for one."""

    def __init__(self, *pieces: bytes, end: dict[str, Any] | None = None) -> None:
        last = end or {"type": "http.request", "body": pieces[-1] if pieces else b"", "more_body": False}
        first = pieces if end is not None else pieces[:-1]
        self.messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in first] + [last]
        self.asked = 0

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        return self.messages.pop(0)


def read(client: Client, limit: int = 10, timeout: float = 5, **headers: str) -> Coroutine[Any, Any, bytes]:
    sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return read_body(sent, client.receive, limit=limit, timeout=timeout)


@pytest.mark.parametrize("pieces", [[b""], [b"{}"], [b"12345", b"67890"], [b"", b"1", b"", b"2", b""]])
async def test_it_returns_the_whole_body(pieces: list[bytes]):
    assert await read(Client(*pieces)) == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[b"x" * 11], [b"x" * 10, b"x"], [b"x"] * 11])
async def test_it_refuses_more_than_the_cap(pieces: list[bytes]):
    with pytest.raises(BodyTooLarge, match="larger than 10 bytes") as caught:
        await read(Client(*pieces))
    assert caught.value.headers == {"connection": "close"}


async def test_it_stops_reading_at_the_cap():
    client = Client(*[b"x" * 6] * 1000)
    with pytest.raises(BodyTooLarge):
        await read(client)
    assert client.asked == 2


async def test_it_refuses_by_the_announced_length_before_it_reads():
    client = Client(b"x")
    with pytest.raises(BodyTooLarge):
        await read(client, content_length="11")
    assert client.asked == 0


@pytest.mark.parametrize("length", ["10", "-1", "many", ""])
async def test_an_announced_length_is_not_believed_beyond_that(length: str):
    assert await read(Client(b"{}"), content_length=length) == b"{}"


@pytest.mark.parametrize("pieces", [[], [b"{"], [b"{", b"}"]])
async def test_a_client_that_leaves_is_gone(pieces: list[bytes]):
    with pytest.raises(ClientGone):
        await read(Client(*pieces, end=DISCONNECT))


async def test_a_body_that_does_not_come_is_not_waited_for():
    async def receive() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(BodyTimeout, match=r"within 0\.01 s"):
        await read_body({}, receive, limit=10, timeout=0.01)


@pytest.mark.parametrize(
    "value",
    [
        *(None, b"", b"application/json", b"Application/JSON", b"application/json; charset=utf-8"),
        *(b" application/json ;x", b"application/vnd.api+json", b";"),
    ],
)
def test_json_and_silence_are_taken_for_json(value: bytes | None):
    check_media_type(value)


@pytest.mark.parametrize("value", [b"text/plain", b"application/x-www-form-urlencoded", b"json", b"\xff/x"])
async def test_other_media_types_are_refused(value: bytes):
    with pytest.raises(UnsupportedMediaType, match="Content-Type: application/json"):
        check_media_type(value)
    client = Client(b"{}")
    with pytest.raises(UnsupportedMediaType):
        await read_body({b"content-type": value}, client.receive, limit=10, timeout=1)
    assert client.asked == 0


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "Deflate ": raw_deflate}


@pytest.mark.parametrize(("encoding", "pack"), PACKERS.items(), ids=list(PACKERS))
@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 100])
async def test_it_undoes_an_encoding(encoding: str, pack: Callable[[bytes], bytes], body: bytes):
    assert await read(Client(pack(body)), limit=100, content_encoding=encoding) == body


@pytest.mark.parametrize("encoding", ["", "identity", "IDENTITY"])
async def test_no_encoding_is_none_to_undo(encoding: str):
    assert await read(Client(b"{}"), content_encoding=encoding) == b"{}"


@pytest.mark.parametrize("pack", PACKERS.values(), ids=list(PACKERS))
def test_a_bomb_is_refused_at_the_cap(pack: Callable[[bytes], bytes]):
    encoding = b"gzip" if pack is gzip.compress else b"deflate"
    with pytest.raises(BodyTooLarge):
        decode_body(pack(b"x" * 2_000_000), encoding, 1000)


@pytest.mark.parametrize(
    ("body", "encoding", "error", "code"),
    [
        (b"{}", b"br", UnsupportedMediaType, "unsupported_media_type"),
        (b"{}", b"gzip, gzip", UnsupportedMediaType, "unsupported_media_type"),
        (b"{}", b"gzip", InvalidRequest, "invalid_encoding"),
        (b"", b"gzip", InvalidRequest, "invalid_encoding"),
        (gzip.compress(b"{}", mtime=0)[:-1], b"gzip", InvalidRequest, "invalid_encoding"),
        (gzip.compress(b"{}", mtime=0)[:-8] + bytes(8), b"gzip", InvalidRequest, "invalid_encoding"),
        (b"not deflated", b"deflate", InvalidRequest, "invalid_encoding"),
    ],
)
def test_it_says_what_cannot_be_decoded(body: bytes, encoding: bytes, error: type[GatewayError], code: str):
    with pytest.raises(error) as caught:
        decode_body(body, encoding, 100)
    assert caught.value.code == code


async def test_it_reads_away_what_a_refused_client_still_sends():
    client = Client(b"x" * 1000, b"x" * 1000, b"")
    await read_away(client.receive)
    assert client.messages == []


async def test_it_stops_reading_away_when_the_client_leaves():
    client = Client(b"x", end=DISCONNECT)
    client.messages.append({"type": "http.request"})
    await read_away(client.receive)
    assert len(client.messages) == 1
