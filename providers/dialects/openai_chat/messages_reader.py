"""Reading messages: instructions first, then turns.

A run of `tool` messages and the `user` message right after it are one turn, as all other formats have it.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from providers.canonical.losses import Native, NativeField
from providers.canonical.parts import Foreign, Part, Text, ToolCall, ToolResult
from providers.canonical.request import Turn
from providers.canonical.seals import SealBox
from providers.dialects.nodes import Node, as_list, as_object, missing, optional_text, path_of, text, wrong
from providers.dialects.openai_chat.calls import read_call, read_legacy_call, thought_signature
from providers.dialects.openai_chat.forms import Content, MessageForm, PartForm, form, keep
from providers.dialects.openai_chat.parts_reader import read_part
from providers.dialects.openai_chat.reasoning import entries_of, read_thinking
from providers.dialects.openai_chat.weights import MESSAGE
from providers.dialects.openai_chat.wire import (
    EXTRA_CONTENT,
    INSTRUCTIONS,
    NAME,
    REASONING_DETAILS,
    REASONING_TEXTS,
)
from providers.wire.json import write_json

RESULTS = frozenset({"tool", "function"})
ROLES = (*sorted(INSTRUCTIONS), "user", "assistant", "tool", "function")

_KNOWN = frozenset({"role", "content"})
_KNOWN_OF_RESULT = _KNOWN | {"tool_call_id", "name"}
_KNOWN_OF_ANSWER = _KNOWN | {"refusal", "tool_calls", "function_call", REASONING_DETAILS, *REASONING_TEXTS}


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """What the messages of a request say."""

    system: tuple[Text | Foreign, ...]
    turns: tuple[Turn, ...]
    fields: tuple[NativeField, ...]  # of the instructions' messages, each with its whole path as its name


def read_messages(value: Any, seals: SealBox) -> Messages:
    """Read all messages; raises InvalidRequest naming the field that is wrong."""
    nodes = [as_object(each, f"messages[{i}]") for i, each in enumerate(as_list(value, "messages"))]
    return _Reader(nodes, seals).read()


class _Reader:
    def __init__(self, nodes: list[Node], seals: SealBox) -> None:
        self.nodes = nodes
        self.seals = seals
        self.fields: list[NativeField] = []
        self.calls: dict[str, ToolCall] = {}  # by their id
        self.turns: list[Turn] = []
        self.results: list[ToolResult] = []  # of the turn that has begun

    def read(self) -> Messages:
        roles = [_role(node, f"messages[{i}]") for i, node in enumerate(self.nodes)]
        first = next((i for i, role in enumerate(roles) if role not in INSTRUCTIONS), len(roles))
        system = [part for i in range(first) for part in self.instructions(i)]
        for i in range(first, len(roles)):
            self.message(i, roles[i])
        self.end_results()
        return Messages(system=tuple(system), turns=tuple(self.turns), fields=tuple(self.fields))

    def message(self, i: int, role: str) -> None:
        node, at = self.nodes[i], f"messages[{i}]"
        if role in RESULTS:
            self.results.append(self.result(node, at, role))
            return
        if role == "user":
            self.user(node, at)
            return
        self.end_results()
        if role == "assistant":
            self.answer(node, at, i)
            return
        parts, content = read_content(node, at)
        spelled = MessageForm(role=role, content=content)
        self.turn("system", parts, at, keep(node, _KNOWN, MESSAGE, spelled))

    def turn(
        self, role: Literal["user", "assistant", "system"], parts: list[Part], at: str, native: Native | None
    ) -> None:
        self.turns.append(Turn(role=role, parts=tuple(parts), at=at, native=native))

    # Instructions

    def instructions(self, i: int) -> Iterator[Text | Foreign]:
        """Read a leading message; what it holds beside its content is kept with the request, under its whole path."""
        node, at = self.nodes[i], f"messages[{i}]"
        parts, content = read_content(node, at)
        native = keep(node, _KNOWN, MESSAGE, MessageForm())
        fields = native.fields if native is not None else ()
        self.fields += [msgspec.structs.replace(field, name=f"{at}.{field.name}") for field in fields]
        opening = MessageForm(
            role=node["role"],
            content=content,
            fields={field.name: field.value for field in fields} | {**form(native, MessageForm).spelled},
            opens=True,
        )
        for part in parts:
            if isinstance(part, Text):
                kept = part.native
                spelled = {**opening.spelled, **form(kept, PartForm).spelled}
                native = Native(
                    origin=NAME,
                    fields=kept.fields if kept is not None else (),
                    form=msgspec.structs.replace(opening, spelled=spelled),
                )
                yield msgspec.structs.replace(part, native=native)
                opening = MessageForm()
            else:
                yield part if isinstance(part, Foreign) else _as_foreign(part, node)

    # The user's side

    def user(self, node: Node, at: str) -> None:
        parts, content = read_content(node, at)
        native = keep(node, _KNOWN, MESSAGE, MessageForm(role="user", content=content))
        results, self.results = self.results, []
        self.turn("user", [*results, *parts], at, native)

    def end_results(self) -> None:
        """Close a turn that holds nothing but tool results."""
        if self.results:
            results, self.results = self.results, []
            self.turn("user", [*results], results[0].at, None)

    def result(self, node: Node, at: str, role: str) -> ToolResult:
        parts, content = _read_output(node, at)
        name = optional_text(node, "name", at)
        call = self.calls.get(text(node, "tool_call_id", at)) if role == "tool" else self.legacy_call(name or "")
        spelled = MessageForm(role=role, content=content, has_name=name is not None)
        if content == "text" and not isinstance(node.get("content"), str):
            spelled = msgspec.structs.replace(spelled, spelled={"content": node["content"]})
        return ToolResult(
            call_id=node["tool_call_id"] if role == "tool" else call.id if call else "",
            name=name or (call.name if call else ""),
            parts=tuple(parts),
            kind=call.kind if call else "function",
            at=at,
            native=keep(node, _KNOWN_OF_RESULT, MESSAGE, spelled),
        )

    def legacy_call(self, name: str) -> ToolCall | None:
        """Return the call that a `function` message answers: the last one of its name."""
        return next((call for call in reversed(self.calls.values()) if call.name == name), None)

    # The assistant's side

    def answer(self, node: Node, at: str, i: int) -> None:
        parts, content = read_content(node, at, empty_is_nothing=True)
        parts = self.sealed(parts, node)
        refusal = optional_text(node, "refusal", at)
        if refusal:
            own_field = Native(origin=NAME, form=PartForm(field="refusal"))
            parts.append(Text(text=refusal, is_refusal=True, at=path_of(at, "refusal"), native=own_field))
        calls = self.read_calls(node, at, i)
        self.calls |= {call.id: call for call in calls}
        thinking = read_thinking(node, at, self.seals)
        said = {name: value for name, value in node.items() if name != EXTRA_CONTENT or not thought_signature(node)}
        native = keep(said, _KNOWN_OF_ANSWER, MESSAGE, MessageForm(content=content, spelled=_spelled(node, content)))
        self.turn("assistant", [*thinking, *parts, *calls], at, native)

    def sealed(self, parts: list[Part], node: Node) -> list[Part]:
        """Return the parts; a thought signature of the whole message is that of its last text."""
        signature = thought_signature(node)
        seal = self.seals.open(signature, NAME) if signature else None
        if seal is not None and parts and isinstance(parts[-1], Text):
            parts[-1] = msgspec.structs.replace(parts[-1], seal=seal)
        return parts

    def read_calls(self, node: Node, at: str, i: int) -> list[ToolCall]:
        listed = node.get("tool_calls")
        values = [] if listed is None else as_list(listed, path_of(at, "tool_calls"))
        calls = [read_call(value, f"{at}.tool_calls[{k}]", self.seals) for k, value in enumerate(values)]
        legacy = read_legacy_call(node, at, i)
        return [*calls, legacy] if legacy is not None else calls


def read_content(node: Node, at: str, *, empty_is_nothing: bool = False) -> tuple[list[Part], Content]:
    """Read a message's content: a text is one part, a list is its parts."""
    value, place = node.get("content"), path_of(at, "content")
    if value is None:
        return [], "absent"
    if isinstance(value, str):
        return ([] if empty_is_nothing and not value else [Text(text=value, at=place)]), "text"
    if not isinstance(value, list):
        raise wrong(place, "a text or a list of parts")
    return [read_part(each, f"{place}[{i}]") for i, each in enumerate(value)], "list"


def _as_foreign(part: Part, node: Node) -> Foreign:
    """Return a part that has no place among instructions, as it was written."""
    value = next(each for i, each in enumerate(node["content"]) if part.at.endswith(f"[{i}]"))
    return Foreign(origin=NAME, what=value["type"], value=value, at=part.at)


def _read_output(node: Node, at: str) -> tuple[list[Any], Content]:
    """Read what a tool gave back; an object, or a list that holds no parts, is its JSON text."""
    value = node.get("content")
    is_parts = isinstance(value, list) and all(isinstance(each, dict) and "type" in each for each in value)
    if value is None or isinstance(value, str) or is_parts:
        return read_content(node, at, empty_is_nothing=True)
    return [Text(text=write_json(value).decode(), at=path_of(at, "content"))], "text"


def _spelled(node: Node, content: Content) -> dict[str, Any]:
    """Return what an answer's parts do not say again."""
    spelled: dict[str, Any] = {}
    if node.get("content") == "":
        spelled["content"] = ""
    for name in ("refusal", *REASONING_TEXTS):
        if node.get(name) == "" or not isinstance(node.get(name, ""), str | None):
            spelled[name] = node[name]
    if node.get("tool_calls") == []:
        spelled["tool_calls"] = []
    if REASONING_DETAILS in node and not entries_of(node):
        spelled[REASONING_DETAILS] = node[REASONING_DETAILS]
    texts = [name for name in REASONING_TEXTS if name in node and name not in spelled and node[name]]
    is_said_again = any(isinstance(entry.get(name), str) for entry in entries_of(node) for name in ("text", "summary"))
    for name in texts if is_said_again else texts[1:]:
        spelled[name] = node[name]
    return spelled


def _role(node: Node, at: str) -> str:
    role = node.get("role")
    if role is None:
        raise missing(path_of(at, "role"))
    if role not in ROLES:
        raise wrong(path_of(at, "role"), "one of " + ", ".join(ROLES))
    return str(role)
