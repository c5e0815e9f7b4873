"""Answers made comparable, and the order in which events may come."""

from collections.abc import Sequence
from itertools import zip_longest

import msgspec

from providers.canonical.answer import Answer
from providers.canonical.events import (
    ArgumentsDelta,
    CitationDelta,
    Event,
    MessageEnd,
    MessageStart,
    PartEnd,
    PartStart,
    SealDelta,
    StreamFailed,
    TextDelta,
    ThinkingDelta,
)
from providers.canonical.losses import Native
from providers.canonical.parts import Foreign, Part, Text, Thinking, ToolCall
from providers.canonical.usage import Usage
from providers.wire.json import read_json, write_json

DELTAS = {
    TextDelta: (Text,),
    ThinkingDelta: (Thinking,),
    ArgumentsDelta: (ToolCall,),
    SealDelta: (Text, Thinking, ToolCall),
    CitationDelta: (Text,),
}


def plain(answer: Answer) -> Answer:
    """Return an answer without what is only spelling: forms, places, and blanks in arguments."""
    return msgspec.structs.replace(answer, parts=tuple(_plain(part) for part in answer.parts))


def _plain(part: Part) -> Part:
    if isinstance(part, Foreign):
        return msgspec.structs.replace(part, at="")
    changes: dict[str, object] = {"at": "", "native": _unformed(part.native)}
    if isinstance(part, ToolCall) and part.kind == "function":
        changes["arguments"] = compact(part.arguments)
    if isinstance(part, Text):
        changes["citations"] = tuple(
            msgspec.structs.replace(citation, native=_unformed(citation.native)) for citation in part.citations
        )
    return msgspec.structs.replace(part, **changes)


def _unformed(native: Native | None) -> Native | None:
    if native is None or not native.fields:
        return None
    return Native(origin=native.origin, fields=tuple(sorted(native.fields, key=lambda field: field.name)))


def compact(arguments: str) -> str:
    """Return arguments as JSON is spelled by us; what is no JSON stays."""
    try:
        value = read_json(arguments or "{}")
    except ValueError:
        return arguments
    is_cut = isinstance(value, dict) and value.keys() == {"_raw"}  # where a dialect wants an object, whatever came
    return str(value["_raw"]) if is_cut else write_json(value).decode()


def apart(one: Answer, other: Answer) -> list[str]:
    """Say where two answers differ."""
    found = [
        f"{name}: {getattr(one, name)!r} and {getattr(other, name)!r}"
        for name in one.__struct_fields__
        if name != "parts" and getattr(one, name) != getattr(other, name)
    ]
    for index, (mine, yours) in enumerate(zip_longest(one.parts, other.parts)):
        if type(mine) is not type(yours):
            found.append(f"parts[{index}]: {mine!r} and {yours!r}")
            continue
        found += [
            f"parts[{index}].{name} of the {type(mine).__name__}: {getattr(mine, name)!r} and {getattr(yours, name)!r}"
            for name in mine.__struct_fields__
            if getattr(mine, name) != getattr(yours, name)
        ]
    return found


def total(usage: Usage) -> int:
    """Return all tokens that went in and came out."""
    counts = (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.output)
    return sum(count or 0 for count in counts)


def disorder(events: Sequence[Event]) -> str | None:
    """Say what is wrong with the order of a whole stream's events; None when nothing is."""
    kinds = [type(event) for event in events]
    if kinds.count(MessageStart) > 1:
        return "it starts more than once"
    if sum(kinds.count(kind) for kind in (MessageEnd, StreamFailed)) != 1:
        return "it does not end exactly once"
    if kinds[-1] not in (MessageEnd, StreamFailed):
        return f"{events[-1]} follows the end"
    if kinds[0] not in (MessageStart, StreamFailed):
        return f"{events[0]} comes before the start"
    return _disorder_of_parts(events)


def _disorder_of_parts(events: Sequence[Event]) -> str | None:
    started: list[Part] = []
    open_parts: set[int] = set()
    for event in events:
        match event:
            case PartStart():
                if event.index != len(started):
                    return f"part {event.index} starts where {len(started)} was due"
                if any(not isinstance(started[index], ToolCall) for index in open_parts):
                    return f"part {event.index} starts while a part that is no tool call is open"
                started.append(event.part)
                open_parts.add(event.index)
            case PartEnd():
                if event.index not in open_parts:
                    return f"part {event.index} ends and is not open"
                open_parts.discard(event.index)
            case TextDelta() | ThinkingDelta() | ArgumentsDelta() | SealDelta() | CitationDelta():
                if event.index not in open_parts:
                    return f"{event} is for a part that is not open"
                if not isinstance(started[event.index], DELTAS[type(event)]):
                    return f"{event} is for a {type(started[event.index]).__name__}"
            case MessageEnd() if open_parts:
                return f"the parts {sorted(open_parts)} are open at the end"
            case _:
                pass
    return None
