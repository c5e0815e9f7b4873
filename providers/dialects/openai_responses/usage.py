"""Reading usage, and writing it.

The count of input includes cached tokens; ours does not. What is written to the cache is kept for 30 minutes or for 12
hours: our shorter and our longer lifetime.
"""

from typing import Any

from providers.canonical.usage import NOTHING_REPORTED, Usage, at_most, count, service_tier
from providers.dialects.reports import details, is_outside, read_report, reported_cost, with_tier


def read_usage(body: bytes) -> Usage:
    """Read a whole answer's usage; nothing where there is none."""
    usage = read_report(body)
    return usage_of(usage) if usage is not None else NOTHING_REPORTED


def report_of(response: dict[str, Any]) -> Usage | None:
    """Read the usage of a response and the tier that served it; None where there is no usage.

    At its start a response names the tier that was asked for, which may not be the one that serves it.
    """
    usage = response.get("usage")
    return usage_of(with_tier(usage, response.get("service_tier"))) if isinstance(usage, dict) else None


def usage_of(usage: dict[str, Any]) -> Usage:
    """Turn OpenAI's overlapping counts into disjoint ones."""
    inside, made = details(usage, "input_tokens_details"), details(usage, "output_tokens_details")
    total = count(usage.get("input_tokens"))
    cached = at_most(count(inside.get("cached_tokens")), total)
    fresh = None if total is None else total - (cached or 0)
    written = at_most(count(inside.get("cache_write_tokens")), fresh)
    if fresh and written:
        fresh -= written
    long = count(details(inside, "cache_write_tokens_details").get("ttl_12h_tokens"))
    long = at_most(long, None if total is None else written or 0)
    output, reasoning = _output(usage, total, made)
    heard, spoken = inside.get("audio_tokens"), made.get("audio_tokens")
    said = None if output is None else output - (reasoning or 0)
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write_5m=None if written is None else written - (long or 0),
        cache_write_1h=long,
        output=output,
        reasoning=reasoning,
        audio_input=at_most(count(heard), fresh) or None if heard else None,
        audio_output=at_most(count(spoken), said) or None if spoken else None,
        reported_cost=reported_cost(usage),
        service_tier=service_tier(usage.get("service_tier")),
    )


def _output(usage: dict[str, Any], total_input: int | None, made: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return the tokens of the whole output, and how many of them were reasoning."""
    output = count(usage.get("output_tokens"))
    reasoning = count(made.get("reasoning_tokens"))
    if output is None or not reasoning:
        return output, at_most(reasoning, output)
    if is_outside(reasoning, total_input, output, count(usage.get("total_tokens"))):
        output += reasoning
    return output, min(reasoning, output)


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
