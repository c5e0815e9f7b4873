"""The text of a relayed stream: what its frames add up to, in any of the formats that callers speak.

Pure, and forgiving: it is for people who read, so what is not understood is left out. A secret that a model writes comes
in pieces; only what is put together can be redacted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

REASONING, TEXT, ERROR = "Reasoning", "Text", "Error"
_FRAMES = re.compile(r"\r\n\r\n|\n\n|\r\r")
_DATA = re.compile(r"^data: ?(.*)$", re.MULTILINE)


def assemble(stream: str) -> str:
    """Return what a stream said: its reasoning, its text, its tool calls and its error, each under a heading."""
    parts: dict[str, list[str]] = {}
    for frame in _FRAMES.split(stream):
        for heading, text in _said(_json("".join(_DATA.findall(frame)))):
            parts.setdefault(heading, []).append(text)
    if parts.keys() == {TEXT}:
        return "".join(parts[TEXT])
    return "\n\n".join(f"## {heading}\n{''.join(texts)}" for heading, texts in parts.items())


def is_stream(text: str) -> bool:
    """Whether a body is one of frames."""
    return text.startswith(("event:", "data:", ":"))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _said(frame: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(frame, dict):
        return
    if frame.get("error") or frame.get("type") == "error":
        yield ERROR, json.dumps(frame.get("error") or frame, ensure_ascii=False, indent=2)
    for choice in _dicts(frame.get("choices")):
        yield from _chat(choice.get("delta"))
    for candidate in _dicts(frame.get("candidates")):
        content = candidate.get("content")
        for part in _dicts(content.get("parts") if isinstance(content, dict) else None):
            yield from _part(part)
    yield from _event(frame)


def _chat(delta: Any) -> Iterator[tuple[str, str]]:
    """OpenAI's chat completions."""
    if not isinstance(delta, dict):
        return
    for name, heading in (("reasoning_content", REASONING), ("reasoning", REASONING), ("content", TEXT)):
        if isinstance(delta.get(name), str) and delta[name]:
            yield heading, delta[name]
    for call in _dicts(delta.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, dict):
            heading = f"Tool call {call.get('index', 0)}"
            yield from _named(heading, function.get("name"), function.get("arguments"))


def _part(part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Gemini's."""
    if isinstance(part.get("text"), str):
        yield (REASONING if part.get("thought") else TEXT), part["text"]
    call = part.get("functionCall")
    if isinstance(call, dict):
        yield from _named("Tool calls", call.get("name"), json.dumps(call.get("args"), ensure_ascii=False) + "\n")


def _event(frame: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Anthropic's messages, and OpenAI's responses."""
    kind, delta = str(frame.get("type") or ""), frame.get("delta")
    number = frame.get("index", frame.get("output_index", 0))
    if isinstance(delta, dict):
        for name, heading in (("thinking", REASONING), ("text", TEXT), ("partial_json", f"Tool call {number}")):
            if isinstance(delta.get(name), str) and delta[name]:
                yield heading, delta[name]
    elif isinstance(delta, str) and delta:
        is_call = "arguments" in kind or "input" in kind
        yield (f"Tool call {number}" if is_call else REASONING if "reasoning" in kind else TEXT), delta
    opened = frame.get("content_block") or frame.get("item")
    if kind in {"content_block_start", "response.output_item.added"} and isinstance(opened, dict):
        yield from _named(f"Tool call {number}", opened.get("name"), None)
    response = frame.get("response")
    if kind == "response.failed" and isinstance(response, dict):
        yield ERROR, json.dumps(response.get("error"), ensure_ascii=False)


def _named(heading: str, name: Any, arguments: Any) -> Iterator[tuple[str, str]]:
    if isinstance(name, str) and name:
        yield heading, f"{name} "
    if isinstance(arguments, str) and arguments:
        yield heading, arguments


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
