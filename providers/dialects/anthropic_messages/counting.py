"""Counting a request's tokens: https://docs.anthropic.com/en/api/messages-count-tokens"""

from providers.canonical.usage import count
from providers.dialects.base import TokenCounter
from providers.dialects.fields import read_object
from providers.wire.json import read_json, write_json

# What the endpoint takes; it refuses what only an answer needs.
_COUNTED = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "speed"}
)


def _write_body(body: bytes) -> bytes:
    return write_json({name: value for name, value in read_json(body).items() if name in _COUNTED})


def _read(body: bytes) -> int | None:
    answer = read_object(body)
    return count(answer.get("input_tokens")) if answer is not None else None


def _write_answer(tokens: int) -> bytes:
    return write_json({"input_tokens": tokens})


COUNTER = TokenCounter(write_body=_write_body, read=_read, write_answer=_write_answer)
