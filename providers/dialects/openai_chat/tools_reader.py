"""Reading tools, the choice among them, and the deprecated `functions` and `function_call`."""

from typing import Any, Literal

import msgspec

from providers.canonical.losses import Native
from providers.canonical.parts import Foreign
from providers.canonical.request import Tool, ToolChoice
from providers.dialects.nodes import (
    Node,
    as_list,
    as_object,
    missing,
    name_text,
    optional_flag,
    optional_object,
    optional_text,
    path_of,
    text,
    wrong,
)
from providers.dialects.openai_chat.forms import ToolForm, flat, keep
from providers.dialects.openai_chat.parts_reader import CACHE_FIELDS, read_cache
from providers.dialects.openai_chat.weights import TOOL
from providers.dialects.openai_chat.wire import NAME

_KNOWN = CACHE_FIELDS | {"type", "function", "custom"}
_FUNCTION_FIELDS = frozenset({"name", "description", "parameters", "strict"})
_CUSTOM_FIELDS = frozenset({"name", "description", "format"})

_MODES: dict[str, Literal["auto", "required", "none"]] = {
    "auto": "auto",
    "required": "required",
    "any": "required",  # Mistral's word
    "none": "none",
}


def read_tools(value: Any) -> tuple[Tool | Foreign, ...]:
    """Read `tools`; one of an unknown type is kept whole."""
    nodes = [(f"tools[{i}]", each) for i, each in enumerate(as_list(value, "tools"))]
    return tuple(_read_tool(as_object(node, at), at) for at, node in nodes)


def read_functions(value: Any) -> tuple[Tool, ...]:
    """Read the deprecated `functions`."""
    nodes = [(f"functions[{i}]", each) for i, each in enumerate(as_list(value, "functions"))]
    return tuple(_read_function(as_object(node, at), at, "") for at, node in nodes)


def _read_tool(node: Node, at: str) -> Tool | Foreign:
    what = optional_text(node, "type", at)
    match "function" if what is None else what:
        case "function":
            return _read_function(node, at, "function")
        case "custom":
            return _read_custom(node, at)
    return Foreign(origin=NAME, what=str(what), value=node, at=at, why="the upstream's format has no such tool")


def _held(node: Node, name: str, at: str) -> Node:
    held = optional_object(node, name, at)
    if held is None:
        raise missing(path_of(at, name))
    return held


def _read_function(node: Node, at: str, inner: str) -> Tool:
    """Read a function; `inner` names the node that describes it, if that is not the tool itself."""
    held = _held(node, inner, at) if inner else node
    place = path_of(at, inner) if inner else at
    cache, spelled = read_cache(node, at)
    if held.get("description") == "":
        spelled = {**spelled, path_of(inner, "description"): ""}
    form = ToolForm(spelled=spelled, has_type="type" in node, is_legacy=not inner)
    known = _KNOWN | {path_of(inner, name) for name in _FUNCTION_FIELDS}
    return Tool(
        name=name_text(held, "name", place),
        description=optional_text(held, "description", place) or "",
        parameters=optional_object(held, "parameters", place),
        is_strict=optional_flag(held, "strict", place),
        cache=cache,
        at=at,
        native=keep(flat(node, inner), known, TOOL, form),
    )


def _read_custom(node: Node, at: str) -> Tool:
    held, place = _held(node, "custom", at), path_of(at, "custom")
    cache, spelled = read_cache(node, at)
    shape = optional_object(held, "format", place)
    grammar = _read_grammar(shape, path_of(place, "format")) if shape is not None else None
    if shape is not None and format_of(grammar) != shape:
        spelled = {**spelled, "custom.format": shape}
    if held.get("description") == "":
        spelled = {**spelled, "custom.description": ""}
    known = _KNOWN | {f"custom.{name}" for name in _CUSTOM_FIELDS}
    return Tool(
        name=name_text(held, "name", place),
        description=optional_text(held, "description", place) or "",
        kind="custom",
        grammar=grammar,
        cache=cache,
        at=at,
        native=keep(flat(node, "custom"), known, TOOL, ToolForm(spelled=spelled)),
    )


def _read_grammar(shape: Node, at: str) -> Node | None:
    """Return a custom tool's grammar, as the Responses format spells it; None for free text."""
    if shape.get("type") != "grammar":
        return None
    held = shape.get("grammar", shape)
    grammar = as_object(held, path_of(at, "grammar"))
    return {"type": "grammar", "syntax": grammar.get("syntax"), "definition": grammar.get("definition")}


def format_of(grammar: Any) -> Node | None:
    """Return a custom tool's format."""
    if grammar is None:
        return None
    return {"type": "grammar", "grammar": {name: grammar.get(name) for name in ("syntax", "definition")}}


def read_choice(value: Any, at: str) -> ToolChoice | None:
    """Read `tool_choice`, or the deprecated `function_call`."""
    if isinstance(value, str):
        if value not in _MODES:
            raise wrong(at, "one of none, auto, required, or an object")
        return _spelled(ToolChoice(mode=_MODES[value]), value)
    node = as_object(value, at)
    what = optional_text(node, "type", at) or ("function" if "function" in node else "")
    match what:
        case "allowed_tools":
            choice = _read_allowed(node, at)
        case "function" | "custom":
            name = text(_held(node, what, at), "name", path_of(at, what))
            choice = ToolChoice(mode="named", name=name, kind="custom" if what == "custom" else "function")
        case "" if "name" in node:
            choice = ToolChoice(mode="named", name=text(node, "name", at))
        case _:
            raise wrong(path_of(at, "type"), "one of function, custom, allowed_tools")
    return _spelled(choice, node)


def _read_allowed(node: Node, at: str) -> ToolChoice:
    place = path_of(at, "allowed_tools")
    allowed = _held(node, "allowed_tools", at)
    names = []
    for i, each in enumerate(as_list(allowed.get("tools"), path_of(place, "tools"))):
        tool_at = f"{place}.tools[{i}]"
        tool = as_object(each, tool_at)
        what = optional_text(tool, "type", tool_at) or "function"
        names.append(text(_held(tool, what, tool_at), "name", path_of(tool_at, what)))
    return ToolChoice(mode="required" if allowed.get("mode") == "required" else "auto", allowed=tuple(names))


def _spelled(choice: ToolChoice, value: Any) -> ToolChoice:
    """Return a choice that knows its spelling."""
    return msgspec.structs.replace(choice, native=Native(origin=NAME, form=value))
