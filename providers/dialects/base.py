"""What every dialect offers, so that the pipeline knows none of them. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from providers.canonical.inbound import Facts, Operation
from providers.canonical.usage import Usage
from providers.dialects.watch import StreamWatch
from providers.wire.splice import Members
from tenants.errors import GatewayError


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
