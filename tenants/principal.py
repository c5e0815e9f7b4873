"""The frozen Principal: all that the hot path needs to know of whoever calls. Pure."""

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
    is_suspended: bool = False
    refuses_unpriced: bool = False
    translation_policy: str = "allow"
    stores_responses: bool = True
    response_retention_days: int = 30
    refuses_without_valkey: bool = False
    allows_catalogue: bool = False  # models without a route go to the provider that lists them
    priority: int = 1  # in queues: 0 low, 1 normal, 2 high
    may_trace: bool = False
    rules: tuple[Rule, ...] = ()

    def may_use(self, alias: str) -> bool:
        """Whether both the tenant and the key are allowed this alias."""
        return _matches(self.tenant_models, alias) and _matches(self.key_models, alias)


def _matches(patterns: tuple[str, ...] | None, alias: str) -> bool:
    if patterns is None:
        return True
    return any(alias == pattern or (pattern.endswith("*") and alias.startswith(pattern[:-1])) for pattern in patterns)
