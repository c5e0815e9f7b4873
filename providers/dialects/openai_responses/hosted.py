"""Tools that the client runs and that this format knows by name: to other upstreams they are functions.

`local_shell`, `shell` on the client's machine, `apply_patch` and `tool_search` by the client have items of their own for
calls and outputs. Canonically each is a function of the same name, and what the item said beside is its arguments.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from providers.canonical.parts import Text, ToolCall
from providers.canonical.tool_names import SEPARATOR
from providers.dialects.nodes import Node
from providers.wire.json import read_json, write_json

_STRINGS = {"type": "array", "items": {"type": "string"}}
_NUMBER = {"type": "integer"}
_TEXT = {"type": "string"}


class Hosted(msgspec.Struct, frozen=True, kw_only=True):
    """One of these tools."""

    call: str  # the type of its calls
    holder: str  # the member of a call that holds the arguments; their own members stand in it
    prefix: str  # of the ids of its calls
    description: str
    parameters: Mapping[str, Any]
    fixed: Mapping[str, Any] = {}  # members of the holder that are always there


TOOLS: Mapping[str, Hosted] = {
    "local_shell": Hosted(
        call="local_shell_call",
        holder="action",
        prefix="lsh",
        description="Runs a command on the user's machine and returns its output.",
        parameters={
            "type": "object",
            "properties": {
                "command": {**_STRINGS, "description": "The program and its arguments."},
                "env": {"type": "object", "additionalProperties": _TEXT},
                "timeout_ms": _NUMBER,
                "user": _TEXT,
                "working_directory": _TEXT,
            },
            "required": ["command"],
        },
        fixed={"type": "exec", "env": {}},
    ),
    "shell": Hosted(
        call="shell_call",
        holder="action",
        prefix="sh",
        description="Runs shell commands on the user's machine, one after the other, and returns their output.",
        parameters={
            "type": "object",
            "properties": {"commands": _STRINGS, "timeout_ms": _NUMBER, "max_output_length": _NUMBER},
            "required": ["commands"],
        },
        fixed={"timeout_ms": None, "max_output_length": None},
    ),
    "apply_patch": Hosted(
        call="apply_patch_call",
        holder="operation",
        prefix="apc",
        description="Creates, updates or deletes one file of the user's by a diff in the V4A format.",
        parameters={
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                "path": _TEXT,
                "diff": {**_TEXT, "description": "Not for delete_file."},
            },
            "required": ["type", "path"],
        },
    ),
    "tool_search": Hosted(
        call="tool_search_call",
        holder="arguments",
        prefix="tsc",
        description="Searches for further tools, which can be called from then on.",
        parameters={"type": "object", "properties": {"query": _TEXT}, "required": ["query"]},
        fixed={},
    ),
}

_CALLS = {hosted.call: name for name, hosted in TOOLS.items()}
OUTPUTS = {
    "local_shell_call_output": "local_shell",
    "shell_call_output": "shell",
    "apply_patch_call_output": "apply_patch",
    "tool_search_output": "tool_search",
}


def is_run_by_client(tool: Node) -> bool:
    """Whether one of these tools is the client's to run; in a container or on the vendor's servers it is not."""
    match tool.get("type"):
        case "local_shell" | "apply_patch":
            return True
        case "shell":
            environment = tool.get("environment")
            return environment is None or (isinstance(environment, dict) and environment.get("type") == "local")
        case "tool_search":
            return tool.get("execution") == "client"
    return False


def is_client_call(item: Node) -> bool:
    """Whether an item is a call of one of these tools that the client ran."""
    return item.get("type") in _CALLS and (item["type"] != "tool_search_call" or item.get("execution") == "client")


def is_client_output(item: Node) -> bool:
    """Whether an item is what one of these tools gave back."""
    return item.get("type") in OUTPUTS and (item["type"] != "tool_search_output" or item.get("execution") == "client")


def call_of(item: Node) -> tuple[str, str]:
    """Return name and arguments of a call, as those of a function."""
    name = _CALLS[item["type"]]
    held = item.get(TOOLS[name].holder)
    if not isinstance(held, dict):
        return name, held if isinstance(held, str) else "{}"
    fixed = TOOLS[name].fixed
    return name, write_json({k: v for k, v in held.items() if k not in fixed or v != fixed[k]}).decode()


def call_item(call: ToolCall, item_id: str) -> Node | None:
    """Return the call of a function that stands for one of these tools; None when its arguments make no sense."""
    hosted = TOOLS[call.name]
    try:
        arguments = read_json(call.arguments or "{}")
    except ValueError:
        return None
    if not isinstance(arguments, dict):
        return None
    item = {"type": hosted.call, "id": item_id, "call_id": call.id, "status": "completed"}
    if call.name == "tool_search":
        item["execution"] = "client"
    return {**item, hosted.holder: {**hosted.fixed, **arguments}}


def output_text(item: Node) -> tuple[Text, ...]:
    """Return what such a tool gave back, in words."""
    output = item.get("output")
    if item["type"] == "tool_search_output":
        names = [name for tool in item.get("tools") or [] if isinstance(tool, dict) for name in _names(tool)]
        return (Text(text="Tools that can be called now: " + (", ".join(names) or "none")),)
    if isinstance(output, list):
        return tuple(Text(text=_shell_text(each)) for each in output)
    return (Text(text=str(output if output is not None else item.get("status") or "")),)


def _names(tool: Node) -> list[str]:
    """Return what an upstream without namespaces calls a tool, or those of a namespace."""
    inner = [each for each in tool.get("tools") or [] if isinstance(each, dict)]
    name = str(tool.get("name") or tool.get("type"))
    return [f"{name}{SEPARATOR}{each.get('name')}" for each in inner] or [name]


def _shell_text(output: Any) -> str:
    if not isinstance(output, dict):
        return str(output)
    outcome = output.get("outcome")
    how = outcome if isinstance(outcome, dict) else {}
    end = "timed out" if how.get("type") == "timeout" else f"exit code {how.get('exit_code')}" if how else ""
    pieces = [output.get("stdout"), output.get("stderr"), end]
    return "\n".join(str(piece).rstrip("\n") for piece in pieces if piece)
