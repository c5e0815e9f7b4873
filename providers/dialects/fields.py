"""Reading single fields of a request, with errors that name them. Pure."""

from typing import Any

import msgspec

from providers.wire.json import read_any
from providers.wire.splice import MalformedJson, Members
from tenants.errors import InvalidRequest

MAX_NAME_LENGTH = 200


def read_text(members: Members, name: str, *, limit: int = MAX_NAME_LENGTH) -> str:
    """Return a required text; raises InvalidRequest naming the field."""
    raw = members.get(name)
    if raw is None:
        raise InvalidRequest(f"'{name}' is missing.", code="missing_field", param=name)
    if not raw.startswith(b'"') or len(raw) > limit + 2:
        raise InvalidRequest(f"'{name}' must be a text of at most {limit} characters.", param=name)
    try:
        value: str = msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRequest(f"'{name}' is not a valid text.", param=name) from None
    return check_name(value, name, limit=limit)


def check_name(value: str, name: str, *, limit: int = MAX_NAME_LENGTH) -> str:
    """Return a text if it can be stored and logged; raises InvalidRequest naming the field."""
    if len(value) > limit:
        raise InvalidRequest(f"'{name}' must be a text of at most {limit} characters.", param=name)
    if not value or not value.isprintable():
        raise InvalidRequest(f"'{name}' must not be empty and have no control characters.", param=name)
    return value


def read_flag(members: Members, name: str) -> bool:
    """Return a boolean, False when missing or null; raises InvalidRequest naming the field."""
    raw = members.get(name)
    if raw is None or raw == b"false" or raw == b"null":
        return False
    if raw == b"true":
        return True
    raise InvalidRequest(f"'{name}' must be true or false.", param=name)


def read_count(members: Members, name: str) -> int | None:
    """Return a whole number that is not negative; None when missing, null or for the upstream to judge."""
    raw = members.get(name)
    return int(raw) if raw is not None and raw.isdigit() and len(raw) < 12 else None


def read_value(members: Members, name: str) -> object:
    """Return a small member as Python's own, None when missing or null; raises InvalidRequest naming the field."""
    try:
        return members.read(name)
    except MalformedJson:
        raise InvalidRequest(f"'{name}' cannot be read.", param=name) from None


def read_object(text: bytes) -> dict[str, Any] | None:
    """Return a JSON object that an upstream sent; None for anything else."""
    try:
        value = read_any(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def require(members: Members, name: str, opening: bytes, what: str) -> None:
    """Raise InvalidRequest unless a member is there and begins as it must."""
    first = members.first_byte(name)
    if first is None:
        raise InvalidRequest(f"'{name}' is missing.", code="missing_field", param=name)
    if first not in opening:
        raise InvalidRequest(f"'{name}' must be {what}.", param=name)


def clean_name(value: object) -> str:
    """Return an identifier from a body if it can be stored and logged, else nothing."""
    return value if isinstance(value, str) and len(value) <= MAX_NAME_LENGTH and value.isprintable() else ""
