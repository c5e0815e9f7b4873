"""Server-sent events before they have a time, a line ending or a packet."""

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    OPENING = "opening"  # or structure: sent without waiting
    CONTENT = "content"  # one token: waits its turn, and is what `cut=3` counts
    CLOSING = "closing"
    TERMINAL = "terminal"  # the frame without which a stream is truncated


class Frame(NamedTuple):
    kind: Kind
    lines: bytes  # with LF line ends and the closing blank line

    @classmethod
    def data(cls, kind: Kind, data: bytes) -> "Frame":
        return cls(kind, b"data: " + data + b"\n\n")

    @classmethod
    def event(cls, kind: Kind, name: bytes, data: bytes) -> "Frame":
        return cls(kind, b"event: " + name + b"\ndata: " + data + b"\n\n")
