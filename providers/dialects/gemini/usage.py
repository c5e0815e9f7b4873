"""Gemini's counts: the prompt's include what was cached, the candidates' exclude what was thought."""

from typing import Any

import msgspec

from providers.canonical.usage import NOTHING_REPORTED, Usage, count


class _Answer(msgspec.Struct, rename="camel"):
    """The one member of a whole answer that is read; the rest is skipped without being built."""

    usage_metadata: Any = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_chunks = msgspec.json.Decoder(list[_Answer]).decode


def read_usage(body: bytes) -> Usage:
    """Read a whole answer's usage; nothing where there is none."""
    try:
        answers = _decode_chunks(body) if body.lstrip()[:1] == b"[" else [_decode_answer(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NOTHING_REPORTED
    reports = [answer.usage_metadata for answer in answers if isinstance(answer.usage_metadata, dict)]
    return usage_of(reports[-1]) if reports else NOTHING_REPORTED


def usage_of(usage: dict[str, Any]) -> Usage:
    """Turn overlapping counts into disjoint ones."""
    prompt = count(usage.get("promptTokenCount"))
    cached = count(usage.get("cachedContentTokenCount"))
    tool_use = count(usage.get("toolUsePromptTokenCount"))
    candidates = count(usage.get("candidatesTokenCount"))
    thoughts = count(usage.get("thoughtsTokenCount"))
    if prompt is not None and cached is not None:
        cached = min(cached, prompt)
    return Usage(
        input=_sum(None if prompt is None else prompt - (cached or 0), tool_use),
        cache_read=cached,
        output=_sum(candidates, thoughts),
        reasoning=thoughts,
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return the counts as the format has them; empty when there are none."""
    prompt = _sum(usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h)
    reasoning = usage.reasoning if usage.output is None else min(usage.reasoning or 0, usage.output)
    counts = {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": None if usage.output is None else usage.output - (reasoning or 0),
        "thoughtsTokenCount": reasoning or None,
        "totalTokenCount": _sum(prompt, usage.output),
    }
    return {name: value for name, value in counts.items() if value is not None}


def _sum(*counts: int | None) -> int | None:
    """Add what is known; None when nothing is."""
    known = [value for value in counts if value is not None]
    return sum(known) if known else None
