"""Pieces of an answer, the same in a stream and in a whole one."""

from typing import Any

from providers.canonical.events import Stop
from providers.canonical.identifiers import Rule, fit
from providers.canonical.parts import Citation, Foreign, Media, Part, ToolCall
from providers.dialects.nodes import Node
from providers.dialects.openai_chat.forms import BodyForm, form
from providers.dialects.openai_chat.reasoning import ENCRYPTED
from providers.dialects.openai_chat.wire import CALL_IDS, FINISH_REASONS
from providers.dialects.writer import Reply

NO_ADDRESS = "the client's format names sources by their address only"

_CLIENT_IDS = Rule(allowed=CALL_IDS, max_length=64)


def answer_id(reply: Reply) -> str:
    """Return an answer's id, as the format begins it."""
    return f"chatcmpl-{reply.id}"


def chunk_head(reply: Reply) -> Node:
    """Return what all chunks of a stream have in common."""
    return {"id": answer_id(reply), "object": "chat.completion.chunk", "created": reply.created, "model": reply.model}


def no_place_for(part: Part) -> str:
    """Return why a part of an answer cannot be told to a client."""
    match part:
        case Media():
            return f"the client's format has no {part.kind} in an answer"
        case ToolCall():
            return "the client's format has one call in an answer"
        case Foreign():
            return f"the client's format has no {part.what}"
    return "the client's format has no such part"


def is_legacy(reply: Reply) -> bool:
    """Whether the client knows `function_call` only."""
    return form(reply.request.native, BodyForm).is_legacy


def call_node(call: ToolCall, arguments: str) -> Node:
    """Return a call as a client gets it."""
    content = "input" if call.kind == "custom" else "arguments"
    return {
        "id": fit(call.id, _CLIENT_IDS),
        "type": call.kind,
        call.kind: {"name": call.name, content: arguments},
    }


def seal_entry(packed: str, index: int, start: int, end: int) -> Node:
    """Return the entry of reasoning_details that carries a seal, and says to which text it belongs."""
    return {"type": ENCRYPTED, "data": packed, "index": index, "start_index": start, "end_index": end}


def annotation(citation: Citation, start: int, end: int) -> Node:
    """Return a source of the text; the text from `start` to `end` is what names it, where it does not say itself."""
    first = start if citation.start is None else start + citation.start
    last = end if citation.end is None else start + citation.end
    source = {"url": citation.url, "title": citation.title, "start_index": first, "end_index": last}
    return {"type": "url_citation", "url_citation": source}


def read_annotation(value: Any) -> Citation | None:
    """Return the source that an annotation names; None for another kind."""
    source = value.get("url_citation") if isinstance(value, dict) else None
    if not isinstance(source, dict):
        return None
    texts = {name: source[name] for name in ("url", "title") if isinstance(source.get(name), str)}
    start, end = (source.get(name) for name in ("start_index", "end_index"))
    is_place = isinstance(start, int) and isinstance(end, int)
    return Citation(start=start if is_place else None, end=end if is_place else None, **texts)


def finish_reason(stop: Stop, *, has_refusal: bool, legacy: bool) -> str:
    """Return how an answer ended; a refusal that was put into words is an ordinary end here."""
    if stop == "refusal" and has_refusal:
        return "stop"
    return "function_call" if stop == "tool_use" and legacy else FINISH_REASONS[stop]
