"""What a request asks for, in no dialect's words."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

type Json = dict[str, Any]


class ToolKind(StrEnum):
    """What a call of the tool carries: JSON arguments, free text, or an action of the vendor's own."""

    FUNCTION = "function"
    CUSTOM = "custom"
    LOCAL_SHELL = "local_shell"
    SHELL = "shell"
    APPLY_PATCH = "apply_patch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    name: str
    schema: Json = field(default_factory=dict)
    kind: ToolKind = ToolKind.FUNCTION
    namespace: str = ""


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
    is_tool_result: bool = False  # the last turn answers calls
    task: str = ""  # what the user said before the tool loop that goes on
    results: tuple[str, ...] = ()  # what tools have answered in that loop
    schema: Json | None = None  # the answer must be JSON of this schema
    seals: int = 0  # sealed thoughts that came back, and were ours
    unsealed: str = ""  # how a model that needs its thoughts back refuses this request; "" = they are there
    is_volatile: bool = False  # it depends on more than the request


def count_words(texts: Iterable[str]) -> int:
    """Input tokens: words between white space, at least one."""
    return max(1, sum(len(text.split()) for text in texts))
