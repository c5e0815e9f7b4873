"""Token counts that add up. Pure."""

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

MAX_TOKENS = 100_000_000  # more than any request can have: nonsense must not become a bill
MAX_SECONDS = 1_000_000  # of audio: eleven days
MAX_COST = 100_000  # US dollars, of one request
COST_PLACES = Decimal("0.0000000001")  # ten, as the ledger has them
MAX_TIER_LENGTH = 16
USUAL_TIERS = frozenset({"auto", "default", "standard", "standard_only", "on_demand", "unspecified"})


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Disjoint counts: input + cache_read + cache_write_* + output is all. None = not reported, 0 = reported as zero."""

    input: int | None = None  # without cached tokens
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None  # reasoning included
    reasoning: int | None = None  # part of output
    audio_input: int | None = None  # tokens, part of input
    audio_output: int | None = None  # tokens, part of output
    images: int | None = None  # made
    characters: int | None = None  # spoken
    seconds: Decimal | None = None  # of audio that was heard or made
    reported_cost: Decimal | None = None  # what the provider says that it charges, in US dollars
    service_tier: str | None = None  # such as batch or flex; None: the usual one

    @property
    def is_reported(self) -> bool:
        """Whether the upstream said how much went in or came out."""
        return self.input is not None or self.output is not None

    @property
    def is_complete(self) -> bool:
        """Whether the upstream said both: what only half is reported is not billed as if the rest were nothing."""
        return self.input is not None and self.output is not None

    @property
    def total(self) -> int:
        """All tokens that were reported, cached ones included."""
        cached = (self.cache_read or 0) + (self.cache_write_5m or 0) + (self.cache_write_1h or 0)
        return (self.input or 0) + cached + (self.output or 0)

    def merge(self, later: "Usage") -> "Usage":
        """Take each field from the later report that has it: reports are cumulative, not increments."""
        known = {name: value for name in self.__struct_fields__ if (value := getattr(later, name)) is not None}
        return msgspec.structs.replace(self, **known) if known else self


NOTHING_REPORTED = Usage()


def count(value: object) -> int | None:
    """Return a token count; None, as if not reported, for what is none: no number, negative, or absurdly large."""
    if type(value) is int:  # as good as always
        return value if 0 <= value <= MAX_TOKENS else None
    if not isinstance(value, float):
        return None
    return int(value) if 0 <= value <= MAX_TOKENS else None  # NaN is not between them


def at_most(number: int | None, limit: int | None) -> int | None:
    """Return a part of a count, which is never larger than the whole; None where either is not reported."""
    return None if number is None or limit is None else min(number, limit)


def add(*counts: int | None) -> int | None:
    """Add what is known; None when nothing is."""
    known = [value for value in counts if value is not None]
    return sum(known) if known else None


def seconds(value: object) -> Decimal | None:
    """Return a duration, exact as it was written; None for what is none."""
    return _amount(value, MAX_SECONDS)


def money(value: object) -> Decimal | None:
    """Return an amount in US dollars that a provider reports, with ten places; None for what is none."""
    amount = _amount(value, MAX_COST)
    return None if amount is None else amount.quantize(COST_PLACES, rounding=ROUND_HALF_EVEN)


def service_tier(value: object) -> str | None:
    """Return the name of a tier that is not the usual one, in lower case; None for that one and for what is no name."""
    if not isinstance(value, str) or value in USUAL_TIERS or not 0 < len(value) <= MAX_TIER_LENGTH:
        return None
    name = value.lower()
    return None if name in USUAL_TIERS or not name.replace("-", "_").isidentifier() or not name.isascii() else name


def _amount(value: object, limit: int) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 <= value <= limit:
        return None  # NaN is not between them
    return Decimal(str(value))
