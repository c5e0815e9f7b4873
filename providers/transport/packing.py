"""Unpacks answers that come packed though nobody asked for it, a piece at a time: a little can unpack to a lot.

A gzip that was cut short is not taken for whole, as HTTP libraries are apt to do.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

from providers.transport.upstream import UpstreamBroken

PIECE_BYTES = 64 * 1024  # unpacked, handed out at once
SLICE_BYTES = 8 * 1024  # packed, looked at at once: what a member leaves over is copied for the next one
PACKINGS = frozenset({"gzip", "x-gzip", "deflate"})
NOT_UNDERSTOOD = frozenset({"br", "zstd"})
GZIP_BEGINS = 0x1F
ZLIB_METHOD = 8  # in the lower half of the first byte; some servers leave the header of "deflate" out


class Unpacker:
    """One answer's packing: members of gzip or deflate, of which there may be several."""

    __slots__ = ("_is_full", "_member", "_packed", "_packing")

    def __init__(self, packing: str) -> None:
        self._packing = packing
        self._packed = memoryview(b"")
        self._member: zlib._Decompress | None = None  # the one that has begun and not ended
        self._is_full = False  # the last piece was as large as may be: there may be more without more input

    async def read(self, receive: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the next piece, nothing at the end; raises UpstreamBroken when it is cut or cannot be unpacked."""
        while True:
            if self._packed or self._is_full:
                await asyncio.sleep(0)  # whoever else waits has a turn between two pieces
            else:
                data = await receive()
                if not data:
                    if self._member is not None:
                        raise UpstreamBroken("the packed answer was cut short")
                    return b""
                self._packed = memoryview(data)
            piece = self._next_piece()
            if piece:
                return piece

    def _next_piece(self) -> bytes:
        packed = self._packed[:SLICE_BYTES]
        try:
            member = self._member or self._begin(packed[0])
            piece = member.decompress(packed, PIECE_BYTES)
        except zlib.error as error:
            raise UpstreamBroken(f"the answer cannot be unpacked: {error}") from error
        left = len(member.unused_data if member.eof else member.unconsumed_tail)
        self._packed = self._packed[len(packed) - left :]
        self._member = None if member.eof else member
        self._is_full = len(piece) == PIECE_BYTES and not member.eof
        return piece

    def _begin(self, first: int) -> "zlib._Decompress":
        if self._packing in NOT_UNDERSTOOD:
            raise UpstreamBroken(f"the answer is packed with {self._packing}, which was not asked for")
        is_bare = self._packing == "deflate" and first != GZIP_BEGINS and first & 0x0F != ZLIB_METHOD
        return zlib.decompressobj(-zlib.MAX_WBITS if is_bare else zlib.MAX_WBITS | 32)  # 32: tells the two apart


def unpacker_for(encoding: str) -> Unpacker | None:
    """Return who unpacks an answer with this Content-Encoding; None: it is to be read as it comes."""
    packing = encoding.strip().lower()
    return Unpacker(packing) if packing in PACKINGS or packing in NOT_UNDERSTOOD else None
