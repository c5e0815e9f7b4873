"""Writing events as a client's stream.

    message_start → (content_block_start → content_block_delta* → content_block_stop)* → message_delta → message_stop

Blocks are numbered 0, 1, 2, ... as they are opened, one at a time. Texts and reasoning are opened by the first thing that
they say, so that none is empty. A call's seal, for which calls have no field, rides in a block of its own after it.
"""

from typing import Any

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
from providers.canonical.identifiers import fit
from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall
from providers.canonical.seals import Seal
from providers.dialects.anthropic_messages.ends import Ending
from providers.dialects.anthropic_messages.errors import error_frame
from providers.dialects.anthropic_messages.usage import as_reported
from providers.dialects.anthropic_messages.wire import CALL_IDS, NAME, REDACTED
from providers.dialects.nodes import Node
from providers.dialects.writer import EventWriter, Reply
from providers.wire.json import write_json
from tenants.errors import GatewayError

PING = b'event: ping\ndata: {"type":"ping"}\n\n'


class MessagesWriter(EventWriter):
    """Writes a stream of Messages."""

    __slots__ = ("_ending", "_index", "_is_open", "_part", "_place", "_seal")

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._ending = Ending()
        self._index = -1  # of the newest block
        self._is_open = False  # whether that block is open
        self._part: Part = Text()  # that is being written
        self._place = 0  # its number in the answer
        self._seal: Seal | None = None  # of that part, to be written before it ends

    def message_start(self, event: MessageStart) -> bytes:
        """Open the message, whole as clients insist on it: its counts are told at its end."""
        message = message_head(self.reply) | {"content": [], "stop_reason": None, "stop_sequence": None}
        return _frame({"type": "message_start", "message": message | {"usage": as_reported(self.usage)}})

    def part_start(self, event: PartStart) -> bytes:
        """Look at the part; its block is opened by what it says."""
        self._part, self._place, self._seal = event.part, event.index, getattr(event.part, "seal", None)
        self._ending.see(event.part)
        match event.part:
            case Text():
                return self.text(TextDelta(index=event.index, text=event.part.text)) + self._citations(event.part)
            case Thinking() if event.part.text:
                return self.thinking(ThinkingDelta(index=event.index, text=event.part.text))
            case ToolCall():
                return self._start_call(event.part)
            case Foreign() | Media():
                return self._whole(event.part)
        return b""

    def _citations(self, part: Text) -> bytes:
        return b"".join(
            self.citation(CitationDelta(index=self._place, citation=citation)) for citation in part.citations
        )

    def _whole(self, part: Foreign | Media) -> bytes:
        block = foreign_block(part, self._place, self.reply)
        return b"" if block is None else self._open_block(block) + self._close()

    def text(self, event: TextDelta) -> bytes:
        """More words; empty ones open nothing."""
        if not event.text:
            return b""
        self._ending.hear(self._part, event.text)
        opening = self._opening({"type": "text", "text": ""})
        return opening + self._delta({"type": "text_delta", "text": event.text})

    def thinking(self, event: ThinkingDelta) -> bytes:
        """More reasoning."""
        if not event.text:
            return b""
        return self._open_thinking() + self._delta({"type": "thinking_delta", "thinking": event.text})

    def _open_thinking(self) -> bytes:
        return self._opening({"type": "thinking", "thinking": "", "signature": ""})

    def _start_call(self, call: ToolCall) -> bytes:
        block = {"type": "tool_use", "id": fit(call.id, CALL_IDS), "name": call.name, "input": {}}
        first = ArgumentsDelta(index=self._place, text=call.arguments)
        return self._open_block(block) + (self.arguments(first) if call.arguments else b"")

    def arguments(self, event: ArgumentsDelta) -> bytes:
        """More arguments, each piece as it comes."""
        return self._delta({"type": "input_json_delta", "partial_json": event.text})

    def seal(self, event: SealDelta) -> bytes:
        """Keep the seal: a later one may replace it, and it is written just before its block ends."""
        self._seal = event.seal
        return b""

    def citation(self, event: CitationDelta) -> bytes:
        """A source, if it is one of this format's own: others lack what a client is to send back with it."""
        native = event.citation.native
        if native is None or native.origin != NAME:
            self.reply.losses.degrades(f"answer.parts[{event.index}].citations", "the format has no such source")
            return b""
        opening = self._opening({"type": "text", "text": ""})
        return opening + self._delta({"type": "citations_delta", "citation": native.form})

    def part_end(self, event: PartEnd) -> bytes:
        """Close the part's block."""
        match self._part:
            case Thinking():
                return self._end_thinking(self._part)
            case ToolCall():
                return self._close() + self._call_seal()
            case Text():
                lose_text_seal(self._seal, self._place, self.reply)
        return self._close()

    def _end_thinking(self, part: Thinking) -> bytes:
        if self._seal is None:
            return self._close()
        if is_redacted(part, self._seal):
            return self._redacted(self._seal)
        signature = self.reply.seals.pack(self._seal)
        return self._open_thinking() + self._delta({"type": "signature_delta", "signature": signature}) + self._close()

    def _call_seal(self) -> bytes:
        return self._redacted(self._seal) if self._seal is not None else b""

    def _redacted(self, seal: Seal) -> bytes:
        return self._open_block({"type": REDACTED, "data": self.reply.seals.pack(seal)}) + self._close()

    def ping(self) -> bytes:
        """A sign of life, which clients wait for through long thinking."""
        return PING

    def message_end(self, event: MessageEnd) -> bytes:
        """Tell why it ended and what it took."""
        delta = self._ending.fields(event.stop, event.stop_sequence, event.explanation)
        return _frame({"type": "message_delta", "delta": delta, "usage": as_reported(self.usage)}) + _frame(
            {"type": "message_stop"}
        )

    def fail(self, error: GatewayError) -> bytes:
        """End in an error event: the client raises, and takes nothing for whole."""
        return error_frame(error, self.reply.id)

    # Blocks

    def _opening(self, block: Node) -> bytes:
        return b"" if self._is_open else self._open_block(block)

    def _open_block(self, block: Node) -> bytes:
        self._index += 1
        self._is_open = True
        return _frame({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: Node) -> bytes:
        return _frame({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> bytes:
        if not self._is_open:
            return b""
        self._is_open = False
        return _frame({"type": "content_block_stop", "index": self._index})


def is_redacted(part: Thinking, seal: Seal) -> bool:
    """Whether reasoning is written as redacted: this format's own alone, so that a call's seal is not taken for it."""
    return part.is_redacted and seal.form == REDACTED


def message_head(reply: Reply) -> Node:
    """Return what stands in a message before its content."""
    return {"id": f"msg_{reply.id}", "type": "message", "role": "assistant", "model": reply.model}


def foreign_block(part: Foreign | Media, place: int, reply: Reply) -> Node | None:
    """Return a part that only this format knows; None, with a loss, for what it does not know."""
    if isinstance(part, Foreign) and part.origin == NAME:
        block: Node = part.value
        return block
    what = part.what if isinstance(part, Foreign) else part.kind
    reply.losses.changes_answer(f"answer.parts[{place}]", f"the format's answers have no {what}")
    return None


def lose_text_seal(seal: Seal | None, place: int, reply: Reply) -> None:
    """Note the seal of a text, which has no place beside it that a client would not take for something else."""
    if seal is not None:
        reply.losses.degrades(f"answer.parts[{place}].seal", "the format's texts carry no state of a model")


def _frame(event: dict[str, Any]) -> bytes:
    name: str = event["type"]
    return b"event: " + name.encode() + b"\ndata: " + write_json(event) + b"\n\n"
