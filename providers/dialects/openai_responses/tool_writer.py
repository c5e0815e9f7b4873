"""Writing tools, and which of them may or must be called."""

from typing import Any

from providers.canonical.losses import fields_of
from providers.canonical.parts import Foreign
from providers.canonical.request import Tool, ToolChoice
from providers.dialects.nodes import Node
from providers.dialects.openai_responses import items
from providers.dialects.openai_responses.spelling import form, put_back, respell
from providers.dialects.openai_responses.tool_reader import is_inserted
from providers.dialects.openai_responses.wire import NAME
from providers.dialects.openai_responses.writing import Writing


def write_tools(writing: Writing) -> list[Any]:
    """Return the list of tools; those of one namespace that stand together are one."""
    written: list[Any] = []
    namespace: Node | None = None
    for tool in writing.request.tools:
        if writing.is_own and is_inserted(tool):
            continue
        node = _tool(tool, writing)
        if node is None:
            continue
        if not isinstance(tool, Tool) or not tool.namespace:
            namespace = None
            written.append(node)
            continue
        if namespace is None or namespace["name"] != tool.namespace:
            namespace = _namespace(tool, writing)
            written.append(namespace)
        namespace["tools"].append(node)
    return written


def _namespace(tool: Tool, writing: Writing) -> Node:
    """Return the namespace of a tool, which is its first."""
    head = items.namespace_head(tool)
    if writing.is_own:
        prefix = tool.at.rpartition(".tools[")[0] + "."
        native = fields_of(writing.request.native, NAME)
        own = {name.removeprefix(prefix): value for name, value in native.items() if name.startswith(prefix)}
        head = respell({**head, **own}, form(tool.native).head)
    return {**head, "tools": []}


def _tool(tool: Tool | Foreign, writing: Writing) -> Any:
    """Return a tool; None for one that only another format knows."""
    if isinstance(tool, Foreign):
        if tool.origin == NAME:
            return tool.value
        writing.lose_foreign(tool)
        return None
    if not writing.is_own and writing.tools.is_taken(tool):
        writing.losses.changes_answer(f"{tool.at}.name", "the upstream could not tell it from another tool")
        return None
    writing.losses.native(tool.native, tool.at, NAME)
    whole = form(tool.native).whole
    if writing.is_own and whole is not None:
        return whole
    node = items.tool_item(tool)
    node["name"] = writing.tools.wire(tool.name, tool.namespace)
    if node["name"] != tool.name:
        writing.losses.cosmetic(f"{tool.at}.name", f"the upstream knows it as {node['name']}")
    if tool.cache is not None:
        writing.losses.cosmetic(f"{tool.at}.cache", "the upstream's tools have no cache breakpoint")
    if tool.kind == "custom" and tool.grammar is None and tool.parameters is not None:
        writing.losses.cosmetic(f"{tool.at}.parameters", "the upstream's custom tools take free text")
    return put_back(node, tool.native) if writing.is_own else node


def write_choice(writing: Writing, *, has_tools: bool) -> Any:
    """Return which tools may or must be called; None when nothing is said about it."""
    choice = writing.request.tool_choice
    if choice is None:
        return None
    where = writing.request.where("tool_choice")
    writing.losses.native(choice.native, where, NAME)
    if writing.is_own:
        return form(choice.native).whole or _plain(choice, writing)
    if not has_tools:
        if choice.mode != "auto" or choice.allowed is not None:
            writing.losses.cosmetic(where, "there is no tool to choose")
        return None
    if choice.mode in ("required", "named") and not writing.destination.profile.takes_forced_tools:
        writing.losses.changes_answer(where, "the upstream's model cannot be made to call a tool")
        return "auto"
    return _plain(choice, writing)


def _plain(choice: ToolChoice, writing: Writing) -> Any:
    """Return a choice with the names by which the upstream knows the tools."""
    known = {tool.name: tool for tool in writing.request.tools if isinstance(tool, Tool)}
    kinds: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, tool in known.items():
        names[name] = writing.tools.wire(name, tool.namespace)
        kinds[names[name]] = tool.kind
    node = items.tool_choice(choice, {name: kinds.get(names.get(name, ""), "function") for name in known})
    if isinstance(node, dict):
        for each in [node, *node.get("tools", [])]:
            if "name" in each:
                each["name"] = names.get(each["name"], each["name"])
    return node
