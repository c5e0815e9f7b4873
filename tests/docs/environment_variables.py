"""Which environment variables the code reads, found in its source."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from gateway_site.infra.logging import COMPONENTS
from providers.registry import ADAPTERS

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("gateway_site", "tenants", "providers", "routing", "manage.py")
READERS = frozenset({"envstr", "envint", "envbool", "envfloat", "envlist", "envsecret", "envsecrets"})
METHODS = frozenset({"get", "pop", "setdefault"})  # of os.environ


@cache
def variables() -> frozenset[str]:
    """Every variable's name."""
    computed = {f"LOG_LEVEL_{name.upper().replace('.', '_')}" for name in COMPONENTS}
    computed |= {each.credential_variable for each in ADAPTERS.values() if each.credential_variable}
    return frozenset({name for name, _ in reads()} | computed)


@cache
def defaults() -> dict[str, set[str]]:
    """Defaults that stand in the source as literals, spelled as in the environment."""
    found: dict[str, set[str]] = {}
    for name, default in reads():
        if default is not None:
            found.setdefault(name, set()).add(default)
    return found


def reads() -> Iterator[tuple[str, str | None]]:
    """Every place that reads a variable: its name, and its default if that is a literal."""
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _is_reader(node.func):
                yield from _read(node)
            elif isinstance(node, ast.Subscript) and _is_environ(node.value):
                yield from ((name, None) for name in _text(node.slice))


def source_files() -> Iterator[Path]:
    for source in SOURCES:
        path = REPOSITORY / source
        yield from path.rglob("*.py") if path.is_dir() else [path]


def _read(call: ast.Call) -> Iterator[tuple[str, str | None]]:
    given = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "default")]
    for name in _text(call.args[0]):
        yield name, _spelled(given[0]) if given else None


def _is_reader(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr in METHODS and _is_environ(function.value)
    return isinstance(function, ast.Name) and function.id in READERS


def _is_environ(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _spelled(node: ast.expr) -> str | None:
    """A literal, or a product of literals, as it would be written in the environment; None for anything else."""
    try:
        value = _value(node)
    except ValueError:
        return None
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _value(node.left), _value(node.right)
        if isinstance(left, int) and isinstance(right, int):
            return left * right
    if isinstance(node, ast.Constant) and node.value is not None:
        return node.value
    raise ValueError(ast.dump(node))
