"""Names and shapes of the format."""

from typing import Any

from providers.canonical.identifiers import Rule
from providers.canonical.inbound import Operation
from providers.wire.json import write_json

NAME = "openai_responses"

CHAT = Operation(
    name="chat", dialect=NAME, kind="chat", path="/responses", continues_conversations=True, keeps_conversations=True
)
COUNT_TOKENS = Operation(
    name="count_tokens",
    dialect=NAME,
    kind="chat",
    path="/responses/input_tokens",
    is_free=True,
    continues_conversations=True,
)

OPERATIONS = {operation.name: operation for operation in (CHAT, COUNT_TOKENS)}

TOOL_NAME = Rule(allowed=r"a-zA-Z0-9_\-", max_length=64)
END_USER = Rule(allowed=r"\x20-\x7e", max_length=128)

ENCRYPTED = "reasoning.encrypted_content"  # what `include` calls the seals of reasoning
LOGPROBS = "message.output_text.logprobs"
BEHIND = "~"  # stands after a packed seal that belongs to the part before its reasoning item
LEAST_OUTPUT_TOKENS = 16  # a smaller max_output_tokens is refused
SERVICE_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})

# What clients look for in a failure's code; anything else is a server error to them.
FAILURE_CODES = {
    "rate_limit": "rate_limit_exceeded",
    "billing": "insufficient_quota",
    "invalid_request": "invalid_prompt",
    "too_large": "invalid_prompt",
}
KNOWN_CODES = frozenset(
    {"context_length_exceeded", "insufficient_quota", "usage_not_included", "rate_limit_exceeded", "invalid_prompt"}
)


def call_id_rule(length: int) -> Rule:
    """Return the rule for ids of tool calls; the characters are free."""
    return Rule(allowed=r"\x21-\x7e", max_length=length)


def frame(event: dict[str, Any]) -> bytes:
    """Return one event of a stream; its name is its type."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), write_json(event))
