"""Content blocks, each in its own shape."""

import re
from collections.abc import Callable, Iterable, Iterator

from providers.simulator.ask import Json
from providers.simulator.messages.checks import refuse, require, require_tag

TOOL_ID = re.compile(r"^[a-zA-Z0-9_-]+$")
TOOL_CHANGES = {"tool_addition", "tool_removal"}
BLOCKS = {
    "user": {"text", "image", "document", "search_result", "tool_result", "container_upload", *TOOL_CHANGES},
    "assistant": {
        *("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "document"),
        *("mcp_tool_use", "mcp_tool_listing", "compaction", "fallback"),
    },
    "system": {"text", *TOOL_CHANGES},
}
RESULT_BLOCKS = {"text", "image", "document", "search_result", "tool_reference", "browser_state"}
THINKING_BLOCKS = ("thinking", "redacted_thinking")


def system_blocks(system: object) -> list[Json]:
    """Check the system prompt; return its blocks."""
    if system is None or isinstance(system, str):
        return [{"type": "text", "text": system}] if system else []
    return _blocks(system, "system", {"text"})


def message_blocks(message: Json, where: str, *, is_last: bool) -> list[Json]:
    """Check what a message holds; return its blocks."""
    role, content = message["role"], message.get("content")
    require(content is not None, f"{where}.content: Field required")
    if isinstance(content, str):
        is_prefill = is_last and role == "assistant"
        require(content != "" or is_prefill, f"{where}: all messages must have non-empty content")
        is_trailing = is_prefill and content != content.rstrip()
        require(not is_trailing, "messages: final assistant content cannot end with trailing whitespace")
        return [{"type": "text", "text": content}] if content else []
    require(content != [], f"{where}: all messages must have non-empty content")
    return _blocks(content, f"{where}.content", BLOCKS[role])


def _blocks(content: object, where: str, allowed: set[str]) -> list[Json]:
    if not isinstance(content, list):
        refuse(f"{where}: Input should be a valid list")
    for index, block in enumerate(content):
        at = f"{where}.{index}"
        require(isinstance(block, dict), f"{at}: Input should be an object")
        tag = block.get("type")
        if not ("server_tool_use" in allowed and isinstance(tag, str) and is_server_result(tag)):
            require_tag(tag, allowed, at)
        if check := _CHECKS.get(str(tag)):
            check(block, at)
    return list(content)


def is_cited(block: Json) -> bool:
    """Whether a text holds citations, also inside a search result."""
    if block["type"] == "search_result" and isinstance(block.get("content"), list):
        return any(is_cited(inner) for inner in block["content"] if isinstance(inner, dict) and "type" in inner)
    return block["type"] == "text" and bool(block.get("citations"))


def is_server_result(tag: str) -> bool:
    """Results of server tools are an open family: web_search_tool_result, code_execution_tool_result, …"""
    return tag.endswith("_tool_result")


def texts_of(blocks: Iterable[Json]) -> Iterator[str]:
    """All text of the blocks, of tool results too, but not of thoughts."""
    for block in blocks:
        if block["type"] == "text":
            yield block["text"]
        elif block["type"] == "tool_result":
            content = block.get("content") or ()
            yield from [content] if isinstance(content, str) else texts_of(content)


def _check_text(block: Json, where: str) -> None:
    require(isinstance(block.get("text"), str), f"{where}.text.text: Field required")
    require(block["text"] != "", "messages: text content blocks must be non-empty")


def _check_tool_use(block: Json, where: str) -> None:
    call_id = block.get("id")
    is_id = isinstance(call_id, str) and TOOL_ID.match(call_id)
    require(bool(is_id), f"{where}.tool_use.id: String should match pattern '{TOOL_ID.pattern}'")
    is_name = isinstance(block.get("name"), str) and 1 <= len(block["name"]) <= 200
    require(is_name, f"{where}.tool_use.name: String should have at least 1 character")
    is_object = isinstance(block.get("input"), dict)
    require(is_object, f"{where}.tool_use.input: Input should be a valid dictionary")


def _check_tool_result(block: Json, where: str) -> None:
    call_id = block.get("tool_use_id")
    is_id = isinstance(call_id, str) and TOOL_ID.match(call_id)
    require(bool(is_id), f"{where}.tool_result.tool_use_id: String should match pattern '{TOOL_ID.pattern}'")
    content = block.get("content")
    if content is not None and not isinstance(content, str):
        _blocks(content, f"{where}.tool_result.content", RESULT_BLOCKS)


def _check_thought(block: Json, where: str) -> None:
    for field in ("thinking", "signature"):
        require(isinstance(block.get(field), str), f"{where}.thinking.{field}: Field required")


_CHECKS: dict[str, Callable[[Json, str], None]] = {
    "text": _check_text,
    "tool_use": _check_tool_use,
    "tool_result": _check_tool_result,
    "thinking": _check_thought,
}
