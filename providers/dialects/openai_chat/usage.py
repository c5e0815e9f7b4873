"""Token counts: OpenAI's overlap (its prompt count includes cached tokens), ours are disjoint."""

from typing import Any

from providers.canonical.usage import NOTHING_REPORTED, Usage, count
from providers.dialects.fields import read_usage_member


def read_usage(body: bytes) -> Usage:
    """Read a whole answer's usage; nothing where there is none."""
    usage = read_usage_member(body)
    return usage_of(usage) if usage is not None else NOTHING_REPORTED


def usage_of(usage: dict[str, Any]) -> Usage:
    """Turn OpenAI's overlapping counts into disjoint ones."""
    prompt = count(usage.get("prompt_tokens"))
    details = _details(usage.get("prompt_tokens_details"))
    cached = count(details.get("cached_tokens"))
    if cached is None:
        cached = count(usage.get("prompt_cache_hit_tokens", usage.get("cached_tokens")))  # DeepSeek, Moonshot
    written = count(details.get("cache_write_tokens"))
    completion = count(usage.get("completion_tokens"))
    reasoning = count(_details(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    return Usage(
        input=None if prompt is None else max(0, prompt - (cached or 0) - (written or 0)),
        cache_read=cached if prompt is None or cached is None else min(cached, prompt),
        cache_write_5m=written if prompt is None or written is None else min(written, max(0, prompt - (cached or 0))),
        output=completion,
        reasoning=reasoning if completion is None or reasoning is None else min(reasoning, completion),
    )


def _details(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def reported_usage(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """Return the counts that a chunk or a whole answer brings: at its top, or where Groq and Moonshot have put them."""
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    for holder in (chunk, chunk.get("x_groq"), first):
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            return usage
    return None


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return disjoint counts as OpenAI counts them; what was not reported is left out of the details."""
    written = None
    if usage.cache_write_5m is not None or usage.cache_write_1h is not None:
        written = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
    prompt = (usage.input or 0) + (usage.cache_read or 0) + (written or 0)
    completion = usage.output or 0
    counts: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    prompt_details = _known(cached_tokens=usage.cache_read, cache_write_tokens=written)
    if prompt_details:
        counts["prompt_tokens_details"] = prompt_details
    if usage.reasoning is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return counts


def _known(**counts: int | None) -> dict[str, int]:
    return {name: value for name, value in counts.items() if value is not None}
