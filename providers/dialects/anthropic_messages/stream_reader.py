"""Reading an upstream's stream, or its whole answer, into events.

Blocks come one after the other and carry their own index. Upstreams that only imitate the format put deltas of one kind
into a block of another, or forget to open one: such a delta opens the part that it belongs to. Blocks that only this
format knows are collected and come as one whole part.
"""

from typing import Any

from providers.canonical.events import Event, MessageEnd, Stop
from providers.canonical.parts import Foreign, Part, Text, Thinking, ToolCall
from providers.canonical.seals import Seal
from providers.dialects.anthropic_messages.block_reader import read_citation
from providers.dialects.anthropic_messages.usage import merge_report, opening_report, usage_of
from providers.dialects.anthropic_messages.weights import foreign_block
from providers.dialects.anthropic_messages.wire import REDACTED, STOPS
from providers.dialects.nodes import Node
from providers.dialects.reader import EventReader
from providers.wire.json import read_json, write_json

NO_ANSWER = "The upstream's answer makes no sense."
_DONE = b"[DONE]"  # Chat Completions': some imitations say it here too


class _Block:
    """A block that is open upstream."""

    __slots__ = ("has_arguments", "kind", "part", "value")

    def __init__(self, kind: str, part: int, value: Node) -> None:
        self.kind = kind  # text, thinking, tool_use; anything else is collected
        self.part = part  # its index among our parts, -1 when it has none yet
        self.value = value  # as it opened
        self.has_arguments = False  # in pieces


class MessagesReader(EventReader):
    """Reads a stream of Messages."""

    __slots__ = ("_blocks", "_end", "_has_calls", "_reported")

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self._blocks: dict[int, _Block] = {}
        self._reported: Node = {}  # usage as it came, the newest of each field
        self._end: Node = {}  # what the last message_delta said of the end
        self._has_calls = False

    def _read(self, name: bytes, payload: bytes) -> None:
        if payload.strip() == _DONE:
            return
        event = self._parse(payload)
        match event.get("type") or name.decode():
            case "content_block_delta":
                self._block_delta(event["index"], event.get("delta") or {})
            case "content_block_start":
                self._block_start(event["index"], event["content_block"])
            case "content_block_stop":
                self._block_stop(event["index"])
            case "message_start":
                self._message_start(event.get("message"), is_whole=False)
            case "message_delta":
                self._message_delta(event.get("delta"), event.get("usage"))
            case "message_stop":
                self._message_stop()
            case "error":
                self._error(event.get("error"))
            case "ping":
                self._ping()

    def _close(self) -> None:
        if self._end.get("stop_reason"):
            self._message_stop()

    def read_whole(self, body: bytes) -> list[Event]:
        """Return the events of a whole answer, as if it had been streamed."""
        try:
            self._whole(self._parse(body))
        except (LookupError, TypeError, ValueError, AttributeError):
            self._fail(NO_ANSWER)
        return self._take()

    def _whole(self, message: Node) -> None:
        if message.get("type") == "error" or "content" not in message:
            self._error(message.get("error") or NO_ANSWER)
            return
        self._message_start(message, is_whole=True)
        for index, block in enumerate(message.get("content") or ()):
            self._block_start(index, block)
            self._block_stop(index)
        self._message_delta(message, None)
        self._message_stop()

    def _message_start(self, message: Any, *, is_whole: bool) -> None:
        fields = message if isinstance(message, dict) else {}
        self._start(id=_word(fields.get("id")), model=_word(fields.get("model")))
        self._count(fields.get("usage") if is_whole else opening_report(fields))

    def _message_delta(self, delta: Any, usage: Any) -> None:
        if isinstance(delta, dict):
            self._end |= {name: value for name, value in delta.items() if value is not None}
        self._count(usage)

    def _count(self, usage: Any) -> None:
        """Report what is known so far: later counts are sums, not increments, and a missing one takes nothing away."""
        if isinstance(usage, dict):
            merge_report(self._reported, usage)
            self._report(usage_of(self._reported))

    def _message_stop(self) -> None:
        for index in list(self._blocks):
            self._block_stop(index)
        stop = self._stop()
        details = self._end.get("stop_details")
        sequence = self._end.get("stop_sequence")
        self._finish(
            MessageEnd(
                stop=stop,
                stop_sequence=sequence if stop == "stop_sequence" and isinstance(sequence, str) else None,
                explanation=_word(details.get("explanation")) if isinstance(details, dict) else "",
            )
        )

    def _stop(self) -> Stop:
        """Return why the answer ended: by the calls that were seen, unless it was cut."""
        stop = STOPS.get(self._end.get("stop_reason") or "", "end_turn")
        if stop in ("end_turn", "tool_use", "stop_sequence"):
            return "tool_use" if self._has_calls else "end_turn" if stop == "tool_use" else stop
        return stop

    def _error(self, error: Any) -> None:
        fields = error if isinstance(error, dict) else {"message": error}
        kind = _word(fields.get("type"))
        self._fail(_word(fields.get("message")) or kind or "The upstream failed.", kind)

    # Blocks

    def _block_start(self, index: int, block: Node) -> None:
        self._block_stop(index)  # one that was never closed
        kind = block.get("type")
        match kind:
            case "text":
                self._begin(index, kind, Text(), block)
                self._text(self._part(index), _word(block.get("text")))
                for citation in block.get("citations") or ():
                    self._cite(self._part(index), read_citation(citation))
            case "thinking":
                self._begin(index, kind, Thinking(), block)
                self._thinking(self._part(index), _word(block.get("thinking")))
                self._seal(self._part(index), _word(block.get("signature")))
            case "redacted_thinking":
                self._redacted(_word(block.get("data")))
            case "tool_use":
                self._has_calls = True
                self._begin(index, kind, ToolCall(id=_word(block.get("id")), name=_word(block.get("name"))), block)
            case _:
                self._blocks[index] = _Block("", -1, dict(block))

    def _begin(self, index: int, kind: str, part: Part, block: Node) -> None:
        self._blocks[index] = _Block(kind, self._open_part(part), block)

    def _part(self, index: int) -> int:
        return self._blocks[index].part

    def _redacted(self, data: str) -> None:
        seal = Seal(origin=self.origin, payload=data, form=REDACTED) if data else None
        self._whole_part(Thinking(is_redacted=True, seal=seal))

    def _block_delta(self, index: int, delta: Node) -> None:
        kind = delta.get("type")
        match kind:
            case "text_delta":
                if text := _word(delta.get("text")):
                    self._text(self._part_for(index, "text", Text()), text)
            case "thinking_delta":
                if text := _word(delta.get("thinking")):
                    self._thinking(self._part_for(index, "thinking", Thinking()), text)
            case "signature_delta":
                if seal := _word(delta.get("signature")):
                    self._seal(self._part_for(index, "thinking", Thinking()), seal)
            case "citations_delta":
                self._cite(self._part_for(index, "text", Text()), read_citation(delta.get("citation")))
            case "input_json_delta" if index in self._blocks and self._blocks[index].kind == "tool_use":
                piece = _word(delta.get("partial_json"))
                self._blocks[index].has_arguments |= bool(piece)
                self._arguments(self._part(index), piece)
            case _:
                self._collect(index, delta)

    def _part_for(self, index: int, kind: str, part: Part) -> int:
        """Return the part that a delta belongs to: that of its block, or a new one where the block is of another kind."""
        block = self._blocks.get(index)
        if block is None or block.kind != kind:
            self._block_stop(index)
            self._begin(index, kind, part, {})
        return self._part(index)

    def _collect(self, index: int, delta: Node) -> None:
        """Add a delta to a block that comes whole; one of a part that we know says nothing that we know."""
        block = self._blocks.get(index)
        if block is None or block.kind:
            return
        for name, value in delta.items():
            known = block.value.get(name)
            if name == "type" or value is None:
                continue
            block.value[name] = known + value if isinstance(known, str) and isinstance(value, str) else value

    def _block_stop(self, index: int) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        if block.kind:
            if block.kind == "tool_use" and not block.has_arguments:
                self._arguments(block.part, _spelled(block.value.get("input")))
            self._end_part(block.part)
        else:
            self._whole_part(_foreign(block.value))


def _foreign(value: Node) -> Foreign:
    """Return a block that only this format knows; the input of a server's tool comes in pieces of JSON."""
    pieces = value.pop("partial_json", "")
    if pieces:
        value["input"] = read_json(pieces)
    return foreign_block(value, _word(value.get("type")), "")


def _spelled(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) and arguments else write_json(arguments or {}).decode()


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
