"""What an apply did, and how that reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

NOT_SHOWN = frozenset({"headers", "tls.ca", "tls.certificate"})
SIGN = {"create": "+", "update": "~", "delete": "-"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object that was created, updated or deleted."""

    verb: Literal["create", "update", "delete"]
    subject: str  # such as "provider openai"
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        details = f": {', '.join(self.details)}" if self.details else ""
        return f"{SIGN[self.verb]} {self.subject}{details}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was generated; the only time that its secret is seen."""

    label: str
    secret: str

    def __str__(self) -> str:
        return f"API key {self.label}: {self.secret}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Fields of an object that get other values, and how that reads."""

    fields: tuple[str, ...]
    text: str


def difference(field: str, path: str, before: Any, after: Any) -> Difference:
    """`retries 1 → 2`; headers may be secrets and certificates are long: their values are not shown."""
    text = f"{path} (changed)" if path in NOT_SHOWN else f"{path} {show(before)} → {show(after)}"
    return Difference(fields=(field,), text=text)


def show(value: Any) -> str:
    """A value as a person reads it."""
    match value:
        case None | "":
            return "none"
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value.normalize():f}"
        case float():
            return f"{value:.12g}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S %Z}"
        case list():
            return f"[{', '.join(show(item) for item in value)}]"
        case Mapping():
            return json.dumps(value, sort_keys=True, default=str)
    return str(getattr(value, "slug", value))
