"""Writing an answer as a client's stream of chunks."""

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
from providers.canonical.parts import Citation, Text, Thinking, ToolCall
from providers.canonical.seals import Seal
from providers.dialects.nodes import Node
from providers.dialects.openai_chat.calls import with_thought_signature
from providers.dialects.openai_chat.errors import error_frame
from providers.dialects.openai_chat.shapes import (
    NO_ADDRESS,
    annotation,
    call_node,
    chunk_head,
    finish_reason,
    is_legacy,
    no_place_for,
    seal_entry,
)
from providers.dialects.openai_chat.usage import usage_json
from providers.dialects.writer import EventWriter, Reply
from providers.wire.json import write_json
from tenants.errors import GatewayError

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


class _Call:
    """A call on its way to the client. Its opener waits for the next event, which may bring what belongs into it."""

    __slots__ = ("call", "has_arguments", "is_open", "number", "seal")

    def __init__(self, call: ToolCall, number: int) -> None:
        self.call = call
        self.number = number
        self.is_open = False
        self.has_arguments = False
        self.seal: Seal | None = call.seal


class ChatWriter(EventWriter):
    """Writes chunks; tool calls are told apart by their index, so their arguments may interleave."""

    __slots__ = (
        "_annotations",
        "_calls",
        "_entries",
        "_has_refusal",
        "_head",
        "_is_legacy",
        "_part",
        "_said",
        "_seal_of_text",
        "_sources",
        "_tail",
        "_text_start",
        "_thought",
        "_thought_start",
    )

    is_sequential = False

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._head = b"data: " + write_json(chunk_head(reply))[:-1]
        self._tail = b',"usage":null}\n\n' if reply.request.wants_usage else b"}\n\n"
        self._is_legacy = is_legacy(reply)
        self._calls: dict[int, _Call] = {}  # by the index of their part
        self._part: Text | Thinking | None = None  # the one that is open
        self._has_refusal = False
        self._said = self._text_start = 0  # characters of the text, and where the open Text begins
        self._thought = self._thought_start = 0  # the same of the reasoning
        self._sources: list[Citation] = []  # of the open Text
        self._annotations = 0  # written so far, as are the entries of reasoning_details
        self._entries = 0
        self._seal_of_text: tuple[int, Seal] | None = None

    def message_start(self, event: MessageStart) -> bytes:
        """Say whose words follow."""
        return self._chunk({"role": "assistant", "content": ""})

    def part_start(self, event: PartStart) -> bytes:
        """Begin a part; what has no place in this format is noted."""
        part = event.part
        match part:
            case Text():
                self._part, self._text_start, self._sources = part, self._said, list(part.citations)
                return self._words(part.text)
            case Thinking():
                self._part, self._thought_start = part, self._thought
                return self._thoughts(part.text) + (self._entry(part.seal) if part.seal is not None else b"")
            case ToolCall() if not (self._is_legacy and self._calls):
                # Clients put calls together by their index, and expect the first of each in order.
                earlier = b"".join([self._opener(call) for call in self._calls.values()])
                self._calls[event.index] = _Call(part, len(self._calls))
                return earlier + self._fragment(self._calls[event.index], part.arguments)
        self.reply.losses.changes_answer(f"answer.parts[{event.index}]", no_place_for(part))
        return b""

    def text(self, event: TextDelta) -> bytes:
        """More words."""
        return self._words(event.text)

    def thinking(self, event: ThinkingDelta) -> bytes:
        """More reasoning, in the field that most clients know."""
        return self._thoughts(event.text)

    def arguments(self, event: ArgumentsDelta) -> bytes:
        """More arguments, as they come."""
        call = self._calls.get(event.index)
        return self._fragment(call, event.text) if call is not None else b""

    def seal(self, event: SealDelta) -> bytes:
        """Opaque state, packed, in the field whose contract is that clients send it back."""
        call = self._calls.get(event.index)
        if call is not None:
            call.seal = event.seal
            return self._late_seal(call) if call.is_open else b""
        if isinstance(self._part, Thinking):
            return self._entry(event.seal)
        if isinstance(self._part, Text):
            self._lose_seal_of_text()
            self._seal_of_text = event.index, event.seal
        return b""

    def citation(self, event: CitationDelta) -> bytes:
        """A source: written when its text has ended, for it says which words it belongs to."""
        self._sources.append(event.citation)
        return b""

    def part_end(self, event: PartEnd) -> bytes:
        """Write what only the end of a part tells."""
        call = self._calls.get(event.index)
        if call is not None:
            if call.has_arguments:
                return b""
            return self._opener(call) if call.call.kind == "custom" else self._fragment(call, "{}")
        part, self._part = self._part, None
        return self._write_sources(event.index) if isinstance(part, Text) else b""

    def ping(self) -> bytes:
        """A comment, which clients skip."""
        return PING

    def message_end(self, event: MessageEnd) -> bytes:
        """Say why it ended, what it used, and that nothing follows."""
        said = b""
        if self._seal_of_text is not None:
            said += self._chunk(with_thought_signature(self.reply.seals.pack(self._seal_of_text[1])))
        if event.stop == "refusal" and event.explanation and not self._has_refusal:
            said += self._chunk({"refusal": event.explanation})
        reason = finish_reason(event.stop, has_refusal=self._has_refusal, legacy=self._is_legacy)
        return said + self._chunk({}, reason) + self._usage() + DONE

    def fail(self, error: GatewayError) -> bytes:
        """End without the word that ends a whole answer."""
        return error_frame(error, self.reply.id)

    # Chunks

    def _chunk(self, delta: Node, finish: str | None = None) -> bytes:
        choice = write_json({"index": 0, "delta": delta, "finish_reason": finish})
        return b"".join((self._head, b',"choices":[', choice, b"]", self._tail))

    def _usage(self) -> bytes:
        if not (self.reply.request.wants_usage and self.usage.is_reported):
            return b""
        return b"".join((self._head, b',"choices":[],"usage":', write_json(usage_json(self.usage)), b"}\n\n"))

    def _words(self, text: str) -> bytes:
        if not text or not isinstance(self._part, Text):
            return b""
        if self._part.is_refusal:
            self._has_refusal = True
            return self._chunk({"refusal": text})
        self._said += len(text)
        return self._chunk({"content": text})

    def _write_sources(self, index: int) -> bytes:
        sources = [source for source in self._sources if source.url]
        if len(sources) < len(self._sources):
            self.reply.losses.degrades(f"answer.parts[{index}].citations", NO_ADDRESS)
        if not sources:
            return b""
        nodes = [annotation(source, self._text_start, self._said) for source in sources]
        numbered = [{"index": self._annotations + i, **node} for i, node in enumerate(nodes)]
        self._annotations += len(nodes)
        return self._chunk({"annotations": numbered})

    def _lose_seal_of_text(self) -> None:
        """Note that a text's seal goes: there is one place for all of them."""
        if self._seal_of_text is not None:
            self.reply.losses.degrades(
                f"answer.parts[{self._seal_of_text[0]}].seal", "only the last text keeps its seal"
            )

    # Reasoning

    def _thoughts(self, text: str) -> bytes:
        self._thought += len(text)
        return self._chunk({"reasoning_content": text}) if text else b""

    def _entry(self, seal: Seal) -> bytes:
        entry = seal_entry(self.reply.seals.pack(seal), self._entries, self._thought_start, self._thought)
        self._entries += 1
        return self._chunk({"reasoning_details": [entry]})

    # Calls

    def _fragment(self, call: _Call, text: str) -> bytes:
        if not text:
            return b""
        opener, call.has_arguments = self._opener(call), True
        if self._is_legacy:
            return opener + self._chunk({"function_call": {"arguments": text}})
        kind = call.call.kind
        called = {"input" if kind == "custom" else "arguments": text}
        return opener + self._chunk({"tool_calls": [{"index": call.number, kind: called}]})

    def _opener(self, call: _Call) -> bytes:
        if call.is_open:
            return b""
        call.is_open = True
        if self._is_legacy:
            return self._chunk({"function_call": {"name": call.call.name, "arguments": ""}})
        node = {"index": call.number, **call_node(call.call, "")}
        if call.seal is not None:
            node |= with_thought_signature(self.reply.seals.pack(call.seal))
        return self._chunk({"tool_calls": [node]})

    def _late_seal(self, call: _Call) -> bytes:
        if call.seal is None or self._is_legacy:
            return b""
        signature = with_thought_signature(self.reply.seals.pack(call.seal))
        kind = call.call.kind  # openai-py refuses a fragment of a call that says nothing of its function
        nothing = {"input" if kind == "custom" else "arguments": ""}
        return self._chunk({"tool_calls": [{"index": call.number, kind: nothing, **signature}]})
