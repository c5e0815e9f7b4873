"""What every dialect offers, so that the pipeline knows none of them. Pure.

A dialect is spoken by clients (read a request, write an answer) and by upstreams (write a request, read an answer), as
bytes that pass through or as canonical values. There are no pairs of dialects: what lies between two of them is
`providers/canonical`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from providers.adapters.quirks import NO_QUIRKS, Quirks
from providers.canonical.answer import Answer
from providers.canonical.events import Event
from providers.canonical.inbound import Facts, Operation
from providers.canonical.losses import Losses
from providers.canonical.request import Request
from providers.canonical.seals import SealBox
from providers.canonical.tool_names import ToolNames
from providers.canonical.usage import Usage
from providers.dialects.reader import EventReader
from providers.dialects.watch import StreamWatch
from providers.dialects.writer import EventWriter, Reply
from providers.profiles import PERMISSIVE, Profile
from providers.wire.splice import Members
from tenants.errors import GatewayError


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a translated request goes."""

    model: str  # the upstream's own name
    origin: str  # whose seals it takes: "provider/model"
    profile: Profile = PERMISSIVE
    quirks: Quirks = NO_QUIRKS
    max_output_tokens: int | None = None  # the deployment's, where the operator said one

    @property
    def most_output_tokens(self) -> int | None:
        """The most that an answer may have, by the operator and by the model; None where neither tells."""
        limits = (self.max_output_tokens, self.profile.max_output_tokens)
        return min((limit for limit in limits if limit is not None), default=None)


class Written(NamedTuple):
    """A request as an upstream gets it."""

    body: bytes
    tools: ToolNames  # turns the answer's tool calls back into the client's own


class Failure(NamedTuple):
    """What an upstream's error answer says, in no vendor's words."""

    message: str  # as the upstream wrote it: clients match its wording
    code: str = ""  # the upstream's own
    param: str | None = None  # the field that the upstream blames
    is_context_length: bool = False  # the prompt is longer than the model's window
    is_content_policy: bool = False  # the upstream will not answer this, whoever asks
    is_account_empty: bool = False  # our account has no credit left: asking again does not help
    is_credential_refused: bool = False  # ours, said with another status than 401 and 403
    retry_after_seconds: float | None = None  # where the body says so


class TokenCounter(NamedTuple):
    """The dialect's way of counting a request's tokens without answering it."""

    write_body: Callable[[bytes], bytes]  # a written request as the counting endpoint takes it
    read: Callable[[bytes], int | None]  # the count in its answer; None when there is none
    write_answer: Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A wire format, on both sides."""

    name: str
    label: str
    operations: Mapping[str, Operation]
    # Passing through: bytes stay as they are.
    read_facts: Callable[[Members, Operation], Facts]
    passthrough_edits: Callable[[Members, Facts, str, bool], Mapping[str, bytes | None]]
    watch: Callable[[Facts], StreamWatch]
    read_usage: Callable[[bytes], Usage]
    # The client's side. read_request raises InvalidRequest, naming the field.
    read_request: Callable[[Members, Facts, SealBox], Request]
    writer: Callable[[Reply], EventWriter]
    write_answer: Callable[[Answer, Reply], bytes]
    # The upstream's side. read_answer never raises: what is no answer ends in StreamFailed.
    write_request: Callable[[Request, Destination, Losses], Written]
    reader: Callable[[str], EventReader]
    read_answer: Callable[[bytes, str], Sequence[Event]]
    # Errors.
    read_error: Callable[[bytes], str]
    read_failure: Callable[[int, bytes], Failure]
    write_error: Callable[[GatewayError, str], bytes]
    error_frame: Callable[[GatewayError, str], bytes]
    is_error_body: Callable[[bytes], bool]
    overloaded_status: int = 503  # what its clients know an overloaded model by
    empty_budget_status: int = 402  # where clients do not know it, or ask again and again
    headers: tuple[tuple[str, str], ...] = ()  # for upstreams, unless client or operator send their own
    ping: bytes = b""  # a sign of life for a client that waits for its stream to begin; empty: the dialect has none
    counter: TokenCounter | None = None  # None: the dialect has no such endpoint
