"""When an upstream says that it may be asked again: seconds, dates, milliseconds, and the vendors' reset headers. Pure.

Sources: RFC 9110 section 10.2.3; https://platform.openai.com/docs/guides/rate-limits (x-ratelimit-reset-*, "6m0s");
https://docs.anthropic.com/en/api/rate-limits (anthropic-ratelimit-*-reset, RFC 3339).
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

type HeaderPairs = Sequence[tuple[bytes, bytes]]

LONGEST_WAIT = 7 * 86_400.0  # seconds; whoever says more is not to be believed
EPOCH_SECONDS = 1_000_000_000.0  # a plain number above this is a moment, below it a duration
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NOTHING_LEFT = frozenset({"0", "0.0"})


def told_wait(headers: HeaderPairs, now: float, *, in_body: float | None = None) -> float | None:
    """Return the seconds that an upstream asks to be left alone; None when it does not say. `now` is since 1970."""
    said = {name: value for name, value in headers if name in _DIRECT}
    waits = (_milliseconds(said.get(b"retry-after-ms")), _retry_after(said.get(b"retry-after"), now), in_body)
    for wait in waits:
        if wait is not None and 0 <= wait <= LONGEST_WAIT:
            return wait
    return _reset(headers, now)


def duration(text: str) -> float | None:
    """Return the seconds of "6m0s", "120ms", "1.5" or "2"; None when it is none of these."""
    text = text.strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            return None
        return sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
    return number if math.isfinite(number) else None


def moment(text: str) -> float | None:
    """Return the seconds since 1970 of an RFC 3339 time; None when it is none."""
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


_DIRECT = frozenset({b"retry-after", b"retry-after-ms"})


def _milliseconds(value: bytes | None) -> float | None:
    wait = duration(value.decode("latin-1")) if value is not None else None
    return wait / 1000 if wait is not None else None


def _retry_after(value: bytes | None, now: float) -> float | None:
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    wait = duration(text)
    if wait is not None:
        return wait
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _reset(headers: HeaderPairs, now: float) -> float | None:
    """Return when the limit that is used up begins anew: the latest of them, for all have to have room."""
    limits = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if b"ratelimit" in name}
    waits = []
    for name, value in limits.items():
        if "-remaining" not in name or value.strip() not in _NOTHING_LEFT:
            continue
        reset = limits.get(name.replace("-remaining", "-reset"))
        wait = _until(reset, now) if reset is not None else None
        if wait is not None and 0 <= wait <= LONGEST_WAIT:
            waits.append(wait)
    return max(waits, default=None)


def reset_moment(text: str, now: float) -> float | None:
    """Return the seconds since 1970 of a reset: a duration, a moment in seconds, or an RFC 3339 time."""
    seconds = duration(text)
    if seconds is None:
        return moment(text)
    if seconds < 0:
        return None
    return seconds if seconds > EPOCH_SECONDS else now + seconds


def _until(text: str, now: float) -> float | None:
    at = reset_moment(text, now)
    return max(0.0, at - now) if at is not None else None
