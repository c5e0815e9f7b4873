"""Token counts: OpenAI's overlap (its prompt count includes cached tokens), ours are disjoint.

https://platform.openai.com/docs/api-reference/chat/object. Vendors have their own fields beside OpenAI's, and their own
places for the whole; what they mean is told by the field, never by the vendor's name.
"""

from typing import Any

import msgspec

from providers.canonical.usage import NOTHING_REPORTED, Usage, at_most, count, seconds, service_tier
from providers.dialects.reports import details, is_outside, read_report, reported_cost, take_report, with_tier

# Of the prompt, where the details do not say it: DeepSeek, Moonshot, Mistral.
CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")


class _Holder(msgspec.Struct):
    usage: Any = None


class _Elsewhere(msgspec.Struct):
    """Where a whole answer's usage stands when it is not at its top."""

    x_groq: Any = None
    choices: list[_Holder] = []


_decode_elsewhere = msgspec.json.Decoder(_Elsewhere).decode


def read_usage(body: bytes) -> Usage:
    """Read a whole answer's usage; nothing where there is none."""
    usage = read_report(body)
    if not usage:
        usage = _read_elsewhere(body)
    return usage_of(usage) if usage else NOTHING_REPORTED


def _read_elsewhere(body: bytes) -> dict[str, Any] | None:
    try:
        answer = _decode_elsewhere(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    choices = [{"usage": choice.usage} for choice in answer.choices]
    return reported_usage({"x_groq": answer.x_groq, "choices": choices})


def usage_of(usage: dict[str, Any]) -> Usage:
    """Turn OpenAI's overlapping counts into disjoint ones."""
    inside, made = details(usage, "prompt_tokens_details"), details(usage, "completion_tokens_details")
    prompt, cached = _prompt(usage, inside)
    output, reasoning = _completion(usage, prompt, made)
    cached = at_most(cached, prompt)
    fresh = None if prompt is None else prompt - (cached or 0)
    written = at_most(count(inside.get("cache_write_tokens")), fresh)
    if fresh and written:
        fresh -= written
    heard, spoken = inside.get("audio_tokens"), made.get("audio_tokens")
    said = None if output is None else output - (reasoning or 0)
    listened = usage.get("prompt_audio_seconds")  # Mistral
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write_5m=written,
        output=output,
        reasoning=reasoning,
        audio_input=at_most(count(heard), fresh) or None if heard else None,
        audio_output=at_most(count(spoken), said) or None if spoken else None,
        seconds=seconds(listened) if listened else None,
        reported_cost=reported_cost(usage),
        service_tier=service_tier(usage.get("service_tier")),
    )


def _prompt(usage: dict[str, Any], inside: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return the tokens of the whole prompt, and how many of them were read from a cache."""
    prompt = count(usage.get("prompt_tokens"))
    cached = count(inside.get("cached_tokens"))
    if cached is not None:
        return prompt, cached
    for name in CACHED:
        if name in usage and cached is None:
            cached = count(usage[name])
    if prompt is None and cached is not None:  # DeepSeek's two halves
        missed = count(usage.get("prompt_cache_miss_tokens"))
        prompt = None if missed is None else count(missed + cached)
    # GigaChat counts what it had cached beside the prompt, and the total is what it charges for:
    # https://developers.sber.ru/docs/ru/gigachat/guides/counting-tokens
    beside = count(usage.get("precached_prompt_tokens"))
    if beside is None or prompt is None:
        return prompt, cached
    is_inside = count(usage.get("total_tokens")) == prompt + (count(usage.get("completion_tokens")) or 0) - beside
    return prompt if is_inside else count(prompt + beside), beside


def _completion(usage: dict[str, Any], prompt: int | None, made: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return the tokens of the whole completion, and how many of them were reasoning."""
    completion = count(usage.get("completion_tokens"))
    reasoning = count(made.get("reasoning_tokens"))
    if completion is None or not reasoning:
        return completion, at_most(reasoning, completion)
    if is_outside(reasoning, prompt, completion, count(usage.get("total_tokens"))):
        completion += reasoning
    return completion, min(reasoning, completion)


def take_chunk(reported: dict[str, Any], chunk: dict[str, Any]) -> bool:
    """Take what a chunk or a whole answer reports into what was reported so far; return whether it has a report."""
    usage = reported_usage(chunk)
    if usage is not None:
        take_report(reported, with_tier(usage, chunk.get("service_tier")))
    return usage is not None


def reported_usage(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """Return the counts that a chunk or a whole answer brings: at its top, or where Groq and Moonshot have put them."""
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    found = None
    for holder in (chunk, chunk.get("x_groq"), first):
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict) and not found:
            found = usage if usage or found is None else found
    return found


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
