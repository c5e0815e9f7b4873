"""Names and shapes of the format."""

from collections.abc import Mapping, Sequence
from typing import Any

from providers.canonical.events import Stop
from providers.canonical.identifiers import Rule
from providers.canonical.inbound import Operation

NAME = "anthropic_messages"
VERSION = "2023-06-01"  # of the API, where the client names none: it takes all that we write

CHAT = Operation(name="chat", dialect=NAME, kind="chat", path="/v1/messages")
COUNT_TOKENS = Operation(name="count_tokens", dialect=NAME, kind="chat", path="/v1/messages/count_tokens", is_free=True)

OPERATIONS = {operation.name: operation for operation in (CHAT, COUNT_TOKENS)}

CREATED = "2026-01-01T00:00:00Z"  # an alias has no date that would mean anything to a client

TOOL_NAMES = Rule(allowed="a-zA-Z0-9_-", max_length=128)
CALL_IDS = Rule(allowed="a-zA-Z0-9_-", max_length=128)

# How the format calls what is canonical, where the last word of the canonical name is not its name already.
NAMES: Mapping[str, str] = {
    "sampling.max_output_tokens": "max_tokens",
    "sampling.stop": "stop_sequences",
    "reasoning": "thinking",
    "reasoning.effort": "output_config.effort",
    "reasoning.budget": "thinking.budget_tokens",
    "reasoning.mode": "thinking.type",
    "reasoning.shows": "thinking.display",
    "response_format": "output_config.format",
    "response_format.schema": "output_config.format.schema",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
    "end_user": "metadata.user_id",
    "cache_key": "metadata.user_id",  # Claude Code's names the session too
    "is_stream": "stream",
}

STOPS: Mapping[str, Stop] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "pause_turn": "pause",
    "compaction": "pause",  # beta: the client sends the turn again, as after pause_turn
    "model_context_window_exceeded": "context_exceeded",
}
STOP_REASONS: Mapping[Stop, str] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "pause": "pause_turn",
    "context_exceeded": "model_context_window_exceeded",
}

PDF = "application/pdf"  # the one kind of document that has an address

REDACTED = "redacted_thinking"  # a block's type, and the form of its seal

RAW_ARGUMENTS = "_raw"  # holds arguments that are no JSON object, so that the turn can still be sent again


def model(name: str) -> dict[str, Any]:
    """Return one entry of the list of models."""
    return {"type": "model", "id": name, "display_name": name, "created_at": CREATED}


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """Return the list of models, whole: a gateway's aliases fit one page."""
    return {
        "data": [model(name) for name in names],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }
