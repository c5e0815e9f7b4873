"""Reasoning in a message: plain text in one field, and `reasoning_details`, whose entries are to come back as they were.

    {"type": "reasoning.text", "text", "signature"}   {"type": "reasoning.summary", "summary"}
    {"type": "reasoning.encrypted", "data"}            each with id, format, index as its server likes

The last is also how a client of this format carries our packed seals. Ours say which characters of the reasoning's text
they belong to (start_index, end_index), for the text of all parts is one.
See https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from providers.canonical.losses import Native
from providers.canonical.parts import Thinking
from providers.canonical.seals import Seal, SealBox, native_origin
from providers.dialects.nodes import Node, as_object, optional_list
from providers.dialects.openai_chat.forms import ThinkingForm, form
from providers.dialects.openai_chat.wire import NAME, REASONING_DETAILS, REASONING_TEXTS
from providers.dialects.openai_chat.writing import Writing
from providers.wire.json import read_json, write_json

type Entry = Mapping[str, Any]

ENCRYPTED = "reasoning.encrypted"


class Piece(msgspec.Struct, frozen=True):
    """A stretch of reasoning: its text, which field of the message the text is from, and the entry that belongs to it."""

    text: str = ""
    text_field: str = ""
    entry: Entry | None = None


def entry_text(entry: Entry) -> str:
    """Return the text that an entry holds itself."""
    for name in ("text", "summary"):
        if isinstance(entry.get(name), str):
            return str(entry[name])
    return ""


def entry_secret(entry: Entry) -> str:
    """Return what an entry's server wants back: a signature, or all that is encrypted."""
    for name in ("signature", "data"):
        if isinstance(entry.get(name), str):
            return str(entry[name])
    return ""


def entry_payload(entry: Entry) -> str:
    """Return an entry as a seal carries it."""
    return write_json({name: entry[name] for name in sorted(entry)}).decode()


def is_encrypted(entry: Entry) -> bool:
    """Whether an entry is there for its server only."""
    return entry.get("type") == ENCRYPTED


def continues(entry: Entry, later: Entry) -> bool:
    """Whether a later entry of a stream is more of an earlier one."""
    if entry.get("type") != later.get("type") or entry.get("index") != later.get("index"):
        return False
    return later.get("index") is not None or not (entry_secret(entry) and entry_secret(later))


def merged(entry: Entry, later: Entry) -> Entry:
    """Return an entry with what has come of it later: texts grow, the rest is replaced."""
    grown = {name: entry[name] + later[name] for name in _GROWING if _is_text(entry, name) and _is_text(later, name)}
    return {**entry, **{name: value for name, value in later.items() if value is not None}, **grown}


_GROWING = ("text", "summary", "data", "signature")


def _is_text(entry: Entry, name: str) -> bool:
    return isinstance(entry.get(name), str)


def belongs_to_text(entry: Entry) -> bool:
    """Whether an entry without a text of its own belongs to the reasoning that it follows."""
    return not entry_text(entry) and (
        entry.get("end_index") is None or entry.get("end_index") != entry.get("start_index")
    )


def plain_text(message: Node) -> tuple[str, str]:
    """Return the field that holds the reasoning's text, and the text; both empty when there is none."""
    for name in REASONING_TEXTS:
        if isinstance(message.get(name), str) and message[name]:
            return name, message[name]
    return "", ""


def entries_of(message: Node) -> list[Entry]:
    """Return a message's entries; what is no object is no entry."""
    details = message.get(REASONING_DETAILS)
    return [entry for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []


def split(message: Node) -> list[Piece]:
    """Say which text belongs to which entry."""
    field, text = plain_text(message)
    entries = entries_of(message)
    if any(entry_text(entry) for entry in entries):  # then the plain text says the same once more
        return [Piece(entry_text(entry), "", entry) for entry in entries]
    ranges = [_range(entry, len(text)) for entry in entries]
    if not any(ranges):
        first = [Piece(text, field, entries[0] if entries else None)] if text or entries else []
        return [*first, *(Piece(entry=entry) for entry in entries[1:])]
    return _split_by_ranges(field, text, [*zip(entries, ranges, strict=True)])


def _split_by_ranges(field: str, text: str, entries: Sequence[tuple[Entry, tuple[int, int] | None]]) -> list[Piece]:
    pieces, position = [], 0
    for entry, span in entries:
        start, end = span if span and span[0] >= position else (position, position)
        if start > position:
            pieces.append(Piece(text[position:start], field))
        pieces.append(Piece(text[start:end], field if start < end else "", entry))
        position = end
    if position < len(text):
        pieces.append(Piece(text[position:], field))
    return pieces


def _range(entry: Entry, length: int) -> tuple[int, int] | None:
    start, end = entry.get("start_index"), entry.get("end_index")
    if isinstance(start, int) and isinstance(end, int) and 0 <= start <= end <= length:
        return start, end
    return None


def read_thinking(message: Node, at: str, seals: SealBox) -> list[Thinking]:
    """Read the reasoning that a client sends back; raises InvalidRequest naming the entry that is none."""
    for i, entry in enumerate(optional_list(message, REASONING_DETAILS, at) or []):
        as_object(entry, f"{at}.{REASONING_DETAILS}[{i}]")
    places = iter(range(len(entries_of(message))))
    thinking = []
    for piece in split(message):
        place = f"{at}.{piece.text_field}" if piece.entry is None else f"{at}.{REASONING_DETAILS}[{next(places)}]"
        thinking.append(_read_piece(piece, place, seals))
    return [each for each in thinking if each.text or each.seal or form(each.native, ThinkingForm).entry]


def _read_piece(piece: Piece, at: str, seals: SealBox) -> Thinking:
    seal, entry = None, piece.entry
    if entry is not None and entry_secret(entry):
        seal = seals.open(entry_secret(entry), NAME)
        if seal is not None and seal.origin == native_origin(NAME):
            seal = Seal(origin=seal.origin, payload=entry_payload(entry), form=REASONING_DETAILS)
    kept = entry if seal is None and entry is not None and not entry_secret(entry) else None
    return Thinking(
        text=piece.text,
        seal=seal,
        is_redacted=seal is not None and not piece.text,
        at=at,
        native=Native(origin=NAME, form=ThinkingForm(text_field=piece.text_field, entry=kept)),
    )


def write_thinking(parts: Sequence[Thinking], writing: Writing) -> Node:
    """Return the fields that take reasoning back to the upstream that it came from; the rest is lost."""
    node: Node = {}
    for part in parts:
        if part.seal is not None:
            is_taken = writing.takes_seal(part.seal) and part.seal.form == REASONING_DETAILS
        else:
            is_taken = writing.is_own or (writing.to.quirks.echoes_reasoning and bool(part.text))
        if is_taken:
            _add(node, part, writing)
        else:
            writing.losses.degrades(part.at, "reasoning goes back only to the model that it came from")
    return node


def _add(node: Node, part: Thinking, writing: Writing) -> None:
    spelled = form(part.native, ThinkingForm)
    entry = read_json(part.seal.payload) if part.seal is not None else spelled.entry
    if entry is not None:
        node.setdefault(REASONING_DETAILS, []).append(entry)
    field = spelled.text_field
    if part.seal is not None and part.seal.origin != native_origin(NAME):
        field = ""  # its entry says all
    elif part.seal is None and entry is None:
        field = writing.to.quirks.reasoning_field or field or REASONING_TEXTS[0]
    if field and part.text:
        node[field] = node.get(field, "") + part.text
