"""What a request asks for, in no dialect's words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    name: str
    schema: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    model: str = ""
    text: str = ""  # where a marker may stand: the last user message
    input_tokens: int = 1
    stream: bool = False
    include_usage: bool = True  # in a stream
    choices: int = 1
    max_tokens: int | None = None
    tools: tuple[Tool, ...] = ()  # those that may be called now
    must_call: bool = False
    parallel: bool = True
    is_tool_result: bool = False  # the last message answers a call
    schema: Json | None = None  # the answer must be JSON of this schema


def count_words(texts: Iterable[str]) -> int:
    """Input tokens: words between white space, at least one."""
    return max(1, sum(len(text.split()) for text in texts))
