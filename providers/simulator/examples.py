"""Plausible values for a JSON schema."""

from typing import Any

DEEPEST = 8  # a recursive schema ends here
MOST = 100  # whatever a schema wants so many of

_FORMATS = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000001",
}


def example(schema: object) -> Any:
    """A value that fits `schema`; `{}` for a schema that says nothing."""
    return _example(schema, schema, name="value", depth=0)


def _example(schema: object, root: object, *, name: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > DEEPEST:
        return {}
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if values := _list(schema, key):
            return values[0]
    if "$ref" in schema:
        return _example(_resolve(str(schema["$ref"]), root), root, name=name, depth=depth + 1)
    for key in ("anyOf", "oneOf"):
        if choices := _list(schema, key):
            return _example(choices[0], root, name=name, depth=depth + 1)
    if parts := _list(schema, "allOf"):
        return _joined([_example(part, root, name=name, depth=depth + 1) for part in parts])
    return _of_type(schema, root, name=name, depth=depth)


def _list(schema: dict[str, Any], key: str) -> list[Any]:
    values = schema.get(key)
    return values if isinstance(values, list) else []


def _joined(values: list[Any]) -> Any:
    """What fits all of several schemas: their objects in one, else what fits the first."""
    if not all(isinstance(value, dict) for value in values):
        return values[0]
    return {key: each for value in values for key, each in value.items()}


def _of_type(schema: dict[str, Any], root: object, *, name: str, depth: int) -> Any:
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "string":
            return _FORMATS.get(str(schema.get("format"))) or _text(schema, f"a {name}")
        case "integer":
            return schema.get("minimum", 1)
        case "number":
            return schema.get("minimum", 1.5)
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            count = _count(schema, "minItems", 1)
            return [_example(schema.get("items"), root, name=name, depth=depth + 1)] * count
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {key: _example(value, root, name=key, depth=depth + 1) for key, value in properties.items()}


def _text(schema: dict[str, Any], text: str) -> str:
    shortest, longest = _count(schema, "minLength", 0), _count(schema, "maxLength", len(text))
    return text.ljust(shortest, "x")[: max(shortest, longest)]


def _count(schema: dict[str, Any], key: str, default: int) -> int:
    count = schema.get(key)
    return min(count, MOST) if type(count) is int and count >= 0 else default


def _resolve(reference: str, root: object) -> object:
    """A local reference: `#/$defs/Place`."""
    found = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(step) if isinstance(found, dict) and step else found
    return found
