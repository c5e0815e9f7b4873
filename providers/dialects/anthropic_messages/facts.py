"""A request's facts, and the one edit that a passed-through body gets.

Nothing but the model's name is ever changed: a thinking block is bound to the bytes before it, and is refused when any
of them changed.
"""

import json
from collections.abc import Mapping

from providers.canonical.inbound import Facts, Operation
from providers.dialects.fields import (
    clean_name,
    read_count,
    read_flag,
    read_object,
    read_text,
    read_value,
    require,
)
from providers.dialects.needs import Needs, Sign, contents, wants_thinking
from providers.wire.splice import Members

# https://docs.anthropic.com/en/api/messages: both have a source, so most bodies are searched once. There is no audio.
SOURCE = b'"source"'
SIGNS = (Sign("images", b'"image"'), Sign("documents", b'"document"'))


def read_facts(members: Members, operation: Operation) -> Facts:
    """Read what the gateway needs to know; raises InvalidRequest naming the field that is wrong."""
    model = read_text(members, "model")
    require(members, "messages", b"[", "a list of messages")
    end_user, session = who_asks(read_value(members, "metadata"))
    return Facts(
        model=model,
        size=len(members.raw),
        is_stream=read_flag(members, "stream"),
        max_output_tokens=read_count(members, "max_tokens"),
        end_user=end_user,
        session=session,
        needs=Needs(members, _needs),
    )


def passthrough_edits(
    members: Members, facts: Facts, model: str, accepts_stream_options: bool
) -> Mapping[str, bytes | None]:
    """Return the edit: the upstream's model name."""
    return {"model": json.dumps(model).encode()} if model != facts.model else {}


def who_asks(metadata: object) -> tuple[str, str]:
    """Return who asks, and in which session; empty where a request's metadata do not say.

    Claude Code says both in one text: "user_<device>_account_<account>_session_<session>", and since 2.1.78 a JSON
    document. Who asks must not change with the session: limits are counted by it.
    """
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user_id, str):
        return "", ""
    document = read_object(user_id.encode("utf-8", "surrogatepass")) if user_id.startswith("{") else None
    if document is not None:
        who = clean_name(document.get("account_uuid")) or clean_name(document.get("device_id"))
        return who, clean_name(document.get("session_id"))
    who, _, session = user_id.partition("_session_")
    return clean_name(who), clean_name(session)


def _needs(members: Members) -> list[str]:
    needs = contents(members.raw, SIGNS) if SOURCE in members.raw else []
    if members.has("tools"):
        needs.append("tools")
    if wants_thinking(members, "thinking"):
        needs.append("thinking")
    return needs
