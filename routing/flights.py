"""The requests of this worker that are under way: for the live view, which shows them, and to stop one of them.

Every request pays for one entry of a dictionary. What has ended is counted only while somebody watches.
"""

import asyncio
from typing import Any

import msgspec

from routing.exchange import Exchange
from routing.relay import break_off
from tenants.errors import RequestStopped

NOBODYS = 0  # the tenant of requests without a valid key
OURS = frozenset({"upstream_saturated", "limits_unavailable", "store_unavailable", "request_stopped"})
CLIENT_CLOSED_REQUEST = 499


class Counts(msgspec.Struct, array_like=True):
    """What has happened in some time; errors stand by whose they are."""

    requests: int = 0
    input: int = 0
    output: int = 0
    client: int = 0
    gateway: int = 0
    upstream: int = 0


class Flights:
    """What is under way, oldest first; `counts` are by tenant, None while nobody watches."""

    __slots__ = ("_told", "counts", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[Exchange, asyncio.Task[Any] | None] = {}
        self.counts: dict[int, Counts] | None = None
        self._told: dict[Exchange, int] = {}  # tokens of streams under way that are counted already

    def begin(self, exchange: Exchange) -> None:
        """A request has come."""
        self.tasks[exchange] = asyncio.current_task()

    def end(self, exchange: Exchange) -> None:
        """It is over."""
        self.tasks.pop(exchange, None)
        if self.counts is not None and exchange.is_logged:
            self._count(exchange, self.counts)

    def watch(self, is_watched: bool) -> None:
        """Begin to count, or stop it."""
        self.counts = {} if is_watched else None
        self._told = {exchange: exchange.frames for exchange in self.tasks} if is_watched else {}

    def take_counts(self) -> dict[int, Counts]:
        """Return what was counted since the last time, with what streams under way have written meanwhile."""
        counts = self.counts if self.counts is not None else {}
        for exchange in self.tasks:
            if exchange.frames:
                self._count_tokens(exchange, exchange.frames, counts)
        self.counts = {}
        return counts

    def find(self, request_id: str) -> Exchange | None:
        """Return a request under way."""
        return next((exchange for exchange in self.tasks if exchange.request_id == request_id), None)

    def stop(self, exchange: Exchange) -> bool:
        """End a request: its upstream is left, its client is told; False when there is nothing left to stop."""
        if not can_stop(exchange):
            return False
        exchange.is_stopped = True
        task = self.tasks.get(exchange)
        if not break_off(exchange, RequestStopped()) and task is not None:
            task.cancel()
        return True

    def _count(self, exchange: Exchange, counts: dict[int, Counts]) -> None:
        mine = _of(exchange, counts)
        mine.requests += 1
        usage = exchange.usage
        mine.input += (usage.input or 0) + (usage.cache_read or 0)
        self._count_tokens(exchange, exchange.frames if usage.output is None else usage.output, counts)
        self._told.pop(exchange, None)
        owner = error_owner(exchange)
        if owner:
            setattr(mine, owner, getattr(mine, owner) + 1)

    def _count_tokens(self, exchange: Exchange, tokens: int, counts: dict[int, Counts]) -> None:
        told = self._told.get(exchange, 0)
        if tokens > told:
            self._told[exchange] = tokens
            _of(exchange, counts).output += tokens - told


def _of(exchange: Exchange, counts: dict[int, Counts]) -> Counts:
    tenant_id = exchange.principal.tenant_id if exchange.principal is not None else NOBODYS
    found = counts.get(tenant_id)
    if found is None:
        found = counts[tenant_id] = Counts()
    return found


def can_stop(exchange: Exchange) -> bool:
    """Whether a request can be stopped: it was admitted, asks for what costs something, and is not settled."""
    is_worth_it = exchange.operation is not None and not exchange.operation.is_free
    return exchange.plan is not None and is_worth_it and not (exchange.outcome or exchange.is_stopped)


def phase_of(exchange: Exchange) -> str:
    """Return how far a request has come: arriving, queued, connecting, waiting, streaming, retrying or ending."""
    if exchange.outcome:
        return "ending"
    if exchange.frames or exchange.first_token_at is not None:
        return "streaming"
    if exchange.queued:
        return "queued"
    if not exchange.attempts:
        return "arriving"
    last = exchange.attempts[-1]
    if last.verdict:
        return "retrying"
    is_stream = exchange.facts is not None and exchange.facts.is_stream
    return "waiting" if last.status is not None or not is_stream else "connecting"


def error_owner(exchange: Exchange) -> str:
    """Return whose an error is: client, gateway or upstream; empty when a request ended as it should, or its client left."""
    status, outcome = exchange.status, exchange.outcome
    if outcome == "gateway_failed" or exchange.error_code in OURS:
        return "gateway"
    if outcome in {"upstream_failed", "cut"}:
        return "upstream" if exchange.deployment is not None else "gateway"
    if outcome in {"client_gone", "shutdown"} or status in {0, CLIENT_CLOSED_REQUEST}:
        return "gateway" if outcome == "shutdown" else ""
    if status >= 500:
        return "gateway"
    return "client" if status >= 400 else ""


flights = Flights()
