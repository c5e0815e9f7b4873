"""Gemini's counts: the prompt's include what was cached, the candidates' exclude what was thought.

https://ai.google.dev/api/generate-content#UsageMetadata
"""

from typing import Any

import msgspec

from providers.canonical.usage import NOTHING_REPORTED, Usage, add, at_most, count, service_tier
from providers.dialects.fields import read_object
from providers.dialects.reports import take_report

TIERS = {
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_OFFPEAK": "offpeak",
    "PROVISIONED_THROUGHPUT": "provisioned",
}


class _Answer(msgspec.Struct, rename="camel"):
    """The one member of a whole answer that is read; the rest is skipped without being built."""

    usage_metadata: Any = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_chunks = msgspec.json.Decoder(list[_Answer]).decode


def read_usage(body: bytes) -> Usage:
    """Read the usage of a whole answer, or of a list of chunks; nothing where there is none."""
    try:
        answers = _decode_chunks(body) if body.lstrip()[:1] == b"[" else [_decode_answer(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = read_object(body)  # lone surrogates, and numbers that no double holds
        answers = [] if found is None else [_Answer(usage_metadata=found.get("usageMetadata"))]
    reported: dict[str, Any] = {}
    for answer in answers:
        merge_report(reported, answer.usage_metadata, is_last=answer is answers[-1])
    return usage_of(reported) if reported else NOTHING_REPORTED


def merge_report(reported: dict[str, Any], usage: Any, *, is_last: bool) -> None:
    """Take a later report into what was reported so far: cumulative, and nonsense takes nothing away.

    Zeros are left out: that nothing came out is told by the total, once the answer has ended.
    """
    take_report(reported, usage)
    if is_last and isinstance(usage, dict) and "candidatesTokenCount" not in reported:
        parts = ("promptTokenCount", "toolUsePromptTokenCount", "thoughtsTokenCount")
        known = add(*(count(reported.get(name)) for name in parts))
        if known is not None and known == count(usage.get("totalTokenCount")):
            reported["candidatesTokenCount"] = 0


def usage_of(usage: dict[str, Any]) -> Usage:
    """Turn overlapping counts into disjoint ones."""
    prompt = count(usage.get("promptTokenCount"))
    cached = at_most(count(usage.get("cachedContentTokenCount")), prompt)
    fresh = None if prompt is None else prompt - (cached or 0)
    tool_use = count(usage.get("toolUsePromptTokenCount"))
    thoughts = count(usage.get("thoughtsTokenCount"))
    output = count(add(count(usage.get("candidatesTokenCount")), thoughts))
    spoken = None if output is None else output - (thoughts or 0)
    return Usage(
        input=fresh if fresh is None else count(fresh + (tool_use or 0)),
        cache_read=cached,
        output=output,
        reasoning=at_most(thoughts, output),
        audio_input=at_most(_heard(usage), fresh),
        audio_output=at_most(_audio(usage, "candidatesTokensDetails") or None, spoken),
        service_tier=_tier(usage),
    )


def _heard(usage: dict[str, Any]) -> int | None:
    """Return the tokens of audio in a prompt that were not read from a cache; None where it had no audio."""
    heard = _audio(usage, "promptTokensDetails")
    return max(0, heard - _audio(usage, "cacheTokensDetails")) if heard else None


def _audio(usage: dict[str, Any], name: str) -> int:
    """Return the tokens of audio in one of the lists of counts by modality."""
    tokens, modalities = 0, usage.get(name)
    for each in modalities if isinstance(modalities, list) else ():
        if isinstance(each, dict) and each.get("modality") == "AUDIO":
            tokens += count(each.get("tokenCount")) or 0
    return tokens


def _tier(usage: dict[str, Any]) -> str | None:
    traffic = usage.get("trafficType")
    named = TIERS.get(traffic) if isinstance(traffic, str) else None
    return named or service_tier(usage.get("serviceTier"))


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return the counts as the format has them; empty when there are none."""
    prompt = add(usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h)
    reasoning = usage.reasoning if usage.output is None else min(usage.reasoning or 0, usage.output)
    counts = {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": None if usage.output is None else usage.output - (reasoning or 0),
        "thoughtsTokenCount": reasoning or None,
        "totalTokenCount": add(prompt, usage.output),
    }
    return {name: value for name, value in counts.items() if value is not None}
