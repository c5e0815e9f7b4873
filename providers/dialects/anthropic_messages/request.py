"""A request's facts, and the one edit that a passed-through body gets.

Nothing but the model's name is ever changed: a thinking block is bound to the bytes before it, and is refused when any
of them changed.
"""

import json
from collections.abc import Mapping

from providers.canonical.inbound import Facts, Operation
from providers.dialects.fields import clean_name, read_count, read_flag, read_text, read_value, require
from providers.wire.splice import Members

NO_NEEDS: frozenset[str] = frozenset()


def read_facts(members: Members, operation: Operation) -> Facts:
    """Read what the gateway needs to know; raises InvalidRequest naming the field that is wrong."""
    model = read_text(members, "model")
    require(members, "messages", b"[", "a list of messages")
    return Facts(
        model=model,
        size=len(members.raw),
        is_stream=read_flag(members, "stream"),
        max_output_tokens=read_count(members, "max_tokens"),
        end_user=_end_user(members),
        needs=_needs(members),
    )


def passthrough_edits(
    members: Members, facts: Facts, model: str, accepts_stream_options: bool
) -> Mapping[str, bytes | None]:
    """Return the edit: the upstream's model name."""
    return {"model": json.dumps(model).encode()} if model != facts.model else {}


def _end_user(members: Members) -> str:
    metadata = read_value(members, "metadata")
    return clean_name(metadata.get("user_id")) if isinstance(metadata, dict) else ""


def _needs(members: Members) -> frozenset[str]:
    needs = {name for name in ("tools", "thinking") if name in members}
    return frozenset(needs) if needs else NO_NEEDS
