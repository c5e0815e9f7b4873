"""Server-sent events on bytes: whole frames out of any chunking, relayed as they came. Pure.

A frame ends with an empty line; lines end with LF, CRLF or CR (and U+2028 is no line end). Nothing is decoded: a UTF-8
sequence that was cut by a packet is put together again before anybody looks at it.
See https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import re
from collections.abc import Iterator

import msgspec

from providers.wire.splice import look_through

_FRAME_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n|\r\n\r(?!\n)|\n\r(?!\n)|\r\r\n")
_LINE = re.compile(rb"[^\r\n]+")


class FrameSplitter:
    """Collects bytes until frames are whole."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return all that is whole now: no frame, one, or several in a row, byte for byte."""
        if self.is_whole(data):
            return data
        data = self._rest + data if self._rest else data
        end = _last_end(data)
        self._rest = data[end:]
        return data[:end]

    def is_whole(self, data: bytes) -> bool:
        """Whether `feed` returns these very bytes; said of almost all that comes, never of what takes a closer look."""
        return not self._rest and data.endswith(b"\n\n")

    def close(self) -> bytes:
        """Return what is whole now that nothing follows: a CR at the end is no half of a CRLF."""
        rest = self._rest
        if not rest.endswith((b"\r\r", b"\n\r")):
            return b""
        self._rest = b""
        return rest

    @property
    def rest(self) -> bytes:
        """What has come of a frame that is not whole: a stream that ends here was cut."""
        return self._rest


def _last_end(data: bytes) -> int:
    """Return where the last whole frame ends; 0 when there is none."""
    if data.endswith((b"\n\n", b"\r\n\r\n")):
        return len(data)
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    end = 0
    for match in _FRAME_END.finditer(data):
        # A CR at the very end may be the first half of a CRLF: wait for the next byte.
        if match.end() == len(data) and data.endswith(b"\r"):
            break
        end = match.end()
    return end


def frames(data: bytes) -> Iterator[bytes]:
    """Split whole frames from each other, ends included."""
    start = 0
    if b"\r" in data:
        for match in _FRAME_END.finditer(data):
            yield data[start : match.end()]
            start = match.end()
    else:
        while (end := data.find(b"\n\n", start)) >= 0:
            yield data[start : end + 2]
            start = end + 2
    if start < len(data):
        yield data[start:]


def frame_event(frame: bytes) -> tuple[bytes, bytes]:
    """Return a frame's event name and data; both empty for comments and for frames without them."""
    event, data = b"", []
    for line in _LINE.findall(frame):
        if line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line.startswith(b"event:"):
            event = line[6:].strip()
    return event, b"\n".join(data)


def holds_objects(data: bytes) -> bool:
    """Whether each of these frames holds one JSON object; False also where that takes a closer look.

    For streams as almost all are written ("data: " and LF): what is spelled differently takes the closer look.
    """
    position = 0
    while (start := data.find(b"data: ", position)) >= 0:
        end = data.find(b"\n\n", start)
        if end < 0:
            return False
        try:
            look_through(data[start + 6 : end])
        except (msgspec.DecodeError, RecursionError):
            return False
        position = end + 2
    return position == len(data)


def count_events(data: bytes) -> int:
    """Return how many events there are in frames, whatever their line ends; comments are none."""
    # A line end never stands inside the JSON of a data line, so text that says "data:" is not counted.
    return data.count(b"\ndata:") + data.count(b"\rdata:") + data.startswith(b"data:")
