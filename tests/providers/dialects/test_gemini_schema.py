"""Schemas: what Gemini calls OpenAPI, and JSON Schema."""

from typing import Any

import pytest

from providers.dialects.gemini.schema import to_json_schema, to_openapi

TEXT = {"type": "STRING"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def reduced(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what becomes of a property."""
    return to_openapi(of(a=schema))["properties"]["a"]


def test_types_are_spelled_small_and_null_is_a_type():
    openapi = {
        "type": "OBJECT",
        "properties": {
            "name": {"type": "STRING", "nullable": True},
            "kind": {"type": "STRING", "format": "enum", "enum": ["a", "b"], "nullable": True},
            "tags": {"type": "ARRAY", "min_items": "1", "items": {"type": "INTEGER", "format": "int32"}},
            "either": {"any_of": [{"type": "STRING"}, {"type": "NUMBER"}], "nullable": True},
        },
        "propertyOrdering": ["name"],
        "required": ["name"],
        "example": {"name": "x"},
    }
    assert to_json_schema(openapi) == {
        "type": "object",
        "properties": {
            "name": {"type": ["string", "null"]},
            "kind": {"type": ["string", "null"], "enum": ["a", "b", None]},
            "tags": {"type": "array", "minItems": 1, "items": {"type": "integer", "format": "int32"}},
            "either": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
        },
        "required": ["name"],
        "examples": [{"name": "x"}],
    }


def test_json_schema_stays_as_it_is():
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"type": {"type": "string"}, "nullable": {"$ref": "#/$defs/x"}, "any_of": {"const": 1}},
        "$defs": {"x": {"oneOf": [{"type": "null"}, {"type": "integer", "exclusiveMinimum": 0}]}},
        "additionalProperties": False,
    }
    assert to_json_schema(schema) == schema


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, TEXT),
        ({"type": ["string", "null"]}, TEXT | {"nullable": True}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, TEXT | {"nullable": True}),
        ({"type": ["string", "integer"]}, {"anyOf": [TEXT, {"type": "INTEGER"}]}),
        ({"oneOf": [{"type": "string"}, {"type": "boolean"}]}, {"anyOf": [TEXT, {"type": "BOOLEAN"}]}),
        ({"const": "x"}, TEXT | {"format": "enum", "enum": ["x"]}),
        ({"const": 3}, {"type": "INTEGER", "description": "One of: 3"}),
        ({"enum": ["a", "", None]}, TEXT | {"format": "enum", "enum": ["a"]}),
        (
            {"type": "integer", "enum": [1, 2], "description": "How many."},
            {"type": "INTEGER", "description": "How many. One of: 1, 2"},
        ),
        ({"type": "array"}, {"type": "ARRAY", "items": TEXT}),
        ({"items": {"type": "number"}}, {"type": "ARRAY", "items": {"type": "NUMBER"}}),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"type": "OBJECT"}),
        (
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
            {"type": "NUMBER", "minimum": 0, "maximum": 9},
        ),
        ({"type": "string", "format": "uri", "pattern": "^h", "default": "x"}, TEXT | {"pattern": "^h"}),
        ({"type": "string", "format": "date-time", "examples": ["x"]}, TEXT | {"format": "date-time"}),
        ({"if": {}, "then": {}, "propertyNames": {"pattern": "a"}, "properties": {"b": {}}}, None),
        (True, TEXT),
        ({}, TEXT),
    ],
)
def test_edge_71_only_the_subset_is_left(schema: Any, expected: Any):
    expected = expected or {"type": "OBJECT", "properties": {"b": TEXT}}
    assert reduced(schema) == expected


def test_edge_71_properties_may_be_named_like_keywords():
    schema = of(properties={"type": "string"}, propertyNames={"type": "integer"}, required={"$ref": "#/x"})
    schema |= {"required": ["properties", "gone"], "x": {"type": "boolean"}, "$id": "https://example.org"}
    assert to_openapi(schema) == {
        "type": "OBJECT",
        "properties": {"properties": TEXT, "propertyNames": {"type": "INTEGER"}, "required": {"type": "BOOLEAN"}},
        "required": ["properties"],
    }


def test_edge_71_references_are_put_in_place():
    schema = of(home={"$ref": "#/$defs/place", "description": "Where."}, away={"$ref": "#/definitions/a~1b"})
    schema["$defs"] = {"place": of(city={"type": "string"})}
    schema["definitions"] = {"a/b": {"type": "integer"}}
    assert to_openapi(schema)["properties"] == {
        "home": {"type": "OBJECT", "description": "Where.", "properties": {"city": TEXT}},
        "away": {"type": "INTEGER"},
    }


def test_edge_71_members_of_an_all_of_are_one():
    member = {"$ref": "#/$defs/named"}
    schema = {"allOf": [member, of(b={"type": "integer"}) | {"required": ["b"]}], "required": ["a"]}
    schema["$defs"] = {"named": of(a={"type": "string"})}
    assert to_openapi(schema) == {
        "type": "OBJECT",
        "properties": {"a": TEXT, "b": {"type": "INTEGER"}},
        "required": ["b", "a"],
    }


def test_a_schema_that_refers_to_itself_ends():
    tree = of(children={"type": "array", "items": {"$ref": "#"}})
    deep = to_openapi(tree)
    for _ in range(5):
        deep = deep["properties"]["children"]["items"]
    assert deep["type"] == "OBJECT"
    assert to_openapi({"$ref": "#"}) == {"type": "OBJECT"}
    assert to_openapi({"$ref": "https://example.org/elsewhere"}) == TEXT


def test_what_was_reduced_is_reduced_already():
    schema = of(a={"type": ["string", "null"]}, b={"enum": ["x", "y"]}, c={"type": "array", "items": of()})
    once = to_openapi(schema)
    assert to_openapi(to_json_schema(once)) == once
