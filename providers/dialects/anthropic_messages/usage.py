"""Token counts as Anthropic reports them: disjoint already, and cache writes have kinds.

https://platform.claude.com/docs/en/api/messages
"""

from typing import Any

import msgspec

from providers.canonical.usage import NOTHING_REPORTED, Usage, add, at_most, count, service_tier
from providers.dialects.reports import details, read_report, reported_cost, take_report

INSIDE = frozenset({"message", "fallback_message"})  # iterations that the sums at the top count
CACHE = ("cache_read_input_tokens", "cache_creation_input_tokens")


def read_usage(body: bytes) -> Usage:
    """Read a whole answer's usage; nothing where there is none."""
    usage = read_report(body)
    return usage_of(usage) if usage is not None else NOTHING_REPORTED


def usage_of(usage: dict[str, Any]) -> Usage:
    """Read the counts, with those of iterations that are charged beside the answer's own.

    What an advisor used is priced as the model's own: the format names it, and we have no price for it here.
    """
    own = _counts(usage)
    if own.input is None:  # it will be estimated with all that was cached, which must not count twice
        own = msgspec.structs.replace(own, cache_read=None, cache_write_5m=None, cache_write_1h=None)
    iterations = usage.get("iterations")
    for each in iterations if isinstance(iterations, list) and own.input is not None else ():
        if _is_beside(each):
            own = _sum(own, _counts(each))
    return own


def _is_beside(iteration: Any) -> bool:
    """Whether the sums at the top leave an iteration out: a compaction, an advisor."""
    return isinstance(iteration, dict) and isinstance(iteration.get("type"), str) and iteration["type"] not in INSIDE


def _counts(usage: dict[str, Any]) -> Usage:
    """Read one set of counts; a cache write without its kind is one of five minutes, Anthropic's default."""
    written = count(usage.get("cache_creation_input_tokens"))
    kinds = details(usage, "cache_creation")
    hour = count(kinds.get("ephemeral_1h_input_tokens"))
    minutes = count(kinds.get("ephemeral_5m_input_tokens"))
    if written is not None:
        minutes = max(minutes or 0, written - (hour or 0))
    output = count(usage.get("output_tokens"))
    return Usage(
        input=count(usage.get("input_tokens")),
        cache_read=count(usage.get("cache_read_input_tokens")),
        cache_write_5m=minutes,
        cache_write_1h=hour,
        output=output,
        reasoning=at_most(count(details(usage, "output_tokens_details").get("thinking_tokens")), output),
        reported_cost=reported_cost(usage),
        service_tier=service_tier(usage.get("service_tier")) or service_tier(usage.get("speed")),
    )


def _sum(one: Usage, other: Usage) -> Usage:
    """Add what was used beside the answer; where the answer's own sums are missing, they stay so."""
    return msgspec.structs.replace(
        one,
        input=None if one.input is None else count(one.input + (other.input or 0)),
        cache_read=count(add(one.cache_read, other.cache_read)),
        cache_write_5m=count(add(one.cache_write_5m, other.cache_write_5m)),
        cache_write_1h=count(add(one.cache_write_1h, other.cache_write_1h)),
        output=None if one.output is None else count(one.output + (other.output or 0)),
    )


def merge_report(reported: dict[str, Any], usage: Any) -> None:
    """Take a later report into what was reported so far: cumulative, and nonsense takes nothing away.

    `message_delta` repeats the sum of the cache writes without their kinds, which `message_start` told. Where only the
    later report knows of a cache, its input is without what was cached, be it nothing.
    """
    take_report(reported, usage)
    if (
        isinstance(usage, dict)
        and count(usage.get("input_tokens")) == 0
        and any(count(usage.get(name)) for name in CACHE)
    ):
        reported["input_tokens"] = 0


def opening_report(message: dict[str, Any]) -> dict[str, Any] | None:
    """Return the usage in `message_start`: what comes out is not known then, and its count a placeholder."""
    usage = message.get("usage")
    if not isinstance(usage, dict):
        return None
    return {name: value for name, value in usage.items() if not name.startswith("output_tokens")}


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
