"""What usage costs. Pure: Decimal in, Decimal out, rounded once.

Money is in the price's currency, to ten places (`numeric(20,10)` in the ledger).
"""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

import msgspec

from providers.canonical.usage import Usage

TEN_PLACES = Decimal("0.0000000001")
ZERO = Decimal(0)


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Prices in force from a moment on. None = no such price; 0 = free."""

    side: Literal["sell", "cost"]
    effective_from: float  # seconds since 1970
    currency: str = "USD"
    per: int = 1_000_000  # tokens that a price is for
    input: Decimal | None = None
    cache_read: Decimal | None = None  # None: as input
    cache_write_5m: Decimal | None = None  # None: as input
    cache_write_1h: Decimal | None = None  # None: as cache_write_5m
    output: Decimal | None = None
    reasoning: Decimal | None = None  # None: as output
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    image: Decimal | None = None
    per_request: Decimal | None = None
    tiers: tuple[dict[str, str | int], ...] = ()


def price_at(prices: tuple[Price, ...], side: str, moment: float) -> Price | None:
    """Return the price of a side that is in force at a moment (seconds since 1970)."""
    best: Price | None = None
    for price in prices:
        is_in_force = price.side == side and price.effective_from <= moment
        if is_in_force and (best is None or price.effective_from > best.effective_from):
            best = price
    return best


def cost(usage: Usage, price: Price) -> Decimal | None:
    """Return what usage costs; None when something was used that has no price."""
    price = _tier(usage, price)
    read = price.cache_read if price.cache_read is not None else price.input
    write_5m = price.cache_write_5m if price.cache_write_5m is not None else price.input
    write_1h = price.cache_write_1h if price.cache_write_1h is not None else write_5m
    reasoning_price = price.reasoning if price.reasoning is not None else price.output
    output = usage.output or 0
    reasoning = min(usage.reasoning or 0, output)
    total = ZERO
    for tokens, unit in (
        (usage.input, price.input),
        (usage.cache_read, read),
        (usage.cache_write_5m, write_5m),
        (usage.cache_write_1h, write_1h),
        (output - reasoning, price.output),
        (reasoning, reasoning_price),
    ):
        if not tokens:
            continue
        if unit is None:
            return None
        total += tokens * unit
    total /= price.per
    if price.per_request is not None:
        total += price.per_request
    return total.quantize(TEN_PLACES, rounding=ROUND_HALF_EVEN)


def _tier(usage: Usage, price: Price) -> Price:
    """Return the price of the highest tier that the prompt's size reaches."""
    if not price.tiers:
        return price
    size = sum(tokens or 0 for tokens in (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h))
    reached = [tier for tier in price.tiers if size > int(tier["above"])]
    if not reached:
        return price
    tier = max(reached, key=lambda tier: int(tier["above"]))
    changes = {name: Decimal(str(value)) for name, value in tier.items() if name != "above"}
    return msgspec.structs.replace(price, **changes)
