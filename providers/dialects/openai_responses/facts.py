"""A request's facts, and the one edit that a passed-through body gets."""

import json
from collections.abc import Mapping

from providers.canonical.inbound import Facts, Operation
from providers.dialects.fields import clean_name, read_count, read_flag, read_text, read_value, require
from providers.wire.splice import Members

NO_NEEDS: frozenset[str] = frozenset()
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
        needs=_needs(members),
    )


def passthrough_edits(
    members: Members, facts: Facts, model: str, accepts_stream_options: bool
) -> Mapping[str, bytes | None]:
    """Return the edit: the upstream's model name."""
    return {"model": json.dumps(model).encode()} if model != facts.model else {}


def _needs(members: Members) -> frozenset[str]:
    if "tools" in members or b'"additional_tools"' in (members.get("input") or b""):
        return frozenset({"tools"})
    return NO_NEEDS
