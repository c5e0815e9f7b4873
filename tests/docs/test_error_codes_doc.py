"""docs/tenants.md and the code agree on every error code."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tenants import errors
from tests.docs.environment_variables import REPOSITORY, source_files

CODE = re.compile(r"`([a-z_]+)`")
ERRORS = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.GatewayError)
}
DOCUMENT = (REPOSITORY / "docs" / "tenants.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d{3}) \| (.*?) \|", DOCUMENT, re.MULTILINE)
DOCUMENTED = {code: int(status) for status, codes in ROWS for code in CODE.findall(codes)}


@cache
def raised_codes() -> frozenset[str]:
    """The codes of every error that is made anywhere: given, or the class's own."""
    return frozenset(_raised_codes())


def _raised_codes() -> Iterator[str]:
    for path in source_files():
        if "simulator" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                yield from _literals(given[0]) if given else [ERRORS[node.func.id].code]
            elif isinstance(node, ast.Assign) and _names(node) == {"code"}:
                yield from _literals(node.value)


def _literals(node: ast.expr) -> Iterator[str]:
    for part in [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def _names(node: ast.Assign) -> set[str]:
    return {target.id for target in node.targets if isinstance(target, ast.Name)}


def test_every_code_that_is_raised_is_documented():
    assert sorted(raised_codes() - DOCUMENTED.keys()) == []


def test_every_documented_code_is_raised():
    assert sorted(DOCUMENTED.keys() - raised_codes()) == []


@pytest.mark.parametrize("error", [error for error in ERRORS.values() if error.code in DOCUMENTED])
def test_the_documented_status_is_the_one_in_the_code(error):
    assert DOCUMENTED[error.code] == error.status
