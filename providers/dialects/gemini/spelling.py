"""How a client spelled an object: protobuf's JSON takes camelCase and snake_case, nulls, and int64 as texts.

`read_node` turns an object into one spelling and remembers the other; `respell` is the way back. What the shape does not
know is kept as the dialect's own, with its weight. google-genai mixes both cases in one body. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from providers.canonical.losses import UNKNOWN_FIELD, Native, NativeField, Weights
from providers.dialects.gemini.wire import NAME
from providers.dialects.nodes import Node, path_of

type Shape = Mapping[str, "Shape"]  # what a reader knows; inner shapes for objects that it looks into

LEAF: Shape = {}
_SNAKE = re.compile(r"_([a-z0-9])")


class Reading(NamedTuple):
    """An object in camelCase, without nulls and without what only this dialect knows."""

    node: Node
    at: str
    names: dict[str, str]  # paths in camelCase → names as written, where they differ
    nulls: list[str]  # paths of what was null
    objects: list[str]  # paths of the inner objects
    fields: tuple[NativeField, ...]

    def path(self, name: str) -> str:
        """Return where a field stands, as the client wrote it; `name` may be a path."""
        return path_of(self.at, self.spelled(name))

    def spelled(self, name: str) -> str:
        """Return how the client wrote a field's name, or path."""
        steps = name.split(".")
        return ".".join(self.names.get(".".join(steps[: i + 1]), step) for i, step in enumerate(steps))

    def native(self, **form: Any) -> Native | None:
        """Return what is to be written back by this dialect; `form` adds to it what the caller knows (None is left out)."""
        form = {name: value for name, value in form.items() if value is not None}
        for name in ("names", "nulls", "objects"):
            if value := getattr(self, name):
                form[name] = value
        return Native(origin=NAME, fields=self.fields, form=form or None) if form or self.fields else None


def read_node(raw: Node, shape: Shape, weights: Weights, at: str) -> Reading:
    """Read an object; `weights` are of the fields that are known and have no canonical meaning, by path."""
    reading: dict[str, Any] = {"names": {}, "nulls": [], "objects": []}
    fields: list[NativeField] = []
    node = _read(raw, shape, weights, "", "", reading, fields)
    return Reading(node, at, reading["names"], reading["nulls"], reading["objects"], tuple(fields))


def _read(
    raw: Node,
    shape: Shape,
    weights: Weights,
    path: str,
    spelled: str,
    reading: dict[str, Any],
    fields: list[NativeField],
) -> Node:
    node: Node = {}
    for written, value in raw.items():
        name = _name(written, raw, shape, weights, path)
        here, there = path_of(path, name), path_of(spelled, written)
        if name not in shape:
            weight, why = weights.get(here, UNKNOWN_FIELD)
            fields.append(NativeField(name=there, value=value, weight=weight, why=why))
            continue
        if name != written:
            reading["names"][here] = written
        if value is None:
            reading["nulls"].append(here)
        elif shape[name] and isinstance(value, dict):
            reading["objects"].append(here)
            node[name] = _read(value, shape[name], weights, here, there, reading, fields)
        else:
            node[name] = value
    return node


def _name(written: str, raw: Node, shape: Shape, weights: Weights, path: str) -> str:
    """Return a field's name in camelCase, where it is one that is known and not there in both spellings."""
    if "_" not in written:
        return written
    name = _SNAKE.sub(lambda match: match[1].upper(), written)
    is_known = name in shape or path_of(path, name) in weights
    return name if is_known and name not in raw else written


def respell(node: Node, native: Native | None) -> Node:
    """Return an object as its client spelled it, its own fields included; another dialect's is left as it is."""
    if native is None or native.origin != NAME:
        return node
    form: dict[str, Any] = native.form or {}
    for path in form.get("objects", ()):
        _holder(node, path).setdefault(_leaf(path), {})
    for path in form.get("nulls", ()):
        _holder(node, path).setdefault(_leaf(path), None)
    for path, written in sorted(form.get("names", {}).items(), key=lambda item: -item[0].count(".")):
        holder, name = _holder(node, path), _leaf(path)
        if name in holder:
            holder[written] = holder.pop(name)
    for field in native.fields:
        _place(node, field.name, field.value)
    return node


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _holder(node: Node, path: str) -> Node:
    """Return the object that a path's last step stands in, made where it is missing."""
    for step in path.split(".")[:-1]:
        inner = node.setdefault(step, {})
        node = inner if isinstance(inner, dict) else {}
    return node


def _place(node: Node, path: str, value: Any) -> None:
    """Set a field whose path is spelled as its client did; the objects on the way are there."""
    head, _, rest = path.partition(".")
    inner = node.get(head)
    if rest and isinstance(inner, dict):
        _place(inner, rest, value)
    else:
        node[path] = value


def keep_number(value: Any) -> Any:
    """Return a number that would be written back differently (40.0), else None."""
    return value if isinstance(value, float) and value.is_integer() else None
