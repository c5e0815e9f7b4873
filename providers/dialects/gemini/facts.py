"""A request's facts. The model and the kind of call stand in the path: whoever parses it fills in the model."""

from collections.abc import Mapping
from typing import Any

import msgspec

from providers.canonical.inbound import Facts, Operation
from providers.canonical.usage import count
from providers.dialects.fields import require
from providers.dialects.gemini.wire import COUNT_TOKENS, STREAM
from providers.wire.splice import Members

NO_NEEDS: frozenset[str] = frozenset()
CONFIG = ("generationConfig", "generation_config")


class _Limit(msgspec.Struct, rename="camel"):
    max_output_tokens: Any = None


class _SnakeLimit(msgspec.Struct):
    max_output_tokens: Any = None


_decoders = (msgspec.json.Decoder(_Limit).decode, msgspec.json.Decoder(_SnakeLimit).decode)


def read_facts(members: Members, operation: Operation) -> Facts:
    """Read what the gateway needs to know; raises InvalidRequest naming the field that is wrong."""
    if operation.name != COUNT_TOKENS.name or not _is_wrapped(members):
        require(members, "contents", b"[{", "a list of contents")
    return Facts(
        model="",
        size=len(members.raw),
        is_stream=operation.name == STREAM.name,
        max_output_tokens=_max_output_tokens(members),
        needs=frozenset({"tools"}) if "tools" in members else NO_NEEDS,
    )


def passthrough_edits(
    members: Members, facts: Facts, model: str, accepts_stream_options: bool
) -> Mapping[str, bytes | None]:
    """Return no edit: the body does not name the model."""
    return {}


def _is_wrapped(members: Members) -> bool:
    """Whether the tokens of a whole request are to be counted."""
    return "generateContentRequest" in members or "generate_content_request" in members


def _max_output_tokens(members: Members) -> int | None:
    config = next((members.get(name) for name in CONFIG if name in members), None)
    if config is None:
        return None
    for decode in _decoders:
        try:
            limit = count(decode(config).max_output_tokens)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if limit is not None:
            return limit
    return None
