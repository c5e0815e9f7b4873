"""Names and shapes of the format."""

from collections.abc import Mapping, Sequence
from typing import Any

from providers.canonical.events import Stop
from providers.canonical.identifiers import Rule
from providers.canonical.inbound import Operation

NAME = "openai_chat"

CHAT = Operation(name="chat", dialect=NAME, kind="chat", path="/chat/completions")
EMBEDDINGS = Operation(name="embeddings", dialect=NAME, kind="embedding", path="/embeddings")

OPERATIONS = {operation.name: operation for operation in (CHAT, EMBEDDINGS)}

CREATED = 1_767_225_600  # 2026-01-01: an alias has no date that would mean anything to a client

TOOL_NAMES = Rule(allowed="a-zA-Z0-9_-", max_length=64)
CALL_IDS = r"\x21-\x7e"  # any character that can be seen
MAX_STOPS = 4
MAX_END_USER = 64  # characters of safety_identifier
SERVICE_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
CACHE_LIFETIMES = frozenset({"30m", "12h"})
DEFAULT_FILE_NAME = "document.pdf"  # a file needs one; as good as none

INSTRUCTIONS = frozenset({"system", "developer"})

# Where a thought signature of Gemini's stands, in its own compatible format.
EXTRA_CONTENT = "extra_content"
SEAL_OF_CALL = f"{EXTRA_CONTENT}.google.thought_signature"

# Reasoning is no part of the official format; these are the fields in which servers write it.
REASONING_TEXTS = ("reasoning_content", "reasoning")
REASONING_DETAILS = "reasoning_details"

# How the format calls what is canonical.
NAMES: Mapping[str, str] = {
    "system": "messages",
    "turns": "messages",
    "sampling.max_output_tokens": "max_completion_tokens",
    "sampling.temperature": "temperature",
    "sampling.top_p": "top_p",
    "sampling.top_k": "top_k",
    "sampling.stop": "stop",
    "sampling.seed": "seed",
    "sampling.presence_penalty": "presence_penalty",
    "sampling.frequency_penalty": "frequency_penalty",
    "sampling.choices": "n",
    "sampling.logprobs": "logprobs",
    "sampling.top_logprobs": "top_logprobs",
    "reasoning": "reasoning_effort",
    "reasoning.effort": "reasoning_effort",
    "response_format": "response_format",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tools": "parallel_tool_calls",
    "verbosity": "verbosity",
    "end_user": "safety_identifier",
    "cache_key": "prompt_cache_key",
    "service_tier": "service_tier",
    "metadata": "metadata",
    "cache": "prompt_cache_breakpoint",
    "seal": SEAL_OF_CALL,
    "citations": "annotations",
}

FINISH_REASONS: Mapping[Stop, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause": "stop",
    "max_tokens": "length",
    "context_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

# What servers say beyond OpenAI's own five; what is not here is an ordinary end.
STOPS: Mapping[str, Stop] = {
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "max_tokens",
    "content_filter": "refusal",
    "sensitive": "refusal",
    "blacklist": "refusal",
    "model_context_window_exceeded": "context_exceeded",
}
NO_STOP_SEQUENCES = frozenset({"stop", "eos", "end_turn", "tool_use", "tool_calls", "max_tokens", "length"})
BROKEN_FINISHES = frozenset({"error", "network_error", "insufficient_system_resource", "abort"})


def model(name: str) -> dict[str, Any]:
    """Return one entry of the list of models."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "tollgate"}


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """Return the list of models."""
    return {"object": "list", "data": [model(name) for name in names]}
