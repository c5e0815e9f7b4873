"""Reads HTTP/1.1 answers off one keep-alive connection, as cheaply as Python can. Pure: bytes in, bytes out.

    head ──content-length──▶ sized body ─────────────────────────▶ complete
      └─────chunked──▶ chunk size ──▶ chunk ──▶ chunk size ... ──▶ trailer ──▶ complete

The next `feed` after `complete` begins the next answer. Nothing is pipelined: bytes past an answer's end
are an error.
"""

import re
from collections.abc import Callable

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)")
STATUS_LINE = re.compile(rb"HTTP/1\.1 \d\d\d ")
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked")


class MalformedAnswer(Exception):
    """What arrived is not an HTTP/1.1 answer of known length."""


class ResponseReader:
    """`feed` it what arrives; `status` comes with the head, `complete` turns true with the last byte."""

    __slots__ = ("_buffer", "_remaining", "_step", "complete", "status")

    _buffer: bytes

    def __init__(self) -> None:
        self._begin()

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body that are in `data`; raises MalformedAnswer."""
        if self.complete:
            self._begin()
        self._buffer = self._buffer + data if self._buffer else data
        pieces = []
        while not self.complete and (piece := self._step()) is not None:
            pieces.append(piece)
        if self.complete and self._buffer:
            raise MalformedAnswer(f"{len(self._buffer)} bytes follow the answer")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begin(self) -> None:
        self.status = 0
        self.complete = False
        self._buffer = b""
        self._remaining = 0
        self._step: Callable[[], bytes | None] = self._head

    def _head(self) -> bytes | None:
        head = self._take_through(b"\r\n\r\n")
        if head is None:
            return None
        if not STATUS_LINE.match(head):
            raise MalformedAnswer(f"not a status line: {head[:60]!r}")
        self.status = int(head[9:12])
        head = head.lower()
        if CHUNKED.search(head):
            self._step = self._chunk_size
        elif length := CONTENT_LENGTH.search(head):
            self._remaining = int(length[1])
            self._step = self._sized_body
            self.complete = self._remaining == 0
        else:
            raise MalformedAnswer("neither a content-length nor chunks")
        return b""

    def _sized_body(self) -> bytes | None:
        piece = self._take_remaining()
        self.complete = self._remaining == 0
        return piece

    def _chunk_size(self) -> bytes | None:
        line = self._take_through(b"\r\n")
        if line is None:
            return None
        try:
            self._remaining = int(line.partition(b";")[0], 16)
        except ValueError:
            raise MalformedAnswer(f"not the size of a chunk: {line[:60]!r}") from None
        self._step = self._chunk if self._remaining else self._trailer
        return b""

    def _chunk(self) -> bytes | None:
        piece = self._take_remaining()
        if self._remaining == 0:
            self._step = self._chunk_end
        return piece

    def _chunk_end(self) -> bytes | None:
        line = self._take_through(b"\r\n")
        if line is None:
            return None
        if line != b"\r\n":
            raise MalformedAnswer(f"a chunk is longer than its size: {line[:60]!r}")
        self._step = self._chunk_size
        return b""

    def _trailer(self) -> bytes | None:
        line = self._take_through(b"\r\n")
        if line is None:
            return None
        self.complete = line == b"\r\n"
        return b""

    def _take_through(self, mark: bytes) -> bytes | None:
        end = self._buffer.find(mark)
        if end < 0:
            return None
        end += len(mark)
        taken, self._buffer = self._buffer[:end], self._buffer[end:]
        return taken

    def _take_remaining(self) -> bytes | None:
        if not self._buffer:
            return None
        taken, self._buffer = self._buffer[: self._remaining], self._buffer[self._remaining :]
        self._remaining -= len(taken)
        return taken
