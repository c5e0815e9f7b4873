"""Writing a client's stream of generateContent: each event a whole GenerateContentResponse, none of them the terminal one.

google-genai makes history of what it gets: each chunk is a content of its own there, and one without parts makes the
whole turn invalid. A thought's seal comes in an empty piece after its words; the reader puts them together again.
"""

import msgspec

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
from providers.canonical.losses import Losses
from providers.canonical.parts import Citation, Foreign, Media, Text, Thinking, ToolCall
from providers.canonical.seals import Seal, SealBox
from providers.canonical.tool_names import INPUT
from providers.dialects.gemini.errors import error_frame
from providers.dialects.gemini.media import write_media
from providers.dialects.gemini.parts_writer import note, read_arguments
from providers.dialects.gemini.usage import write_usage
from providers.dialects.gemini.wire import FINISH_REASONS, MALFORMED_CALL, NAME, frame
from providers.dialects.nodes import Node
from providers.dialects.writer import EventWriter, Reply
from providers.wire.json import write_json
from tenants.errors import GatewayError


class GenerateContentWriter(EventWriter):
    """Writes a stream of generateContent."""

    __slots__ = ("_cited", "_finish_reason", "_length", "_open", "_pieces")

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._open: PartStart | None = None
        self._pieces: list[str] = []  # of the open text, or of a call's arguments
        self._length = 0  # bytes of text before the open one
        self._cited: list[Node] = []
        self._finish_reason = ""  # what the content says of the end, if it does

    def message_start(self, event: MessageStart) -> bytes:
        """Nothing: a chunk without content would make the client's history invalid."""
        return b""

    def part_start(self, event: PartStart) -> bytes:
        """Open a part, or write one that comes whole; a call is kept until it is whole."""
        self._open, self._pieces = event, []
        match event.part:
            case Text(text=words) if words:
                return self._add(words)
            case Thinking(text=words) if words:
                return self._chunk({"text": words, "thought": True})
            case ToolCall(arguments=words):
                self._pieces.append(words)
            case Media() | Foreign():
                return self._whole(event)
        return b""

    def text(self, event: TextDelta) -> bytes:
        """More words."""
        return self._add(event.text)

    def thinking(self, event: ThinkingDelta) -> bytes:
        """More thoughts."""
        return self._chunk({"text": event.text, "thought": True})

    def arguments(self, event: ArgumentsDelta) -> bytes:
        """Nothing yet: arguments come whole in this format."""
        self._pieces.append(event.text)
        return b""

    def seal(self, event: SealDelta) -> bytes:
        """Write a seal in an empty piece after the words; a call has it by itself."""
        part = self._open.part if self._open else None
        packed = self.reply.seals.pack(event.seal)
        if isinstance(part, ToolCall) and self._open:
            sealed = msgspec.structs.replace(part, seal=event.seal)
            self._open = PartStart(index=event.index, part=sealed)
            return b""
        if isinstance(part, Thinking):
            return self._chunk({"text": "", "thought": True, "thoughtSignature": packed})
        return self._chunk({"text": "", "thoughtSignature": packed})

    def citation(self, event: CitationDelta) -> bytes:
        """Keep a source for the end: it stands beside the text."""
        words = "".join(self._pieces)
        self._cited.append(write_citation(event.citation, words, self._length))
        return b""

    def part_end(self, event: PartEnd) -> bytes:
        """Write a call that is whole."""
        opened, self._open = self._open, None
        if opened is None or not isinstance(opened.part, ToolCall):
            self._length += sum(len(piece.encode()) for piece in self._pieces)
            return b""
        node = write_call(opened.part, "".join(self._pieces), self.reply.seals)
        if node is None:
            self._finish_reason = MALFORMED_CALL
            return b""
        return self._chunk(node)

    def ping(self) -> bytes:
        """Nothing: google-genai takes every line that is not data for the beginning of an error."""
        return b""

    def message_end(self, event: MessageEnd) -> bytes:
        """Say why it ends, and what it took."""
        candidate = write_end(event, self._finish_reason, self._cited, self.reply.losses)
        content = {"role": "model", "parts": [{"text": ""}]}
        return self._frame({"content": content, **candidate}, usage=write_usage(self.usage))

    def fail(self, error: GatewayError) -> bytes:
        """Write the error."""
        return error_frame(error, self.reply.id)

    def _add(self, words: str) -> bytes:
        self._pieces.append(words)
        return self._chunk({"text": words})

    def _whole(self, event: PartStart) -> bytes:
        node = write_whole_part(event.part, f"answer.parts[{event.index}]", self.reply.losses, self.reply.seals)
        return b"" if node is None else self._chunk(node)

    def _chunk(self, part: Node) -> bytes:
        return self._frame({"content": {"role": "model", "parts": [part]}})

    def _frame(self, candidate: Node, usage: Node | None = None) -> bytes:
        return frame(write_json(response(self.reply, {**candidate, "index": 0}, usage)))


def response(reply: Reply, candidate: Node, usage: Node | None) -> Node:
    """Return a GenerateContentResponse."""
    counts = {"usageMetadata": usage} if usage else {}
    return {"candidates": [candidate], **counts, "modelVersion": reply.model, "responseId": reply.id}


def write_call(call: ToolCall, arguments: str, seals: SealBox) -> Node | None:
    """Return a call; None when its arguments are no object: a call in pieces must not be run."""
    args = {INPUT: arguments} if call.kind == "custom" else read_arguments(arguments)
    if args is None:
        return None
    node: Node = {"functionCall": {"id": call.id, "name": call.name, "args": args}}
    return node | signature(call.seal, seals)


def signature(seal: Seal | None, seals: SealBox) -> Node:
    """Return a seal as a part carries it."""
    return {} if seal is None else {"thoughtSignature": seals.pack(seal)}


def write_whole_part(part: object, at: str, losses: Losses, seals: SealBox) -> Node | None:
    """Return a file, or what the client's own dialect made; None, and a loss, for what it does not know."""
    if isinstance(part, Media):
        return write_media(part) | signature(part.seal, seals)
    if isinstance(part, Foreign):
        if part.origin == NAME:
            return dict(part.value)
        note(losses, part.weight, at, "the client's format has no such part")
    return None


def write_citation(citation: Citation, words: str, before: int) -> Node:
    """Return a source; the format counts bytes from the answer's start."""
    node: Node = {}
    if citation.start is not None:
        node["startIndex"] = before + len(words[: citation.start].encode())
    if citation.end is not None:
        node["endIndex"] = before + len(words[: citation.end].encode())
    if citation.url:
        node["uri"] = citation.url
    if citation.title:
        node["title"] = citation.title
    return node


def write_end(end: MessageEnd, finish_reason: str, cited: list[Node], losses: Losses) -> Node:
    """Return what a candidate says of its end; what was cut off is no malformed call."""
    is_cut = end.stop in {"max_tokens", "context_exceeded"}
    candidate: Node = {"finishReason": FINISH_REASONS[end.stop] if is_cut or not finish_reason else finish_reason}
    if end.explanation:
        candidate["finishMessage"] = end.explanation
    if cited:
        candidate["citationMetadata"] = {"citations": cited}
    if end.stop == "pause":
        losses.degrades("answer.stop", "the client's format cannot say that the model would go on")
    if end.stop_sequence is not None:
        losses.cosmetic("answer.stop_sequence", "the client's format does not say which one it was")
    return candidate
