"""What every dialect offers, so that the pipeline knows none of them. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from providers.canonical.inbound import Facts, Operation
from providers.canonical.usage import Usage
from providers.wire.splice import Members
from tenants.errors import GatewayError


class StreamWatch(Protocol):
    """Sees every frame of a passed-through stream and knows how it stands."""

    usage: Usage
    is_usage_final: bool  # no later report will change it
    has_content: bool  # a frame that a reader would see has come: the choice of upstream is final
    is_finished: bool  # the dialect's terminal event has come
    error: str | None  # what an error event said

    def observe(self, data: bytes) -> bytes:
        """Look at whole frames; return those that are to be passed on now."""

    def end(self) -> None:
        """The upstream closed the stream: set `is_finished` if the answer was whole all the same, else `error`."""

    def last(self) -> bytes:
        """Return the frames that were held back until the request is settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A wire format: how to read a request's facts, watch its stream, and write errors in it."""

    name: str
    label: str
    operations: Mapping[str, Operation]
    read_facts: Callable[[Members, Operation], Facts]
    passthrough_edits: Callable[[Members, Facts, str, bool], Mapping[str, bytes | None]]
    watch: Callable[[Facts], StreamWatch]
    read_usage: Callable[[bytes], Usage]
    read_error: Callable[[bytes], str]
    write_error: Callable[[GatewayError, str], bytes]
    error_frame: Callable[[GatewayError, str], bytes]
    is_error_body: Callable[[bytes], bool]
