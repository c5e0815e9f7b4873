"""A request's facts. The model and the kind of call stand in the path: whoever parses it fills in the model."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from providers.canonical.inbound import Facts, Operation
from providers.canonical.usage import count
from providers.dialects.fields import require
from providers.dialects.gemini.wire import COUNT_TOKENS, STREAM
from providers.dialects.needs import Needs, Sign, contents
from providers.wire.splice import Members

# https://ai.google.dev/api/caching#Blob: what a part is, its MIME type tells.
CAMEL, SNAKE = b'"mimeType"', b'"mime_type"'
MIME_TYPE = (CAMEL + b":", SNAKE + b":")
SIGNS = (
    Sign("images", b'"image/', MIME_TYPE),
    Sign("audio", b'"audio/', MIME_TYPE),
    Sign("documents", b'"application/', MIME_TYPE),
)
CONFIG = ("generationConfig", "generation_config")


class _Config(
    msgspec.Struct, rename={"limit": "maxOutputTokens", "choices": "candidateCount", "thinking": "thinkingConfig"}
):
    """What is read of a generation's settings, in both spellings."""

    limit: Any = None
    choices: Any = None
    candidate_count: Any = None
    max_output_tokens: Any = None
    thinking: Any = None
    thinking_config: Any = None


NO_CONFIG = _Config()
_decode_config = msgspec.json.Decoder(_Config).decode


def read_facts(members: Members, operation: Operation) -> Facts:
    """Read what the gateway needs to know; raises InvalidRequest naming the field that is wrong."""
    if operation.name != COUNT_TOKENS.name or not _is_wrapped(members):
        require(members, "contents", b"[{", "a list of contents")
    config = _config(members)
    limit = count(config.limit)
    return Facts(
        model="",
        size=len(members.raw),
        is_stream=operation.name == STREAM.name,
        max_output_tokens=limit if limit is not None else count(config.max_output_tokens),
        choices=count(config.choices) or count(config.candidate_count) or 1,
        needs=Needs(members, partial(_needs, config=config)),
    )


def passthrough_edits(
    members: Members, facts: Facts, model: str, accepts_stream_options: bool
) -> Mapping[str, bytes | None]:
    """Return no edit: the body does not name the model."""
    return {}


def _is_wrapped(members: Members) -> bool:
    """Whether the tokens of a whole request are to be counted."""
    return "generateContentRequest" in members or "generate_content_request" in members


def _config(members: Members) -> _Config:
    raw = next((members.get(name) for name in CONFIG if name in members), None)
    if raw is None:
        return NO_CONFIG
    try:
        return _decode_config(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NO_CONFIG


def _needs(members: Members, config: _Config) -> list[str]:
    raw = members.raw
    needs = contents(raw, SIGNS) if CAMEL in raw or SNAKE in raw else []
    if members.has("tools"):
        needs.append("tools")
    if _wants_thinking(config.thinking or config.thinking_config):
        needs.append("thinking")
    return needs


def _wants_thinking(settings: Any) -> bool:
    """Whether thinking is asked for; a budget of nothing switches it off."""
    if not isinstance(settings, dict) or not settings:
        return False
    return settings.get("thinkingBudget", settings.get("thinking_budget")) != 0
