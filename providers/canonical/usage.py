"""Token counts that add up. Pure."""

from dataclasses import dataclass, fields, replace

MAX_TOKENS = 1_000_000_000  # more than any answer can have: an upstream's nonsense must not become a bill


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Disjoint counts: input + cache_read + cache_write_* + output is all. None = not reported, 0 = reported as zero."""

    input: int | None = None  # without cached tokens
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None  # reasoning included
    reasoning: int | None = None  # part of output

    @property
    def is_reported(self) -> bool:
        """Whether the upstream said how much went in or came out."""
        return self.input is not None or self.output is not None

    def merge(self, later: "Usage") -> "Usage":
        """Take each field from the later report that has it: reports are cumulative, not increments."""
        known = {
            field.name: value for field in fields(later) if (value := getattr(later, field.name)) is not None
        }
        return replace(self, **known) if known else self


NOTHING_REPORTED = Usage()


def count(value: object) -> int | None:
    """Return a token count, clamped to what is possible; None for anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if value != value:  # NaN
        return None
    return max(0, min(int(min(value, MAX_TOKENS)), MAX_TOKENS))
