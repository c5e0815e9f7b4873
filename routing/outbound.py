"""A request as one deployment gets it, and the way of its answer back: passed through, or translated.

Both ways offer the same verbs, so what calls upstreams does not ask which one it is. A request is read canonically at
most once, and written at most once per destination, however many attempts there are.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from providers.canonical.answer import AnswerFailed
from providers.canonical.inbound import Inbound, Operation
from providers.canonical.losses import Loss, Losses, Weight
from providers.canonical.request import Request
from providers.canonical.seals import MARK, SealBox
from providers.canonical.usage import NOTHING_REPORTED, Usage
from providers.dialects.base import Dialect, Failure, Written
from providers.dialects.watch import Watch
from providers.dialects.writer import Reply
from providers.registry import DIALECTS
from providers.translation import TranslatedStream, read_events, write_stream, write_whole
from providers.wire.splice import is_object, splice
from routing.headers import upstream_headers
from tenants.errors import GatewayError, InvalidRequest, UpstreamFailed

if TYPE_CHECKING:
    from routing.continuation import Continuation
    from routing.exchange import Exchange
    from routing.response import HeaderPairs
    from routing.snapshot import LiveDeployment

EVENT_STREAM = "text/event-stream"
COUNT = "count_tokens"
NO_ORIGINS: frozenset[str] = frozenset()
CHAT_OPERATIONS = frozenset({"chat", "stream_chat"})  # those that can be translated
WITH_HISTORY = CHAT_OPERATIONS | {COUNT}


class Delivery(NamedTuple):
    """A whole answer as the client gets it."""

    content: bytes
    content_type: bytes | None  # None: as the upstream said
    usage: Usage


class Outbound(ABC):
    """One deployment's view of a request."""

    __slots__ = ("_headers", "_reply", "deployment", "dialect", "operation", "request")

    def __init__(self, request: ClientRequest, deployment: LiveDeployment, dialect: Dialect) -> None:
        self._headers: Sequence[tuple[str, str]] | None = None
        self._reply: Reply | None = None  # of the attempt that was made last
        self.request = request
        self.deployment = deployment
        self.dialect = dialect  # the upstream's
        self.operation = _counterpart(request.inbound, dialect)

    @property
    def is_translated(self) -> bool:
        """Whether the upstream speaks another dialect than the client."""
        return self.dialect is not self.request.dialect

    @property
    @abstractmethod
    def body(self) -> bytes:
        """What is sent."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The headers that are sent."""
        if self._headers is None:
            inbound, is_translated = self.request.inbound, self.is_translated
            self._headers = upstream_headers(inbound, self.deployment, self.dialect, is_translated=is_translated)
        return self._headers

    def prepare(self) -> bool:
        """Make what is sent before it is asked for; False when it cannot be, which is told when it is to be sent."""
        try:
            return bool(self.headers and self.body)
        except GatewayError:
            return False

    @abstractmethod
    def weigh(self) -> Sequence[Loss]:
        """Return what will not get across; raises InvalidRequest when that cannot be told."""

    @abstractmethod
    def watch(self) -> Watch:
        """Return what sees the stream and says what is sent on."""

    @abstractmethod
    def fail(self, watch: Watch, error: GatewayError) -> bytes:
        """Return what ends the client's stream in mid-answer."""

    @property
    def losses(self) -> Sequence[Loss]:
        """What has not got across so far, there and back."""
        return () if self._reply is None else tuple(self._reply.losses)

    def _new_reply(self) -> Reply:
        """Return what the next answer is written for: what an earlier attempt lost, this one did not."""
        self._reply = self.request.make_reply()
        return self._reply

    def write_failure(
        self, status: int, content: bytes, failure: Failure, headers: HeaderPairs
    ) -> tuple[int, HeaderPairs, bytes]:
        """Return status, headers and body of an upstream's error for the client: as it came, or in its dialect."""
        if not self.is_translated:
            return status, headers, content
        error = rejection(status, failure)
        error.retry_after_seconds = next(
            (int(v) for name, v in headers if name == b"retry-after" and v.isdigit() and len(v) < 10), None
        )
        status = self.request.dialect.overloaded_status if error.kind == "overloaded" else error.status
        return status, headers, self.request.dialect.write_error(error, self.request.exchange.request_id)

    def read_whole(self, content: bytes, content_type: str) -> Delivery:
        """Return a whole answer for the client; raises UpstreamFailed when it is none of its format."""
        came_as_stream = content_type == EVENT_STREAM
        if not came_as_stream:
            if not is_object(content):
                text = "The upstream answered with something that is not an answer of its format."
                raise UpstreamFailed(text, retryable=False)
            if self.dialect.is_error_body(content):
                raise UpstreamFailed(f"The upstream failed: {self.dialect.read_error(content)}")
        return self._deliver(content, came_as_stream)

    @abstractmethod
    def _deliver(self, content: bytes, came_as_stream: bool) -> Delivery:
        """Return it in the client's dialect, streamed or whole as the client asked."""

    def _rewrite(self, content: bytes, came_as_stream: bool, written: Written | None) -> Delivery:
        """Turn an answer into events and these into what the client asked for."""
        request, wants_stream = self.request, self.request.inbound.facts.is_stream
        events = read_events(content, self.dialect, self.deployment.origin, is_stream=came_as_stream)
        if written is not None:
            events = written.tools.restore(events)
        write = write_stream if wants_stream else write_whole
        try:
            body, answer = write(events, request.dialect, self._new_reply())
        except AnswerFailed as failure:
            raise UpstreamFailed(f"The upstream failed: {failure}") from None
        return Delivery(body, b"text/event-stream" if wants_stream else b"application/json", answer.usage)


class Passthrough(Outbound):
    """The client's own bytes, but for a few edits; the answer's bytes as they came."""

    __slots__ = ("_body",)

    def __init__(self, request: ClientRequest, deployment: LiveDeployment, dialect: Dialect) -> None:
        super().__init__(request, deployment, dialect)
        self._body: bytes | None = None

    @property
    def body(self) -> bytes:
        if self._body is None:
            inbound, quirks = self.request.inbound, self.deployment.adapter.quirks
            edits = dict(
                self.dialect.passthrough_edits(
                    inbound.members, inbound.facts, self.deployment.facts.model, quirks.accepts_stream_options
                )
            )
            for name in quirks.drop_fields:
                edits[name] = None
            self._body = splice(inbound.members, edits)
        return self._body

    def weigh(self) -> Sequence[Loss]:
        return ()

    def watch(self) -> Watch:
        return self.dialect.watch(self.request.inbound.facts)

    def fail(self, watch: Watch, error: GatewayError) -> bytes:
        return self.dialect.error_frame(error, self.request.exchange.request_id)

    def _deliver(self, content: bytes, came_as_stream: bool) -> Delivery:
        if came_as_stream or self.request.inbound.facts.is_stream:
            return self._rewrite(content, came_as_stream, None)  # the upstream answered in the other way
        return Delivery(content, None, self.dialect.read_usage(content))


class Translation(Outbound):
    """The request written anew, from canonical values; so is the answer.

    Also within one dialect, when the history holds seals that we packed: those of other origins must not go there.
    """

    __slots__ = ("_losses", "_written")

    def __init__(self, request: ClientRequest, deployment: LiveDeployment, dialect: Dialect) -> None:
        super().__init__(request, deployment, dialect)
        self._losses = Losses()
        self._written: Written | None = None

    @property
    def written(self) -> Written:
        """The request in the upstream's dialect; raises InvalidRequest when the client's cannot be read."""
        if self._written is None:
            destination = self.deployment.destination if self.is_translated else self.deployment.permissive_destination
            try:
                self._written = self.dialect.write_request(self.request.canonical, destination, self._losses)
            except RecursionError:
                raise _too_deep() from None
        return self._written

    @property
    def body(self) -> bytes:
        return self.written.body

    def weigh(self) -> Sequence[Loss]:
        assert self.written
        return tuple(self._losses)

    @property
    def losses(self) -> Sequence[Loss]:
        return (*self._losses, *super().losses)

    def watch(self) -> Watch:
        if not self.is_translated:
            return self.dialect.watch(self.request.inbound.facts)
        reader = self.dialect.reader(self.deployment.origin)
        return TranslatedStream(reader, self.written.tools, self.request.dialect.writer(self._new_reply()))

    def fail(self, watch: Watch, error: GatewayError) -> bytes:
        if isinstance(watch, TranslatedStream):
            return watch.writer.fail(error)
        return self.dialect.error_frame(error, self.request.exchange.request_id)

    def _deliver(self, content: bytes, came_as_stream: bool) -> Delivery:
        if not self.is_translated and not came_as_stream and not self.request.inbound.facts.is_stream:
            return Delivery(content, None, self.dialect.read_usage(content))
        return self._rewrite(content, came_as_stream, self.written if self.is_translated else None)


class CountTranslation(Translation):
    """A request of which only the tokens are counted."""

    __slots__ = ()

    @property
    def body(self) -> bytes:
        assert self.dialect.counter is not None
        return self.dialect.counter.write_body(self.written.body)

    def _deliver(self, content: bytes, came_as_stream: bool) -> Delivery:
        assert self.dialect.counter is not None
        assert self.request.dialect.counter is not None
        tokens = self.dialect.counter.read(content)
        if tokens is None:
            raise UpstreamFailed("The upstream answered without a count.", retryable=False)
        return Delivery(self.request.dialect.counter.write_answer(tokens), b"application/json", NOTHING_REPORTED)


class ClientRequest:
    """What a client asked, and how each deployment gets it."""

    __slots__ = (
        "__dict__",
        "_holds_seals",
        "_outbounds",
        "_seals",
        "continuation",
        "dialect",
        "exchange",
        "inbound",
        "priority",
    )

    def __init__(self, inbound: Inbound, dialect: Dialect, exchange: Exchange, seals: Callable[[], SealBox]) -> None:
        self.inbound = inbound
        self.dialect = dialect
        self.exchange = exchange
        self._seals = seals
        self._outbounds: dict[str, Outbound] = {}
        self.priority = 1  # in the queues of providers: 0 low, 1 normal, 2 high
        self.continuation: Continuation | None = None  # of dialects in which conversations are kept
        self._holds_seals: bool | None = None  # nobody has looked yet

    def outbound(self, deployment: LiveDeployment) -> Outbound:
        """Return how a deployment gets this request."""
        slug = deployment.facts.slug
        outbound = self._outbounds.get(slug)
        if outbound is None:
            outbound = self._outbounds[slug] = self._make(deployment)
        return outbound

    def let_go(self) -> None:
        """Forget what refers back to it."""
        self._outbounds.clear()

    @property
    def weigh(self) -> Callable[[LiveDeployment], Sequence[Loss]] | None:
        """Return what tells the losses of a translation for a deployment; None when there is no translation."""
        name = self.inbound.operation.name
        if name in CHAT_OPERATIONS:
            return self._weigh
        return self._weigh_count if name == COUNT else None

    def _weigh(self, deployment: LiveDeployment) -> Sequence[Loss]:
        return self.outbound(deployment).weigh()

    def _weigh_count(self, deployment: LiveDeployment) -> Sequence[Loss]:
        """A count is about all of a request or it is none, so what it cannot carry does not matter."""
        if DIALECTS[deployment.dialect_for(self.dialect.name)].counter is not None:
            return ()
        return (Loss("model", Weight.CHANGES_ANSWER, "its upstream counts no tokens"),)

    @cached_property
    def canonical(self) -> Request:
        """The request read canonically; raises InvalidRequest naming the field that cannot be read."""
        try:
            return self.dialect.read_request(self.inbound.members, self.inbound.facts, self.seals)
        except RecursionError:
            raise _too_deep() from None

    @cached_property
    def seals(self) -> SealBox:
        """The box of the caller's tenant."""
        return self._seals()

    @property
    def holds_seals(self) -> bool:
        """Whether the history holds state that we packed; what has no history may say the word."""
        if self._holds_seals is None:
            inbound = self.inbound
            self._holds_seals = inbound.operation.name in WITH_HISTORY and MARK in inbound.members.raw
        return self._holds_seals

    def make_reply(self) -> Reply:
        """Return what an answer is written for."""
        exchange = self.exchange
        return Reply(
            request=self.canonical,
            model=self.inbound.facts.model,
            id=exchange.request_id,
            created=int(exchange.started_at),
            seals=self.seals,
            losses=Losses(),
            continues=self.continuation.previous if self.continuation is not None else "",
        )

    @property
    def seal_origins(self) -> frozenset[str]:
        """Whose opaque state the history holds, where we packed it: these should be asked before others."""
        return self.seals.origins(self.inbound.members.raw) if self.holds_seals else NO_ORIGINS

    def _make(self, deployment: LiveDeployment) -> Outbound:
        spoken = deployment.dialect_for(self.dialect.name)
        if spoken == self.dialect.name and not self.holds_seals:
            return Passthrough(self, deployment, self.dialect)
        way = CountTranslation if self.inbound.operation.name == COUNT else Translation
        return way(self, deployment, DIALECTS[spoken])


def _too_deep() -> InvalidRequest:
    return InvalidRequest("The body is nested too deeply to be translated.")


def _counterpart(inbound: Inbound, dialect: Dialect) -> Operation:
    """Return what a dialect calls the operation asked for; some have one of its own for streams."""
    name = inbound.operation.name
    if name not in CHAT_OPERATIONS:
        return dialect.operations[name]
    return dialect.operations.get("stream_chat" if inbound.facts.is_stream else "chat") or dialect.operations["chat"]


class UpstreamRejected(GatewayError):
    """An upstream's own error, on its way into the client's dialect."""

    def __init__(self, status: int, kind: str, message: str, *, code: str, param: str | None) -> None:
        self.status, self.kind = status, kind
        super().__init__(message, code=code, param=param)


# What an error in a stream is called, and the status that it would have had as an answer of its own.
STATUS_OF_CODE = {
    **dict.fromkeys(("context_length_exceeded", "invalid_prompt", "invalid_request_error", "INVALID_ARGUMENT"), 400),
    **dict.fromkeys(("authentication_error", "invalid_api_key", "UNAUTHENTICATED"), 401),
    **dict.fromkeys(("permission_error", "PERMISSION_DENIED"), 403),
    **dict.fromkeys(("model_not_found", "not_found_error", "NOT_FOUND"), 404),
    "request_too_large": 413,
    **dict.fromkeys(("insufficient_quota", "rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED"), 429),
    **dict.fromkeys(("overloaded_error", "server_is_overloaded", "UNAVAILABLE"), 503),
    **dict.fromkeys(("timeout_error", "DEADLINE_EXCEEDED"), 504),
}


def status_of_code(code: str) -> int | None:
    """Return the status that an error of a stream stands for; None where its code does not tell."""
    if re.fullmatch(r"[45][0-9]{2}", code):
        return int(code)  # OpenRouter's, and Google's
    return STATUS_OF_CODE.get(code)


# Statuses that only one vendor uses, as every client knows them.
STATUSES = {422: 400, 529: 503}
KINDS = {
    404: "not_found",
    408: "timeout",
    413: "too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "upstream_timeout",
    529: "overloaded",
}


# Codes that clients look at, whatever the upstream's vendor calls them.
CODES = {"not_found": "model_not_found", "overloaded": "overloaded", "rate_limit": "rate_limit_exceeded"}


def rejection(status: int, failure: Failure) -> UpstreamRejected:
    """Return an upstream's error as ours to write: its words as they are, for clients match them."""
    kind = KINDS.get(status, "invalid_request" if status < 500 else "upstream")
    code = CODES.get(kind) or failure.code or "upstream_rejected"
    if failure.is_context_length:
        code = "context_length_exceeded"
    error = UpstreamRejected(STATUSES.get(status, status), kind, failure.message, code=code, param=failure.param)
    error.retry_after_seconds = failure.retry_after_seconds
    return error
