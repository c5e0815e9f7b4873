"""A JSON Schema as structured output takes it: closed objects, and a part of the language only.

What a schema demands beyond that moves into its descriptions, for the model to read; what the upstream would compile
into another schema, or not at all, changes the answer. See
https://platform.claude.com/docs/en/build-with-claude/structured-outputs
"""

from collections.abc import Iterator, Mapping
from typing import Any

from providers.canonical.losses import Losses
from providers.dialects.nodes import Node
from providers.wire.json import write_json

MAX_OPTIONAL = 24
FORMATS = frozenset(["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"])

_TAKEN = frozenset(
    {"type", "enum", "const", "title", "description", "default", "$ref", "$defs", "definitions", "anyOf", "allOf"}
    | {"items", "properties", "required", "additionalProperties", "format", "minItems"}
)
_DEFINITIONS = ("$defs", "definitions")


def closed_schema(schema: Mapping[str, Any], at: str, losses: Losses) -> Node:
    """Return a schema that the upstream takes, with a loss for each thing that it does not enforce."""
    if _is_recursive(schema):
        losses.changes_answer(at, "the upstream takes no schema that contains itself")
    counted = sum(len(_optional(node)) for node in _objects(schema))
    if counted > MAX_OPTIONAL:
        losses.changes_answer(at, f"the upstream takes {MAX_OPTIONAL} optional properties, and there are {counted}")
    closed: Node = _closed(schema, at, losses)
    return closed


def _closed(schema: Any, at: str, losses: Losses) -> Any:
    if not isinstance(schema, Mapping):
        return schema  # true: anything goes
    node = {name: value for name, value in schema.items() if name in _TAKEN}
    _move_to_description(schema, node, at, losses)
    if "oneOf" in schema and "anyOf" not in schema:
        losses.cosmetic(f"{at}.oneOf", "the upstream knows it as anyOf")
        node["anyOf"] = schema["oneOf"]
    for name in ("anyOf", "allOf"):
        if isinstance(node.get(name), list):
            node[name] = [_closed(value, f"{at}.{name}[{i}]", losses) for i, value in enumerate(node[name])]
    for name in ("properties", *_DEFINITIONS):
        if isinstance(node.get(name), Mapping):
            node[name] = {key: _closed(value, f"{at}.{name}.{key}", losses) for key, value in node[name].items()}
    if "items" in node:
        node["items"] = _closed(node["items"], f"{at}.items", losses)
    return _close(node, at, losses) if _is_object(node) else node


def _close(node: Node, at: str, losses: Losses) -> Node:
    extra = node.get("additionalProperties")
    if extra is None:
        losses.degrades(f"{at}.additionalProperties", "the upstream allows no properties beyond those that are named")
    elif extra is not False:
        losses.changes_answer(f"{at}.additionalProperties", "the upstream's objects have no properties without a name")
    return {**node, "additionalProperties": False}


def _move_to_description(schema: Mapping[str, Any], node: Node, at: str, losses: Losses) -> None:
    moved = {name: value for name, value in schema.items() if name not in _TAKEN and name not in ("oneOf", "$schema")}
    if "oneOf" in schema and "anyOf" in schema:
        moved["oneOf"] = schema["oneOf"]
    if "format" in node and node["format"] not in FORMATS:
        moved["format"] = node.pop("format")
    if "minItems" in node and node["minItems"] not in (0, 1):
        moved["minItems"] = node.pop("minItems")
    if not moved:
        return
    for name in moved:
        losses.degrades(f"{at}.{name}", "the upstream does not enforce it, the model may read it")
    demands = ", ".join(f"{name}: {write_json(value).decode()}" for name, value in moved.items())
    node["description"] = f"{node.get('description', '')}\n\n{{{demands}}}".strip()


def _is_object(node: Mapping[str, Any]) -> bool:
    kind = node.get("type")
    return "properties" in node or kind == "object" or (isinstance(kind, list) and "object" in kind)


def _children(node: Mapping[str, Any]) -> Iterator[Any]:
    for name in ("properties", *_DEFINITIONS):
        if isinstance(node.get(name), Mapping):
            yield from node[name].values()
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(node.get(name), list):
            yield from node[name]
    yield node.get("items")


def _nodes(schema: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, Mapping):
        yield schema
        for child in _children(schema):
            yield from _nodes(child)


def _objects(schema: Any) -> Iterator[Mapping[str, Any]]:
    return (node for node in _nodes(schema) if isinstance(node.get("properties"), Mapping))


def _optional(node: Mapping[str, Any]) -> set[str]:
    required = node.get("required")
    named = required if isinstance(required, list) else []
    return set(node["properties"]) - {name for name in named if isinstance(name, str)}


def _is_recursive(schema: Mapping[str, Any]) -> bool:
    """Whether a definition refers to itself, on whatever way; "#" is the whole schema."""
    named = {"#": schema} | {
        f"#/{place}/{name}": value
        for place in _DEFINITIONS
        if isinstance(schema.get(place), Mapping)
        for name, value in schema[place].items()
    }
    refers = {name: _references(value) for name, value in named.items()}
    refers["#"] = {"#"} & refers["#"]  # its definitions are its own, but only a reference to itself is a circle
    return any(_reaches(name, name, refers, set()) for name in refers)


def _references(schema: Any) -> set[str]:
    return {node["$ref"] for node in _nodes(schema) if isinstance(node.get("$ref"), str)}


def _reaches(start: str, goal: str, refers: Mapping[str, set[str]], seen: set[str]) -> bool:
    for name in refers.get(start, set()):
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            if _reaches(name, goal, refers, seen):
                return True
    return False
