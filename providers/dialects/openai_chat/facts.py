"""A request's facts, and the few edits that a passed-through body gets."""

import json
from collections.abc import Mapping

from providers.canonical.inbound import Facts, Operation
from providers.dialects.fields import clean_name, read_count, read_flag, read_text, read_value, require
from providers.dialects.needs import Needs, Sign, contents, wants_thinking
from providers.dialects.openai_chat.wire import EMBEDDINGS
from providers.wire.splice import Members, read_members, splice
from tenants.errors import InvalidRequest

# https://platform.openai.com/docs/api-reference/chat/create
SIGNS = (Sign("images", b'"image_url"'), Sign("audio", b'"input_audio"'), Sign("documents", b'"file"'))


def read_facts(members: Members, operation: Operation) -> Facts:
    """Read what the gateway needs to know; raises InvalidRequest naming the field that is wrong."""
    model = read_text(members, "model")
    if operation is EMBEDDINGS:
        require(members, "input", b'"[', "a text, a list of texts or a list of tokens")
        return Facts(model=model, size=len(members.raw), end_user=_end_user(members))
    require(members, "messages", b"[", "a list of messages")
    is_stream = read_flag(members, "stream")
    max_tokens = read_count(members, "max_completion_tokens")
    return Facts(
        model=model,
        size=len(members.raw),
        is_stream=is_stream,
        wants_usage=not is_stream or _wants_usage(members),
        max_output_tokens=max_tokens if max_tokens is not None else read_count(members, "max_tokens"),
        choices=read_count(members, "n") or 1,
        end_user=_end_user(members),
        session=clean_name(read_value(members, "prompt_cache_key")),
        needs=Needs(members, _needs),
    )


def passthrough_edits(
    members: Members, facts: Facts, model: str, accepts_stream_options: bool
) -> Mapping[str, bytes | None]:
    """Return the edits: the upstream's model name, and the usage chunk, which is always asked for."""
    edits: dict[str, bytes | None] = {}
    if model != facts.model:
        edits["model"] = json.dumps(model).encode()
    if facts.is_stream and not facts.wants_usage and accepts_stream_options:
        edits["stream_options"] = _with_usage(members)
    return edits


def _with_usage(members: Members) -> bytes:
    options = members.get("stream_options")
    kept = b"{}" if options is None or options == b"null" else options
    return splice(read_members(kept), {"include_usage": b"true"})


def _wants_usage(members: Members) -> bool:
    options = read_value(members, "stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("'stream_options' must be an object.", param="stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _end_user(members: Members) -> str:
    return clean_name(read_value(members, "safety_identifier")) or clean_name(read_value(members, "user"))


def _needs(members: Members) -> list[str]:
    needs = contents(members.raw, SIGNS)
    if members.has("tools") or members.has("functions"):
        needs.append("tools")
    if wants_thinking(members, "reasoning_effort", "reasoning", "thinking"):
        needs.append("thinking")
    if members.has("audio"):  # the answer is to be spoken
        needs.append("audio")
    return needs
