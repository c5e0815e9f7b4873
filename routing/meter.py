"""What an exchange used and what that costs. Pure but for the clock."""

from decimal import Decimal

from providers.canonical.estimate import BYTES_PER_TOKEN
from providers.canonical.usage import Usage
from providers.pricing import cost, price_at
from routing.exchange import Exchange

LEFT = frozenset({"client_gone", "shutdown"})  # outcomes of requests that were not waited for


def price_exchange(exchange: Exchange) -> None:
    """Set usage, cost and how sure they are: exact, estimated (not reported to the end), or unpriced."""
    if exchange.deployment is None:
        return
    is_free = exchange.operation is not None and exchange.operation.is_free
    # A client that leaves has used what it has got, and what an upstream was working on for it: that charges us, too.
    is_used = exchange.outcome == "served" or exchange.frames > 0
    is_left = exchange.outcome in LEFT and (exchange.generating or exchange.usage.is_reported)
    is_billed = not is_free and (is_used or is_left)
    is_estimated = is_billed and not exchange.is_usage_final
    if is_estimated:
        exchange.usage = estimate(exchange)
    usage = exchange.usage
    prices = exchange.deployment.facts.prices
    sell = price_at(prices, "sell", exchange.started_at)
    bought = price_at(prices, "cost", exchange.started_at)
    amount = cost(usage, sell) if sell is not None else None
    exchange.cost_price = cost(usage, bought) if bought is not None and is_billed else None
    if sell is not None:
        exchange.currency = sell.currency
    if not is_billed:
        exchange.cost, exchange.cost_status = Decimal(0), "exact"
    elif amount is None:
        exchange.cost, exchange.cost_status = Decimal(0), "unpriced"
    else:
        exchange.cost, exchange.cost_status = amount, "estimated" if is_estimated else "exact"


def estimate(exchange: Exchange) -> Usage:
    """Fill in what the upstream did not report: a token per four bytes, and one per frame of a stream; flagged as such."""
    size = exchange.facts.size if exchange.facts is not None else 0
    seen = exchange.usage
    known_input = seen.input if seen.input is not None else max(1, size // BYTES_PER_TOKEN)
    delivered = exchange.frames or exchange.answer_size // BYTES_PER_TOKEN
    return seen.merge(Usage(input=known_input, output=max(seen.output or 0, delivered)))
