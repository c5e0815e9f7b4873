"""Schemas: from Gemini's dialect of OpenAPI to JSON Schema, and back to the part of it that models before Gemini 3 take.

https://ai.google.dev/api/caching#Schema
"""

from collections.abc import Mapping
from typing import Any

type Schema = dict[str, Any]

_SNAKE = {
    "any_of": "anyOf",
    "max_items": "maxItems",
    "max_length": "maxLength",
    "max_properties": "maxProperties",
    "min_items": "minItems",
    "min_length": "minLength",
    "min_properties": "minProperties",
    "property_ordering": "propertyOrdering",
    "additional_properties": "additionalProperties",
    "prefix_items": "prefixItems",
    "defs": "$defs",
    "ref": "$ref",
}
_COUNTS = ("maxItems", "minItems", "maxLength", "minLength", "maxProperties", "minProperties")  # texts, as int64 are
_PLAIN = ("title", "description", "maximum", "minimum", "pattern", *_COUNTS)
_FORMATS = frozenset({"int32", "int64", "float", "double", "date-time"})
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object"})
_DEEPEST = 24  # levels: a schema that refers to itself has no end


def to_json_schema(schema: Mapping[str, Any]) -> Schema:
    """Return a schema of OpenAPI's subset as JSON Schema; what is JSON Schema already comes out as it is."""
    read: Schema = {}
    for name, value in schema.items():
        name = _SNAKE.get(name, name)
        if name in {"properties", "$defs"} and isinstance(value, dict):
            read[name] = {key: _nested(inner) for key, inner in value.items()}
        elif name in {"items", "additionalProperties", "not"}:
            read[name] = _nested(value)
        elif name in {"anyOf", "oneOf", "allOf", "prefixItems"} and isinstance(value, list):
            read[name] = [_nested(inner) for inner in value]
        elif name in _COUNTS and isinstance(value, str) and value.isdigit():
            read[name] = int(value)
        elif name == "type":
            read |= _type(value)
        elif name == "example":
            read["examples"] = [value]
        elif name not in {"nullable", "propertyOrdering"} and (name, value) != ("format", "enum"):
            read[name] = value
    return _with_null(read) if schema.get("nullable") is True else read


def _nested(value: Any) -> Any:
    return to_json_schema(value) if isinstance(value, dict) else value


def _type(value: Any) -> Schema:
    if isinstance(value, str):
        return {} if value == "TYPE_UNSPECIFIED" else {"type": value.lower()}
    return {"type": value}


def _with_null(schema: Schema) -> Schema:
    """Return a schema that takes null as well."""
    if isinstance(schema.get("type"), str) and schema["type"] != "null":
        schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("anyOf"), list) and {"type": "null"} not in schema["anyOf"]:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    return schema


def to_openapi(schema: Mapping[str, Any]) -> Schema:
    """Return what is left of a JSON Schema in OpenAPI's subset: no references, one type each, only text enums."""
    return _Reduction(schema).reduce(schema, 0)


class _Reduction:
    """The way of one schema into the subset."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def reduce(self, schema: Any, depth: int) -> Schema:
        """Return a schema reduced; what says nothing is a text, for every schema needs a type."""
        if not isinstance(schema, Mapping) or not schema:
            return {"type": "STRING"}
        if depth > _DEEPEST:
            return {"type": "OBJECT"}
        schema = self._merged(self._resolved(schema))
        options = self._options(schema)
        reduced: Schema = {name: schema[name] for name in _PLAIN if name in schema}
        self._bounds(schema, reduced)
        if schema.get("nullable") is True or _takes_null(schema):
            reduced["nullable"] = True
        if options:
            return _one_of(reduced, [self.reduce(option, depth + 1) for option in options])
        kind = _kind(schema)
        reduced["type"] = kind.upper()
        if schema.get("format") in _FORMATS:
            reduced["format"] = schema["format"]
        self._enum(schema, kind, reduced)
        if kind == "array":
            reduced["items"] = self.reduce(schema.get("items"), depth + 1)
        if kind == "object":
            self._properties(schema, reduced, depth)
        return reduced

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put what is referred to in the place of the reference."""
        for _ in range(_DEEPEST):
            reference = schema.get("$ref")
            if not isinstance(reference, str):
                return schema
            beside = {name: value for name, value in schema.items() if name != "$ref"}
            schema = {**self._target(reference), **beside}
        return {"type": "object"}

    def _target(self, reference: str) -> Mapping[str, Any]:
        target: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            target = target.get(step) if isinstance(target, Mapping) else None
        return target if isinstance(target, Mapping) else {}

    def _merged(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put the members of an allOf into one schema."""
        members = schema.get("allOf")
        if not isinstance(members, list):
            return schema
        merged: Schema = {}
        rest = {name: value for name, value in schema.items() if name != "allOf"}
        for member in (*members, rest):
            if not isinstance(member, Mapping):
                continue
            member = self._merged(self._resolved(member))
            properties = {**merged.get("properties", {}), **member.get("properties", {})}
            required = [*merged.get("required", []), *member.get("required", [])]
            merged |= member
            merged |= {"properties": properties} if properties else {}
            merged |= {"required": [*dict.fromkeys(required)]} if required else {}
        return merged

    def _options(self, schema: Mapping[str, Any]) -> list[Any]:
        """Return what a value may be one of: null is not among it, it is said apart."""
        options = schema.get("anyOf", schema.get("oneOf"))
        if isinstance(options, list) and options:
            return [option for option in options if not (isinstance(option, Mapping) and option.get("type") == "null")]
        kinds = schema.get("type")
        if isinstance(kinds, list) and len(names := [kind for kind in kinds if kind != "null"]) > 1:
            return [{**schema, "type": kind} for kind in names]
        return []

    def _bounds(self, schema: Mapping[str, Any], reduced: Schema) -> None:
        for name, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            bound = schema.get(exclusive)
            if isinstance(bound, int | float) and not isinstance(bound, bool):
                reduced.setdefault(name, bound)

    def _enum(self, schema: Mapping[str, Any], kind: str, reduced: Schema) -> None:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if not isinstance(values, list):
            return
        if kind == "string":
            texts = [value for value in values if isinstance(value, str) and value]
            if texts:
                reduced |= {"format": "enum", "enum": texts}
            return
        # Only texts may be listed; as texts, the model would answer "1" where 1 is wanted.
        listed = "One of: " + ", ".join(str(value) for value in values if value is not None)
        reduced["description"] = f"{reduced['description']} {listed}" if reduced.get("description") else listed

    def _properties(self, schema: Mapping[str, Any], reduced: Schema, depth: int) -> None:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            return
        reduced["properties"] = {name: self.reduce(inner, depth + 1) for name, inner in properties.items()}
        required = schema.get("required")
        named = [name for name in required if name in properties] if isinstance(required, list) else []
        if named:
            reduced["required"] = named


def _one_of(reduced: Schema, options: list[Schema]) -> Schema:
    """Return a choice; of one thing, that thing itself."""
    if len(options) == 1:
        return {**options[0], **reduced}
    return {**reduced, "anyOf": options}


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a schema's one type, from what it says elsewhere where it names none."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), None)
    if isinstance(kind, str) and kind.lower() in _TYPES:
        return kind.lower()
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return _kind_of(values[0]) if isinstance(values, list) and values else "string"


def _kind_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
    return "string"


def _takes_null(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    if isinstance(kinds, list) and "null" in kinds:
        return True
    options = schema.get("anyOf", schema.get("oneOf"))
    return isinstance(options, list) and any(
        isinstance(option, Mapping) and option.get("type") == "null" for option in options
    )
