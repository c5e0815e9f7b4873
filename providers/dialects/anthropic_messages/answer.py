"""Whole answers: read from an upstream as events, written for a client."""

from collections.abc import Iterator, Sequence

from providers.canonical.answer import Answer
from providers.canonical.events import Event
from providers.canonical.identifiers import fit
from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.dialects.anthropic_messages.block_writer import as_input
from providers.dialects.anthropic_messages.ends import Ending
from providers.dialects.anthropic_messages.stream_reader import MessagesReader
from providers.dialects.anthropic_messages.stream_writer import foreign_block, is_redacted, lose_text_seal, message_head
from providers.dialects.anthropic_messages.usage import as_reported
from providers.dialects.anthropic_messages.wire import CALL_IDS, NAME, REDACTED
from providers.dialects.nodes import Node
from providers.dialects.writer import Reply
from providers.wire.json import write_json


def read_answer(body: bytes, origin: str) -> Sequence[Event]:
    """Return the events of a whole answer; what is none ends in StreamFailed."""
    return MessagesReader(origin).read_whole(body)


def write_answer(answer: Answer, reply: Reply) -> bytes:
    """Return a whole answer for a client."""
    ending = Ending()
    content: list[Node] = []
    for place, part in enumerate(answer.parts):
        ending.see(part)
        if isinstance(part, Text):
            ending.hear(part, part.text)
        content += _blocks(part, place, reply)
    end = ending.fields(answer.stop, answer.stop_sequence, answer.explanation)
    message = message_head(reply) | {"content": content} | end | {"usage": as_reported(answer.usage)}
    return write_json(message)


def _blocks(part: Part, place: int, reply: Reply) -> Iterator[Node]:
    match part:
        case Text():
            lose_text_seal(part.seal, place, reply)
            if part.text:
                yield _text(part, place, reply)
        case Thinking():
            yield from _thinking(part, reply)
        case ToolCall():
            yield from _call(part, reply)
        case Foreign() | Media():
            block = foreign_block(part, place, reply)
            if block is not None:
                yield block
        case ToolResult():  # no model gives one
            pass


def _text(part: Text, place: int, reply: Reply) -> Node:
    own = [citation.native.form for citation in part.citations if citation.native and citation.native.origin == NAME]
    if len(own) < len(part.citations):
        reply.losses.degrades(f"answer.parts[{place}].citations", "the format has no such source")
    return {"type": "text", "text": part.text, "citations": own or None}


def _thinking(part: Thinking, reply: Reply) -> Iterator[Node]:
    packed = reply.seals.pack(part.seal) if part.seal is not None else ""
    if part.seal is not None and is_redacted(part, part.seal):
        yield {"type": REDACTED, "data": packed}
    elif part.text or packed:
        yield {"type": "thinking", "thinking": part.text, "signature": packed}


def _call(part: ToolCall, reply: Reply) -> Iterator[Node]:
    call_id = fit(part.id, CALL_IDS)
    yield {"type": "tool_use", "id": call_id, "name": part.name, "input": as_input(part.arguments)}
    if part.seal is not None:
        yield {"type": REDACTED, "data": reply.seals.pack(part.seal)}
