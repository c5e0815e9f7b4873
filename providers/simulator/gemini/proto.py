"""JSON as Google's proto parser takes it: names in camelCase or snake_case, and no unknown ones."""

import re
from base64 import b64decode
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NoReturn

from providers.simulator.ask import Json
from providers.simulator.envelopes import ApiError

_SNAKE = re.compile(r"_([a-z0-9])")
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
SHOWN_CHARACTERS = 40


def refuse(message: str, field: str | None = None) -> NoReturn:
    """Refuse the request; a field makes it a violation of the proto."""
    raise ApiError(400, message, param=field)


def require(is_right: bool, message: str) -> None:
    """Refuse the request where something is not right."""
    if not is_right:
        refuse(message)


def message(value: object, names: frozenset[str], where: str) -> Json:
    """A message with its fields in camelCase, without those that are null; `names` are all it may have."""
    if not isinstance(value, dict):
        _refuse_value(value, where)
    read: Json = {}
    for name, each in value.items():
        field = _camel(name)
        if field not in names:
            at = f" at '{snake(where)}'" if where else ""
            refuse(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.', snake(where))
        if each is not None:
            read[field] = each
    return read


def messages(value: object, names: frozenset[str], where: str) -> list[Json]:
    """A repeated message; one alone will do, as the parser has it."""
    given = value if isinstance(value, list) else [value]
    return [message(each, names, f"{where}[{index}]") for index, each in enumerate(given)]


def mapping(value: object, where: str) -> Json:
    """A map, whose keys are free."""
    if not isinstance(value, dict):
        _refuse_value(value, where)
    return value


def array(value: object, where: str) -> list[Any]:
    """A repeated field."""
    if not isinstance(value, list):
        _refuse_value(value, where)
    return value


def choice(value: object, allowed: Iterable[str], where: str) -> str:
    """An enum's value by its name."""
    if not isinstance(value, str) or value not in allowed:
        _refuse_value(value, where)
    return value


def string(value: object, where: str) -> str:
    """A string."""
    if not isinstance(value, str):
        _refuse_value(value, where, "TYPE_STRING")
    return value


def number(value: object, low: float, high: float, where: str) -> None:
    """Refuse what is no number between the two."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        _refuse_value(value, where, "TYPE_FLOAT")
    if not low <= value <= high:
        refuse(f"{snake(where)} must be in the range [{low:g}, {high:g}], but is {value}.", where)


def data(value: object, where: str) -> bytes:
    """Bytes, in either alphabet of base64."""
    text = string(value, where)
    try:
        padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        return b64decode(padded, validate=True)
    except ValueError:
        shown = text[:SHOWN_CHARACTERS]
        refuse(f"Invalid value at '{snake(where)}' (TYPE_BYTES), Base64 decoding failed for \"{shown}\"", where)


@lru_cache(maxsize=1024)
def snake(path: str) -> str:
    """A path as errors name it."""
    return _CAMEL.sub(lambda found: "_" + found[1].lower(), path)


@lru_cache(maxsize=4096)
def _camel(name: str) -> str:
    return _SNAKE.sub(lambda found: found[1].upper(), name)


def _refuse_value(value: object, where: str, kind: str = "") -> NoReturn:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    refuse(f"Invalid value at '{snake(where)}' ({kind or 'oneof'}), {shown[:SHOWN_CHARACTERS]}", where)
