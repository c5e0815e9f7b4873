"""Reading tools: functions, custom tools, namespaces, tools that the client runs, and those of the vendor's servers."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from providers.canonical.losses import Native, NativeField
from providers.canonical.parts import Foreign
from providers.canonical.request import Tool, ToolChoice
from providers.dialects.nodes import (
    Node,
    as_list,
    as_object,
    name_text,
    optional_flag,
    optional_list,
    optional_object,
    optional_text,
    text,
    wrong,
)
from providers.dialects.openai_responses import hosted, items
from providers.dialects.openai_responses.spelling import Form, compare, form, keep, loose_fields
from providers.dialects.openai_responses.weights import FOREIGN_TOOLS, OTHER_TOOL, TOOL, TOOL_CHOICE
from providers.dialects.openai_responses.wire import NAME

FUNCTION = frozenset({"type", "name", "description", "parameters", "strict"})
CUSTOM = frozenset({"type", "name", "description", "format"})
NAMESPACE = frozenset({"type", "name", "description", "tools"})
ALLOWED = frozenset({"type", "mode", "tools"})
CALLED_BY_NAME = ("function", "custom")
MODES = ("auto", "required")

type Tools = list[Tool | Foreign]


class ToolReader:
    """Collects the tools of a request, wherever they stand."""

    __slots__ = ("_tools", "loose")

    def __init__(self) -> None:
        self._tools: dict[object, Tool | Foreign] = {}  # by what must not occur twice
        self.loose: list[NativeField] = []  # what namespaces say beside

    @property
    def tools(self) -> tuple[Tool | Foreign, ...]:
        """All tools so far; of two of one name the later, for a client that searches twice finds some again."""
        return tuple(self._tools.values())

    def read(self, value: Any, at: str) -> None:
        """Read a list of tools."""
        for index, each in enumerate(as_list(value, at)):
            for tool in self._read(as_object(each, f"{at}[{index}]"), f"{at}[{index}]"):
                is_named = isinstance(tool, Tool) and is_inserted(tool)
                self._tools[(tool.namespace, tool.name) if is_named else tool.at] = tool  # type: ignore[union-attr]

    def _read(self, node: Node, at: str) -> Iterator[Tool | Foreign]:
        if text(node, "type", at) != "namespace" or not node.get("tools"):
            yield _tool(node, at)
            return
        tools = [as_object(each, f"{at}.tools[{i}]") for i, each in enumerate(as_list(node["tools"], f"{at}.tools"))]
        strange = next((i for i, tool in enumerate(tools) if tool.get("type") not in CALLED_BY_NAME), None)
        if strange is not None:
            yield _foreign(node, f"{at}.tools[{strange}]")
            return
        self.loose += loose_fields(node, at, NAMESPACE, TOOL)
        for index, tool in enumerate(tools):
            yield _in_namespace(_tool(tool, f"{at}.tools[{index}]"), node, at)


def is_inserted(tool: Tool | Foreign) -> bool:
    """Whether a tool stands in an item of the input and not in the list of tools."""
    return tool.at.startswith("input[")


def _tool(node: Node, at: str) -> Tool | Foreign:
    match text(node, "type", at):
        case "function":
            return _function(node, at)
        case "custom":
            return _custom(node, at)
        case _ if hosted.is_run_by_client(node):
            return _hosted(node, at)
    return _foreign(node, at)


def _foreign(node: Node, at: str) -> Foreign:
    weight, why = FOREIGN_TOOLS.get(node["type"], OTHER_TOOL)
    return Foreign(origin=NAME, what=node["type"], value=node, weight=weight, why=why, at=at)


def _in_namespace(tool: Tool | Foreign, namespace: Node, at: str) -> Tool | Foreign:
    """Return a tool with the namespace that it stands in, and how that was spelled."""
    if isinstance(tool, Foreign):
        return tool
    tool = replace(
        tool,
        namespace=name_text(namespace, "name", at),
        namespace_description=optional_text(namespace, "description", at) or "",
    )
    head = compare({k: v for k, v in namespace.items() if k != "tools"}, items.namespace_head(tool), NAMESPACE)
    native = tool.native or Native(origin=NAME)
    return replace(tool, native=replace(native, form=replace(form(tool.native), head=head)))


def _function(node: Node, at: str) -> Tool:
    tool = Tool(
        name=name_text(node, "name", at),
        description=optional_text(node, "description", at) or "",
        parameters=optional_object(node, "parameters", at),
        is_strict=optional_flag(node, "strict", at),
    )
    return _kept(tool, node, at, FUNCTION)


def _custom(node: Node, at: str) -> Tool:
    format = optional_object(node, "format", at)
    tool = Tool(
        kind="custom",
        name=name_text(node, "name", at),
        description=optional_text(node, "description", at) or "",
        grammar=None if format is None or format.get("type") == "text" else format,
    )
    return _kept(tool, node, at, CUSTOM)


def _kept(tool: Tool, node: Node, at: str, known: frozenset[str]) -> Tool:
    spelled = Form(spelling=compare(node, items.tool_item(tool), known))
    return replace(tool, at=at, native=keep(node, known, TOOL, spelled))


def _hosted(node: Node, at: str) -> Tool:
    """Return the function that stands for a tool that the client runs."""
    kind = node["type"]
    known = hosted.TOOLS[kind]
    return Tool(
        name=kind,
        description=optional_text(node, "description", at) or known.description,
        parameters=optional_object(node, "parameters", at) or known.parameters,
        at=at,
        native=keep({"type": kind}, frozenset(), TOOL, Form(whole=node)),
    )


def read_tool_choice(value: Any, at: str) -> ToolChoice | None:
    """Read which tools may or must be called."""
    if value is None:
        return None
    if isinstance(value, str):
        if value not in ("none", *MODES):
            raise wrong(at, "one of none, auto, required, or an object")
        return ToolChoice(mode=value)  # type: ignore[arg-type]
    node = as_object(value, at)
    match text(node, "type", at):
        case "function" | "custom" as kind:
            known = frozenset({"type", "name"})
            choice = ToolChoice(mode="named", name=name_text(node, "name", at), kind=kind)
        case "apply_patch" | "shell" as kind:
            known = frozenset({"type"})
            choice = ToolChoice(mode="named", name=kind)
        case "allowed_tools":
            return _allowed(node, at)
        case _:
            known = frozenset()
            choice = ToolChoice(mode="auto")
    return _with_native(choice, node, known)


def _allowed(node: Node, at: str) -> ToolChoice:
    mode = optional_text(node, "mode", at) or "auto"
    if mode not in MODES:
        raise wrong(f"{at}.mode", "one of " + ", ".join(MODES))
    tools = [as_object(each, f"{at}.tools[{i}]") for i, each in enumerate(optional_list(node, "tools", at) or [])]
    names = tuple(
        name_text(each, "name", f"{at}.tools[{i}]")
        for i, each in enumerate(tools)
        if each.get("type") in CALLED_BY_NAME
    )
    choice = ToolChoice(mode=mode, allowed=names)  # type: ignore[arg-type]
    known = ALLOWED if len(names) == len(tools) else ALLOWED - {"tools"}
    return _with_native(choice, node, known)


def _with_native(choice: ToolChoice, node: Node, known: frozenset[str]) -> ToolChoice:
    return replace(choice, native=keep(node, known, TOOL_CHOICE, Form(whole=node)))
