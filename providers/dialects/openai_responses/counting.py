"""Counting a request's tokens without answering it: https://platform.openai.com/docs/api-reference/responses/input-tokens"""

from providers.canonical.usage import count
from providers.dialects.fields import read_object
from providers.wire.json import read_json, write_json

# What the counting endpoint knows of a request.
COUNTED = frozenset(
    {
        "conversation", "input", "instructions", "model", "parallel_tool_calls", "previous_response_id", "reasoning",
        "text", "tool_choice", "tools", "truncation",
    }
)  # fmt: skip


def write_body(body: bytes) -> bytes:
    """Return a written request as the counting endpoint takes it."""
    return write_json({name: value for name, value in read_json(body).items() if name in COUNTED})


def read(body: bytes) -> int | None:
    """Return the count in an answer; None when there is none."""
    return count((read_object(body) or {}).get("input_tokens"))


def write_answer(tokens: int) -> bytes:
    """Return the answer to a count of tokens."""
    return write_json({"object": "response.input_tokens", "input_tokens": tokens})
