"""Principals from the database."""

from collections.abc import Sequence

from msgspec import structs

from tenants.limits.money import to_nanos
from tenants.limits.windows import WINDOW_MS
from tenants.models import ApiKey, Budget, RateLimit, Tenant
from tenants.models.limits import ScopedRule
from tenants.principal import BudgetRule, Principal, Rule

PRIORITIES: dict[str, int] = {ApiKey.Priority.LOW: 0, ApiKey.Priority.NORMAL: 1, ApiKey.Priority.HIGH: 2}


def load_principal(digests: Sequence[str]) -> tuple[str, Principal | None]:
    """Return the digest and principal of the key that has one of these digests, one per pepper.

    When there is none: the first digest, which is the one that a key made later would get, and None.
    """
    key = ApiKey.objects.with_owner().with_secret(digests).first()
    if key is None:
        return digests[0], None
    if key.digest in digests:
        return key.digest, principal_of(key)
    assert key.previous_digest is not None  # or it had not been found
    return key.previous_digest, _replaced(principal_of(key), key)


def _replaced(principal: Principal, key: ApiKey) -> Principal:
    """Return who calls with the secret before the last rotation: the same, but only up to a moment, caches or not."""
    until = key.previous_until.timestamp() if key.previous_until is not None else 0.0
    ends = until if principal.expires_at is None else min(until, principal.expires_at)
    return structs.replace(principal, key_prefix=key.previous_prefix, expires_at=ends, is_replaced=True)


def principal_of(key: ApiKey) -> Principal:
    """Return what the hot path needs to know of a key."""
    tenant = key.tenant
    return Principal(
        key_id=key.pk,
        key_name=key.name,
        key_prefix=key.prefix,
        tenant_id=tenant.pk,
        tenant=tenant.slug,
        project=key.project.slug if key.project is not None else "",
        tenant_models=None if tenant.allowed_models is None else tuple(tenant.allowed_models),
        key_models=None if key.allowed_models is None else tuple(key.allowed_models),
        expires_at=key.expires_at.timestamp() if key.expires_at is not None else None,
        is_revoked=key.revoked_at is not None,
        is_suspended=tenant.is_suspended,
        refuses_unpriced=tenant.unpriced_policy == Tenant.UnpricedPolicy.REFUSE,
        bills_floor=tenant.unpriced_policy == Tenant.UnpricedPolicy.FLOOR,
        floor_input=tenant.floor_input,
        floor_output=tenant.floor_output,
        floor_currency=tenant.floor_currency,
        translation_policy=tenant.translation_policy,
        stores_responses=tenant.stores_responses,
        response_retention_days=tenant.response_retention_days,
        keeps_bodies="" if tenant.audit_policy == Tenant.AuditPolicy.NONE else tenant.audit_policy,
        refuses_without_valkey=tenant.without_valkey == Tenant.WithoutValkey.REFUSE,
        allows_catalogue=tenant.allows_catalogue,
        priority=PRIORITIES[key.priority],
        may_trace=key.may_trace,
        rules=tuple(_rule(limit, key) for limit in RateLimit.objects.of_key(key)),
        budgets=tuple(_budget(budget, key) for budget in Budget.objects.of_key(key)),
    )


def _rule(limit: RateLimit, key: ApiKey) -> Rule:
    return Rule(
        id=limit.pk,
        scope=limit.scope,  # type: ignore[arg-type]
        scope_name=_scope_name(limit, key),
        kind=limit.kind,  # type: ignore[arg-type]
        amount=limit.amount,
        window_ms=WINDOW_MS.get(limit.per, 0),
        burst=limit.burst or 0,
        model=limit.model,
        per_end_user=limit.per_end_user,
    )


def _budget(budget: Budget, key: ApiKey) -> BudgetRule:
    return BudgetRule(
        id=budget.pk,
        scope=budget.scope,  # type: ignore[arg-type]
        scope_name=_scope_name(budget, key),
        amount=to_nanos(budget.amount),
        currency=budget.currency,
        period=budget.period,
        timezone=key.tenant.timezone,
        rolling_days=budget.rolling_days or 0,
        is_hard=budget.is_hard,
        increase=to_nanos(budget.increase),
        increase_until=budget.increase_until.timestamp() if budget.increase_until is not None else 0.0,
        resets=budget.resets,
        model=budget.model,
        per_end_user=budget.per_end_user,
    )


def _scope_name(rule: ScopedRule, key: ApiKey) -> str:
    if rule.scope == "tenant":
        return key.tenant.slug
    return key.project.slug if rule.scope == "project" and key.project is not None else key.name
