"""Writing tools and whether they are to be called."""

from typing import Any

from providers.canonical.parts import Foreign
from providers.canonical.request import Tool, ToolChoice
from providers.canonical.tool_names import INPUT_SCHEMA
from providers.dialects.anthropic_messages.spelling import put_back
from providers.dialects.anthropic_messages.wire import NAME
from providers.dialects.anthropic_messages.writing import Writing
from providers.dialects.nodes import Node, wrong

_NO_PARAMETERS = {"type": "object", "properties": {}}
_TYPES = {"auto": "auto", "required": "any", "named": "tool", "none": "none"}


def write_tools(writing: Writing) -> list[Node]:
    """Return the tools; those that may not be called at all are left out."""
    choice = writing.request.tool_choice
    allowed = choice.allowed if choice is not None else None
    if allowed is not None:
        path = writing.request.where("tool_choice")
        writing.losses.cosmetic(f"{path}.allowed", "only the tools that may be called are sent")
    return [tool for tool in (_tool(tool, allowed, writing) for tool in writing.request.tools) if tool is not None]


def _tool(tool: Tool | Foreign, allowed: tuple[str, ...] | None, writing: Writing) -> Node | None:
    if isinstance(tool, Foreign):
        node: Node | None = writing.foreign(tool)
        return node
    if allowed is not None and tool.name not in allowed:
        writing.losses.cosmetic(tool.at, "it may not be called")
        return None
    if writing.tools.is_taken(tool):
        raise wrong(f"{tool.at}.name", "unlike the name of any other tool here")
    writing.losses.native(tool.native, tool.at, NAME)
    return _described(tool, writing)


def _described(tool: Tool, writing: Writing) -> Node:
    name = writing.tools.wire(tool.name, tool.namespace)
    if name != tool.name:
        writing.losses.cosmetic(f"{tool.at}.name", f"the upstream calls it {name}")
    node: Node = {"name": name}
    if description := _description(tool, writing):
        node["description"] = description
    node["input_schema"] = _schema(tool, writing)
    if tool.is_strict is not None:
        node |= _strictness(tool, writing)
    writing.mark(node, tool.cache, tool.at)
    return put_back(node, tool.native)


def _description(tool: Tool, writing: Writing) -> str:
    """Return what a tool is for; of its namespace, and of a grammar that cannot be enforced here, it is at least told."""
    pieces = [tool.namespace_description, tool.description]
    if tool.namespace_description:
        writing.losses.cosmetic(f"{tool.at}.namespace", "what it is for is told with each of its tools")
    if tool.kind == "custom":
        writing.losses.cosmetic(tool.at, "it becomes a function of one text")
    if tool.grammar is not None:
        writing.losses.degrades(f"{tool.at}.format", "the upstream does not hold a tool's input to a grammar")
        syntax, definition = tool.grammar.get("syntax", ""), tool.grammar.get("definition", "")
        pieces.append(f"The input follows this {syntax} grammar:\n{definition}")
    return "\n\n".join(piece for piece in pieces if piece)


def _schema(tool: Tool, writing: Writing) -> Any:
    if tool.kind == "custom":
        return INPUT_SCHEMA
    if tool.parameters is None:
        return _NO_PARAMETERS
    if "type" in tool.parameters:
        return tool.parameters
    writing.losses.cosmetic(f"{tool.at}.parameters", "the upstream wants to be told that they are an object")
    return {"type": "object", **tool.parameters}


def _strictness(tool: Tool, writing: Writing) -> Node:
    if tool.is_strict and not writing.destination.profile.takes_schema:
        writing.losses.degrades(f"{tool.at}.strict", "the upstream's model does not hold arguments to their schema")
        return {}
    return {"strict": tool.is_strict} if tool.is_strict or writing.is_own else {}


def write_choice(writing: Writing) -> Node | None:
    """Return whether tools may, must or must not be called; None when nothing is said, or there are none."""
    request = writing.request
    choice, is_parallel = request.tool_choice, request.parallel_tools
    if is_parallel and not writing.is_own:
        is_parallel = None  # calls are parallel where nobody says otherwise
    if choice is None and is_parallel is None:
        return None
    if not request.tools:
        _lose_all(writing)
        return None
    choice = choice or ToolChoice(mode="auto")
    writing.losses.native(choice.native, request.where("tool_choice"), NAME)
    node = _choice(choice, writing)
    if is_parallel is not None and node["type"] != "none":
        node["disable_parallel_tool_use"] = not is_parallel
    elif is_parallel is not None:
        writing.losses.cosmetic(request.where("parallel_tools"), "no tool is to be called")
    return put_back(node, choice.native)


def _lose_all(writing: Writing) -> None:
    request = writing.request
    if request.tool_choice is not None and request.tool_choice.mode not in ("auto", "none"):
        writing.losses.degrades(request.where("tool_choice"), "there are no tools")
    elif request.tool_choice is not None and request.tool_choice.mode == "none":
        writing.losses.cosmetic(request.where("tool_choice"), "there are no tools")
    if request.parallel_tools is False:
        writing.losses.cosmetic(request.where("parallel_tools"), "there are no tools")


def _choice(choice: ToolChoice, writing: Writing) -> Node:
    mode = choice.mode
    if mode in ("required", "named") and not writing.destination.profile.takes_forced_tools:
        path = writing.request.where("tool_choice")
        writing.losses.changes_answer(path, "the upstream's model cannot be made to call a tool")
        mode = "auto"
    node: Node = {"type": _TYPES[mode]}
    if mode == "named":
        node["name"] = _chosen(choice, writing)
    return node


def _chosen(choice: ToolChoice, writing: Writing) -> str:
    """Return what the upstream calls the tool to be called; a choice knows no namespace, the tools do."""
    tools = (tool for tool in writing.request.tools if isinstance(tool, Tool))
    namespace = next((tool.namespace for tool in tools if tool.name == choice.name), "")
    return writing.tools.wire(choice.name, namespace)
