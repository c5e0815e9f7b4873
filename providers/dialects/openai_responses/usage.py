"""Reading usage, and writing it.

The count of input includes cached tokens; ours does not. What is written to the cache is kept for 30 minutes or for 12
hours: our shorter and our longer lifetime.
"""

from typing import Any

from providers.canonical.usage import NOTHING_REPORTED, Usage, count
from providers.dialects.fields import read_usage_member


def read_usage(body: bytes) -> Usage:
    """Read a whole answer's usage; nothing where there is none."""
    usage = read_usage_member(body)
    return usage_of(usage) if usage is not None else NOTHING_REPORTED


def usage_of(usage: dict[str, Any]) -> Usage:
    """Turn OpenAI's overlapping counts into disjoint ones."""
    total = count(usage.get("input_tokens"))
    details = _details(usage.get("input_tokens_details"))
    cached, written = count(details.get("cached_tokens")), count(details.get("cache_write_tokens"))
    long = count(_details(details.get("cache_write_tokens_details")).get("ttl_12h_tokens"))
    output = count(usage.get("output_tokens"))
    reasoning = count(_details(usage.get("output_tokens_details")).get("reasoning_tokens"))
    if total is None:
        return Usage(output=output, reasoning=_at_most(reasoning, output))
    cached = _at_most(cached, total)
    written = _at_most(written, total - (cached or 0))
    long = _at_most(long, written or 0)
    return Usage(
        input=total - (cached or 0) - (written or 0),
        cache_read=cached,
        cache_write_5m=None if written is None else written - (long or 0),
        cache_write_1h=long,
        output=output,
        reasoning=_at_most(reasoning, output),
    )


def write_usage(usage: Usage) -> dict[str, Any] | None:
    """Return the counts as the format has them, both details included; None when nothing was reported.

    Codex refuses an answer whose usage lacks one of the details.
    """
    if not usage.is_reported:
        return None
    short, long = usage.cache_write_5m or 0, usage.cache_write_1h
    cached, written = usage.cache_read or 0, short + (long or 0)
    total, output = (usage.input or 0) + cached + written, usage.output or 0
    details: dict[str, Any] = {"cached_tokens": cached, "cache_write_tokens": written}
    if long is not None:
        details["cache_write_tokens_details"] = {"ttl_30m_tokens": short, "ttl_12h_tokens": long}
    return {
        "input_tokens": total,
        "input_tokens_details": details,
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": total + output,
    }


def _at_most(number: int | None, limit: int | None) -> int | None:
    return number if number is None or limit is None else min(number, limit)


def _details(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
