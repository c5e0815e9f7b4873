"""Which schemas OpenAI can enforce."""

from typing import Any

import pytest

from providers.dialects.openai_chat.strict import satisfies_strict

CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def holding(inner: Any) -> dict[str, Any]:
    return {**CLOSED, "properties": {"a": inner}}


@pytest.mark.parametrize(
    "schema",
    [
        CLOSED,
        {"type": "object", "properties": {}, "additionalProperties": False},
        holding(CLOSED),
        holding({"type": "array", "items": CLOSED}),
        holding({"anyOf": [{"type": "null"}, CLOSED]}),
        {**CLOSED, "$defs": {"x": CLOSED}},
        holding({"type": ["string", "null"], "enum": ["x", None]}),
    ],
)
def test_a_closed_schema_satisfies(schema: Any):
    assert satisfies_strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "array", "items": CLOSED},
        {**CLOSED, "additionalProperties": True},
        {**CLOSED, "required": []},
        {name: value for name, value in CLOSED.items() if name != "additionalProperties"},
        holding({"type": "object"}),
        holding({"type": ["object", "null"], "properties": {}}),
        holding({"type": "array", "items": {"type": "object", "properties": {}}}),
        holding({"oneOf": [CLOSED]}),
        holding(True),
        {**CLOSED, "$defs": {"x": {"type": "object"}}},
        {**CLOSED, "required": "a"},
    ],
)
def test_an_open_one_does_not(schema: Any):
    assert not satisfies_strict(schema)


def test_one_that_is_too_deep_does_not():
    schema: dict[str, Any] = CLOSED
    for _ in range(100):
        schema = holding(schema)
    assert not satisfies_strict(schema)
