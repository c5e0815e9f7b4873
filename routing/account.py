"""The account of one exchange: settled once, however it ends."""

from time import monotonic

import structlog

from routing.exchange import Exchange
from routing.meter import price_exchange
from tenants.limits.admission import Admission, Reservation
from tenants.usage_event import UsageEvent, encode

log = structlog.get_logger("tollgate.account")


class Account:
    """Holds a reservation until the exchange has an outcome."""

    __slots__ = ("_admission", "_exchange", "_is_settled", "_reservation", "_worker")

    def __init__(self, admission: Admission, exchange: Exchange, reservation: Reservation, worker: str) -> None:
        self._admission = admission
        self._exchange = exchange
        self._reservation = reservation
        self._worker = worker
        self._is_settled = False

    async def settle(self, outcome: str, *, status: int, error_code: str = "") -> None:
        """Price what was used and append it to the ledger's stream; the first call counts, later ones do nothing."""
        if self._is_settled:
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
    )
