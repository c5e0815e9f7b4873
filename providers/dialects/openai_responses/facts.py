"""A request's facts, and the one edit that a passed-through body gets."""

import json
from collections.abc import Mapping

from providers.canonical.inbound import Facts, Operation
from providers.dialects.fields import clean_name, read_count, read_flag, read_text, read_value, require
from providers.dialects.needs import Needs, Sign, contents, wants_thinking
from providers.wire.splice import Members

# https://platform.openai.com/docs/api-reference/responses/create
SIGNS = (
    Sign("images", b'"input_image"'),
    Sign("audio", b'"input_audio"'),
    Sign("documents", b'"input_file"'),
    Sign("tools", b'"additional_tools"'),
)
KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt")  # any of them may stand for the input


def read_facts(members: Members, operation: Operation) -> Facts:
    """Read what the gateway needs to know; raises InvalidRequest naming the field that is wrong."""
    model = read_text(members, "model")
    if "input" in members or not any(name in members for name in KEPT_ELSEWHERE):
        require(members, "input", b'"[', "a text or a list of items")
    return Facts(
        model=model,
        size=len(members.raw),
        is_stream=read_flag(members, "stream"),
        max_output_tokens=read_count(members, "max_output_tokens"),
        end_user=clean_name(read_value(members, "safety_identifier")) or clean_name(read_value(members, "user")),
        session=clean_name(read_value(members, "prompt_cache_key")),
        needs=Needs(members, _needs),
    )


def passthrough_edits(
    members: Members, facts: Facts, model: str, accepts_stream_options: bool
) -> Mapping[str, bytes | None]:
    """Return the edit: the upstream's model name."""
    return {"model": json.dumps(model).encode()} if model != facts.model else {}


def _needs(members: Members) -> list[str]:
    needs = contents(members.raw, SIGNS)
    if members.has("tools"):
        needs.append("tools")
    if wants_thinking(members, "reasoning"):
        needs.append("thinking")
    return needs
