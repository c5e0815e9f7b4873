"""The tools of a request, and how they may be called."""

import re

from providers.simulator.ask import Json, Tool
from providers.simulator.messages.checks import refuse, require, require_tag

TOOL_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,128}$")


def declared_tools(body: Json) -> list[Json]:
    """Check the tools of a request, and the choice among them."""
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    require(isinstance(tools, list), "tools: Input should be a valid list")
    for index, tool in enumerate(tools):
        _check_tool(tool, f"tools.{index}")
    names = [tool["name"] for tool in tools if isinstance(tool.get("name"), str)]
    require(len(names) == len(set(names)), "tools: Tool names must be unique.")
    if choice is not None:
        require(isinstance(choice, dict), "tool_choice: Input should be an object")
        require_tag(choice.get("type"), ("auto", "any", "tool", "none"), "tool_choice")
        require(bool(tools), "tool_choice: may only be specified while providing `tools`")
        is_known = choice["type"] != "tool" or choice.get("name") in names
        require(is_known, f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")
    return list(tools)


def callable_tools(choice: Json, declared: list[Json]) -> tuple[Tool, ...]:
    """Those that `tool_choice` leaves."""
    if choice.get("type") == "none":
        return ()
    custom = [tool for tool in declared if _is_custom(tool)]
    tools = tuple(Tool(name=tool["name"], schema=tool["input_schema"]) for tool in custom)
    if choice.get("type") == "tool":
        return tuple(tool for tool in tools if tool.name == choice["name"])
    return tools


def wanted_schema(output_config: object) -> Json | None:
    """The schema of an answer in JSON; None = the answer is text."""
    wanted = output_config.get("format") if isinstance(output_config, dict) else None
    if not isinstance(wanted, dict):
        return None
    require_tag(wanted.get("type"), ("json_schema",), "output_config.format")
    require(isinstance(wanted.get("schema"), dict), "output_config.format.schema: Field required")
    schema: Json = wanted["schema"]
    return schema


def _check_tool(tool: object, where: str) -> None:
    if not isinstance(tool, dict):
        refuse(f"{where}: Input should be an object")
    if not _is_custom(tool):
        return
    require("name" in tool, f"{where}.custom.name: Field required")
    is_name = isinstance(tool["name"], str) and TOOL_NAME.match(tool["name"])
    require(bool(is_name), f"{where}.custom.name: String should match pattern '{TOOL_NAME.pattern}'")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        refuse(f"{where}.custom.input_schema: Field required")
    is_object = schema.get("type") == "object"
    require(is_object, f"{where}.custom.input_schema.type: Input should be 'object'")


def _is_custom(tool: Json) -> bool:
    """Tools with a type of their own (`bash_20250124`) need no schema, and are never called here."""
    return tool.get("type") in (None, "custom")
