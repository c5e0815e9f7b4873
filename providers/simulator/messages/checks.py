"""How Anthropic words what is wrong with a request."""

from collections.abc import Iterable
from typing import NoReturn

from providers.simulator.envelopes import ApiError


def refuse(message: str) -> NoReturn:
    """Refuse the request."""
    raise ApiError(400, message)


def require(is_right: bool, message: str) -> None:
    """Refuse the request where something is not right."""
    if not is_right:
        raise ApiError(400, message)


def require_tag(tag: object, allowed: Iterable[str], where: str) -> None:
    """Refuse a `type` that is none of those allowed."""
    if not isinstance(tag, str) or tag not in allowed:
        expected = ", ".join(f"'{choice}'" for choice in sorted(allowed))
        found = f"Input tag '{tag}' found using 'type' does not match any of the expected tags"
        refuse(f"{where}: {found}: {expected}")
