"""What an exchange used and what that costs. Pure but for the clock."""

from decimal import Decimal

from providers.canonical.estimate import BYTES_PER_TOKEN
from providers.canonical.usage import Usage
from providers.pricing import Price, cost, floor_price, price_at
from routing.exchange import Exchange
from tenants.principal import Principal

ENVELOPE_BYTES = 300  # of a frame beside its text: more than most have, so that nobody is billed for JSON
LEFT = frozenset({"client_gone", "shutdown"})  # outcomes of requests that were not waited for


def is_billed(exchange: Exchange) -> bool:
    """Whether an exchange that has its outcome costs the tenant anything."""
    if exchange.deployment is None or (exchange.operation is not None and exchange.operation.is_free):
        return False
    # A client that leaves has used what it has got, and what an upstream was working on for it: that charges us, too.
    # Whoever stops a request leaves it as well.
    is_ended = exchange.outcome in LEFT or exchange.is_stopped
    is_left = is_ended and (exchange.generating or exchange.usage.is_reported)
    return exchange.outcome == "served" or exchange.frames > 0 or bool(is_left)


def body_to_estimate(exchange: Exchange) -> bytes | None:
    """Return the request's body where the upstream did not say how many tokens it is, and that is billed."""
    if exchange.is_usage_final or exchange.usage.input is not None or exchange.outbound is None:
        return None
    return exchange.outbound.request.inbound.members.raw if is_billed(exchange) else None


def price_exchange(exchange: Exchange, prompt_tokens: int | None = None) -> None:
    """Set usage, cost and how sure they are: exact, estimated (not reported to the end), or unpriced.

    What is unpriced costs nothing, or the floor of a tenant that has one. `prompt_tokens` is the estimate of the prompt.
    """
    if exchange.deployment is None:
        return
    is_charged = is_billed(exchange)
    is_estimated = is_charged and not exchange.is_usage_final
    if is_estimated:
        exchange.usage = estimate(exchange, prompt_tokens)
    prices, moment = exchange.deployment.facts.prices, exchange.started_at
    sell, bought = price_at(prices, "sell", moment), price_at(prices, "cost", moment)
    known = sell or bought
    if known is not None:
        exchange.currency = known.currency
    if not is_charged:
        exchange.cost, exchange.cost_status = Decimal(0), "exact"
        return
    amount = cost(exchange.usage, sell) if sell is not None else None
    if amount is None:
        _bill_floor(exchange)
    else:
        exchange.cost, exchange.cost_status = amount, "estimated" if is_estimated else "exact"
    # What we pay stands beside what is billed, in one currency: in another it would be a wrong margin.
    if bought is not None and bought.currency == exchange.currency:
        exchange.cost_price = cost(exchange.usage, bought)


def _bill_floor(exchange: Exchange) -> None:
    """Bill what has no price, which stays listed as unpriced."""
    exchange.cost, exchange.cost_status = Decimal(0), "unpriced"
    floor = floor_of(exchange.principal) if exchange.principal is not None else None
    if floor is not None:
        exchange.cost, exchange.currency = cost(exchange.usage, floor) or Decimal(0), floor.currency


def floor_of(principal: Principal) -> Price | None:
    """Return what a model without a price is billed at; None for a tenant that is not billed for it."""
    if not principal.bills_floor:
        return None
    return floor_price(principal.floor_input, principal.floor_output, principal.floor_currency)


def estimate(exchange: Exchange, prompt_tokens: int | None = None) -> Usage:
    """Fill in what the upstream did not report; flagged as such.

    A frame of a stream has a token at least, and what exceeds its usual envelope is text.
    """
    seen, frames, size = exchange.usage, exchange.frames, exchange.answer_size
    if prompt_tokens is None:
        prompt_tokens = max(1, (exchange.facts.size if exchange.facts is not None else 0) // BYTES_PER_TOKEN)
    if exchange.operation is not None and exchange.operation.kind == "embedding":
        delivered = 0
    elif frames:
        delivered = max(frames, (size - frames * ENVELOPE_BYTES) // BYTES_PER_TOKEN)
    else:
        delivered = size // BYTES_PER_TOKEN
    known_input = seen.input if seen.input is not None else prompt_tokens
    return seen.merge(Usage(input=known_input, output=max(seen.output or 0, delivered)))
