"""countTokens: https://ai.google.dev/api/tokens"""

from typing import Any

from providers.canonical.usage import count
from providers.dialects.base import TokenCounter
from providers.dialects.fields import read_object
from providers.dialects.gemini.wire import token_count
from providers.wire.json import read_json, write_json


def write_body(request: bytes) -> bytes:
    """Return a request as countTokens takes it.

    It takes contents alone, or a whole request that names its model, which a body does not: so instructions and tools
    are counted as contents.
    """
    body: dict[str, Any] = read_json(request)
    contents = list(body.get("contents", []))
    system = body.get("systemInstruction")
    if isinstance(system, dict) and system.get("parts"):
        contents.insert(0, {"role": "user", "parts": system["parts"]})
    if body.get("tools"):
        contents.insert(0, {"role": "user", "parts": [{"text": write_json(body["tools"]).decode()}]})
    return write_json({"contents": contents})


def read_count(body: bytes) -> int | None:
    """Return the count of an answer; None when there is none."""
    answer = read_object(body)
    return None if answer is None else count(answer.get("totalTokens"))


def write_answer(total: int) -> bytes:
    """Return the answer to a client."""
    return write_json(token_count(total))


COUNTER = TokenCounter(write_body=write_body, read=read_count, write_answer=write_answer)
