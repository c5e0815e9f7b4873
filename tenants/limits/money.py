"""Money as Valkey counts it: whole nanos, a billionth of a currency's unit. Pure."""

from decimal import ROUND_HALF_EVEN, Decimal

NANO = Decimal("0.000000001")
NANOS_PER_UNIT = 1_000_000_000


def to_nanos(amount: Decimal) -> int:
    """Return an amount in nanos; what is finer is rounded half to even."""
    return int((amount * NANOS_PER_UNIT).to_integral_value(rounding=ROUND_HALF_EVEN))


def from_nanos(nanos: int) -> Decimal:
    """Return nanos as an amount."""
    return Decimal(nanos).scaleb(-9)


def show(nanos: int, currency: str) -> str:
    """Return nanos for people: two places, or as many as it takes."""
    amount = from_nanos(nanos)
    text = (
        f"{amount.quantize(Decimal('0.01'))}"
        if amount == amount.quantize(Decimal("0.01"))
        else f"{amount.normalize():f}"
    )
    return f"{text} {currency}"
