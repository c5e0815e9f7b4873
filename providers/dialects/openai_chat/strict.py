"""Whether a schema is one that OpenAI can enforce: objects closed, every property required.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from collections.abc import Iterator, Mapping
from typing import Any

_MAX_DEPTH = 50
_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions")
_REFUSED = frozenset({"oneOf", "allOf", "not", "if", "patternProperties", "dependentRequired", "dependentSchemas"})


def satisfies_strict(schema: Mapping[str, Any] | None) -> bool:
    """Return whether a schema may be sent with `strict: true`."""
    return isinstance(schema, Mapping) and schema.get("type") == "object" and all(map(_is_closed, _nodes(schema, 0)))


def _nodes(schema: Any, depth: int) -> Iterator[Mapping[str, Any] | None]:
    """Yield a schema and all that are in it; None for what is none, or too deep."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        yield None
        return
    yield schema
    for inner in _inner(schema):
        yield from _nodes(inner, depth + 1)


def _inner(schema: Mapping[str, Any]) -> Iterator[Any]:
    if "items" in schema:
        yield schema["items"]
    for name in _LISTS:
        if isinstance(schema.get(name), list):
            yield from schema[name]
    for name in _MAPS:
        if isinstance(schema.get(name), Mapping):
            yield from schema[name].values()


def _is_closed(schema: Mapping[str, Any] | None) -> bool:
    if schema is None or not _REFUSED.isdisjoint(schema):
        return False
    kinds = schema.get("type")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds) and "properties" not in schema:
        return True
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        return False
    return schema.get("additionalProperties") is False and set(properties) <= set(map(str, required))
