"""Reading a request's body: into memory, up to a cap, within a time, decoded."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tenants.errors import BodyTimeout, BodyTooLarge, InvalidRequest, UnsupportedMediaType

type Receive = Callable[[], Awaitable[Any]]

LARGE_BYTES = 64 * 1024
LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 1024 * 1024


class ClientGone(Exception):
    """The client closed its connection before its request was whole."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, *, limit: int, timeout: float) -> bytes:
    """Return the whole body; raises BodyTooLarge before reading it all, BodyTimeout, UnsupportedMediaType, ClientGone."""
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    check_media_type(headers.get(b"content-type"))
    body = _taken(receive, limit)
    if body is None:
        body = await _read_in_time(receive, limit, timeout)
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding in {b"", b"identity"}:
        return body
    if len(body) < LARGE_BYTES:
        return decode_body(body, encoding, limit)
    return await asyncio.to_thread(decode_body, body, encoding, limit)  # other requests go on meanwhile


def _taken(receive: Receive, limit: int) -> bytes | None:
    """Return the body if our server has all of it already, as it has of most: then nobody waits, and no timer is needed."""
    take = getattr(getattr(receive, "__self__", None), "take_body", None)
    body: bytes | None = take() if take is not None else None
    if body is not None and len(body) > limit:
        raise _too_large(limit)
    return body


async def _read_in_time(receive: Receive, limit: int, timeout: float) -> bytes:
    try:
        async with asyncio.timeout(timeout):
            return await _read(receive, limit)
    except TimeoutError:
        # The rest of that body may still come: nothing else can be said on this connection.
        late = f"The request's body did not arrive within {timeout:g} s."
        raise BodyTimeout(late, headers={"connection": "close"}) from None


async def _read(receive: Receive, limit: int) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    pieces, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


async def read_away(receive: Receive) -> None:
    """Read and forget what a refused client is still sending, for a moment, so that it gets to read the refusal."""
    size = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while size < LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def check_media_type(value: bytes | None) -> None:
    """Refuse bodies that say they are something other than JSON; one that says nothing is taken for JSON."""
    if value is None:
        return
    media_type = value.partition(b";")[0].strip().lower()
    if media_type and media_type != b"application/json" and not media_type.endswith(b"+json"):
        shown = media_type.decode("ascii", "replace")
        raise UnsupportedMediaType(f"Send 'Content-Type: application/json'; {shown!r} is not understood here.")


def decode_body(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Undo gzip or deflate, never growing beyond the cap; raises UnsupportedMediaType, BodyTooLarge, InvalidRequest."""
    windows: Sequence[int] = {b"gzip": (31,), b"x-gzip": (31,), b"deflate": (15, -15)}.get(encoding, ())
    if not windows:
        shown = encoding.decode("ascii", "replace")
        raise UnsupportedMediaType(f"'Content-Encoding: {shown}' is not understood here; send gzip, deflate or none.")
    for window in windows:
        plain = _inflate(body, window, limit)
        if plain is not None:
            return plain
    raise InvalidRequest("The body is not what its Content-Encoding says.", code="invalid_encoding")


def _inflate(body: bytes, window: int, limit: int) -> bytes | None:
    """Inflate all members of a body; None when it is not of this format or ends too early."""
    pieces: list[bytes] = []
    size = 0
    while body or not pieces:
        decoder = zlib.decompressobj(window)
        try:
            piece = decoder.decompress(body, limit + 1 - size)
        except zlib.error:
            return None
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        if not decoder.eof:
            return None
        pieces.append(piece)
        body = decoder.unused_data
    return b"".join(pieces)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The request's body is larger than {limit:,} bytes, the most that this gateway takes.",
        headers={"connection": "close"},
    )
