"""Writing an answer as a stream.

    response.created, response.in_progress
    per item: response.output_item.added ... response.output_item.done
      message:   content_part.added, output_text.delta*, output_text.done, content_part.done
      reasoning: reasoning_summary_part.added, reasoning_summary_text.delta*, .done, reasoning_summary_part.done
      call:      function_call_arguments.delta*, .done
    response.completed | response.incomplete | response.failed

Texts in a row are parts of one message, so a message ends when something else begins. A call ends then too, for only the
end of the answer tells whether it was cut off in its middle: such a call never gets its `.done`, and nobody runs it.
"""

from typing import Any

from msgspec.structs import replace

from providers.canonical.events import (
    ArgumentsDelta,
    CitationDelta,
    MessageEnd,
    MessageStart,
    PartEnd,
    PartStart,
    SealDelta,
    TextDelta,
    ThinkingDelta,
)
from providers.canonical.parts import Foreign, Media, Text, Thinking, ToolCall
from providers.canonical.seals import Seal
from providers.dialects.nodes import Node
from providers.dialects.openai_responses.ends import is_whole, last_words, note_stop
from providers.dialects.openai_responses.errors import failure_of
from providers.dialects.openai_responses.response import Items, ResponseObject, annotation, phase_of, text_part
from providers.dialects.openai_responses.usage import write_usage
from providers.dialects.openai_responses.wire import frame
from providers.dialects.writer import EventWriter, Reply
from tenants.errors import GatewayError


class ResponsesWriter(EventWriter):
    """Writes a stream of Responses."""

    __slots__ = (
        "_content",
        "_is_started",
        "_item",
        "_make",
        "_object",
        "_output",
        "_part",
        "_seal",
        "_sequence",
        "_words",
    )

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._make = Items(reply)
        self._object = ResponseObject(reply)
        self._sequence = 0
        self._is_started = False
        self._output: list[Node] = []  # items that are whole
        self._item: Node | None = None  # the item that is open, as it was announced
        self._content: list[Node] = []  # of an open message: its parts that are whole
        self._part: Any = None  # the part that is open, or the call whose end is still to be told
        self._words: list[str] = []  # of that part
        self._seal: Seal | None = None

    # The answer

    def message_start(self, event: MessageStart) -> bytes:
        """Open the answer."""
        return self._begin()

    def message_end(self, event: MessageEnd) -> bytes:
        """Close the answer: what is still open, and the response as it is at the end."""
        note_stop(event.stop, self.reply.losses)
        ends = self._close_item(is_cut=event.stop == "max_tokens")
        refusal = last_words(event.stop, event.explanation, self._output)
        if refusal:
            ends += self._refuse(refusal)
        unfinished = [self._cut_call()] if self._item is not None else []
        response = self._object.end(event.stop, [*self._output, *unfinished], self.usage)
        return ends + self._event(f"response.{response['status']}", response=response)

    def fail(self, error: GatewayError) -> bytes:
        """Return what ends a stream in mid-answer."""
        code, message = failure_of(error)
        usage = write_usage(self.usage)
        response = self._object.at("failed", self._output, error={"code": code, "message": message}, usage=usage)
        return self._begin() + self._event("response.failed", response=response)

    def ping(self) -> bytes:
        """Return an event that says nothing: a comment would not keep Codex waiting."""
        return self._event("keepalive") if self._is_started else b""

    def _begin(self) -> bytes:
        if self._is_started:
            return b""
        self._is_started = True
        response = self._object.at("in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def _event(self, kind: str, **members: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._sequence, **members}
        self._sequence += 1
        return frame(event)

    # Parts

    def part_start(self, event: PartStart) -> bytes:
        """Open a part, or write one that comes whole."""
        part = event.part
        match part:
            case Text():
                opening = self._open_message(part)
            case Media() | Foreign():
                return self._close_item() + self._alone(part, f"answer.parts[{event.index}]")
            case _:
                opening = self._close_item()
        self._part, self._words, self._seal = part, [], getattr(part, "seal", None)
        match part:
            case Text():
                opening += self._piece("response.content_part.added", part=text_part(Text(is_refusal=part.is_refusal)))
                opening += self._say(part.text)
            case Thinking() if part.text:
                opening += self._ponder(part.text)
            case ToolCall():
                opening += self._open_call(part)
        return opening

    def text(self, event: TextDelta) -> bytes:
        """More words of the open Text."""
        return self._say(event.text)

    def thinking(self, event: ThinkingDelta) -> bytes:
        """More words of the open Thinking."""
        return self._ponder(event.text)

    def arguments(self, event: ArgumentsDelta) -> bytes:
        """More arguments of a ToolCall."""
        return self._argue(event.text)

    def seal(self, event: SealDelta) -> bytes:
        """The seal of a part: it is written when the part ends."""
        self._seal = event.seal
        return b""

    def citation(self, event: CitationDelta) -> bytes:
        """A source of the open Text; one of all that is said waits until it is said."""
        citations = (*self._part.citations, event.citation)
        self._part = replace(self._part, citations=citations)
        return b"" if event.citation.end is None else self._annotate(len(citations) - 1)

    def part_end(self, event: PartEnd) -> bytes:
        """Close a part; of a call, only note that it is whole as far as the upstream is concerned."""
        match self._part:
            case Text():
                return self._end_text()
            case Thinking():
                return self._end_reasoning()
        return b""

    # Items

    def _open_item(self, item: Node) -> bytes:
        self._item = item
        return self._event("response.output_item.added", output_index=len(self._output), item=item)

    def _done(self, item: Node) -> bytes:
        """End an item."""
        done = self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._item = None
        return done

    def _whole(self, item: Node, **opening: Any) -> bytes:
        """Write an item that has no pieces."""
        return self._open_item({**item, **opening}) + self._done(item)

    def _close_item(self, *, is_cut: bool = False) -> bytes:
        """End the item that is open; a call that was cut off stays open."""
        if self._item is None and not isinstance(self._part, ToolCall):
            return b""
        if isinstance(self._part, ToolCall):
            return self._close_call(is_cut=is_cut)
        assert self._item is not None
        status = "incomplete" if is_cut else "completed"
        return self._done({**self._item, "status": status, "content": self._content})

    def _alone(self, part: Media | Foreign, at: str) -> bytes:
        item = self._make.alone(len(self._output), part, at)
        written = self._whole(item) if item is not None else b""
        return written + self._carry(getattr(part, "seal", None))

    def _carry(self, seal: Seal | None) -> bytes:
        """Write the seal of a part that has no place for one, as an item behind it."""
        return self._whole(self._make.seal(len(self._output), seal), encrypted_content="") if seal is not None else b""

    def _piece(self, kind: str, **members: Any) -> bytes:
        """Write an event of a part of the open message."""
        assert self._item is not None
        place = {"item_id": self._item["id"], "output_index": len(self._output), "content_index": len(self._content)}
        return self._event(kind, **place, **members)

    # Words

    def _open_message(self, text: Text) -> bytes:
        """Open a message, unless the text goes on with one."""
        phase = phase_of(text)
        if self._item is not None and self._item["type"] == "message" and self._item.get("phase") == phase:
            return b""
        closing = self._close_item()
        self._content = []
        return closing + self._open_item(self._make.message(len(self._output), [], "in_progress", phase))

    def _say(self, text: str) -> bytes:
        if not text:
            return b""
        self._words.append(text)
        if self._part.is_refusal:
            return self._piece("response.refusal.delta", delta=text)
        return self._piece("response.output_text.delta", delta=text, logprobs=[])

    def _end_text(self) -> bytes:
        text, part = "".join(self._words), self._part
        if part.is_refusal:
            done = self._piece("response.refusal.done", refusal=text)
        else:
            waiting = [i for i, citation in enumerate(part.citations) if citation.end is None]
            done = b"".join(map(self._annotate, waiting))
            done += self._piece("response.output_text.done", text=text, logprobs=[])
        node = text_part(replace(part, text=text))
        done += self._piece("response.content_part.done", part=node)
        self._content.append(node)
        self._part = None
        return done + (self._close_item() + self._carry(self._seal) if self._seal is not None else b"")

    def _annotate(self, index: int) -> bytes:
        node = annotation(self._part.citations[index], sum(map(len, self._words)))
        return self._piece("response.output_text.annotation.added", annotation_index=index, annotation=node)

    def _refuse(self, words: str) -> bytes:
        """Write why the model would not answer as a message of its own."""
        events = self.part_start(PartStart(index=0, part=Text(text=words, is_refusal=True)))
        return events + self._end_text() + self._close_item()

    # Reasoning

    def _ponder(self, text: str) -> bytes:
        opening = b""
        if not self._words:
            opening = self._open_item(self._make.reasoning(len(self._output), "", None))
            opening += self._summary("response.reasoning_summary_part.added", part=_summary(""))
        self._words.append(text)
        return opening + self._summary("response.reasoning_summary_text.delta", delta=text)

    def _end_reasoning(self) -> bytes:
        text, seal = "".join(self._words), self._seal
        self._part = None
        item = self._make.reasoning(len(self._output), text, seal)
        if not text:
            return self._whole(item, encrypted_content="") if seal is not None else b""
        done = self._summary("response.reasoning_summary_text.done", text=text)
        done += self._summary("response.reasoning_summary_part.done", part=_summary(text))
        return done + self._done(item)

    def _summary(self, kind: str, **members: Any) -> bytes:
        assert self._item is not None
        place = {"item_id": self._item["id"], "output_index": len(self._output), "summary_index": 0}
        return self._event(kind, **place, **members)

    # Calls

    def _open_call(self, call: ToolCall) -> bytes:
        """Open a call; one of the format's own tools waits until its arguments are whole."""
        if self._make.is_hosted(call):
            return self._argue(call.arguments)
        item = self._make.call(len(self._output), replace(call, arguments=""), "in_progress")
        item["input" if call.kind == "custom" else "arguments"] = ""
        return self._open_item(item) + self._argue(call.arguments)

    def _argue(self, text: str) -> bytes:
        if not text:
            return b""
        self._words.append(text)
        return self._call_event("delta", delta=text) if self._item is not None else b""

    def _call_event(self, what: str, **members: Any) -> bytes:
        assert self._item is not None
        kind = "custom_tool_call_input" if self._part.kind == "custom" else "function_call_arguments"
        place = {"item_id": self._item["id"], "output_index": len(self._output)}
        return self._event(f"response.{kind}.{what}", **place, **members)

    def _close_call(self, *, is_cut: bool) -> bytes:
        call: ToolCall = replace(self._part, arguments="".join(self._words))
        if is_cut and not is_whole(call):
            return b""
        events = b""
        if not call.arguments and call.kind == "function":
            call = replace(call, arguments="{}")
            events = self._argue("{}")
        item = self._make.call(len(self._output), call, "completed")
        if self._item is None:
            events += self._whole(item)
        else:
            field = "input" if call.kind == "custom" else "arguments"
            events += self._call_event("done", **{field: call.arguments}) + self._done(item)
        self._part = None
        return events + self._carry(self._seal)

    def _cut_call(self) -> Node:
        """Return a call that was cut off, as it stands in the response."""
        assert self._item is not None
        field = "input" if self._part.kind == "custom" else "arguments"
        return {**self._item, field: "".join(self._words), "status": "incomplete"}


def _summary(text: str) -> Node:
    return {"type": "summary_text", "text": text}
