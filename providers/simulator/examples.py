"""Plausible values for a JSON schema."""

from typing import Any

DEEPEST = 8  # a recursive schema ends here

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
        if schema.get(key):
            return schema[key][0]
    if "$ref" in schema:
        return _example(_resolve(schema["$ref"], root), root, name=name, depth=depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _example(schema[key][0], root, name=name, depth=depth + 1)
    return _of_type(schema, root, name=name, depth=depth)


def _of_type(schema: dict[str, Any], root: object, *, name: str, depth: int) -> Any:
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "string":
            return _FORMATS.get(schema.get("format", ""), f"a {name}")
        case "integer":
            return schema.get("minimum", 1)
        case "number":
            return schema.get("minimum", 1.5)
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            return [_example(schema.get("items"), root, name=name, depth=depth + 1)]
    properties = schema.get("properties") or {}
    return {key: _example(value, root, name=key, depth=depth + 1) for key, value in properties.items()}


def _resolve(reference: str, root: object) -> object:
    """A local reference: `#/$defs/Place`."""
    found = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(step) if isinstance(found, dict) and step else found
    return found
