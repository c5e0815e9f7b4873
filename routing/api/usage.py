"""GET /v1/usage: what this key has used, and what is left of the limits and budgets that its requests have to pass."""

from datetime import UTC, datetime
from time import time
from typing import Any

import orjson
from django.db import DatabaseError
from ninja import Router

from gateway_site.infra.threads import QueryUnanswered, run_query
from gateway_site.infra.valkey import ScriptFailed, StoreUnavailable
from routing.pipeline import end_user_in
from routing.request import DataPlaneRequest
from routing.response import WholeResponse
from tenants.errors import Unavailable
from tenants.limits.admission import Standing
from tenants.limits.money import from_nanos
from tenants.limits.periods import ENDLESS, slot_end
from tenants.limits.windows import window_name
from tenants.principal import BudgetRule, Rule

router = Router(tags=["usage"])

JSON = ((b"content-type", b"application/json"),)


@router.get("/v1/usage", url_name="usage")
async def show_usage(request: DataPlaneRequest) -> WholeResponse:
    """Say what the key has used today and this month, and how much is left; `X-User-ID` adds that end user's limits."""
    principal, now = request.principal, time()
    end_user = end_user_in(request.header_pairs)
    try:
        used = await run_query(_used, principal.key_id)
        standings = await request.runtime.admission.standings(principal, end_user=end_user, now=now)
    except (StoreUnavailable, ScriptFailed, DatabaseError, QueryUnanswered) as error:
        raise Unavailable("Usage cannot be read right now. Try again in a moment.", code="store_unavailable") from error
    found = [_standing(standing, now) for standing in standings]
    content = {
        "object": "usage",
        "key": principal.key_name,
        "tenant": principal.tenant,
        "project": principal.project or None,
        **used,
        "limits": [each for each in found if "currency" not in each],
        "budgets": [each for each in found if "currency" in each],
    }
    return WholeResponse(200, JSON, orjson.dumps(content, default=str))


def _used(key_id: int) -> dict[str, Any]:
    from dataclasses import asdict

    from tenants.reports import key_usage  # with the ORM, in a thread

    return asdict(key_usage(key_id))


def _standing(standing: Standing, now: float) -> dict[str, Any]:
    rule = standing.rule
    return {
        "scope": rule.scope,
        "name": rule.scope_name,
        "model": rule.model or None,
        "per_end_user": rule.per_end_user,
        **(_budget(rule, standing, now) if isinstance(rule, BudgetRule) else _limit(rule, standing, now)),
    }


def _limit(rule: Rule, standing: Standing, now: float) -> dict[str, Any]:
    resets_at = now + standing.second / 1000
    return {
        "kind": rule.kind,
        "per": window_name(rule.window_ms) if rule.window_ms else None,
        "limit": rule.amount,
        "used": standing.first,
        "remaining": max(0, rule.amount - standing.first),
        "resets_at": _moment(resets_at) if standing.second else None,
    }


def _budget(rule: BudgetRule, standing: Standing, now: float) -> dict[str, Any]:
    limit = rule.limit(now)
    return {
        "currency": rule.currency,
        "period": rule.period,
        "days": rule.rolling_days or None,
        "hard": rule.is_hard,
        "limit": _money(limit),
        "spent": _money(standing.second),
        "held": _money(standing.first),
        "remaining": _money(max(0, limit - standing.first - standing.second)),
        "resets_at": None if rule.period in ENDLESS else _moment(slot_end(rule.period, now, rule.timezone)),
    }


def _money(nanos: int) -> str:
    return f"{from_nanos(nanos):f}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
