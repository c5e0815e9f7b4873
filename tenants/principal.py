"""The frozen Principal: all that the hot path needs to know of whoever calls. Pure."""

from decimal import Decimal
from typing import Literal

import msgspec


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rate limit as the hot path sees it; `id` names its counter, `scope` says whose it is."""

    id: int
    scope: Literal["tenant", "project", "api_key"]
    scope_name: str
    kind: Literal["requests", "tokens", "concurrency"]
    amount: int
    window_ms: int = 0  # 0 for concurrency
    burst: int = 0  # 0: no burst rule
    model: str = ""  # only for this alias
    per_end_user: bool = False


class BudgetRule(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as the hot path sees it; `id` and `resets` name its counters."""

    id: int
    scope: Literal["tenant", "project", "api_key"]
    scope_name: str
    amount: int  # nanos of the currency
    currency: str
    period: str  # day, week, month, quarter, total, rolling, credit
    timezone: str
    rolling_days: int = 0
    is_hard: bool = True
    increase: int = 0  # nanos, on top of the amount
    increase_until: float = 0.0  # seconds since 1970
    resets: int = 0
    model: str = ""  # only for this alias
    per_end_user: bool = False

    def limit(self, now: float) -> int:
        """Return the nanos that may be spent, as things are at a moment."""
        return self.amount + (self.increase if now < self.increase_until else 0)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An API key with its tenant and project, as one value."""

    key_id: int
    key_name: str
    key_prefix: str
    tenant_id: int
    tenant: str  # slug
    project: str = ""  # slug
    tenant_models: tuple[str, ...] | None = None  # None: every global alias
    key_models: tuple[str, ...] | None = None  # None: all of the tenant's
    expires_at: float | None = None  # seconds since 1970
    is_revoked: bool = False
    is_replaced: bool = False  # called with the secret before the last rotation, which `expires_at` ends
    is_suspended: bool = False
    refuses_unpriced: bool = False
    bills_floor: bool = False  # for models without a price
    floor_input: Decimal | None = None  # per million tokens
    floor_output: Decimal | None = None
    floor_currency: str = "USD"
    translation_policy: str = "allow"
    stores_responses: bool = True
    response_retention_days: int = 30
    refuses_without_valkey: bool = False
    keeps_bodies: str = ""  # of its requests: "errors" or "all"; empty: none
    allows_catalogue: bool = False  # models without a route go to the provider that lists them
    priority: int = 1  # in queues: 0 low, 1 normal, 2 high
    may_trace: bool = False
    rules: tuple[Rule, ...] = ()
    budgets: tuple[BudgetRule, ...] = ()

    def may_use(self, alias: str) -> bool:
        """Whether both the tenant and the key are allowed this alias."""
        return _matches(self.tenant_models, alias) and _matches(self.key_models, alias)


def _matches(patterns: tuple[str, ...] | None, alias: str) -> bool:
    if patterns is None or alias in patterns:
        return True
    return any(pattern.endswith("*") and alias.startswith(pattern[:-1]) for pattern in patterns)
