"""The tools of a request, and how they may be called."""

import re

from providers.simulator.ask import Json, Tool, ToolKind
from providers.simulator.openai_checks import check_strict_schema, refuse, refuse_type, require, require_value

TOOL_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")


def declared_tools(body: Json) -> list[Json]:
    """Check the tools of a request."""
    tools = body.get("tools")
    if tools is None:
        for field in ("tool_choice", "parallel_tool_calls"):
            if body.get(field) is not None and body[field] != "none":
                refuse(f"'{field}' is only allowed when 'tools' are specified.", field)
        return []
    require(isinstance(tools, list), "tools", "an array of objects")
    if not tools:
        refuse("Invalid 'tools': empty array. Expected at least one tool.", "tools", "empty_array")
    for index, tool in enumerate(tools):
        _check_tool(tool, f"tools[{index}]")
    return list(tools)


def callable_tools(body: Json, declared: list[Json]) -> tuple[Tool, ...]:
    """Those that `tool_choice` leaves."""
    tools = tuple(_tool(tool[tool["type"]], ToolKind(tool["type"])) for tool in declared)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return _chosen_tools(choice, tools)
    if choice is not None:
        require_value(choice, ("none", "auto", "required"), "tool_choice")
    return () if choice == "none" else tools


def must_call(choice: object) -> bool:
    """Whether the choice leaves no way but a call."""
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        return bool(choice["allowed_tools"].get("mode") == "required")
    return choice not in (None, "auto", "none")


def typed(given: object, where: str) -> tuple[Json, str]:
    """What a tool or a call holds under the name of its type, and where."""
    if not isinstance(given, dict):
        refuse_type(where, "an object")
    require_value(given.get("type"), ("function", "custom"), f"{where}.type")
    inner, at = given.get(given["type"]), f"{where}.{given['type']}"
    if not isinstance(inner, dict):
        refuse_type(at, "an object")
    return inner, at


def _check_tool(tool: object, where: str) -> None:
    inner, at = typed(tool, where)
    name, schema = inner.get("name"), inner.get("parameters")
    if not isinstance(name, str) or not TOOL_NAME.match(name):
        message = f"Invalid '{at}.name': string does not match pattern. Expected '{TOOL_NAME.pattern}'."
        refuse(message, f"{at}.name", "invalid_value")
    require(schema is None or isinstance(schema, dict), f"{where}.function.parameters", "an object")
    if schema and schema.get("type") != "object":
        message = f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"'."
        refuse(message, f"{where}.function.parameters", "invalid_function_parameters")
    if inner.get("strict") is True:
        at = f"{where}.function.parameters"
        check_strict_schema(schema or {}, at, f"function '{name}'", "invalid_function_parameters")


def _tool(inner: Json, kind: ToolKind) -> Tool:
    return Tool(name=inner["name"], schema=inner.get("parameters") or {}, kind=kind)


def _chosen_tools(choice: Json, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    require_value(choice.get("type"), ("function", "custom", "allowed_tools"), "tool_choice.type")
    kind = choice["type"]
    named = choice.get(kind)
    if not isinstance(named, dict):
        refuse_type(f"tool_choice.{kind}", "an object")
    if kind != "allowed_tools":
        return _named_tools([choice], tools)
    require_value(named.get("mode"), ("auto", "required"), "tool_choice.allowed_tools.mode")
    return _named_tools(named.get("tools"), tools)


def _named_tools(choices: object, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    if not isinstance(choices, list):
        refuse_type("tool_choice.allowed_tools.tools", "an array of objects")
    chosen = []
    for choice in choices:
        inner, _ = typed(choice, "tool_choice")
        kind, name = choice["type"], inner.get("name")
        found = [tool for tool in tools if (tool.kind, tool.name) == (kind, name)]
        if not found:
            refuse(f"Tool choice '{kind}' with name '{name}' not found in 'tools' parameter.", "tool_choice")
        chosen += found
    return tuple(chosen)
