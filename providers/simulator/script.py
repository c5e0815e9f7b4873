"""An answer as the connection plays it: bytes, when they leave, and what becomes of the socket."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Packet(NamedTuple):
    delay: float  # seconds after the packet before it
    data: bytes


class Ending(Enum):
    FINISH = "finish"
    FINISH_AND_CLOSE = "finish and close"
    CUT = "cut"
    RESET = "reset"
    STALL = "stall"  # nothing more, and the socket stays open


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    packets: Sequence[Packet]
    ending: Ending = Ending.FINISH
    is_stream: bool = False
