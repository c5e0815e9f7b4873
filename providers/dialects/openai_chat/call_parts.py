"""Putting tool calls together from the fragments of a stream, however an upstream cuts and labels them."""

import json
import re
from typing import Any

import msgspec

from providers.canonical.identifiers import make_call_id
from providers.canonical.parts import ToolCall
from providers.dialects.openai_chat.calls import arguments_text, thought_signature
from providers.wire.json import read_json

_HALF_A_TOKEN = re.compile(r"-|\.|[eE][+-]?|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?|\\u?[0-9a-fA-F]{0,4}|u[0-9a-fA-F]{0,4}")


class Fragment(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry of a delta's tool_calls says."""

    index: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""
    is_custom: bool = False
    signature: str = ""

    @property
    def says_something(self) -> bool:
        """Whether there is anything in it beside its index."""
        return bool(self.id or self.name or self.arguments or self.signature)


class Call(msgspec.Struct, kw_only=True):
    """A call that is growing. It becomes a part once its name is known and its arguments begin, or it ends."""

    ordinal: int
    id: str = ""
    name: str = ""
    is_custom: bool = False
    signature: str = ""
    waiting: str = ""  # arguments that came before the part could start
    arguments: str = ""
    part: int | None = None
    is_ended: bool = False

    def take(self, fragment: Fragment) -> None:
        """Add what a fragment brings; a name may come in pieces, and may come again."""
        if self.part is None and fragment.name != self.name:
            self.name += fragment.name
        self.id = self.id or fragment.id
        self.is_custom = self.is_custom or fragment.is_custom
        self.signature = fragment.signature or self.signature
        self.waiting += fragment.arguments

    def started(self, answer_id: str) -> ToolCall:
        """Return the part, empty of its arguments; a call that came without an id gets one."""
        return ToolCall(
            id=self.id or make_call_id(answer_id, self.ordinal, self.name),
            name=self.name,
            kind="custom" if self.is_custom else "function",
        )

    @property
    def is_complete(self) -> bool:
        """Whether the arguments are whole JSON."""
        return not self.is_custom and is_json(self.arguments + self.waiting)

    @property
    def is_cut(self) -> bool:
        """Whether the arguments end in the middle."""
        return not self.is_custom and ends_early(self.arguments + self.waiting)


def read_fragment(value: Any) -> Fragment | None:
    """Read an entry of tool_calls; None when it is none."""
    if not isinstance(value, dict):
        return None
    is_custom = isinstance(value.get("custom"), dict)
    called = value.get("custom" if is_custom else "function")
    called = called if isinstance(called, dict) else {}
    arguments = called.get("input" if is_custom else "arguments")
    return Fragment(
        index=value["index"] if isinstance(value.get("index"), int) else None,
        id=_text(value.get("id")),
        name=_text(called.get("name")),
        arguments="" if not arguments and not isinstance(arguments, dict) else arguments_text(arguments),
        is_custom=is_custom or value.get("type") == "custom",
        signature=thought_signature(value),
    )


class Calls:
    """All calls of an answer, in the order in which they began."""

    __slots__ = ("_by_index", "all")

    def __init__(self) -> None:
        self.all: list[Call] = []
        self._by_index: dict[int | None, Call] = {}

    def find(self, fragment: Fragment) -> Call:
        """Return the call that a fragment belongs to: a known one, or one that begins with it.

        A new index begins a call, and so does a new id at an index that is known: some upstreams give every call the
        index 0. Others repeat the id or the name in every fragment, or make up a new id for each.
        """
        current = self._current(fragment)
        if current is None or self._is_another(current, fragment):
            current = Call(ordinal=len(self.all), id=fragment.id, is_custom=fragment.is_custom)
            self.all.append(current)
        self._by_index[fragment.index] = current
        return current

    def _current(self, fragment: Fragment) -> Call | None:
        if fragment.index is not None:
            return self._by_index.get(fragment.index)
        named = [call for call in self.all if fragment.id and call.id == fragment.id]
        return named[-1] if named else self.all[-1] if self.all else None

    def _is_another(self, current: Call, fragment: Fragment) -> bool:
        if fragment.id and current.id and fragment.id != current.id:
            return bool(fragment.name) or current.is_complete
        if fragment.id and fragment.id == current.id:
            return False
        return bool(fragment.name) and current.is_complete


def is_json(text: str) -> bool:
    """Whether a text is one whole JSON value."""
    try:
        read_json(text)
    except ValueError:
        return False
    return True


def ends_early(text: str) -> bool:
    """Whether a text is JSON that stops in the middle; what is no JSON at all does not."""
    if not text.strip():
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].rstrip()
        return not rest or error.msg.startswith("Unterminated string") or _HALF_A_TOKEN.fullmatch(rest) is not None
    except (ValueError, RecursionError):
        return False
    return False


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
