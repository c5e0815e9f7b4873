"""Reading the input: items in a row become turns.

Reasoning, messages of the assistant's and calls that follow each other are one turn; what tools gave back, and the user's
message after it, are one turn; instructions that stand before all turns are the request's.
"""

from typing import Any

from msgspec.structs import replace

from providers.canonical.losses import Native, NativeField
from providers.canonical.parts import Foreign, Media, Part, Text, ToolCall, ToolResult
from providers.canonical.request import Turn
from providers.canonical.seals import PREFIX, SealBox
from providers.dialects.nodes import Node, as_list, as_object, missing, name_text, optional_text, text, wrong
from providers.dialects.openai_responses import hosted, items
from providers.dialects.openai_responses.part_reader import plain_text, read_part, read_reasoning, split_data_url
from providers.dialects.openai_responses.spelling import Form, compare, form, keep, loose_fields
from providers.dialects.openai_responses.tool_reader import ToolReader
from providers.dialects.openai_responses.weights import FOREIGN_ITEMS, ITEM, MESSAGE, OTHER_ITEM, OTHER_PART
from providers.dialects.openai_responses.wire import BEHIND, NAME
from tenants.errors import InvalidRequest

HEAD = frozenset({"type", "role", "content"})
CALL = frozenset({"type", "call_id", "name", "namespace", "arguments"})
CUSTOM_CALL = frozenset({"type", "call_id", "name", "namespace", "input"})
OUTPUT = frozenset({"type", "call_id", "output", "name", "namespace"})
ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


class ItemReader:
    """Reads items one after the other."""

    __slots__ = (
        "_answered",
        "_calls",
        "_is_partial",
        "_seals",
        "inserted",
        "loose",
        "system",
        "tools",
        "turns",
        "updates",
    )

    def __init__(self, seals: SealBox, tools: ToolReader, *, is_partial: bool) -> None:
        self._seals = seals
        self.tools = tools
        self._is_partial = is_partial  # some of the conversation is kept elsewhere: a call may be missing here
        self._calls: dict[str, ToolCall] = {}  # that wait for what they give back, and then those that are answered
        self._answered: set[str] = set()
        self.system: list[Text | Foreign] = []
        self.turns: list[Turn] = []
        self.inserted: list[tuple[int, Any]] = []
        self.loose: list[NativeField] = []
        self.updates: list[Node] = []  # configuration_update

    def read(self, value: Any) -> None:
        """Read the whole input."""
        if isinstance(value, str):
            self._add("user", [replace(plain_text(value, "input"), native=_opening(0, Form(is_text=True)))], "input")
            return
        for index, each in enumerate(as_list(value, "input")):
            at = f"input[{index}]"
            self._item(as_object(each, at), at, index)

    def _item(self, node: Node, at: str, index: int) -> None:
        kind = optional_text(node, "type", at) or ("message" if "role" in node else "item_reference")
        match kind:
            case "message":
                self._message(node, at, index)
            case "reasoning":
                self._reasoning(node, at)
            case "function_call" | "custom_tool_call":
                self._call(_read_call(node, at, kind), at)
            case "function_call_output" | "custom_tool_call_output":
                self._result(node, at)
            case "additional_tools":
                self.tools.read(node.get("tools") or [], f"{at}.tools")
                self.inserted.append((index, node))
            case "configuration_update":
                self.updates.append(node)
                self.inserted.append((index, node))
            case "image_generation_call" if isinstance(node.get("result"), str):
                self._add("assistant", [_generated_image(node, at)], at)
            case _ if hosted.is_client_call(node):
                self._call(_hosted_call(node, at), at)
            case _ if hosted.is_client_output(node):
                self._hosted_result(node, at)
            case _:
                self._foreign(node, at, kind)

    # Messages

    def _message(self, node: Node, at: str, index: int) -> None:
        role = _role(node, at)
        content = node.get("content")
        if content is None:
            raise missing(f"{at}.content")
        if isinstance(content, str):
            parts: list[Part] = [plain_text(content, f"{at}.content")]
        else:
            parts = []
            for i, each in enumerate(as_list(content, f"{at}.content")):
                here = f"{at}.content[{i}]"
                part = read_part(as_object(each, here), here, role)
                if part is None or (role == "system" and not self.turns and not isinstance(part, Text)):
                    self._add(role, [_foreign_part(node, each, here)], at)
                    return
                parts.append(part)
        self._open(parts, node, at, index, role)

    def _open(self, parts: list[Part], node: Node, at: str, index: int, role: str) -> None:
        if not parts:  # it says nothing
            self.inserted.append((index, node))
            return
        self.loose += loose_fields(node, at, HEAD, MESSAGE)
        head = compare({k: v for k, v in node.items() if k != "content"}, plain_head(role), HEAD)
        first: Any = parts[0]
        opening = replace(form(first.native), item=index, head=head)
        native = replace(first.native, form=opening) if first.native else _opening(index, opening)
        self._add(role, [replace(first, native=native), *parts[1:]], at)

    # Reasoning and calls

    def _reasoning(self, node: Node, at: str) -> None:
        """Take reasoning; an item that only carries the seal of the part before it is that part's."""
        packed = node.get("encrypted_content")
        if not (isinstance(packed, str) and packed.startswith(PREFIX) and packed.endswith(BEHIND)):
            self._add("assistant", [read_reasoning(node, at, self._seals)], at)
            return
        seal = self._seals.open(packed.removesuffix(BEHIND), NAME)
        turn = self.turns[-1] if self.turns else None
        if turn is not None and turn.role == "assistant" and isinstance(turn.parts[-1], Text | ToolCall):
            sealed = replace(turn.parts[-1], seal=seal)
            self.turns[-1] = replace(turn, parts=(*turn.parts[:-1], sealed))

    def _call(self, call: ToolCall, at: str) -> None:
        self._calls[call.id] = call
        self._answered.discard(call.id)
        self._add("assistant", [call], at)

    def _result(self, node: Node, at: str) -> None:
        result = self._answer(node, at, text(node, "call_id", at))
        output = node.get("output")
        if isinstance(output, str):
            parts: list[Any] = [Text(text=output, at=f"{at}.output")]
        else:
            parts = []
            for i, each in enumerate(as_list(output, f"{at}.output")):
                here = f"{at}.output[{i}]"
                part = read_part(as_object(each, here), here, "tool")
                if part is None:
                    self._add("user", [_foreign_part(node, each, here)], at)
                    return
                parts.append(part)
        plain = items.result_item(result, output)
        spelled = Form(spelling=compare(node, plain, OUTPUT), is_text=isinstance(output, str))
        self._add("user", [replace(result, parts=tuple(parts), native=keep(node, OUTPUT, ITEM, spelled))], at)

    def _hosted_result(self, node: Node, at: str) -> None:
        call_id = optional_text(node, "call_id", at) or text(node, "id", at)
        result = self._answer(node, at, call_id)
        if node["type"] == "tool_search_output":
            self.tools.read(node.get("tools") or [], f"{at}.tools")
        parts = tuple(replace(each, at=at) for each in hosted.output_text(node))
        native = Native(origin=NAME, form=Form(whole=node))
        is_error = node.get("status") == "failed"
        self._add("user", [replace(result, parts=parts, is_error=is_error, native=native)], at)

    def _answer(self, node: Node, at: str, call_id: str) -> ToolResult:
        """Find the call that an output is for; raises InvalidRequest naming an output of none, or a second one."""
        call = self._calls.get(call_id)
        if call_id in self._answered:
            raise InvalidRequest(f"'{at}' is a second output for the tool call '{call_id}'.", param=at)
        if call is None and not self._is_partial:
            raise InvalidRequest(f"'{at}' is an output for the tool call '{call_id}', which is not there.", param=at)
        self._answered.add(call_id)
        return ToolResult(
            call_id=call_id,
            name=call.name if call is not None else str(node.get("name") or ""),
            kind="custom" if node.get("type") == "custom_tool_call_output" else "function",
            at=at,
        )

    # Turns

    def _foreign(self, node: Node, at: str, kind: str) -> None:
        weight, why = FOREIGN_ITEMS.get(kind, OTHER_ITEM)
        is_output = kind.endswith(("_output", "_response", "_trigger")) or kind == "item_reference"
        role = "user" if is_output else "assistant"
        self._add(role, [Foreign(origin=NAME, what=kind, value=node, weight=weight, why=why, at=at)], at)

    def _add(self, role: str, parts: list[Any], at: str) -> None:
        if role == "system" and not self.turns:
            self.system += parts
            return
        last = self.turns[-1] if self.turns else None
        if last is not None and last.role == role and (role == "assistant" or _awaits_words(last, role)):
            self.turns[-1] = replace(last, parts=(*last.parts, *parts))
        else:
            self.turns.append(Turn(role=role, parts=tuple(parts), at=at))  # type: ignore[arg-type]


def plain_head(role: str) -> Node:
    """Return a message without its content."""
    return {"type": "message", "role": "developer" if role == "system" else role}


def _awaits_words(turn: Turn, role: str) -> bool:
    """Whether all that a user's turn has so far is what tools gave back."""
    return role == "user" and all(isinstance(part, ToolResult) for part in turn.parts)


def _opening(index: int, spelled: Form) -> Native:
    return Native(origin=NAME, form=replace(spelled, item=index))


def _role(node: Node, at: str) -> str:
    role = ROLES.get(text(node, "role", at))
    if role is None:
        raise wrong(f"{at}.role", "one of " + ", ".join(ROLES))
    return role


def _read_call(node: Node, at: str, kind: str) -> ToolCall:
    is_custom = kind == "custom_tool_call"
    field, known = ("input", CUSTOM_CALL) if is_custom else ("arguments", CALL)
    call = ToolCall(
        id=text(node, "call_id", at),
        name=name_text(node, "name", at),
        arguments=text(node, field, at),
        kind="custom" if is_custom else "function",
        namespace=optional_text(node, "namespace", at) or "",
        at=at,
    )
    return replace(call, native=keep(node, known, ITEM, Form(spelling=compare(node, items.call_item(call), known))))


def _hosted_call(node: Node, at: str) -> ToolCall:
    name, arguments = hosted.call_of(node)
    call_id = optional_text(node, "call_id", at) or text(node, "id", at)
    return ToolCall(
        id=call_id, name=name, arguments=arguments, at=at, native=Native(origin=NAME, form=Form(whole=node))
    )


def _generated_image(node: Node, at: str) -> Media:
    """Return an image that the model made."""
    media_type, data = split_data_url(node["result"])
    return Media(
        kind="image",
        media_type=media_type or f"image/{node.get('output_format') or 'png'}",
        data=data or node["result"],
        at=at,
        native=Native(origin=NAME, form=Form(whole=node)),
    )


def _foreign_part(item: Node, part: Node, at: str) -> Foreign:
    """Return an item that holds a part of an unknown type: it is known as a whole or not at all."""
    weight, why = OTHER_PART
    return Foreign(origin=NAME, what=str(part.get("type")), value=item, weight=weight, why=why, at=at)
