"""What usage costs. Pure: Decimal in, Decimal out, rounded once, half even, to nine places (a nano).

A price is prepared once into whole numbers (`_Rates`), so that a bill is exact whatever the digits, and cheap: Valkey counts
the same nanos. Tokens and characters are priced per `per` of them; images, seconds and requests one by one.

Images, characters and seconds say of the same answer what its tokens may say, too. So one of the two without a price is
covered by the other; what was used and is covered by nothing has no cost: None, never 0.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from math import ceil, lcm, sumprod
from typing import Literal

import msgspec

from providers.canonical.usage import Usage

PLACES = 9
MILLION = 1_000_000
ZERO = Decimal(0)
_NANO = Decimal(1).scaleb(-PLACES)
_INPUT_UNITS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input")
_TOKEN_UNITS = (*_INPUT_UNITS, "output", "reasoning", "audio_output")
_MEDIA_UNITS = ("image", "character", "second")
UNITS = (*_TOKEN_UNITS, *_MEDIA_UNITS, "per_request")
_USED_BY = {"chat": frozenset({"input", "output"}), "embedding": frozenset({"input"})}
_NEIGHBOURS = {  # what a unit without a price costs; in this order, for one may lean on another that leans
    "cache_read": "input",
    "cache_write_5m": "input",
    "cache_write_1h": "cache_write_5m",
    "audio_input": "input",
    "reasoning": "output",
    "audio_output": "output",
}


class Price(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Prices in force from a moment on. None = no such price; 0 = free."""

    side: Literal["sell", "cost"]
    effective_from: float  # seconds since 1970
    currency: str = "USD"
    per: int = MILLION  # tokens or characters that a price is for
    input: Decimal | None = None
    cache_read: Decimal | None = None  # None: as input
    cache_write_5m: Decimal | None = None  # None: as input
    cache_write_1h: Decimal | None = None  # None: as cache_write_5m
    output: Decimal | None = None
    reasoning: Decimal | None = None  # None: as output
    audio_input: Decimal | None = None  # None: as input
    audio_output: Decimal | None = None  # None: as output
    image: Decimal | None = None  # each
    character: Decimal | None = None  # spoken
    second: Decimal | None = None  # each, of audio that was heard or made
    per_request: Decimal | None = None
    tiers: tuple[dict[str, str | int | float], ...] = ()  # other prices above a size of the prompt
    multipliers: dict[str, str | int | float] = {}  # of everything, by service tier; a tier that is not there: 1

    @cached_property
    def _prepared(self) -> "dict[str | None, _Steps]":
        return _prepare(self)


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a request can cost, whatever its tier, cache, reasoning and audio; all rounded up."""

    currency: str
    input_nanos_per_million: int  # of the whole prompt, cached or not
    output_nanos_per_million: int
    per_request_nanos: int
    image_nanos: int = 0
    second_nanos: int = 0
    character_nanos_per_million: int = 0

    def of(
        self, *, input_tokens: int, output_tokens: int, images: int = 0, characters: int = 0, seconds: int = 0
    ) -> int:
        """Return the nanos that so much costs at most; seconds are rounded up by the caller."""
        tokens = input_tokens * self.input_nanos_per_million + output_tokens * self.output_nanos_per_million
        most = -(-tokens // MILLION) + self.per_request_nanos
        if images or characters or seconds:
            most += images * self.image_nanos + seconds * self.second_nanos
            most -= -characters * self.character_nanos_per_million // MILLION
        return most


def price_at(prices: tuple[Price, ...], side: str, moment: float) -> Price | None:
    """Return the price of a side that is in force at a moment (seconds since 1970)."""
    best: Price | None = None
    for price in prices:
        is_in_force = price.side == side and price.effective_from <= moment
        if is_in_force and (best is None or price.effective_from > best.effective_from):
            best = price
    return best


def covers(price: Price, kind: str) -> bool:
    """Return whether a price covers what every request of a kind uses: tokens of prompts, and of answers in chats.

    Of other kinds it is known only afterwards by what they are measured.
    """
    needed = _USED_BY.get(kind, frozenset())
    return all(needed.isdisjoint(rates.missing) for _, rates in price._prepared[None])


@lru_cache(maxsize=1024)
def floor_price(input: Decimal | None, output: Decimal | None, currency: str) -> Price:
    """Return a tenant's floor, per million tokens, as the price of a model that has none; what is left out is free."""
    return Price(side="sell", effective_from=0.0, currency=currency, input=input or ZERO, output=output or ZERO)


def cost(usage: Usage, price: Price) -> Decimal | None:
    """Return what usage costs; None when something was used that has no price."""
    nanos = cost_nanos(usage, price)
    return None if nanos is None else as_money(nanos)


def as_money(nanos: int) -> Decimal:
    """Return nanos as an amount, with nine places."""
    return Decimal(nanos) * _NANO


def cost_nanos(usage: Usage, price: Price) -> int | None:
    """Return what usage costs in nanos (10⁻⁹ of the currency); None when something was used that has no price."""
    prepared = price._prepared
    steps = prepared.get(usage.service_tier) or prepared[None]
    counts = _token_counts(usage)
    rates = steps[0][1] if len(steps) == 1 else _reached(steps, sum(counts[: len(_INPUT_UNITS)]))
    total: int = rates.per_request + sumprod(counts, rates.tokens)  # type: ignore[assignment]  # exact: whole numbers
    if usage.images or usage.characters or usage.seconds:
        return _with_media(usage, counts, rates, total)
    if rates.has_gaps and _is_unpaid(counts, rates):
        return None
    whole, rest = divmod(total, rates.divisor)
    return whole if not rest else _rounded(whole, rest, rates.divisor)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit adds to a bill, not rounded to nanos."""

    unit: str  # one of UNITS
    count: Decimal
    price: Decimal  # of `per` tokens or characters, of one of everything else
    amount: Decimal
    is_per: bool  # whether the price is for so many


def lines(usage: Usage, price: Price) -> tuple[Line, ...]:
    """Return what each unit that was used adds to the cost; what has no price adds nothing and is left out."""
    steps = price._prepared.get(usage.service_tier) or price._prepared[None]
    counts = _token_counts(usage)
    rates = _reached(steps, sum(counts[: len(_INPUT_UNITS)]))
    media = zip(_MEDIA_UNITS, (usage.images, usage.characters, usage.seconds), strict=True)
    used = [*zip(_TOKEN_UNITS, counts, rates.tokens, strict=True)]
    used += [(unit, count or 0, rates.media[unit]) for unit, count in media]  # type: ignore[misc]
    used.append(("per_request", 1 if rates.per_request else 0, rates.per_request))
    return tuple(
        _line(unit, Fraction(count), Fraction(rate, rates.divisor), price.per)
        for unit, count, rate in used
        if count and unit not in rates.missing
    )


def _line(unit: str, count: Fraction, nanos: Fraction, per: int) -> Line:
    is_per = unit in _TOKEN_UNITS or unit == "character"
    return Line(
        unit=unit,
        count=_decimal(count),
        price=_decimal(nanos * (per if is_per else 1) / 10**PLACES),
        amount=_decimal(count * nanos / 10**PLACES),
        is_per=is_per,
    )


def _decimal(number: Fraction) -> Decimal:
    return round(Decimal(number.numerator) / Decimal(number.denominator), PLACES + 3)


def ceiling_of(prices: tuple[Price, ...], now: float) -> tuple[Ceiling, ...]:
    """Return the most that a request costs which comes at `now` (seconds since 1970) or later, one for each currency.

    Of what has no price it knows nothing, and a deployment without a price to sell at has no ceiling.
    """
    current = price_at(prices, "sell", now)
    since = current.effective_from if current is not None else now
    found: dict[str, Ceiling] = {}
    for price in prices:
        if price.side == "sell" and price.effective_from >= since:
            ceiling = _ceiling(price)
            known = found.get(price.currency)
            found[price.currency] = ceiling if known is None else _higher(known, ceiling)
    return tuple(found.values())


def most(price: Price, *, input_tokens: int, output_tokens: int) -> int:
    """Return the nanos that so many tokens cost at most, whatever their kinds and the service tier."""
    return _ceiling(price).of(input_tokens=input_tokens, output_tokens=output_tokens)


# --- What is used --------------------------------------------------------------------------------------------


def _token_counts(usage: Usage) -> tuple[int, ...]:
    """Return disjoint counts, in the order of _TOKEN_UNITS; parts that exceed their whole give nothing back."""
    prompt, output = usage.input or 0, usage.output or 0
    heard = min(usage.audio_input, prompt) if usage.audio_input else 0
    reasoning = min(usage.reasoning, output) if usage.reasoning else 0
    spoken = min(usage.audio_output, output - reasoning) if usage.audio_output else 0
    return (
        prompt - heard,
        usage.cache_read or 0,
        usage.cache_write_5m or 0,
        usage.cache_write_1h or 0,
        heard,
        output - reasoning - spoken,
        reasoning,
        spoken,
    )


def _is_unpaid(counts: tuple[int, ...], rates: "_Rates") -> bool:
    """Return whether tokens were used that have no price."""
    return any(count for count, unit in zip(counts, _TOKEN_UNITS, strict=True) if unit in rates.missing)


def _with_media(usage: Usage, counts: tuple[int, ...], rates: "_Rates", total: int) -> int | None:
    """Add what else an answer was measured by: without a price, its tokens must have paid for it, and the reverse."""
    media = {"image": usage.images, "character": usage.characters, "second": usage.seconds}
    used = {unit: Fraction(count) for unit, count in media.items() if count}
    is_paid = any(count for count, unit in zip(counts, _TOKEN_UNITS, strict=True) if unit not in rates.missing)
    if used.keys() <= rates.missing and _is_unpaid(counts, rates):
        return None
    if used.keys() & rates.missing and not is_paid:
        return None
    amount = total + sum(count * rates.media[unit] for unit, count in used.items())
    return round(amount / rates.divisor)  # Fractions are rounded half even


# --- Prepared prices -----------------------------------------------------------------------------------------


class _Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What one of each unit costs, in nanos times the divisor; 0 for those that are missing."""

    divisor: int
    tokens: tuple[int, ...]  # in the order of _TOKEN_UNITS
    media: dict[str, int]  # of image, character and second
    per_request: int
    missing: frozenset[str]  # units without a price
    has_gaps: bool  # some tokens are missing


type _Steps = tuple[tuple[int, _Rates], ...]  # above which size of the prompt, the largest first; -1: always
type _Amounts = dict[str, Fraction | None]  # nanos for one of each unit


def _prepare(price: Price) -> dict[str | None, _Steps]:
    """Return the rates of each service tier that has a multiplier, and those of all others as None."""
    steps = tuple(_steps(price))
    factors: dict[str | None, Fraction] = {name: Fraction(str(each)) for name, each in price.multipliers.items()}
    return {
        name: tuple((above, _rates(amounts, factor)) for above, amounts in steps)
        for name, factor in (factors | {None: Fraction(1)}).items()
    }


def _steps(price: Price) -> Iterator[tuple[int, _Amounts]]:
    """Yield what one of each unit costs above a size of the prompt, the largest size first."""
    usual = {unit: getattr(price, unit) for unit in UNITS}
    for tier in sorted(price.tiers, key=lambda tier: -int(tier["above"])):
        changed = {unit: Decimal(str(value)) for unit, value in tier.items() if unit != "above"}
        yield int(tier["above"]), _amounts(usual | changed, price.per)
    yield -1, _amounts(usual, price.per)


def _amounts(prices: dict[str, Decimal | None], per: int) -> _Amounts:
    """Return nanos for one of each unit, with those of its neighbour where a unit has no price."""
    amounts: _Amounts = {}
    for unit, value in prices.items():
        is_many = unit in _TOKEN_UNITS or unit == "character"
        amounts[unit] = None if value is None else Fraction(value) * 10**PLACES / (per if is_many else 1)
    for unit, neighbour in _NEIGHBOURS.items():
        if amounts[unit] is None:
            amounts[unit] = amounts[neighbour]
    return amounts


def _rates(amounts: _Amounts, factor: Fraction) -> _Rates:
    """Return amounts as whole numbers of a common divisor."""
    known = {unit: amount * factor for unit, amount in amounts.items() if amount is not None}
    divisor = lcm(*(amount.denominator for amount in known.values()))
    whole = {unit: int(known.get(unit, 0) * divisor) for unit in UNITS}
    missing = frozenset(UNITS) - known.keys()
    return _Rates(
        divisor=divisor,
        tokens=tuple(whole[unit] for unit in _TOKEN_UNITS),
        media={unit: whole[unit] for unit in _MEDIA_UNITS},
        per_request=whole["per_request"],
        missing=missing,
        has_gaps=not missing.isdisjoint(_TOKEN_UNITS),
    )


def _reached(steps: _Steps, size: int) -> _Rates:
    """Return the rates of the highest tier that the size of the prompt reaches."""
    return next(rates for above, rates in steps if size > above)


def _rounded(whole: int, rest: int, divisor: int) -> int:
    """Round a quotient with a rest, half even."""
    twice = 2 * rest
    return whole + 1 if twice > divisor or (twice == divisor and whole % 2) else whole


# --- Ceilings ------------------------------------------------------------------------------------------------


def _ceiling(price: Price) -> Ceiling:
    """Return the most that each unit costs in any tier of a price."""
    every = [rates for steps in price._prepared.values() for _, rates in steps]
    return Ceiling(
        currency=price.currency,
        input_nanos_per_million=max(_highest(rates, rates.tokens[: len(_INPUT_UNITS)], MILLION) for rates in every),
        output_nanos_per_million=max(_highest(rates, rates.tokens[len(_INPUT_UNITS) :], MILLION) for rates in every),
        per_request_nanos=max(_highest(rates, (rates.per_request,)) for rates in every),
        image_nanos=max(_highest(rates, (rates.media["image"],)) for rates in every),
        second_nanos=max(_highest(rates, (rates.media["second"],)) for rates in every),
        character_nanos_per_million=max(_highest(rates, (rates.media["character"],), MILLION) for rates in every),
    )


def _highest(rates: _Rates, units: Iterable[int], count: int = 1) -> int:
    """Return the nanos for so many of the dearest of some units, rounded up."""
    return max(ceil(Fraction(rate * count, rates.divisor)) for rate in units)


def _higher(one: Ceiling, other: Ceiling) -> Ceiling:
    """Return what is not below either of two ceilings of a currency."""
    names = [name for name in Ceiling.__struct_fields__ if name != "currency"]
    return msgspec.structs.replace(one, **{name: max(getattr(one, name), getattr(other, name)) for name in names})
