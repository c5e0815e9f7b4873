"""The tools of a request: flat functions, free-text tools, namespaces of both, and the vendor's own."""

import re
from collections.abc import Iterator

from providers.simulator.ask import Json, Tool, ToolKind
from providers.simulator.openai_checks import (
    check_strict_schema,
    refuse,
    refuse_type,
    require,
    require_short,
    require_value,
)

NAME = re.compile(r"^[a-zA-Z0-9_-]+$")
LONGEST_NAME = 128
# Called by the simulator, with an action of their own.
ACTIONS = {kind.value: kind for kind in (ToolKind.LOCAL_SHELL, ToolKind.SHELL, ToolKind.APPLY_PATCH)}
# Run by the vendor, or by nobody here: accepted and never called.
HOSTED = (
    *("web_search", "web_search_preview", "web_search_2025_08_26", "web_search_preview_2025_03_11", "file_search"),
    *("mcp", "code_interpreter", "image_generation", "computer", "computer_use_preview", "tool_search"),
    "programmatic_tool_calling",
)
NAMED = ("function", "custom")
TYPES = (*NAMED, "namespace", *ACTIONS, *HOSTED)
CHOICES = ("none", "auto", "required")


def read_tools(declared: object, where: str) -> list[Tool]:
    """Check a list of tools; return those that can be called."""
    if not isinstance(declared, list):
        refuse_type(where, "an array of objects")
    return [tool for index, each in enumerate(declared) for tool in _read_tool(each, f"{where}[{index}]")]


def check_unique(tools: list[Tool]) -> None:
    """A call must mean one tool."""
    seen: set[tuple[str, str]] = set()
    for tool in tools:
        if (tool.namespace, tool.name) in seen:
            refuse(f"Duplicate tool name: '{tool.name}'. Tool names must be unique.", "tools", "invalid_value")
        seen.add((tool.namespace, tool.name))


def choose(choice: object, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """The tools that `tool_choice` leaves."""
    if choice is None or isinstance(choice, str):
        require_value(choice or "auto", CHOICES, "tool_choice")
        return () if choice == "none" else tools
    if not isinstance(choice, dict):
        refuse_type("tool_choice", "a string or an object")
    require_value(choice.get("type"), (*NAMED, "allowed_tools", *ACTIONS, *HOSTED), "tool_choice.type")
    if choice["type"] != "allowed_tools":
        return tuple(_chosen(choice, tools))
    require_value(choice.get("mode"), ("auto", "required"), "tool_choice.mode")
    require(isinstance(choice.get("tools"), list), "tool_choice.tools", "an array of objects")
    return tuple(tool for each in choice["tools"] for tool in _chosen(each, tools))


def must_call(choice: object) -> bool:
    """Whether the choice leaves no way but a call."""
    if isinstance(choice, dict):
        return choice.get("type") != "allowed_tools" or choice.get("mode") == "required"
    return choice == "required"


def _read_tool(tool: object, where: str) -> Iterator[Tool]:
    if not isinstance(tool, dict):
        refuse_type(where, "an object")
    require_value(tool.get("type"), TYPES, f"{where}.type")
    kind = tool["type"]
    if kind == "namespace":
        yield from _read_namespace(tool, where)
    elif kind in NAMED:
        yield _read_named(tool, where, namespace="")
    elif kind in ACTIONS:
        yield Tool(name=kind, kind=ACTIONS[kind])


def _read_namespace(tool: Json, where: str) -> Iterator[Tool]:
    name = _name(tool, where)
    require(isinstance(tool.get("description"), str), f"{where}.description", "a string")
    inner = tool.get("tools")
    if not isinstance(inner, list):
        refuse_type(f"{where}.tools", "an array of objects")
    for index, each in enumerate(inner):
        at = f"{where}.tools[{index}]"
        require(isinstance(each, dict), at, "an object")
        require_value(each.get("type"), NAMED, f"{at}.type")
        yield _read_named(each, at, namespace=name)


def _read_named(tool: Json, where: str, *, namespace: str) -> Tool:
    name = _name(tool, where)
    if tool["type"] == "custom":
        _check_format(tool.get("format"), f"{where}.format")
        return Tool(name=name, kind=ToolKind.CUSTOM, namespace=namespace)
    schema = tool.get("parameters")
    require(schema is None or isinstance(schema, dict), f"{where}.parameters", "an object")
    if schema and schema.get("type") != "object":
        message = f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"'."
        refuse(message, f"{where}.parameters", "invalid_function_parameters")
    if tool.get("strict") is True:
        check_strict_schema(schema or {}, f"{where}.parameters", f"function '{name}'", "invalid_function_parameters")
    return Tool(name=name, schema=schema or {}, namespace=namespace)


def _name(tool: Json, where: str) -> str:
    if "name" not in tool:
        # Chat Completions nests what belongs here.
        refuse(f"Missing required parameter: '{where}.name'.", f"{where}.name", "missing_required_parameter")
    name = tool["name"]
    if not isinstance(name, str) or not NAME.match(name):
        expected = f"Expected a string that matches the pattern '{NAME.pattern}'."
        refuse(f"Invalid '{where}.name': string does not match pattern. {expected}", f"{where}.name", "invalid_value")
    require_short(name, LONGEST_NAME, f"{where}.name")
    return name


def _check_format(wanted: object, where: str) -> None:
    if wanted is None:
        return
    if not isinstance(wanted, dict):
        refuse_type(where, "an object")
    require_value(wanted.get("type"), ("text", "grammar"), f"{where}.type")
    if wanted["type"] == "grammar":
        require_value(wanted.get("syntax"), ("lark", "regex"), f"{where}.syntax")
        require(isinstance(wanted.get("definition"), str), f"{where}.definition", "a string")


def _chosen(choice: object, tools: tuple[Tool, ...]) -> list[Tool]:
    if not isinstance(choice, dict):
        refuse_type("tool_choice.tools", "an array of objects")
    kind = choice.get("type")
    if kind in HOSTED:
        return []
    name = choice.get("name") if kind in NAMED else kind
    found = [tool for tool in tools if (tool.kind, tool.name) == (kind, name)]
    if not found:
        refuse(f"Tool choice '{kind}' with name '{name}' not found in 'tools' parameter.", "tool_choice")
    return found
