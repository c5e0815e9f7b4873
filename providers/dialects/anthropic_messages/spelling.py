"""What this format alone says of a value, and how it was spelled: kept when it is read, put back when it is written.

Members of a few nested objects ("source.data") are looked at one by one, under dotted names.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from providers.canonical.losses import Native, fields_of, form_of, keep_native
from providers.dialects.anthropic_messages.weights import WEIGHTS
from providers.dialects.anthropic_messages.wire import NAME
from providers.dialects.nodes import Node

_NESTED = frozenset({"cache_control", "metadata", "output_config", "source", "thinking"})


class Spelling(msgspec.Struct, frozen=True, kw_only=True):
    """How a node was spelled, where its canonical value does not tell."""

    said: Mapping[str, Any] = {}  # members to be written as they stood: nulls, defaults, empty lists
    is_text: bool = False  # content as a plain text and not as a list of blocks
    whole: Mapping[str, Any] | None = None  # a block of another type that is read as a text


PLAIN = Spelling()


def keep(node: Node, known: frozenset[str], *, said: Mapping[str, Any] = {}, is_text: bool = False) -> Native | None:
    """Keep what is not known canonically; None when there is nothing to keep."""
    members = dict(_flat(node, known))
    silent = {name: value for name, value in members.items() if value is None or (value == {} and name in _NESTED)}
    spelling = Spelling(said={**silent, **said}, is_text=is_text)
    unknown = {name: value for name, value in members.items() if name not in silent and name not in said}
    return keep_native(NAME, unknown, known, WEIGHTS, form=spelling if spelling != PLAIN else None)


def put_back(node: Node, native: Native | None) -> Node:
    """Write what was kept into a node, if this dialect kept it; return the node."""
    for name, value in {**fields_of(native, NAME), **spelling_of(native).said}.items():
        head, _, tail = name.partition(".")
        if tail and head in _NESTED:
            node.setdefault(head, {})[tail] = value
        else:
            node[name] = value
    return node


def spelling_of(native: Native | None) -> Spelling:
    """Return how a node was spelled; plain where another dialect spelled it."""
    spelling = form_of(native, NAME)
    return spelling if isinstance(spelling, Spelling) else PLAIN


def _flat(node: Node, known: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Return the members, and in place of a nested object of which some are known its own."""
    for name, value in node.items():
        if name in _NESTED and value and isinstance(value, dict) and any(each.startswith(f"{name}.") for each in known):
            yield from ((f"{name}.{inner}", inside) for inner, inside in value.items())
        else:
            yield name, value
