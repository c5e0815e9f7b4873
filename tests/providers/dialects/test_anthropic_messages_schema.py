"""Schemas as structured output takes them."""

from typing import Any

import pytest

from providers.canonical.losses import Losses, Weight
from providers.dialects.anthropic_messages.schema import closed_schema


def closed(schema: dict[str, Any]) -> tuple[Any, dict[str, Weight]]:
    losses = Losses()
    return closed_schema(schema, "schema", losses), {loss.path: loss.weight for loss in losses}


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def test_a_closed_schema_stays_as_it_is():
    schema = thing(
        name={"type": "string", "description": "who", "format": "email"},
        age={"type": ["integer", "null"]},
        tags={"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1},
        other={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    ) | {"$defs": {"node": thing(x={"const": 1})}}
    assert closed(schema) == (schema, {})


def test_an_open_object_is_closed():
    schema, losses = closed({"type": "object", "properties": {"a": {"type": "object", "properties": {}}}})
    assert schema["additionalProperties"] is schema["properties"]["a"]["additionalProperties"] is False
    assert losses == {
        "schema.additionalProperties": Weight.DEGRADES,
        "schema.properties.a.additionalProperties": Weight.DEGRADES,
    }


@pytest.mark.parametrize("extra", [True, {"type": "string"}])
def test_a_map_of_anything_cannot_be_closed_without_changing_the_answer(extra: Any):
    _, losses = closed({"type": "object", "additionalProperties": extra})
    assert losses == {"schema.additionalProperties": Weight.CHANGES_ANSWER}


def test_demands_that_are_not_enforced_move_to_the_description():
    schema, losses = closed(thing(age={"type": "integer", "minimum": 1, "maximum": 9, "description": "years"}))
    assert schema["properties"]["age"] == {"type": "integer", "description": "years\n\n{minimum: 1, maximum: 9}"}
    assert losses == {
        "schema.properties.age.minimum": Weight.DEGRADES,
        "schema.properties.age.maximum": Weight.DEGRADES,
    }


@pytest.mark.parametrize(
    ("name", "value"), [("format", "regex"), ("minItems", 2), ("pattern", "^a"), ("not", {}), ("uniqueItems", True)]
)
def test_words_that_the_upstream_does_not_know_are_told(name: str, value: Any):
    schema, losses = closed({"type": "string", name: value})
    assert name not in schema
    assert name in schema["description"]
    assert losses == {f"schema.{name}": Weight.DEGRADES}


def test_properties_that_are_called_like_words_of_the_language_are_properties():
    schema = thing(pattern={"type": "string"}, minimum={"type": "integer"}, oneOf={"type": "string"})
    assert closed(schema) == (schema, {})


def test_one_of_becomes_any_of():
    schema, losses = closed({"oneOf": [{"type": "string"}, {"type": "null"}]})
    assert schema == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert losses == {"schema.oneOf": Weight.COSMETIC}


@pytest.mark.parametrize(
    "schema",
    [
        thing(child={"$ref": "#"}),
        thing(child={"$ref": "#/$defs/a"})
        | {"$defs": {"a": thing(b={"$ref": "#/$defs/b"}), "b": {"items": {"$ref": "#/$defs/a"}}}},
    ],
)
def test_a_schema_that_contains_itself_changes_the_answer(schema: dict[str, Any]):
    assert closed(schema)[1] == {"schema": Weight.CHANGES_ANSWER}


def test_more_optional_properties_than_the_upstream_compiles_change_the_answer():
    schema = thing(**{f"p{i}": {"type": "string"} for i in range(25)}) | {"required": []}
    assert closed(schema)[1] == {"schema": Weight.CHANGES_ANSWER}
