"""What this format alone says of a value, and how it was spelled: kept when it is read, put back when it is written.

How a value was spelled is told by comparing the node with the one that a writer would write for the canonical value
(items.py): members that stood there otherwise, and members that did not stand there.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from providers.canonical.losses import Native, NativeField, Weights, fields_of, form_of, keep_native
from providers.dialects.nodes import Node
from providers.dialects.openai_responses.wire import NAME


class Spelling(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node was not spelled as a writer would have spelled it."""

    said: Mapping[str, Any] = {}
    without: tuple[str, ...] = ()


PLAIN = Spelling()


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """How a part, a tool or an item was spelled."""

    spelling: Spelling = PLAIN
    item: int | None = None  # of the first part of a message: which input item it opens
    head: Spelling = PLAIN  # that item without its content
    is_text: bool = False  # content or output as a plain text and not as a list
    whole: Any = None  # of what is canonically only described: the node as it stood


NO_FORM = Form()


class BodyForm(msgspec.Struct, frozen=True, kw_only=True):
    """How a request was spelled."""

    spelling: Spelling = PLAIN
    inserted: tuple[tuple[int, Any], ...] = ()  # input items that are no part of a turn, and where they stood
    is_text_input: bool = False  # one text instead of a list of items


NO_BODY_FORM = BodyForm()


def compare(node: Node, plain: Node, known: frozenset[str]) -> Spelling:
    """Return how a node differs from what would be written, in the members that are known canonically, and its nulls."""
    said = {
        name: value
        for name, value in node.items()
        if (name not in plain or plain[name] != value if name in known else value is None)
    }
    without = tuple(name for name in plain if name not in node)
    return Spelling(said=said, without=without) if said or without else PLAIN


def keep(node: Node, known: frozenset[str], weights: Weights, form: Form) -> Native | None:
    """Keep what is not known canonically; None when there is nothing to keep."""
    unknown = {name: value for name, value in node.items() if value is not None}
    return keep_native(NAME, unknown, known, weights, form=form if form != NO_FORM else None)


def loose_fields(node: Node, at: str, known: frozenset[str], weights: Weights) -> tuple[NativeField, ...]:
    """Return the fields of a node that is no canonical value of its own, under their whole paths."""
    kept = keep_native(NAME, {k: v for k, v in node.items() if v is not None}, known, weights)
    fields = kept.fields if kept is not None else ()
    return tuple(msgspec.structs.replace(field, name=f"{at}.{field.name}") for field in fields)


def form(native: Native | None) -> Form:
    """Return how a value was spelled; plain where another dialect spelled it."""
    found = form_of(native, NAME)
    return found if isinstance(found, Form) else NO_FORM


def body_form(native: Native | None) -> BodyForm:
    """Return how a request was spelled; plain where another dialect spelled it."""
    found = form_of(native, NAME)
    return found if isinstance(found, BodyForm) else NO_BODY_FORM


def respell(node: Node, spelling: Spelling) -> Node:
    """Write a node as it was spelled."""
    kept = {name: value for name, value in node.items() if name not in spelling.without}
    return {**kept, **spelling.said}


def put_back(node: Node, native: Native | None) -> Node:
    """Write a node as it was spelled, with the fields that are this format's own."""
    return respell({**node, **fields_of(native, NAME)}, form(native).spelling)
