"""What a model takes, where its dialect alone does not tell: parameters that are gated by model. Pure.

First the table below, by the model's name; then what the upstream itself says of its models (`GET /v1/models/{id}` of
Anthropic), which wins. Sources: docs.anthropic.com (Messages, models), platform.openai.com (reasoning models),
ai.google.dev (thinking, thought signatures).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec

from providers.canonical.request import EFFORTS, Effort


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are the most permissive."""

    takes_sampling: bool = True  # temperature, top_p, top_k
    takes_temperature_with_top_p: bool = True  # False: one of them
    takes_stop: bool = True
    takes_forced_tools: bool = True
    takes_system_turns: bool = True  # instructions in mid-conversation
    takes_prefill: bool = True  # a last turn that is the assistant's
    takes_images: bool = True
    takes_documents: bool = True
    takes_schema: bool = True  # structured output
    takes_cache_breakpoints: bool = True  # OpenAI's: marks in the prompt; a cache key is taken by all
    thinking: frozenset[str] = frozenset({"enabled", "adaptive", "disabled"})  # Anthropic's types; also between_tools
    efforts: tuple[Effort, ...] = EFFORTS  # () = the model does not reason
    thinking_style: Literal["level", "budget"] = "level"  # Gemini's
    thinking_tokens: tuple[int, int] = (0, 32_768)  # the least and the most of a budget; Gemini's
    needs_signatures: bool = False  # Gemini's 3 and later: a call must come back with its thought signature
    max_tokens_field: str = "max_completion_tokens"  # Chat Completions'
    instructions_role: Literal["system", "developer"] = "system"  # Chat Completions'
    max_output_tokens: int | None = None


PERMISSIVE = Profile()

_OF_OPENAI: dict[str, Any] = {"takes_stop": False, "instructions_role": "developer"}  # those that reason
_OLDER: dict[str, Any] = {**_OF_OPENAI, "takes_cache_breakpoints": False}

_NO_THOUGHT: dict[str, Any] = {"efforts": (), "takes_cache_breakpoints": False}

_NOT_ENABLED = frozenset({"adaptive", "disabled"})
_ALWAYS_THINKS = frozenset({"adaptive", "between_tools"})

# The first row that matches counts. Names as vendors write them, with or without a prefix and a date.
_TABLE: tuple[tuple[re.Pattern[str], dict[str, Any]], ...] = tuple(
    (re.compile(pattern), changes)
    for pattern, changes in (
        (
            r"claude-(?:sonnet|opus)-5[.-]5|claude-fable-5[.-][1-9](?!\d)",
            {"takes_sampling": False, "takes_prefill": False, "takes_forced_tools": False, "thinking": _ALWAYS_THINKS},
        ),
        (r"claude-fable-5", {"takes_sampling": False, "takes_prefill": False, "thinking": frozenset({"adaptive"})}),
        (r"claude-haiku-5[.-]5", {"takes_sampling": False, "takes_prefill": False, "thinking": _NOT_ENABLED}),
        (
            r"claude-(?:opus|sonnet|haiku)-5",
            {"takes_sampling": False, "takes_prefill": False, "thinking": _NOT_ENABLED},
        ),
        (
            r"claude-opus-4[.-][78]",
            {"takes_sampling": False, "takes_prefill": False, "takes_system_turns": False, "thinking": _NOT_ENABLED},
        ),
        (
            r"claude-(?:opus|sonnet)-4[.-]6",
            {"takes_temperature_with_top_p": False, "takes_prefill": False, "takes_system_turns": False},
        ),
        (
            r"claude",
            {
                "takes_temperature_with_top_p": False,
                "takes_system_turns": False,
                "takes_schema": False,
                "thinking": frozenset({"enabled", "disabled"}),
            },
        ),
        (r"gpt-3", {**_NO_THOUGHT, "max_output_tokens": 4_096}),
        (r"gpt-4o", {**_NO_THOUGHT, "max_output_tokens": 16_384}),
        (r"gpt-4\.1", {**_NO_THOUGHT, "max_output_tokens": 32_768}),
        (r"gpt-4", _NO_THOUGHT),
        (r"(?:^|/)o[134](?:-|$)", {**_OLDER, "takes_sampling": False, "efforts": ("low", "medium", "high")}),
        (r"gpt-5(?![.\d])", {**_OLDER, "takes_sampling": False, "efforts": ("minimal", "low", "medium", "high")}),
        (r"gpt-5\.1(?!\d)(?!.*codex-max)", {**_OLDER, "efforts": ("none", "low", "medium", "high")}),
        (r"gpt-5\.[1-5](?!\d)", {**_OLDER, "efforts": ("none", "low", "medium", "high", "xhigh")}),
        (r"gpt-[5-9]", {**_OF_OPENAI, "efforts": ("none", "low", "medium", "high", "xhigh", "max")}),
        (r"gemini-(?:1|2\.0)", {"efforts": (), "thinking_style": "budget"}),
        (r"gemini-2\.5-pro", {"thinking_style": "budget", "thinking_tokens": (128, 32_768)}),
        (r"gemini-2\.5", {"thinking_style": "budget", "thinking_tokens": (0, 24_576)}),
        (r"gemini-3-pro", {"needs_signatures": True, "efforts": ("low", "high")}),
        (r"gemini-3(?:\.1)?-flash", {"needs_signatures": True, "efforts": ("minimal", "low", "medium", "high")}),
        (r"gemini", {"needs_signatures": True, "efforts": ("low", "medium", "high")}),
        # Their templates refuse instructions that do not come first.
        (r"(?i:qwen|gemma)", {"takes_system_turns": False}),
    )
)


@lru_cache(maxsize=4096)
def named_profile(model: str) -> Profile:
    """Return what the table says of a model's name."""
    for pattern, changes in _TABLE:
        if pattern.search(model):
            return Profile(**changes)
    return PERMISSIVE


def profile_of(model: str, capabilities: Mapping[str, Any] | None = None) -> Profile:
    """Return what a model takes; `capabilities` is the upstream's own description, as it came."""
    profile = named_profile(model)
    return profile if not capabilities else _described(profile, capabilities)


def decisive(model: str, capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `profile_of` needs of a description; {} when it says no more than the model's name does."""
    if profile_of(model, capabilities) == named_profile(model):
        return {}
    return {name: capabilities[name] for name in ("capabilities", "max_tokens") if name in capabilities}


def _described(profile: Profile, capabilities: Mapping[str, Any]) -> Profile:
    said = capabilities.get("capabilities")
    changes: dict[str, Any] = {}
    if isinstance(said, dict):
        for field, name in (
            ("takes_images", "image_input"),
            ("takes_documents", "pdf_input"),
            ("takes_schema", "structured_outputs"),
        ):
            if name in said:
                changes[field] = _is_supported(said[name])
        thinking = said.get("thinking")
        if isinstance(thinking, dict) and isinstance(thinking.get("types"), dict):
            changes["thinking"] = frozenset(name for name, value in thinking["types"].items() if _is_supported(value))
        effort = said.get("effort")
        if isinstance(effort, dict):
            named = tuple(level for level in EFFORTS if _is_supported(effort.get(level)))
            if named:
                changes["efforts"] = named
    limit = capabilities.get("max_tokens")
    if isinstance(limit, int) and limit > 0:
        changes["max_output_tokens"] = limit
    return msgspec.structs.replace(profile, **changes)


def _is_supported(value: Any) -> bool:
    """Whether a capability is there: true, or an object that says so."""
    if isinstance(value, dict):
        return bool(value.get("supported", True))
    return bool(value)


def nearest_effort(wanted: Effort, profile: Profile) -> Effort | None:
    """Return the effort closest to what is wanted among those a model knows, the lower of two; None when it has none."""
    rank = EFFORTS.index
    return min(profile.efforts, key=lambda effort: (abs(rank(effort) - rank(wanted)), rank(effort)), default=None)
