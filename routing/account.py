"""The account of one exchange: settled once, however it ends."""

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from time import monotonic
from typing import Any, Self

import structlog

from providers.canonical.estimate import estimate_input
from providers.canonical.usage import Usage
from routing.exchange import Exchange
from routing.hold import NOTHING, likely_tokens
from routing.meter import body_to_estimate, price_exchange
from routing.outbound import Outbound, UpstreamRejected
from routing.trace import trace_of
from tenants.errors import GatewayError
from tenants.limits.admission import Admission, Request, Reservation
from tenants.usage_event import LossRecord, UsageEvent, encode, loss_records

log = structlog.get_logger("tollgate.account")
NO_MONEY = Decimal(0)
LARGE_BODY = 100_000  # bytes above which looking for media takes longer than other requests should wait

_bookings: set[asyncio.Future[None]] = set()


class Account:
    """Admits an exchange and holds its reservation until it has an outcome.

    As a context it reserves on the way in, which may raise RateLimited, and settles on the way out when nobody has: an
    answer that was delivered has settled itself, and a stream that is being delivered will.
    """

    __slots__ = ("_admission", "_exchange", "_is_settled", "_meanwhile", "_money", "_reservation", "_worker")

    def __init__(
        self,
        admission: Admission,
        exchange: Exchange,
        worker: str,
        *,
        money: Mapping[str, int] = NOTHING,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        self._admission = admission
        self._exchange = exchange
        self._worker = worker
        self._money = money  # the most that it can cost, in nanos by currency
        self._meanwhile = meanwhile  # what to do while it is being admitted
        self._is_settled = False
        self._reservation: Reservation | None = None

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What the client is told of its limits."""
        return self._reservation.headers if self._reservation is not None else ()

    async def __aenter__(self) -> Self:
        exchange, facts = self._exchange, self._exchange.facts
        assert exchange.principal is not None
        assert exchange.operation is not None
        assert facts is not None
        request = Request(
            request_id=exchange.request_id,
            alias=facts.model,
            end_user=facts.end_user,
            dialect=exchange.operation.dialect,
            started_at=exchange.started_at,
            tokens=0 if exchange.operation.is_free else likely_tokens(facts),
            money=self._money,
            if_lost=encode(lost_event(exchange, self._worker)),
        )
        self._reservation = await self._admission.reserve(exchange.principal, request, meanwhile=self._meanwhile)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        if isinstance(error, GatewayError):
            is_theirs = error.status >= 500 or error.status == 429
            # An upstream's own code may be anything: clients look at it, the ledger has our word.
            word = "upstream_rejected" if isinstance(error, UpstreamRejected) else error.code
            outcome = "upstream_failed" if is_theirs else "rejected"
            await self.settle(outcome, status=error.status, error_code=word)
        elif isinstance(error, asyncio.CancelledError):
            is_gone = self._exchange.is_client_gone
            await self.settle("client_gone" if is_gone else "shutdown", status=499 if is_gone else 503)
        else:
            await self.settle("gateway_failed", status=500, error_code="internal_error")

    async def settle(self, outcome: str, *, status: int, error_code: str = "") -> None:
        """Price what was used and append it to the ledger's stream; the first call counts, later ones do nothing."""
        if self._is_settled or self._reservation is None:
            return
        self._is_settled = True
        exchange = self._exchange
        exchange.outcome, exchange.status, exchange.error_code = outcome, status, error_code
        body = body_to_estimate(exchange)
        if body is None or len(body) <= LARGE_BODY:
            await self._book(None if body is None else estimate_input(body))
            return
        # In a thread, and shielded: a caller that is cancelled meanwhile is billed all the same.
        booking = asyncio.ensure_future(self._estimate_and_book(body))
        _bookings.add(booking)
        booking.add_done_callback(_bookings.discard)
        await asyncio.shield(booking)

    async def _estimate_and_book(self, body: bytes) -> None:
        await self._book(await asyncio.to_thread(estimate_input, body))

    async def _book(self, prompt_tokens: int | None) -> None:
        exchange = self._exchange
        assert self._reservation is not None
        try:
            price_exchange(exchange, prompt_tokens)
        except Exception:
            # A record without a price can be rated again; a record that was never written is lost.
            log.exception("pricing_failed", request_id=exchange.request_id)
            exchange.cost_status = "unpriced"
        # What has no price yet may be rated later: then its cost is charged where it would have been.
        is_charged = exchange.cost or exchange.cost_status == "unpriced"
        budgets = self._reservation.counters(exchange.currency) if is_charged else []
        event = usage_event(exchange, self._worker, budgets)
        billed = await self._admission.settle_soon(self._reservation, event, tokens=exchange.usage.total)
        if exchange.cost:
            exchange.cost = billed.cost  # a hard budget may have had no room for all
        exchange.is_booked = True


def lost_event(exchange: Exchange, worker: str) -> UsageEvent:
    """Return what the ledger is told of a request whose worker is killed: that there was one, and that it cost nothing."""
    principal, facts, operation = exchange.principal, exchange.facts, exchange.operation
    assert principal is not None
    assert facts is not None
    assert operation is not None
    return UsageEvent(
        request_id=exchange.request_id,
        started_at=exchange.started_at,
        correlation_id=exchange.correlation_id,
        tenant_id=principal.tenant_id,
        project=principal.project,
        api_key_id=principal.key_id,
        end_user=facts.end_user,
        dialect=operation.dialect,
        alias=facts.model,
        route=exchange.route.facts.name if exchange.route is not None else "",
        is_streamed=facts.is_stream,
        status=500,
        outcome="lost",
        error_code="worker_lost",
        cost_status="exact",
        latency_ms=0,
        revision=exchange.revision,
        worker=worker,
    )


def usage_event(exchange: Exchange, worker: str, budgets: list[str]) -> UsageEvent:
    """Return what the ledger keeps of an exchange that got as far as a reservation."""
    principal, facts, operation = exchange.principal, exchange.facts, exchange.operation
    assert principal is not None
    assert facts is not None
    assert operation is not None
    outbound = exchange.outbound
    deployment, usage, now = exchange.deployment, exchange.usage, monotonic()
    first = exchange.first_token_at
    return UsageEvent(
        request_id=exchange.request_id,
        started_at=exchange.started_at,
        correlation_id=exchange.correlation_id,
        tenant_id=principal.tenant_id,
        project=principal.project,
        api_key_id=principal.key_id,
        end_user=facts.end_user,
        dialect=operation.dialect,
        alias=facts.model,
        route=exchange.route.facts.name if exchange.route is not None else "",
        provider=deployment.provider.slug if deployment is not None else "",
        deployment=deployment.facts.slug if deployment is not None else "",
        model=deployment.facts.model if deployment is not None else "",
        is_streamed=facts.is_stream,
        status=exchange.status,
        outcome=exchange.outcome,
        error_code=exchange.error_code,
        attempts=list(exchange.attempts),
        input_tokens=usage.input,
        cache_read_tokens=usage.cache_read,
        cache_write_5m_tokens=usage.cache_write_5m,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
        cost=exchange.cost or NO_MONEY,
        cost_price=exchange.cost_price,
        currency=exchange.currency,
        cost_status=exchange.cost_status or "exact",
        latency_ms=round((now - exchange.started) * 1000),
        first_token_ms=None if first is None else round((first - exchange.started) * 1000),
        reported_cost=usage.reported_cost,
        units=_units(usage),
        service_tier=usage.service_tier or "",
        overhead_us=max(0, round((now - exchange.started - exchange.upstream_seconds) * 1_000_000)),
        revision=exchange.revision,
        worker=worker,
        dialect_upstream=outbound.dialect.name if outbound is not None else "",
        losses=_losses(outbound),
        budgets=budgets,
        trace=trace_of(exchange),
    )


def _units(usage: Usage) -> dict[str, Any]:
    """Return what was used beside the tokens that have columns of their own; most requests use nothing else."""
    if not (usage.audio_input or usage.audio_output or usage.images or usage.characters or usage.seconds):
        return {}
    units = {
        "audio_input_tokens": usage.audio_input,
        "audio_output_tokens": usage.audio_output,
        "images": usage.images,
        "characters": usage.characters,
        "seconds": usage.seconds,
    }
    return {name: count for name, count in units.items() if count}


def _losses(outbound: Outbound | None) -> list[LossRecord]:
    """Return what did not get across, there and back; most requests lose nothing."""
    losses = outbound.losses if outbound is not None else ()
    return loss_records((loss.path, loss.weight.word, loss.why) for loss in losses) if losses else []
