"""Writing instructions and turns.

The upstream joins messages of one speaker, so it does not matter how many there are; but results must be the first thing
in the message that follows their calls, and an instruction in mid-conversation may stand only between the user's words
and an answer. One that stands elsewhere, or before a model that takes none, becomes a reminder in the user's words: it
is never moved.
"""

from dataclasses import dataclass

import msgspec

from providers.canonical.parts import Media, Part, Text, Thinking
from providers.canonical.request import Turn
from providers.dialects.anthropic_messages.block_writer import as_content, text_block, write_blocks
from providers.dialects.anthropic_messages.spelling import put_back, spelling_of
from providers.dialects.anthropic_messages.wire import NAME
from providers.dialects.anthropic_messages.writing import Writing
from providers.dialects.nodes import Node

# Stands for a format that is any JSON: this one knows schemas only.
ANY_JSON: Node = {
    "type": "text",
    "text": "Answer in valid JSON alone, with nothing before or after it and no code fence around it.",
}


@dataclass(slots=True, kw_only=True)
class _Message:
    role: str
    blocks: list[Node]
    turns: list[Turn]  # that it was made of


def write_system(writing: Writing) -> str | list[Node] | None:
    """Return the instructions before the first turn; None when there are none."""
    blocks = []
    for part in writing.request.system:
        if isinstance(part, Text):
            writing.losses.native(part.native, part.at, NAME)
        block = text_block(part, writing) if isinstance(part, Text) else writing.foreign(part)
        if block is not None:
            blocks.append(block)
    format = writing.request.response_format
    if format is not None and format.kind == "json_object":
        blocks.append(ANY_JSON)
    if not blocks:
        return None
    if not writing.is_own:
        return as_content(blocks)
    first = writing.request.system[0]
    return as_content(blocks) if isinstance(first, Text) and spelling_of(first.native).is_text else blocks


def write_messages(writing: Writing) -> list[Node]:
    """Return the turns as messages."""
    messages: list[_Message] = []
    for index, turn in enumerate(writing.request.turns):
        writing.losses.native(turn.native, turn.at, NAME)
        message = _message(index, turn, writing)
        if not message.blocks and not _stands_empty(turn):
            writing.losses.cosmetic(turn.at, "nothing is left of it, and the upstream refuses an empty message")
        elif messages and messages[-1].role == message.role and not writing.is_own:
            messages[-1].blocks += message.blocks
            messages[-1].turns += message.turns
        else:
            messages.append(message)
    _tidy_prefill(messages, writing)
    return [_node(message, writing) for message in messages]


def _stands_empty(turn: Turn) -> bool:
    return "content" in spelling_of(turn.native).said


def _message(index: int, turn: Turn, writing: Writing) -> _Message:
    if turn.role == "system" and not _takes_system(index, writing):
        writing.losses.degrades(turn.at, "instructions in mid-conversation become the user's words here")
        reminders = [_reminder(part) for part in turn.parts]
        return _Message(role="user", blocks=write_blocks(reminders, writing), turns=[turn])
    parts = turn.parts
    if turn.role == "assistant" and not writing.is_own:
        parts = _thinking_first(_without_media(parts, writing))
    return _Message(role=turn.role, blocks=write_blocks(parts, writing), turns=[turn])


def _without_media(parts: tuple[Part, ...], writing: Writing) -> tuple[Part, ...]:
    """Return an answer of this format's kind: its models make no images and no sound, and are shown none as theirs."""
    for part in parts:
        if isinstance(part, Media):
            writing.losses.changes_answer(part.at, f"the upstream's answers hold no {part.kind}")
    return tuple(part for part in parts if not isinstance(part, Media))


def _takes_system(index: int, writing: Writing) -> bool:
    if not writing.destination.profile.takes_system_turns or writing.is_own:
        return writing.destination.profile.takes_system_turns
    turns = writing.request.turns
    before = next((turn.role for turn in reversed(turns[:index]) if turn.role != "system"), "")
    after = next((turn.role for turn in turns[index + 1 :] if turn.role != "system"), "")
    return (
        before == "user" and after in ("assistant", "") and all(isinstance(part, Text) for part in turns[index].parts)
    )


def _reminder(part: Part) -> Part:
    if not isinstance(part, Text) or not part.text:
        return part
    return msgspec.structs.replace(part, text=f"<system-reminder>\n{part.text}\n</system-reminder>")


def _thinking_first(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return a turn that begins with its reasoning, if it has some: not every dialect keeps its place."""
    if not parts or isinstance(parts[0], Thinking):
        return parts
    return tuple(sorted(parts, key=lambda part: not isinstance(part, Thinking)))


def _tidy_prefill(messages: list[_Message], writing: Writing) -> None:
    """See to an answer that is to be continued: some models refuse it, all refuse blanks at its end."""
    last = messages[-1] if messages else None
    if last is None or last.role != "assistant" or not last.blocks or last.blocks[-1].get("type") != "text":
        return
    turn, block = last.turns[-1], last.blocks[-1]
    if not writing.destination.profile.takes_prefill:
        writing.losses.changes_answer(turn.at, "the upstream's model does not continue an answer")
    trimmed = block["text"].rstrip()
    if trimmed != block["text"]:
        writing.losses.cosmetic(turn.parts[-1].at, "the upstream refuses blanks at the end of an answer")
        block["text"] = trimmed
    if not trimmed:
        last.blocks.pop()
    if not last.blocks:
        messages.pop()


def _node(message: _Message, writing: Writing) -> Node:
    if writing.is_own:
        native = message.turns[0].native
        content = as_content(message.blocks) if spelling_of(native).is_text else message.blocks
        return put_back({"role": message.role, "content": content}, native)
    blocks = sorted(message.blocks, key=lambda block: block.get("type") != "tool_result")
    return {"role": message.role, "content": as_content(blocks)}
