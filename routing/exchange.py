"""An exchange: what is known so far of one request and its answer. It ends as an access line, metrics and usage."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from time import monotonic, time, time_ns
from typing import TYPE_CHECKING

import msgspec

from providers.canonical.usage import NOTHING_REPORTED, Usage

if TYPE_CHECKING:
    from providers.canonical.inbound import Facts, Operation
    from routing.keeping import Kept
    from routing.outbound import Outbound
    from routing.policy.plan import Plan
    from routing.snapshot import LiveDeployment, LiveRoute
    from tenants.principal import Principal

LOW_62_BITS = (1 << 62) - 1
_CORRELATION = re.compile(rb"[A-Za-z0-9_.:/+=@-]{1,128}\Z")


EVERYBODYS = "openai_chat"  # what those understand that do not say what they speak
TELLING_HEADERS = {b"anthropic-version": "anthropic_messages", b"x-goog-api-key": "gemini"}
TELLING_PATHS = (
    ("/v1/chat/", "openai_chat"),
    ("/v1/embeddings", "openai_chat"),
    ("/v1/messages", "anthropic_messages"),
    ("/v1/responses", "openai_responses"),
    ("/v1beta/", "gemini"),
)


@lru_cache(maxsize=256)
def _dialect_of_path(path: str) -> str:
    if path.startswith("/v1/models/") and ":" in path:
        return "gemini"
    return next((dialect for start, dialect in TELLING_PATHS if path.startswith(start)), "")


def make_request_id() -> str:
    """Return 32 hexadecimal digits that sort by time (UUID version 7)."""
    chance = random.getrandbits(74)
    bits = (time_ns() // 1_000_000) << 80 | 7 << 76 | (chance >> 62) << 64 | 0b10 << 62 | chance & LOW_62_BITS
    return f"{bits:032x}"


class AttemptRecord(msgspec.Struct, kw_only=True):
    """One call of an upstream, for the ledger."""

    deployment: str
    status: int | None = None
    result: str = ""
    milliseconds: int = 0
    number: int = 1  # from 1, over all targets
    verdict: str = ""  # what followed from it
    paused_ms: int = 0  # before it


class Exchange:
    """Mutable while the request runs; every field has one writer."""

    __slots__ = (
        "answer_size",
        "attempts",
        "correlation_id",
        "cost",
        "cost_price",
        "cost_status",
        "currency",
        "deployment",
        "error_code",
        "facts",
        "first_token_at",
        "frames",
        "generating",
        "headers",
        "is_booked",
        "is_client_gone",
        "is_logged",
        "is_stopped",
        "is_usage_final",
        "kept",
        "left_at",
        "method",
        "operation",
        "outbound",
        "outcome",
        "path",
        "plan",
        "principal",
        "queued",
        "request_id",
        "revision",
        "route",
        "spoken",
        "started",
        "started_at",
        "status",
        "upstream_seconds",
        "usage",
        "wants_trace",
        "write_now",
    )

    def __init__(self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.path = path
        self.request_id = make_request_id()
        self.correlation_id = self.request_id
        self.spoken = _dialect_of_path(path)  # the dialect that path and headers tell; "" = neither does
        # The caller's; of several of one name the last, which is nothing to tell by who calls, or for whom.
        self.headers = dict(headers)
        self._read_headers()
        self.started = monotonic()
        self.started_at = time()
        self.status = 0
        self.outcome = ""
        self.error_code = ""
        self.is_client_gone = False
        self.is_logged = True
        self.is_stopped = False  # by somebody at the console
        self.is_booked = False  # its usage is with the ledger: nobody asks any more how it was routed
        self.principal: Principal | None = None
        self.kept: Kept | None = None  # of what passes, where the tenant keeps bodies
        self.operation: Operation | None = None
        self.facts: Facts | None = None
        self.route: LiveRoute | None = None
        self.deployment: LiveDeployment | None = None
        self.outbound: Outbound | None = None  # how the deployment asked last gets the request
        self.plan: Plan | None = None
        self.wants_trace = False  # the client asked for the decision trace, and may see it
        self.queued = 0  # attempts that wait for a place at their provider
        self.generating = 0  # upstreams that work on it, for which they may charge
        self.left_at: float | None = None  # when the client went away (monotonic)
        self.revision = 0
        self.attempts: list[AttemptRecord] = []
        self.usage: Usage = NOTHING_REPORTED
        self.is_usage_final = False
        self.frames = 0  # of a stream, passed on
        self.answer_size = 0  # bytes that were passed on
        self.cost: Decimal | None = None
        self.cost_price: Decimal | None = None
        self.cost_status = ""
        self.currency = "USD"
        self.first_token_at: float | None = None
        self.upstream_seconds = 0.0
        # Writes to a client that is being sent a stream; False: it cannot take more at the moment.
        self.write_now: Callable[[bytes], bool] | None = None

    @property
    def dialect(self) -> str:
        """The dialect a caller speaks, which its path and headers tell when it asks for nothing that has one."""
        return self.operation.dialect if self.operation is not None else self.spoken or EVERYBODYS

    def let_go(self) -> None:
        """Forget what refers back to it: then all of a request is freed as it ends, and not by the garbage collector.

        That would take 5 % of a worker's time.
        """
        self.write_now = None
        if self.is_booked:
            if self.outbound is not None:
                self.outbound.request.let_go()
            self.outbound = self.plan = None

    def _read_headers(self) -> None:
        """Take the caller's own id, if it is one that can be logged and sent back; X-Correlation-ID comes first."""
        headers = self.headers
        found = headers.get(b"x-correlation-id") or headers.get(b"x-request-id")
        if found is not None and _CORRELATION.match(found):
            self.correlation_id = found.decode()
        if not self.spoken:
            self.spoken = next((TELLING_HEADERS[name] for name in headers if name in TELLING_HEADERS), "")
