"""Writing parts as blocks."""

from collections.abc import Iterable
from typing import Any

from providers.canonical.identifiers import fit
from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.seals import Seal, native_origin
from providers.dialects.anthropic_messages.media_writer import media_source
from providers.dialects.anthropic_messages.spelling import put_back, spelling_of
from providers.dialects.anthropic_messages.wire import CALL_IDS, NAME, RAW_ARGUMENTS, REDACTED
from providers.dialects.anthropic_messages.writing import Writing
from providers.dialects.nodes import Node
from providers.wire.json import read_json


def write_blocks(parts: Iterable[Part], writing: Writing) -> list[Node]:
    """Return the blocks of some parts, without those that cannot be written."""
    return [block for part in parts if (block := _block(part, writing)) is not None]


def _block(part: Part, writing: Writing) -> Node | None:
    if not isinstance(part, Foreign):
        writing.losses.native(part.native, part.at, NAME)
    match part:
        case Text():
            return text_block(part, writing)
        case Media():
            return _media(part, writing)
        case Thinking():
            return _thinking(part, writing)
        case ToolCall():
            return _tool_use(part, writing)
        case ToolResult():
            return _tool_result(part, writing)
        case Foreign():
            block: Node | None = writing.foreign(part)
            return block


def text_block(part: Text, writing: Writing) -> Node | None:
    """Return a block of text; None for an empty one, which the upstream refuses."""
    whole = spelling_of(part.native).whole
    if whole is not None:
        return dict(whole)
    if not part.text:
        writing.losses.cosmetic(part.at, "the upstream refuses an empty text")
        return None
    block: Node = {"type": "text", "text": part.text}
    if part.is_refusal:
        writing.losses.cosmetic(part.at, "the upstream knows a refusal as text only")
    citations = [
        citation.native.form for citation in part.citations if citation.native and citation.native.origin == NAME
    ]
    if citations:
        block["citations"] = citations
    elif part.citations:
        writing.losses.cosmetic(f"{part.at}.citations", "the upstream takes its own citations only")
    _lose_seal(part.seal, part.at, writing)
    writing.mark(block, part.cache, part.at)
    return put_back(block, part.native)


def _lose_seal(seal: Seal | None, at: str, writing: Writing) -> None:
    if seal is not None:
        writing.losses.degrades(f"{at}.seal", "it is the state of another model")


def _media(part: Media, writing: Writing) -> Node | None:
    source = media_source(part, writing)
    if source is None:
        return None
    block: Node = {"type": part.kind, "source": source}
    if part.title and part.kind == "document":
        block["title"] = part.title
    elif part.title:
        writing.losses.cosmetic(f"{part.at}.title", "the upstream's images have no title")
    _lose_seal(part.seal, part.at, writing)
    writing.mark(block, part.cache, part.at)
    return put_back(block, part.native)


def _thinking(part: Thinking, writing: Writing) -> Node | None:
    """Return reasoning that this very upstream minted: it refuses any other, and so it is dropped, never made text."""
    seal = part.seal
    if seal is None or seal.origin not in (writing.destination.origin, native_origin(NAME)):
        why = "it is another model's reasoning" if seal else "reasoning without its signature is refused"
        writing.losses.degrades(part.at, why)
        return None
    if part.is_redacted or seal.form == REDACTED:
        return put_back({"type": REDACTED, "data": seal.payload}, part.native)
    return put_back({"type": "thinking", "thinking": part.text, "signature": seal.payload}, part.native)


def _tool_use(part: ToolCall, writing: Writing) -> Node:
    name = writing.tools.wire(part.name, part.namespace)
    if name != part.name:
        writing.losses.cosmetic(f"{part.at}.name", f"the upstream calls it {name}")
    if part.kind == "custom":
        writing.losses.cosmetic(part.at, "the upstream knows functions only")
    _lose_seal(part.seal, part.at, writing)
    block: Node = {"type": "tool_use", "id": _call_id(part.id, f"{part.at}.id", writing), "name": name}
    block["input"] = _input(part, writing)
    writing.mark(block, part.cache, part.at)
    return put_back(block, part.native)


def _call_id(call_id: str, at: str, writing: Writing) -> str:
    fitted = fit(call_id, CALL_IDS)
    if fitted != call_id:
        writing.losses.cosmetic(at, "the upstream's ids have other characters")
    return fitted


def _input(part: ToolCall, writing: Writing) -> Any:
    """Return a call's arguments as the object that they must be here."""
    text = writing.tools.as_arguments(part.arguments) if part.kind == "custom" else part.arguments
    value = as_input(text)
    if RAW_ARGUMENTS in value and value == {RAW_ARGUMENTS: text}:
        writing.losses.degrades(f"{part.at}.arguments", "they are no JSON object, as the upstream wants them")
    return value


def as_input(arguments: str) -> Node:
    """Return arguments as an object: none is {}, and what is no object is wrapped as it stands."""
    if not arguments.strip():
        return {}
    try:
        value = read_json(arguments)
    except ValueError:
        return {RAW_ARGUMENTS: arguments}
    return value if isinstance(value, dict) else {RAW_ARGUMENTS: arguments}


def _tool_result(part: ToolResult, writing: Writing) -> Node:
    block: Node = {"type": "tool_result", "tool_use_id": _call_id(part.call_id, f"{part.at}.call_id", writing)}
    if part.kind == "custom":
        writing.losses.cosmetic(part.at, "the upstream knows functions only")
    content = write_blocks(part.parts, writing)
    if content:
        is_text = spelling_of(part.native).is_text or not writing.is_own
        block["content"] = as_content(content) if is_text else content
    if part.is_error:
        block["is_error"] = True
    writing.mark(block, part.cache, part.at)
    return put_back(block, part.native)


def as_content(blocks: list[Node]) -> str | list[Node]:
    """Return blocks as the plain text that they are, if they are one."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks
