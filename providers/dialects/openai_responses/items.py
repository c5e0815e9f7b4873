"""Canonical values as this format writes them when nobody says otherwise: the parts of messages, items and tools."""

import re
from base64 import b64decode, b64encode
from typing import Any

from providers.canonical.parts import Citation, Media, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Reasoning, ResponseFormat, Tool, ToolChoice
from providers.dialects.nodes import Node

EMPTY_SCHEMA = {"type": "object", "properties": {}}
SOUNDS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
SOUND_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}
DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
# What a document is called that has no name: one with content needs a name.
DOCUMENT_NAMES = {"application/pdf": "document.pdf", "text/plain": "document.txt"}
LIFETIMES = ("30m", "12h")
TEXT_TYPE = "text/plain"


def text_part(part: Text, role: str) -> Node:
    """Return a part of a message's content."""
    if role == "assistant":
        if part.is_refusal:
            return {"type": "refusal", "refusal": part.text}
        return output_text(part.text, [annotation(each) for each in part.citations])
    return {"type": "input_text", "text": part.text, **breakpoint_of(part.cache)}


def output_text(text: str, annotations: list[Node]) -> Node:
    """Return a text of the model's."""
    return {"type": "output_text", "text": text, "annotations": annotations}


def annotation(citation: Citation) -> Node:
    """Return a source; one without a place in the text stands at its beginning."""
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": citation.start or 0,
        "end_index": citation.end or 0,
    }


def breakpoint_of(cache: str | None) -> Node:
    """Return the mark of a cache breakpoint, if there is to be one; lifetimes that the format lacks are its default."""
    if cache is None:
        return {}
    lifetime = {"ttl": cache} if cache in LIFETIMES else {}
    return {"prompt_cache_breakpoint": {"mode": "explicit", **lifetime}}


def media_part(media: Media) -> Node | None:
    """Return an image, a document or a sound; None for what the format has no part for."""
    mark = breakpoint_of(media.cache)
    match media.kind:
        case "image" if not media.text:
            source = {"file_id": media.file_id} if media.file_id else {"image_url": media.url or _data_url(media)}
            return {"type": "input_image", **source, "detail": "auto", **mark}
        case "document":
            return {"type": "input_file", **_document(media), **mark}
        case "audio" if media.media_type in SOUNDS and not (media.url or media.file_id):
            return {"type": "input_audio", "input_audio": {"data": media.data, "format": SOUNDS[media.media_type]}}
    return None


def _document(media: Media) -> Node:
    name = {"filename": media.title} if media.title else {}
    if media.file_id:
        return {"file_id": media.file_id, **name}
    if media.url:
        return {"file_url": media.url, **name}
    return {"filename": file_name(media), "file_data": _data_url(media)}


def file_name(media: Media) -> str:
    """Return what a document with content is called."""
    return media.title or DOCUMENT_NAMES.get(TEXT_TYPE if media.text else media.media_type, "document")


def _data_url(media: Media) -> str:
    if media.text:
        return f"data:{TEXT_TYPE};base64,{b64encode(media.text.encode('utf-8', 'surrogatepass')).decode()}"
    return f"data:{media.media_type or 'application/octet-stream'};base64,{media.data}"


def plain_text_in(media_type: str, data: str) -> str | None:
    """Return the words of a plain text document; None for anything else, and for what would not be encoded the same."""
    if media_type != TEXT_TYPE:
        return None
    try:
        raw = b64decode(data, validate=True)
        text = raw.decode()
    except ValueError:
        return None
    return text if b64encode(raw).decode() == data else None


def content_part(part: Text | Media, role: str) -> Node | None:
    """Return a part of a message's content; None for what the format has no part for."""
    return text_part(part, role) if isinstance(part, Text) else media_part(part)


def call_item(call: ToolCall) -> Node:
    """Return a tool call."""
    place = {"namespace": call.namespace} if call.namespace else {}
    head = {"call_id": call.id, "name": call.name, **place}
    if call.kind == "custom":
        return {"type": "custom_tool_call", **head, "input": call.arguments}
    return {"type": "function_call", **head, "arguments": call.arguments or "{}"}


def result_item(result: ToolResult, output: Any) -> Node:
    """Return what a tool gave back."""
    kind = "custom_tool_call_output" if result.kind == "custom" else "function_call_output"
    return {"type": kind, "call_id": result.call_id, "output": output}


def reasoning_item(thinking: Thinking, seal: str | None) -> Node:
    """Return reasoning, with what it is sealed with."""
    summary = [{"type": "summary_text", "text": thinking.text}] if thinking.text else []
    sealed = {"encrypted_content": seal} if seal is not None else {}
    return {"type": "reasoning", "summary": summary, **sealed}


def tool_item(tool: Tool) -> Node:
    """Return a tool. Here a function is strict unless it says that it is not."""
    described = {"description": tool.description} if tool.description else {}
    if tool.kind == "custom":
        format = {"format": dict(tool.grammar)} if tool.grammar is not None else {}
        return {"type": "custom", "name": tool.name, **described, **format}
    return {
        "type": "function",
        "name": tool.name,
        **described,
        "parameters": schema_of(tool),
        "strict": bool(tool.is_strict),
    }


def namespace_head(tool: Tool) -> Node:
    """Return the namespace of a tool, without its tools."""
    return {"type": "namespace", "name": tool.namespace, "description": tool.namespace_description}


def schema_of(tool: Tool) -> Any:
    """Return a function's parameters: an object, whose properties have to be named even if there are none."""
    if tool.parameters is None:
        return EMPTY_SCHEMA
    if tool.parameters.get("type") == "object" and "properties" not in tool.parameters:
        return {**tool.parameters, "properties": {}}
    return tool.parameters


def tool_choice(choice: ToolChoice, kinds: dict[str, str]) -> Any:
    """Return which tools may or must be called; `kinds` are those of the tools, by name."""
    if choice.mode == "named":
        return {"type": choice.kind, "name": choice.name}
    if choice.allowed is not None and choice.mode != "none":
        tools = [{"type": kinds.get(name, "function"), "name": name} for name in choice.allowed]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}
    return choice.mode


def text_format(wanted: ResponseFormat) -> Node:
    """Return what the answer's text has to be."""
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    described = {"description": wanted.description} if wanted.description else {}
    strict = {"strict": wanted.is_strict} if wanted.is_strict is not None else {}
    schema = dict(wanted.schema or {})
    return {"type": "json_schema", "name": wanted.name or "output", **described, "schema": schema, **strict}


def reasoning(wanted: Reasoning) -> Node:
    """Return how much the model is to think."""
    effort = {"effort": wanted.effort} if wanted.effort is not None else {}
    summary = {"summary": "auto"} if wanted.shows else {}
    return {**effort, **summary}
