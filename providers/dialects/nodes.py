"""Reading what is inside a request, with errors that name the client's own field. Pure.

`at` is the path of the node that holds the field ("messages[3].content[1]"), empty for the body itself.
"""

from typing import Any

from providers.canonical.request import Request
from providers.dialects.fields import MAX_NAME_LENGTH
from providers.wire.json import read_json
from providers.wire.splice import Members
from tenants.errors import InvalidRequest

type Node = dict[str, Any]


def read_member(members: Members, name: str) -> Any:
    """Return a top-level member, built; None when it is missing or null."""
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return read_json(raw)
    except ValueError:
        raise InvalidRequest(f"'{name}' cannot be read.", param=name) from None


def read_body(members: Members, known: frozenset[str] | None = None) -> Node:
    """Return all members, or those that are known, built."""
    return {name: read_member(members, name) for name in members if known is None or name in known}


def path_of(at: str, name: str) -> str:
    """Return the path of a node's field."""
    return f"{at}.{name}" if at else name


def wrong(at: str, what: str) -> InvalidRequest:
    """Return the error for a field that is not what it must be."""
    return InvalidRequest(f"'{at}' must be {what}.", param=at)


def missing(at: str) -> InvalidRequest:
    """Return the error for a field that is not there."""
    return InvalidRequest(f"'{at}' is missing.", code="missing_field", param=at)


def as_object(value: Any, at: str) -> Node:
    """Return a value that must be an object."""
    if not isinstance(value, dict):
        raise wrong(at, "an object")
    return value


def as_list(value: Any, at: str) -> list[Any]:
    """Return a value that must be a list."""
    if not isinstance(value, list):
        raise wrong(at, "a list")
    return value


def text(node: Node, name: str, at: str) -> str:
    """Return a required text, empty or not."""
    value = node.get(name)
    if value is None:
        raise missing(path_of(at, name))
    if not isinstance(value, str):
        raise wrong(path_of(at, name), "a text")
    return value


def optional_text(node: Node, name: str, at: str) -> str | None:
    """Return a text; None when it is missing or null."""
    value = node.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(path_of(at, name), "a text")
    return value


def optional_object(node: Node, name: str, at: str) -> Node | None:
    """Return an object; None when it is missing or null."""
    value = node.get(name)
    return None if value is None else as_object(value, path_of(at, name))


def optional_list(node: Node, name: str, at: str) -> list[Any] | None:
    """Return a list; None when it is missing or null."""
    value = node.get(name)
    return None if value is None else as_list(value, path_of(at, name))


def optional_flag(node: Node, name: str, at: str) -> bool | None:
    """Return a boolean; None when it is missing or null."""
    value = node.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong(path_of(at, name), "true or false")
    return value


def optional_number(node: Node, name: str, at: str) -> float | None:
    """Return a number, spelled as it was (1 stays an int); None when it is missing or null."""
    value = node.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise wrong(path_of(at, name), "a number")
    return value


def optional_count(node: Node, name: str, at: str) -> int | None:
    """Return a whole number that is not negative; None when it is missing or null."""
    value = optional_number(node, name, at)
    if value is None:
        return None
    if value < 0 or value != value // 1:
        raise wrong(path_of(at, name), "a whole number that is not negative")
    return int(value)


def optional_word(node: Node, name: str, at: str, words: tuple[str, ...]) -> str | None:
    """Return one of some words; None when it is missing or null."""
    value = optional_text(node, name, at)
    if value is not None and value not in words:
        raise wrong(path_of(at, name), "one of " + ", ".join(words))
    return value


def name_text(node: Node, name: str, at: str) -> str:
    """Return a required name: not empty, not endless."""
    value = text(node, name, at)
    if not value or len(value) > MAX_NAME_LENGTH:
        raise wrong(path_of(at, name), f"a text of 1 to {MAX_NAME_LENGTH} characters")
    return value


def cannot(request: Request, field: str, why: str) -> InvalidRequest:
    """Return the error for a canonical field that cannot be carried at all, named as the client names it."""
    path = request.where(field)
    return InvalidRequest(f"'{path}' cannot be used here: {why}.", code="not_translatable", param=path)
