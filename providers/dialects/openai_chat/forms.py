"""How a request was spelled, where more than one spelling means the same: kept to write it back, never a loss.

Each of these is the `form` of a canonical value's `native` (providers/canonical/losses.py).
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from providers.canonical.losses import Native, Weights, form_of, keep_native
from providers.dialects.nodes import Node
from providers.dialects.openai_chat.wire import NAME

type Content = Literal["text", "list", "absent"]


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """Fields to be written as they stood: nulls, and what another field says already."""

    spelled: Mapping[str, Any] = {}


class BodyForm(Form, frozen=True, kw_only=True):
    """Of a request."""

    max_tokens_field: str = ""
    end_user_field: str = ""
    has_text_stop: bool = False  # one text instead of a list
    is_legacy: bool = False  # `functions` and `function_call`: the answer is to have a `function_call` too
    stream_options: Mapping[str, Any] | None = None


class MessageForm(Form, frozen=True, kw_only=True):
    """Of a message: of a turn, of a tool's result, or of instructions (then on their first Text)."""

    role: str = ""
    content: Content = "text"
    fields: Mapping[str, Any] = {}  # of instructions: what else the message held
    opens: bool = False  # of instructions: here a new message begins
    has_name: bool = False  # of a tool's result: the message said the tool's name


class PartForm(Form, frozen=True, kw_only=True):
    """Of a part of a message's content."""

    field: str = ""  # the message's field that it stood in, when that is not `content`


class ToolForm(Form, frozen=True, kw_only=True):
    """Of a tool."""

    has_type: bool = True
    is_legacy: bool = False  # one of the deprecated `functions`


class CallForm(Form, frozen=True, kw_only=True):
    """Of a tool call."""

    arguments: Any = None  # where they were no JSON text
    has_type: bool = True
    is_legacy: bool = False  # a `function_call`


class ThinkingForm(Form, frozen=True, kw_only=True):
    """Of reasoning."""

    text_field: str = ""
    entry: Mapping[str, Any] | None = None  # of reasoning_details


def keep(node: Node, known: frozenset[str], weights: Weights, form: Form) -> Native | None:
    """Keep what a node says beyond its canonical meaning; a null says nothing, and is only spelling."""
    nulls = {name: None for name, value in node.items() if value is None}
    if nulls:
        form = msgspec.structs.replace(form, spelled={**form.spelled, **nulls})
    said = {name: value for name, value in node.items() if value is not None}
    return keep_native(NAME, said, known, weights, form=None if form == type(form)() else form)


def flat(node: Node, inner: str) -> Node:
    """Return a node with the fields of one that it holds beside its own: {"function.name": ...}."""
    held = node.get(inner)
    if not isinstance(held, dict):
        return node
    return {name: value for name, value in node.items() if name != inner} | {
        f"{inner}.{name}": value for name, value in held.items()
    }


def add_kept(node: Node, native: Native | None, *, inner: str = "") -> None:
    """Write back what `keep` kept; `inner` names a node that this one holds."""
    if native is None or native.origin != NAME:
        return
    spelled = native.form.spelled if isinstance(native.form, Form) else {}
    for name, value in [*native.as_json().items(), *spelled.items()]:
        held, _, field = name.partition(".")
        if inner and field and held == inner:
            node.setdefault(inner, {})[field] = value
        else:
            node[name] = value


def form[F: Form](native: Native | None, kind: type[F]) -> F:
    """Return a value's form; the kind's defaults when it was not spelled by this dialect."""
    found = form_of(native, NAME)
    return found if isinstance(found, kind) else kind()
