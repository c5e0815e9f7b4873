"""Token counts that add up. Pure."""

from decimal import Decimal

import msgspec

MAX_TOKENS = 100_000_000  # more than any request can have: nonsense must not become a bill


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

    def merge(self, later: "Usage") -> "Usage":
        """Take each field from the later report that has it: reports are cumulative, not increments."""
        known = {name: value for name in self.__struct_fields__ if (value := getattr(later, name)) is not None}
        return msgspec.structs.replace(self, **known) if known else self


NOTHING_REPORTED = Usage()


def count(value: object) -> int | None:
    """Return a token count; None, as if not reported, for what is none: no number, negative, or absurdly large."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= MAX_TOKENS else None  # NaN is not between them
