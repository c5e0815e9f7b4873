"""A whole answer, both ways: read as a stream of one chunk, written as all its parts in one candidate."""

from collections.abc import Sequence

from providers.canonical.answer import Answer
from providers.canonical.events import Event, MessageEnd, StreamFailed
from providers.canonical.parts import Text, Thinking, ToolCall
from providers.dialects.gemini.stream_reader import GenerateContentReader
from providers.dialects.gemini.stream_writer import (
    response,
    signature,
    write_call,
    write_citation,
    write_end,
    write_whole_part,
)
from providers.dialects.gemini.usage import write_usage
from providers.dialects.gemini.wire import MALFORMED_CALL, frame
from providers.dialects.nodes import Node
from providers.dialects.reader import NONSENSE
from providers.dialects.writer import Reply
from providers.wire.json import read_json, write_json


def read_answer(body: bytes, origin: str) -> Sequence[Event]:
    """Return the events of a whole answer, or of a list of chunks; what is no answer ends in StreamFailed."""
    try:
        answer = write_json(read_json(body))  # on one line, as an event has it
    except ValueError:
        return [StreamFailed(message=NONSENSE)]
    reader = GenerateContentReader(origin)
    return [*reader.feed(frame(answer)), *reader.close()]


def write_answer(answer: Answer, reply: Reply) -> bytes:
    """Return the body."""
    writer = _AnswerWriter(reply)
    for index, part in enumerate(answer.parts):
        writer.add(part, f"answer.parts[{index}]")
    end = MessageEnd(stop=answer.stop, stop_sequence=answer.stop_sequence, explanation=answer.explanation)
    candidate: Node = {
        "content": {"role": "model", "parts": writer.parts},
        **write_end(end, writer.finish_reason, writer.cited, reply.losses),
        "index": 0,
    }
    return write_json(response(reply, candidate, write_usage(answer.usage)))


class _AnswerWriter:
    """The parts of one answer."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._length = 0  # bytes of text so far
        self.parts: list[Node] = []
        self.cited: list[Node] = []
        self.finish_reason = ""

    def add(self, part: object, at: str) -> None:
        """Write one part."""
        node = self._node(part, at)
        if node is not None:
            self.parts.append(node)

    def _node(self, part: object, at: str) -> Node | None:
        seals = self._reply.seals
        match part:
            case Text():
                self.cited += [write_citation(citation, part.text, self._length) for citation in part.citations]
                self._length += len(part.text.encode())
                return {"text": part.text, **signature(part.seal, seals)}
            case Thinking():
                return {"text": part.text, "thought": True, **signature(part.seal, seals)}
            case ToolCall():
                node = write_call(part, part.arguments, seals)
                self.finish_reason = self.finish_reason if node else MALFORMED_CALL
                return node
        return write_whole_part(part, at, self._reply.losses, seals)
