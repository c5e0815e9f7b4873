"""Reading turns and their blocks."""

from collections.abc import Iterable
from typing import Any, TypeGuard

import msgspec

from providers.canonical.losses import Native
from providers.canonical.parts import Citation, Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Turn
from providers.canonical.seals import SealBox, native_origin
from providers.dialects.anthropic_messages.spelling import Spelling, keep
from providers.dialects.anthropic_messages.weights import foreign_block
from providers.dialects.anthropic_messages.wire import NAME, PDF, REDACTED
from providers.dialects.nodes import (
    Node,
    as_list,
    as_object,
    missing,
    optional_flag,
    optional_object,
    optional_text,
    optional_word,
    path_of,
    text,
    wrong,
)
from providers.wire.json import write_json

ROLES = ("user", "assistant", "system")

MARK = frozenset({"type", "cache_control", "cache_control.type", "cache_control.ttl"})
_TURN = frozenset({"role", "content"})
_TEXT = MARK | {"text", "citations"}
_IMAGE = MARK | {f"source.{name}" for name in ("type", "media_type", "data", "url", "file_id")}
_DOCUMENT = _IMAGE | {"title", "source", "source.content"}
_TOOL_USE = MARK | {"id", "name", "input"}
_TOOL_RESULT = MARK | {"tool_use_id", "content", "is_error"}
_THINKING = frozenset({"type", "thinking", "signature"})
_REDACTED = frozenset({"type", "data"})

_SOURCES = {
    "image": {"base64": "data", "url": "url", "file": "file_id"},
    "document": {"base64": "data", "url": "url", "file": "file_id", "text": "data", "content": "content"},
}


def read_cache(node: Node, at: str) -> str | None:
    """Return a cache mark's lifetime, "" for the default; None when there is no mark."""
    control = optional_object(node, "cache_control", at)
    return None if control is None else optional_text(control, "ttl", path_of(at, "cache_control")) or ""


def read_text(block: Node, at: str) -> Text:
    """Read a block of text."""
    citations = block.get("citations")
    said: Node = {"citations": []} if citations == [] else {}
    return Text(
        text=text(block, "text", at),
        citations=tuple(map(read_citation, citations)) if isinstance(citations, list) else (),
        cache=read_cache(block, at),
        at=at,
        native=keep(block, _TEXT, said=said),
    )


def read_citation(citation: Any) -> Citation:
    """Read a citation: its source and words; where in a document they stand is this format's own."""
    fields = citation if isinstance(citation, dict) else {}
    return Citation(
        url=_word(fields, "url") or _word(fields, "source"),
        title=_word(fields, "title") or _word(fields, "document_title"),
        quote=_word(fields, "cited_text"),
        native=Native(origin=NAME, form=citation),
    )


def _word(fields: Node, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


class BlockReader:
    """Reads the turns of one request: a tool's result gets the name of the call that it answers."""

    __slots__ = ("_names", "_seals")

    def __init__(self, seals: SealBox) -> None:
        self._seals = seals
        self._names: dict[str, str] = {}  # of tools, by the ids of their calls

    def read_turn(self, message: Any, at: str) -> Turn:
        """Read one message."""
        node = as_object(message, at)
        role: Any = optional_word(node, "role", at, ROLES)
        if role is None:
            raise missing(path_of(at, "role"))
        content = node.get("content")
        if content is None:
            raise missing(path_of(at, "content"))
        is_text = isinstance(content, str)
        native = keep(node, _TURN, said={} if content else {"content": content}, is_text=is_text)
        parts = tuple(_hand_over_seals(self.read_content(content, path_of(at, "content"))))
        return Turn(role=role, parts=parts, at=at, native=native)

    def read_content(self, content: Any, at: str) -> list[Part]:
        """Read a text or a list of blocks."""
        if isinstance(content, str):
            return [Text(text=content, at=at)] if content else []
        blocks = as_list(content, at)
        return [self._block(as_object(block, f"{at}[{i}]"), f"{at}[{i}]") for i, block in enumerate(blocks)]

    def _block(self, block: Node, at: str) -> Part:
        match text(block, "type", at):
            case "text":
                return read_text(block, at)
            case "image" | "document" as kind:
                return _media(block, kind, at)
            case "tool_use":
                return self._tool_use(block, at)
            case "tool_result":
                return self._tool_result(block, at)
            case "thinking":
                return self._thinking(block, at)
            case "redacted_thinking":
                return self._redacted(block, at)
            case "tool_reference":
                return _tool_reference(block, at)
            case what:
                return foreign_block(block, what, at)

    def _thinking(self, block: Node, at: str) -> Thinking:
        signature = optional_text(block, "signature", at)
        return Thinking(
            text=optional_text(block, "thinking", at) or "",
            seal=self._seals.open(signature, NAME) if signature else None,
            at=at,
            native=keep(block, _THINKING),
        )

    def _redacted(self, block: Node, at: str) -> Thinking:
        seal = self._seals.open(text(block, "data", at), NAME)
        if seal is not None and seal.origin == native_origin(NAME):
            seal = msgspec.structs.replace(seal, form=REDACTED)
        return Thinking(is_redacted=True, seal=seal, at=at, native=keep(block, _REDACTED))

    def _tool_use(self, block: Node, at: str) -> ToolCall:
        call_id, name = text(block, "id", at), text(block, "name", at)
        self._names[call_id] = name
        arguments = optional_object(block, "input", at)
        return ToolCall(
            id=call_id,
            name=name,
            arguments="{}" if arguments is None else write_json(arguments).decode(),
            cache=read_cache(block, at),
            at=at,
            native=keep(block, _TOOL_USE),
        )

    def _tool_result(self, block: Node, at: str) -> ToolResult:
        call_id, content = text(block, "tool_use_id", at), block.get("content")
        parts = [] if content is None else self.read_content(content, path_of(at, "content"))
        said = {"content": content} if content in ("", []) else {}
        is_error = optional_flag(block, "is_error", at)
        if is_error is False:
            said["is_error"] = False
        return ToolResult(
            call_id=call_id,
            name=self._names.get(call_id, ""),
            parts=tuple(_results_own(parts)),
            is_error=is_error or False,
            cache=read_cache(block, at),
            at=at,
            native=keep(block, _TOOL_RESULT, said=said, is_text=isinstance(content, str)),
        )


def _tool_reference(block: Node, at: str) -> Text:
    """Read what a search for tools has found: its definition stands among the tools, so its name is all that is said."""
    return Text(
        text=f"The tool {text(block, 'tool_name', at)} is available now.",
        cache=read_cache(block, at),
        at=at,
        native=Native(origin=NAME, form=Spelling(whole=block)),
    )


def _results_own(parts: Iterable[Part]) -> Iterable[Text | Media | Foreign]:
    for part in parts:
        if not isinstance(part, Text | Media | Foreign):
            raise wrong(part.at, "a text, an image or a document")
        yield part


def _media(block: Node, kind: Any, at: str) -> Media | Foreign:
    source = as_object(block.get("source"), path_of(at, "source"))
    how = text(source, "type", path_of(at, "source"))
    member = _SOURCES[kind].get(how)
    if member is None:
        return foreign_block(block, f"{kind} ({how})", at)
    if member == "content":
        return _content_document(block, source.get("content", ""), at)
    value = text(source, member, path_of(at, "source"))
    media_type = _word(source, "media_type") or (PDF if how == "url" and kind == "document" else "")
    changes: dict[str, Any] = {"text" if how == "text" else member: value}
    return _as_media(block, kind, at, said={}, media_type=media_type, **changes)


def _content_document(block: Node, content: Any, at: str) -> Media | Foreign:
    """Read a document in pieces, which are there to be cited one by one; the words alone are canonical."""
    pieces = [{"text": content}] if isinstance(content, str) else as_list(content, path_of(at, "source.content"))
    if not all(isinstance(piece, dict) and isinstance(piece.get("text"), str) for piece in pieces):
        return foreign_block(block, "document (content)", at)
    words = "\n\n".join(piece["text"] for piece in pieces)
    return _as_media(block, "document", at, said={"source": block["source"]}, media_type="text/plain", text=words)


def _as_media(block: Node, kind: Any, at: str, *, said: Node, **changes: Any) -> Media:
    native = keep({**block, "source": {}} if said else block, _DOCUMENT if kind == "document" else _IMAGE, said=said)
    title = optional_text(block, "title", at) or "" if kind == "document" else ""
    return Media(kind=kind, title=title, cache=read_cache(block, at), at=at, native=native, **changes)


def _hand_over_seals(parts: list[Part]) -> Iterable[Part]:
    """Give each tool call its seal, which we sent in a block of its own right after the call.

    Calls have no field for one in this format; `redacted_thinking` is opaque and comes back as it went. One that was
    reasoning when we sent it says so in its form.
    """
    handed: list[Part] = []
    for part in parts:
        call = handed[-1] if handed else None
        if isinstance(call, ToolCall) and call.seal is None and _is_of_call(part):
            handed[-1] = msgspec.structs.replace(call, seal=part.seal)
        else:
            handed.append(part)
    return handed


def _is_of_call(part: Part) -> TypeGuard[Thinking]:
    seal = part.seal if isinstance(part, Thinking) and part.is_redacted else None
    return seal is not None and seal.form != REDACTED and seal.origin != native_origin(NAME)
