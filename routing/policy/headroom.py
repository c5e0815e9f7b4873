"""What a vendor says is left of the account's limits. Pure; times are seconds since 1970.

Sources: https://platform.openai.com/docs/guides/rate-limits and https://console.groq.com/docs/rate-limits
(`x-ratelimit-…`, resets as durations: "1s", "6m0s", "120ms"); https://docs.anthropic.com/en/api/rate-limits
(`anthropic-ratelimit-…`, resets as RFC 3339 times).
"""

import math
from collections.abc import Sequence

import msgspec

from routing.policy.retry_after import reset_moment


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of one limit, and until when that holds."""

    remaining: int
    resets_at: float
    limit: int | None = None  # None: not said


class Headroom(msgspec.Struct, frozen=True, kw_only=True):
    """What is left; None: the vendor did not say, or not until when."""

    requests: Allowance | None = None
    tokens: Allowance | None = None

    @property
    def resets_at(self) -> float:
        """When nothing of this holds any more."""
        return max((each.resets_at for each in (self.requests, self.tokens) if each is not None), default=0.0)


def _field_names() -> dict[bytes, tuple[str, str]]:
    """Each header with what it is about and which of the three numbers it is."""
    kinds = {"x": ("requests", "tokens"), "anthropic": ("requests", "tokens", "input-tokens", "output-tokens")}
    fields: dict[bytes, tuple[str, str]] = {}
    for part in ("limit", "remaining", "reset"):
        fields |= {f"x-ratelimit-{part}-{kind}".encode(): (kind, part) for kind in kinds["x"]}
        fields |= {f"anthropic-ratelimit-{kind}-{part}".encode(): (kind, part) for kind in kinds["anthropic"]}
    return fields


FIELDS = _field_names()
# With so much left nothing runs out before the next answer tells: then the rest need not be read.
ENOUGH = {"requests": 200, "tokens": 400_000, "input-tokens": 1, "output-tokens": 1}
REMAINING = {name: ENOUGH[kind] for name, (kind, part) in FIELDS.items() if part == "remaining"}


def is_scarce(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether an answer's headers say that so little is left that it matters."""
    for name, value in headers:
        if (enough := REMAINING.get(name)) is not None:
            remaining = int(value) if value.isdigit() else _count(value.decode("latin-1"))
            if remaining is not None and remaining < enough:
                return True
    return False


def read_headroom(headers: Sequence[tuple[bytes, bytes]], now: float) -> Headroom | None:
    """Return what an answer's headers say is left; None when they say nothing that can be used."""
    said: dict[str, dict[str, str]] = {}
    for name, value in headers:
        if (field := FIELDS.get(name)) is not None:
            kind, part = field
            said.setdefault(kind, {})[part] = value.decode("latin-1")
    if not said:
        return None
    allowances = {kind: _allowance(parts, now) for kind, parts in said.items()}
    requests, tokens = allowances.get("requests"), _tokens(allowances)
    return None if requests is tokens is None else Headroom(requests=requests, tokens=tokens)


def _tokens(allowances: dict[str, Allowance | None]) -> Allowance | None:
    """Return what is left of tokens.

    Anthropic's limits on input and on output alone count only when they are used up: what a request needs is known as
    one number, and comparing that with one side of it would refuse what fits.
    """
    both = allowances.get("tokens")
    sides = [allowances.get("input-tokens"), allowances.get("output-tokens")]
    spent = [each for each in (*sides, both) if each is not None and each.remaining == 0]
    return max(spent, key=lambda each: each.resets_at) if spent else both


def _allowance(parts: dict[str, str], now: float) -> Allowance | None:
    remaining, reset = _count(parts.get("remaining")), parts.get("reset")
    resets_at = reset_moment(reset, now) if reset is not None else None
    if remaining is None or resets_at is None:
        return None
    return Allowance(remaining=remaining, resets_at=resets_at, limit=_count(parts.get("limit")))


def _count(text: str | None) -> int | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return max(0, int(number)) if math.isfinite(number) else None
