"""A request for an answer, in no vendor's words. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from providers.canonical.losses import Native
from providers.canonical.parts import Foreign, Part, Text

type Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")  # in rising order


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One speaker's turn. Tool results come first in a user turn; `system` is an instruction in mid-conversation.

    Turns of one speaker that follow each other are two turns here, and mean the same as one.
    """

    role: Literal["user", "assistant", "system"]
    parts: tuple[Part, ...] = ()
    at: str = ""
    native: Native | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the client runs."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None  # JSON Schema as the client wrote it; None when there is none
    is_strict: bool | None = None
    kind: Literal["function", "custom"] = "function"
    grammar: Mapping[str, Any] | None = None  # of a custom tool: {"type": "grammar", "syntax": ..., "definition": ...}
    namespace: str = ""
    namespace_description: str = ""
    cache: str | None = None
    at: str = ""
    native: Native | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Whether tools may, must or must not be called."""

    mode: Literal["auto", "required", "none", "named"]
    name: str = ""  # of the tool to call, for "named"
    kind: Literal["function", "custom"] = "function"
    allowed: tuple[str, ...] | None = None  # only these; None: all
    native: Native | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn. None = not asked for."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    choices: int | None = None  # how many answers
    logprobs: bool | None = None
    top_logprobs: int | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much the model is to think, and whether the client wants to read it. None = not asked for.

    effort "none" means no thinking at all, however it was spelled.
    """

    effort: Effort | None = None
    budget: int | None = None  # tokens
    mode: Literal["enabled", "adaptive", "between_tools"] | None = None  # Anthropic's word, where one was said
    shows: bool | None = None  # thoughts, or a summary of them, in the answer
    native: Native | None = None


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer's text has to be."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str = ""
    description: str = ""
    schema: Mapping[str, Any] | None = None
    is_strict: bool | None = None
    native: Native | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks a model.

    `names` tells how the client's dialect calls a canonical field ("sampling.stop" → "stop_sequences"): a dialect's
    constant, for losses and errors.
    """

    model: str
    system: tuple[Text | Foreign, ...] = ()  # instructions before the first turn
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool | Foreign, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    sampling: Sampling = Sampling()
    reasoning: Reasoning | None = None
    response_format: ResponseFormat | None = None
    verbosity: str | None = None  # low, medium, high
    end_user: str | None = None
    cache_key: str | None = None  # what a client wants its prompt cached under
    service_tier: str | None = None  # auto, default, flex, priority, fast, ...
    metadata: Mapping[str, str] | None = None
    is_stream: bool = False
    wants_usage: bool = True  # False: a client of a stream that did not ask for its usage
    names: Mapping[str, str] = {}
    native: Native | None = None

    def where(self, field: str) -> str:
        """Return what the client calls a canonical field."""
        return self.names.get(field, field.rpartition(".")[2])
