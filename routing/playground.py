"""What the playground tells of a request once the ledger has it, and what errors mean."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from gateway_site.infra.words import plain
from tenants.models import UsageRecord

LOOKS_BACK = timedelta(hours=2)  # few partitions are asked

EXPLANATIONS = {
    "budget_exhausted": "A budget of this tenant, project or key has no room for what the request may cost. "
    "Fewer max tokens need less room.",
    "budget_currency": "The model is sold in another currency than a budget is in.",
    "rate_limited": "A limit on requests or tokens is reached. It frees up by itself.",
    "request_exceeds_limit": "This one request needs more tokens than a whole window of a limit has.",
    "too_many_requests_at_once": "Another request has to end first.",
    "model_not_allowed": "The tenant may not use this model.",
    "model_not_found": "No alias leads there in the configuration that is served.",
    "model_unpriced": "The model has no price, and this tenant is not served without one.",
    "dialect_not_served": "The model speaks another format, and this tenant forbids translation. Choose that format.",
    "not_translatable": "The model speaks another format, which has no place for something in this request.",
    "context_length_exceeded": "The prompt is longer than the model's window.",
    "tenant_suspended": "All keys of this tenant are refused until it is resumed.",
    "invalid_api_key": "The gateway does not know this key. Was it copied whole?",
    "expired_api_key": "The key is over. A temporary one is made anew with the next run.",
    "revoked_api_key": "The key was revoked.",
    "upstream_auth_failed": "The provider refused the gateway's own credential. The operator has to mend that.",
    "upstream_account_exhausted": "The gateway's account at the provider is used up. The operator has to mend that.",
    "upstream_saturated": "The provider's queue is full. That is no limit of this tenant.",
    "upstream_unreachable": "No target of the route could be reached.",
    "upstream_failed": "Every target of the route failed.",
    "upstream_timeout": "No target answered in time.",
    "upstream_cut": "The provider broke off in the middle of the answer. What came is billed.",
    "no_target_available": "Everything that serves this model is switched off, or rests after failures.",
    "limits_unavailable": "Limits cannot be counted right now, and this tenant is refused then.",
    "store_unavailable": "Keys cannot be checked right now.",
}


def outcome_of(request_id: UUID, tenant_id: int | None) -> dict[str, Any] | None:
    """Return what the ledger says of a recent request (of one tenant; None: of any), None before it does."""
    found = UsageRecord.objects.filter(pk=request_id, started_at__gte=timezone.now() - LOOKS_BACK)
    if tenant_id is not None:
        found = found.for_tenant(tenant_id)
    record = found.first()
    return None if record is None else _told(record)


def _told(record: UsageRecord) -> dict[str, Any]:
    return {
        "outcome": record.get_outcome_display(),
        "status": record.status,
        "cost": f"{plain(record.cost)} {record.currency}",
        "cost_status": record.cost_status,
        "input_tokens": record.input_tokens,
        "cache_read_tokens": record.cache_read_tokens,
        "output_tokens": record.output_tokens,
        "reasoning_tokens": record.reasoning_tokens,
        "latency_ms": record.latency_ms,
        "first_token_ms": record.first_token_ms,
        "route": record.route,
        "provider": record.provider,
        "deployment": record.deployment,
        "model": record.model,
        "dialect_upstream": record.dialect_upstream,
        "attempts": [_attempt(each) for each in record.attempts],
        "losses": record.losses,
    }


def _attempt(attempt: dict[str, Any]) -> dict[str, Any]:
    return {
        "deployment": attempt.get("deployment", ""),
        "result": str(attempt.get("result", "")).replace("_", " "),
        "status": attempt.get("status"),
        "ms": attempt.get("ms", attempt.get("milliseconds")),
    }
