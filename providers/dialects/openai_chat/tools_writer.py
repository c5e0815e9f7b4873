"""Writing tools and the choice among them."""

from collections.abc import Sequence
from typing import Any

from providers.canonical.losses import form_of
from providers.canonical.parts import Foreign
from providers.canonical.request import Tool, ToolChoice
from providers.canonical.tool_names import INPUT_SCHEMA
from providers.dialects.nodes import Node
from providers.dialects.openai_chat.forms import ToolForm, add_kept, form
from providers.dialects.openai_chat.strict import satisfies_strict
from providers.dialects.openai_chat.tools_reader import format_of
from providers.dialects.openai_chat.wire import NAME
from providers.dialects.openai_chat.writing import Writing

NO_PARAMETERS: Node = {"type": "object", "properties": {}}


def write_tools(writing: Writing) -> Node:
    """Return the fields that hold tools, the choice among them, and whether several may be called at once."""
    request = writing.request
    body: Node = {}
    for tool in request.tools:
        node = _write_tool(tool, writing)
        if node is not None:
            is_legacy = isinstance(tool, Tool) and form(tool.native, ToolForm).is_legacy
            body.setdefault("functions" if is_legacy else "tools", []).append(node)
    has_tools = bool(body)
    if request.tool_choice is not None:
        body |= _write_choice(request.tool_choice, has_tools, writing)
    if request.parallel_tools is not None:
        if has_tools or writing.is_own:
            body["parallel_tool_calls"] = request.parallel_tools
        elif not request.parallel_tools:
            writing.losses.cosmetic(request.where("parallel_tools"), "there are no tools")
    return body


def _write_tool(tool: Tool | Foreign, writing: Writing) -> Node | None:
    if isinstance(tool, Foreign):
        if tool.origin == NAME:
            return dict(tool.value)
        writing.lose_foreign(tool)
        return None
    if writing.tools.is_taken(tool):
        writing.losses.changes_answer(f"{tool.at}.name", "the upstream could not tell it from another tool")
        return None
    _note_losses(tool, writing)
    return _custom(tool) if tool.kind == "custom" and writing.is_own else _function(tool, writing)


def _note_losses(tool: Tool, writing: Writing) -> None:
    losses = writing.losses
    writing.lose_native(tool.native, tool.at)
    if writing.tools.wire(tool.name, tool.namespace) != tool.name:
        losses.cosmetic(f"{tool.at}.name", "the upstream knows it by another name")
    if tool.namespace_description:
        losses.cosmetic(f"{tool.at}.namespace", "what a group of tools is for is told with each of them")
    if tool.cache is not None and not writing.is_own:
        writing.lose_cache(tool.at)
    if tool.kind == "custom" and not writing.is_own:
        losses.cosmetic(tool.at, "the upstream gets it as a function of one text")
        if tool.grammar is not None:
            losses.degrades(f"{tool.at}.format", "the upstream is told the grammar and not held to it")


def _custom(tool: Tool) -> Node:
    custom: Node = {"name": tool.name}
    if tool.description:
        custom["description"] = tool.description
    if tool.grammar is not None:
        custom["format"] = format_of(tool.grammar)
    node: Node = {"type": "custom", "custom": custom}
    add_kept(node, tool.native, inner="custom")
    return node


def _function(tool: Tool, writing: Writing) -> Node:
    function: Node = {"name": writing.tools.wire(tool.name, tool.namespace)}
    description = _description(tool)
    if description:
        function["description"] = description
    parameters = INPUT_SCHEMA if tool.kind == "custom" else tool.parameters
    if parameters is not None or not writing.is_own:
        function["parameters"] = _with_properties(parameters, writing)
    if tool.is_strict is not None:
        function["strict"] = tool.is_strict and (writing.is_own or _is_strict(tool, writing))
    spelled = form(tool.native, ToolForm)
    if spelled.is_legacy:
        add_kept(function, tool.native)
        return function
    node: Node = {"type": "function", "function": function}
    if not spelled.has_type:
        del node["type"]
    add_kept(node, tool.native, inner="function")
    return node


def _description(tool: Tool) -> str:
    """Return what a tool does; its group's words, and a custom tool's grammar, have no other place in a function."""
    pieces = [tool.namespace_description, tool.description]
    if tool.kind == "custom" and tool.grammar is not None:
        syntax, definition = tool.grammar.get("syntax"), tool.grammar.get("definition")
        pieces.append(f"The input follows this {syntax} grammar:\n{definition}")
    return "\n\n".join(filter(None, pieces))


def _with_properties(parameters: Any, writing: Writing) -> Any:
    """Return a schema that says which properties there are, for OpenAI asks for it; else as it was written."""
    if writing.is_own:
        return parameters
    if not parameters:
        return NO_PARAMETERS
    return {**parameters, "properties": {}} if parameters == {"type": "object"} else parameters


def _is_strict(tool: Tool, writing: Writing) -> bool:
    if tool.kind == "custom" or satisfies_strict(tool.parameters):
        return True
    writing.losses.degrades(
        f"{tool.at}.strict", "the upstream enforces only schemas whose objects are closed and whole"
    )
    return False


def _write_choice(choice: ToolChoice, has_tools: bool, writing: Writing) -> Node:
    where = writing.request.where("tool_choice")
    writing.lose_native(choice.native, where)
    spelled = form_of(choice.native, NAME)
    if spelled is not None:
        return {where: spelled}
    if not has_tools:
        if choice.mode != "auto" or choice.allowed is not None:
            writing.losses.cosmetic(where, "there are no tools")
        return {}
    if choice.mode in ("required", "named") and not writing.to.profile.takes_forced_tools:
        writing.losses.changes_answer(where, "this model cannot be made to call a tool")
        return {"tool_choice": "auto"}
    return {"tool_choice": _choice(choice, writing)}


def _choice(choice: ToolChoice, writing: Writing) -> str | Node:
    if choice.mode == "named":
        return _reference(choice.name, writing)
    if choice.allowed is None:
        return choice.mode
    mode = "required" if choice.mode == "required" else "auto"
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": _references(choice.allowed, writing)}}


def _references(names: Sequence[str], writing: Writing) -> list[Node]:
    return [_reference(name, writing) for name in names]


def _reference(name: str, writing: Writing) -> Node:
    """Return what names a tool; a choice says its name alone, the tool has its namespace."""
    tools = [tool for tool in writing.request.tools if isinstance(tool, Tool) and tool.name == name]
    return {"type": "function", "function": {"name": writing.tools.wire(name, tools[0].namespace if tools else "")}}
