"""Conversations that the gateway keeps for clients that send only what is new."""

from typing import Any

import msgspec

from providers.dialects.nodes import Node, read_member
from providers.wire.json import read_json, write_json
from providers.wire.splice import Members, read_members, splice

# Items that are known by what they hold. An id of ours means nothing to an upstream that looks it up.
_WITHOUT_ID = frozenset({"message", "function_call", "custom_tool_call", "reasoning"})


class _Item(msgspec.Struct):
    """What tells a reference from an item; the rest is skipped without being built."""

    type: str | None = None
    role: msgspec.Raw | None = None
    id: msgspec.Raw | None = None


_decode_items = msgspec.json.Decoder(list[_Item]).decode


def refers_to_items(members: Members) -> bool:
    """Whether the input names an item that an upstream keeps instead of giving it; one pass, nothing is built."""
    if members.first_byte("input") != ord("["):
        return False
    given = members.get("input") or b""
    try:
        return any(_is_reference(item.type, item.role, item.id) for item in _decode_items(given))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # lone surrogates, or what is no item: the slow way
    try:
        items = read_json(given)
    except ValueError:
        return False
    return any(
        _is_reference(item.get("type"), item.get("role"), item.get("id")) for item in items if isinstance(item, dict)
    )


def items_of(response: Node) -> list[Any]:
    """Return the items of an answer as input items of the request that follows it."""
    output = response.get("output")
    return [_as_input(item) for item in output if _is_finished(item)] if isinstance(output, list) else []


def input_items(body: bytes) -> list[Any]:
    """Return a request's input as items: a text is a message of the user's."""
    return _as_items(read_member(read_members(body), "input"))


def with_history(body: bytes, items: list[Any]) -> bytes:
    """Return a request with a conversation before its own input, and without the id that stood for it."""
    members = read_members(body)
    given = _as_items(read_member(members, "input"))
    return splice(members, {"previous_response_id": None, "input": write_json([*items, *given])})


def _as_items(given: Any) -> list[Any]:
    if isinstance(given, list):
        return given
    return [] if given is None else [{"type": "message", "role": "user", "content": given}]


def _is_reference(kind: Any, role: Any, id: Any) -> bool:
    """Whether an item is a reference: what has an id, and neither type nor role, is one."""
    return kind == "item_reference" or (not kind and role is None and id is not None)


def _is_finished(item: Any) -> bool:
    """Whether an item can be given back: a call that was cut off has no output that could follow it."""
    return isinstance(item, dict) and (item.get("status") != "incomplete" or item.get("type") == "message")


def _as_input(item: Node) -> Node:
    if item.get("type") not in _WITHOUT_ID or (item["type"] == "reasoning" and not item.get("encrypted_content")):
        return item
    return {name: value for name, value in item.items() if name not in ("id", "status")}
