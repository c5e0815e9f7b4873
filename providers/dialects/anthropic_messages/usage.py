"""Token counts as Anthropic reports them: disjoint already, and cache writes have kinds."""

from typing import Any

from providers.canonical.usage import NOTHING_REPORTED, Usage, count
from providers.dialects.fields import read_usage_member


def read_usage(body: bytes) -> Usage:
    """Read a whole answer's usage; nothing where there is none."""
    usage = read_usage_member(body)
    return usage_of(usage) if usage is not None else NOTHING_REPORTED


def usage_of(usage: dict[str, Any]) -> Usage:
    """Read the counts; a cache write without its kind is one of five minutes, Anthropic's default."""
    written = count(usage.get("cache_creation_input_tokens"))
    kinds = usage.get("cache_creation")
    hour = count(kinds.get("ephemeral_1h_input_tokens")) if isinstance(kinds, dict) else None
    minutes = count(kinds.get("ephemeral_5m_input_tokens")) if isinstance(kinds, dict) else None
    if written is not None:
        minutes = max(minutes or 0, written - (hour or 0))
    output = count(usage.get("output_tokens"))
    details = usage.get("output_tokens_details")
    reasoning = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    return Usage(
        input=count(usage.get("input_tokens")),
        cache_read=count(usage.get("cache_read_input_tokens")),
        cache_write_5m=minutes,
        cache_write_1h=hour,
        output=output,
        reasoning=reasoning if output is None or reasoning is None else min(reasoning, output),
    )


def merge_report(reported: dict[str, Any], usage: Any) -> None:
    """Take a later report into the counts so far: cumulative, and null takes nothing away.

    `message_delta` repeats the sum of the cache writes without their kinds, which `message_start` told.
    """
    if isinstance(usage, dict):
        reported |= {name: value for name, value in usage.items() if isinstance(value, int | float | dict)}


def as_reported(usage: Usage) -> dict[str, Any]:
    """Return the counts as Anthropic spells them; what nobody reported is zero, for clients insist on numbers."""
    minutes, hour = usage.cache_write_5m or 0, usage.cache_write_1h or 0
    counts: dict[str, Any] = {
        "input_tokens": usage.input or 0,
        "cache_creation_input_tokens": minutes + hour,
        "cache_read_input_tokens": usage.cache_read or 0,
        "cache_creation": {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour},
        "output_tokens": usage.output or 0,
    }
    if usage.reasoning is not None:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counts
