"""How OpenAI words what is wrong with a request, on every one of its endpoints."""

from collections.abc import Iterable, Iterator
from typing import NoReturn

from providers.simulator.ask import Json
from providers.simulator.envelopes import ApiError

MOST_TOKENS = 10**9


def refuse(message: str, param: str | None, code: str | None = None) -> NoReturn:
    """Refuse the request because of a parameter."""
    raise ApiError(400, message, param=param, code=code)


def refuse_type(param: str, expected: str) -> NoReturn:
    """Refuse a value of a wrong type."""
    refuse(f"Invalid type for '{param}': expected {expected}.", param, "invalid_type")


def require(is_right: bool, param: str, expected: str) -> None:
    """Refuse a value of a wrong type where it is one."""
    if not is_right:
        refuse_type(param, expected)


def require_value(value: object, allowed: Iterable[str], param: str) -> None:
    """Refuse a value that is none of those allowed."""
    choices = tuple(allowed)
    if value not in choices:
        supported = ", ".join(repr(choice) for choice in choices)
        refuse(f"Invalid value: {value!r}. Supported values are: {supported}.", param, "invalid_value")


def require_fields(body: Json, fields: Iterable[str]) -> None:
    """Refuse a body that lacks one of the fields."""
    for field in fields:
        if field not in body:
            refuse(f"Missing required parameter: '{field}'.", field, "missing_required_parameter")


def require_short(text: str, most: int, param: str) -> None:
    """Refuse a string that is too long."""
    if len(text) > most:
        message = (
            f"Invalid '{param}': string too long. Expected a string with maximum length {most}, "
            f"but got a string with length {len(text)} instead."
        )
        refuse(message, param, "string_above_max_length")


def check_numbers(body: Json, integers: dict[str, tuple[int, int]], numbers: dict[str, tuple[int, int]]) -> None:
    """Refuse numbers of a wrong type or outside their range; null is as good as nothing."""
    for limits, kinds, noun in ((integers, int, "an integer"), (numbers, int | float, "a number")):
        for field in limits.keys() & body.keys():
            value = body[field]
            if value is None:
                continue
            require(isinstance(value, kinds) and not isinstance(value, bool), field, noun)
            low, high = limits[field]
            if not low <= value <= high:
                message = f"Invalid '{field}': expected {low} to {high}, but got {value} instead."
                refuse(message, field, "integer_out_of_range")


def check_strict_schema(schema: object, param: str, what: str, code: str) -> None:
    """Refuse what strict mode cannot promise: objects must be closed, and name all their properties as required."""
    problem = _problem(schema, ())
    if problem:
        refuse(f"Invalid schema for {what}: {problem}", param, code)


def _problem(schema: object, context: tuple[str, ...]) -> str:
    if not isinstance(schema, dict):
        return ""
    properties, required = _object(schema, "properties"), schema.get("required")
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            return f"In context={context}, 'additionalProperties' is required to be supplied and to be false."
        missing = [name for name in properties if name not in (required if isinstance(required, list) else ())]
        if missing:
            found = (
                f"'required' is required to be supplied and to be an array including every key. Missing '{missing[0]}'."
            )
            return f"In context={context}, {found}"
    return next((found for step, each in _inner(schema, properties) if (found := _problem(each, context + step))), "")


def _inner(schema: Json, properties: Json) -> Iterator[tuple[tuple[str, ...], object]]:
    """The schemas inside a schema, and the way to them."""
    yield from ((("properties", name), each) for name, each in properties.items())
    if "items" in schema:
        yield ("items",), schema["items"]
    choices = schema.get("anyOf")
    yield from ((("anyOf", str(at)), each) for at, each in enumerate(choices if isinstance(choices, list) else ()))
    yield from ((("$defs", name), each) for name, each in _object(schema, "$defs").items())


def _object(schema: Json, name: str) -> Json:
    value = schema.get(name)
    return value if isinstance(value, dict) else {}
