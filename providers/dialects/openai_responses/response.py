"""The response object: what was asked, and what has been answered so far. And the items of an answer."""

from collections.abc import Sequence
from typing import Any

from providers.canonical.events import Stop
from providers.canonical.losses import Losses, fields_of
from providers.canonical.parts import Citation, Foreign, Media, Text, Thinking, ToolCall
from providers.canonical.request import Request, Tool
from providers.canonical.seals import Seal, SealBox
from providers.canonical.usage import Usage
from providers.dialects.base import Destination
from providers.dialects.nodes import Node
from providers.dialects.openai_responses import hosted, items
from providers.dialects.openai_responses.settings import settings
from providers.dialects.openai_responses.spelling import body_form, form
from providers.dialects.openai_responses.tool_writer import write_choice, write_tools
from providers.dialects.openai_responses.usage import write_usage
from providers.dialects.openai_responses.wire import BEHIND, NAME
from providers.dialects.openai_responses.writing import Writing
from providers.dialects.writer import Reply

INCOMPLETE: dict[Stop, str] = {"max_tokens": "max_output_tokens", "context_exceeded": "max_output_tokens"}
ECHOED = ("background", "max_tool_calls", "previous_response_id", "store", "truncation", "prompt_cache_options")


class ResponseObject:
    """The response object of one answer."""

    __slots__ = ("_echo",)

    def __init__(self, reply: Reply) -> None:
        self._echo = {
            "id": response_id(reply),
            "object": "response",
            "created_at": reply.created,
            "model": reply.model,
            **_echo(reply.request),
            **({"previous_response_id": reply.continues} if reply.continues else {}),
        }

    def at(self, status: str, output: Sequence[Node] = (), **members: Any) -> Node:
        """Return the object as it stands."""
        return {
            **self._echo,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": [*output],
            "usage": None,
            **members,
        }

    def end(self, stop: Stop, output: Sequence[Node], usage: Usage) -> Node:
        """Return the object as it stands at the end."""
        reason = INCOMPLETE.get(stop)
        if stop == "refusal" and not has_refusal(output):
            reason = "content_filter"
        if reason is not None:
            return self.at("incomplete", output, incomplete_details={"reason": reason}, usage=write_usage(usage))
        completed_at = self._echo["created_at"]
        return self.at("completed", output, completed_at=completed_at, usage=write_usage(usage))


def response_id(reply: Reply) -> str:
    """Return the id by which a client can continue the conversation."""
    return f"resp_{reply.id}"


def has_refusal(output: Sequence[Node]) -> bool:
    """Whether the model said in words that it will not."""
    return any(part["type"] == "refusal" for item in output if item["type"] == "message" for part in item["content"])


def _echo(request: Request) -> Node:
    """Return what was asked, as the client spelled it: the openai SDK wants all of these."""
    asked = settings(request)
    said = body_form(request.native).spelling.said
    native = fields_of(request.native, NAME)
    writing = Writing(request, Destination(model=request.model, origin=""), Losses())
    reasoning = said.get("reasoning") or asked.get("reasoning") or {}
    text = said.get("text") or asked.get("text") or {}
    return {
        "instructions": _instructions(request),
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": asked.get("metadata", {}),
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **reasoning},
        "safety_identifier": request.end_user,
        "service_tier": asked.get("service_tier", "default"),
        "temperature": asked.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": write_choice(writing, has_tools=True) or "auto",
        "tools": write_tools(writing),
        "top_p": asked.get("top_p", 1.0),
        "background": False,
        "previous_response_id": None,
        "store": True,
        "truncation": "disabled",
        **{name: native[name] for name in ECHOED if name in native},
        **{name: said[name] for name in ECHOED if said.get(name) is not None},
    }


def _instructions(request: Request) -> str | None:
    first = request.system[0] if request.system else None
    return first.text if isinstance(first, Text) and first.at == "instructions" else None


class Items:
    """Makes the items of an answer: their ids are the same wherever they are named."""

    __slots__ = ("_hosted", "_losses", "_reply_id", "_seals")

    def __init__(self, reply: Reply) -> None:
        self._reply_id = reply.id
        self._seals: SealBox = reply.seals
        self._losses = reply.losses
        self._hosted = {
            tool.name
            for tool in reply.request.tools
            if isinstance(tool, Tool) and not tool.namespace and tool.name in hosted.TOOLS and form(tool.native).whole
        }

    def id(self, prefix: str, place: int) -> str:
        """Return an item's id: each type has a prefix, which is looked at when the item comes back."""
        return f"{prefix}_{self._reply_id}_{place}"

    def message(self, place: int, content: Sequence[Node], status: str, phase: str | None) -> Node:
        """Return a message of the model's."""
        item = {"type": "message", "id": self.id("msg", place), "status": status, "role": "assistant"}
        return {**item, **({"phase": phase} if phase else {}), "content": [*content]}

    def reasoning(self, place: int, text: str, seal: Seal | None) -> Node:
        """Return reasoning; what the model wants back goes where the client gives it back."""
        packed = self._seals.pack(seal) if seal is not None else None
        return self._reasoning(place, text, packed)

    def seal(self, place: int, seal: Seal) -> Node:
        """Return an item that carries the seal of the part before it, which has no place for one."""
        return self._reasoning(place, "", self._seals.pack(seal) + BEHIND)

    def _reasoning(self, place: int, text: str, packed: str | None) -> Node:
        return {"id": self.id("rs", place), **items.reasoning_item(Thinking(text=text), packed)}

    def is_hosted(self, call: ToolCall) -> bool:
        """Whether a call is of a tool that the client knows as one of this format's own."""
        return call.name in self._hosted and not call.namespace and call.kind == "function"

    def call(self, place: int, call: ToolCall, status: str) -> Node:
        """Return a call as far as it goes; of one of the format's own tools only when it makes sense."""
        if self.is_hosted(call):
            item = hosted.call_item(call, self.id(hosted.TOOLS[call.name].prefix, place))
            if item is not None:
                return item
        prefix = "ctc" if call.kind == "custom" else "fc"
        return {"id": self.id(prefix, place), **items.call_item(call), "status": status}

    def alone(self, place: int, part: Media | Foreign, at: str) -> Node | None:
        """Return an item that comes whole; None, and a loss, for what the client's format has none for."""
        if isinstance(part, Foreign):
            if part.origin == NAME and isinstance(part.value, dict):
                return part.value
            self._losses.degrades(at, f"there is no such item as {part.what}")
            return None
        if part.kind != "image" or not part.data:
            self._losses.changes_answer(at, f"there is no item for {part.kind} here")
            return None
        kind = part.media_type.removeprefix("image/") or "png"
        head = {"type": "image_generation_call", "id": self.id("ig", place), "status": "completed"}
        return {**head, "result": part.data, "output_format": kind}


def text_part(text: Text) -> Node:
    """Return a part of a message, whole."""
    if text.is_refusal:
        return {"type": "refusal", "refusal": text.text}
    annotations = [annotation(each, len(text.text)) for each in text.citations]
    return {**items.output_text(text.text, annotations), "logprobs": []}


def annotation(citation: Citation, said: int) -> Node:
    """Return a source; one without a place is one of all that was said so far."""
    own = form(citation.native).whole
    if own is not None:
        return dict(own)
    end = citation.end if citation.end is not None else said
    node = items.annotation(citation)
    return {**node, "end_index": end}


def phase_of(text: Text) -> str | None:
    """Return what its own format said a text is: commentary or the final answer."""
    phase = fields_of(text.native, NAME).get("phase")
    return phase if isinstance(phase, str) else None
