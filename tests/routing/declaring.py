"""Applying YAML in tests."""

from textwrap import dedent
from typing import Any

from routing.declaration.apply import Outcome, Refused, apply
from routing.declaration.schema import read_declaration

CATALOGUE = """\
providers:
  - {slug: openai, adapter: openai, credential: sk-first}
deployments:
  - {slug: mini, provider: openai, model: gpt-5-mini, prices: {input: 0.25, output: 2}}
  - {slug: large, provider: openai, model: gpt-5}
routes:
  - {alias: smart, retries: 1, targets: [{deployment: mini}, {deployment: large, priority: 1}]}
"""

TENANTS = """\
tenants:
  - slug: alice
    limits: [{requests: 600, per: minute, burst: 20}, {concurrency: 100}]
    budgets: [{amount: 500, per: month}]
    projects: [{slug: chatbot, budgets: [{amount: 100}]}]
    api_keys:
      - {name: production, project: chatbot, limits: [{tokens: 1000, per: day}]}
  - slug: charlie
    api_keys: [{name: production, secret: charlies-own-secret-key}]
"""


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
