"""A whole answer: read from an upstream, and written for a client."""

from collections.abc import Sequence
from typing import Any

from providers.canonical.answer import Answer
from providers.canonical.events import Event
from providers.canonical.parts import Part, Text, Thinking, ToolCall
from providers.dialects.nodes import Node
from providers.dialects.openai_chat.calls import with_thought_signature
from providers.dialects.openai_chat.shapes import (
    NO_ADDRESS,
    annotation,
    answer_id,
    call_node,
    finish_reason,
    is_legacy,
    no_place_for,
    seal_entry,
)
from providers.dialects.openai_chat.stream_reader import ChatReader
from providers.dialects.openai_chat.usage import usage_json
from providers.dialects.writer import Reply
from providers.wire.json import write_json


def read_answer(body: bytes, origin: str) -> Sequence[Event]:
    """Return the events that a whole answer folds back to; one that is none ends in StreamFailed."""
    return ChatReader(origin).read_whole(body)


def write_answer(answer: Answer, reply: Reply) -> bytes:
    """Return a whole answer as a client gets it."""
    return write_json(_Answer(answer, reply).write())


class _Answer:
    def __init__(self, answer: Answer, reply: Reply) -> None:
        self.answer = answer
        self.reply = reply
        self.is_legacy = is_legacy(reply)
        self.message: Node = {"role": "assistant", "content": None, "refusal": None}

    def write(self) -> Node:
        for i, part in enumerate(self.answer.parts):
            self.part(i, part)
        has_refusal = self.message["refusal"] is not None
        if self.answer.stop == "refusal" and not has_refusal and self.answer.explanation:
            self.message["refusal"] = self.answer.explanation
        reason = finish_reason(self.answer.stop, has_refusal=has_refusal, legacy=self.is_legacy)
        choice = {"index": 0, "message": self.message, "logprobs": None, "finish_reason": reason}
        body: Node = {
            "id": answer_id(self.reply),
            "object": "chat.completion",
            "created": self.reply.created,
            "model": self.reply.model,
            "choices": [choice],
        }
        return {**body, "usage": usage_json(self.answer.usage)} if self.answer.usage.is_reported else body

    def part(self, i: int, part: Part) -> None:
        match part:
            case Text():
                self.text(i, part)
            case Thinking():
                self.thinking(part)
            case ToolCall() if not (self.is_legacy and "function_call" in self.message):
                self.call(part)
            case _:
                self.reply.losses.changes_answer(f"answer.parts[{i}]", no_place_for(part))

    def text(self, i: int, part: Text) -> None:
        field = "refusal" if part.is_refusal else "content"
        start = len(self.message[field] or "")
        self.message[field] = (self.message[field] or "") + part.text
        sources = [source for source in part.citations if source.url]
        if len(sources) < len(part.citations):
            self.reply.losses.degrades(f"answer.parts[{i}].citations", NO_ADDRESS)
        if sources:
            end = start + len(part.text)
            self.message.setdefault("annotations", []).extend(annotation(source, start, end) for source in sources)
        if part.seal is not None:
            self.message |= with_thought_signature(self.reply.seals.pack(part.seal))

    def thinking(self, part: Thinking) -> None:
        start = len(self.message.get("reasoning_content", ""))
        if part.text:
            self.message["reasoning_content"] = self.message.get("reasoning_content", "") + part.text
        if part.seal is not None:
            entries: list[Any] = self.message.setdefault("reasoning_details", [])
            packed = self.reply.seals.pack(part.seal)
            entries.append(seal_entry(packed, len(entries), start, start + len(part.text)))

    def call(self, part: ToolCall) -> None:
        arguments = part.arguments if part.kind == "custom" else part.arguments or "{}"
        node = call_node(part, arguments)
        if self.is_legacy:
            self.message["function_call"] = node[part.kind]
            return
        if part.seal is not None:
            node |= with_thought_signature(self.reply.seals.pack(part.seal))
        self.message.setdefault("tool_calls", []).append(node)
