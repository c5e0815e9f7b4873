"""Applying YAML in tests."""

from textwrap import dedent
from typing import Any

from routing.declaration.apply import Outcome, Refused, apply
from routing.declaration.schema import read_declaration


def declare(text: str, *, variables: dict[str, str] | None = None, **options: Any) -> Outcome:
    """Apply a piece of YAML."""
    return apply(read_declaration(dedent(text), lookup=(variables or {}).get), **options)


def changes(text: str, **options: Any) -> list[str]:
    """Apply a piece of YAML and return what changed, a line each."""
    return [str(change) for change in declare(text, **options).changes]


def refusals(text: str, **options: Any) -> list[str]:
    """Apply a piece of YAML that must be refused and return why, a line each."""
    try:
        outcome = declare(text, **options)
    except Refused as error:
        return [problem.render("f") for problem in error.problems]
    raise AssertionError(f"It was not refused: {outcome}")
