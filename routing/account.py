"""The account of one exchange: settled once, however it ends."""

import asyncio
from time import monotonic
from typing import Self

import structlog

from routing.exchange import Exchange
from routing.meter import price_exchange
from routing.outbound import Outbound, UpstreamRejected
from routing.trace import trace_of
from tenants.errors import GatewayError
from tenants.limits.admission import Admission, Reservation
from tenants.usage_event import LossRecord, UsageEvent, encode, loss_records

log = structlog.get_logger("tollgate.account")


class Account:
    """Admits an exchange and holds its reservation until it has an outcome.

    As a context it reserves on the way in, which may raise RateLimited, and settles on the way out when nobody has: an
    answer that was delivered has settled itself, and a stream that is being delivered will.
    """

    __slots__ = ("_admission", "_exchange", "_is_settled", "_reservation", "_worker")

    def __init__(self, admission: Admission, exchange: Exchange, worker: str) -> None:
        self._admission = admission
        self._exchange = exchange
        self._worker = worker
        self._is_settled = False
        self._reservation: Reservation | None = None

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What the client is told of its limits."""
        return self._reservation.headers if self._reservation is not None else ()

    async def __aenter__(self) -> Self:
        exchange = self._exchange
        assert exchange.principal is not None
        assert exchange.facts is not None
        self._reservation = await self._admission.reserve(
            exchange.principal, exchange.request_id, alias=exchange.facts.model, end_user=exchange.facts.end_user
        )
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
        try:
            price_exchange(exchange)
        except Exception:
            # A record without a price can be rated again; a record that was never written is lost.
            log.exception("pricing_failed", request_id=exchange.request_id)
            exchange.cost_status = "unpriced"
        await self._admission.settle(self._reservation, encode(usage_event(exchange, self._worker)))


def usage_event(exchange: Exchange, worker: str) -> UsageEvent:
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
        cost=exchange.cost or 0,  # type: ignore[arg-type]
        cost_price=exchange.cost_price,
        currency=exchange.currency,
        cost_status=exchange.cost_status or "exact",
        latency_ms=round((now - exchange.started) * 1000),
        first_token_ms=None if first is None else round((first - exchange.started) * 1000),
        overhead_us=max(0, round((now - exchange.started - exchange.upstream_seconds) * 1_000_000)),
        revision=exchange.revision,
        worker=worker,
        dialect_upstream=outbound.dialect.name if outbound is not None else "",
        losses=_losses(outbound),
        trace=trace_of(exchange),
    )


def _losses(outbound: Outbound | None) -> list[LossRecord]:
    """Return what did not get across, there and back; most requests lose nothing."""
    losses = outbound.losses if outbound is not None else ()
    return loss_records((loss.path, loss.weight.word, loss.why) for loss in losses) if losses else []
