"""What there is to say of a page of API keys, by index and for all at once: last use, spending this month, own limits."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

from django.db import connection

from tenants.models import ApiKey, Budget, RateLimit

LAST_USED = """
SELECT asked.id, (
    SELECT starts_at FROM tenants_usageday WHERE api_key_id = asked.id AND requests > 0 ORDER BY starts_at DESC LIMIT 1
) FROM unnest(%s::bigint[]) AS asked(id)
"""
SPENT = """
SELECT api_key_id, currency, sum(cost), sum(requests)::bigint FROM tenants_usageday
WHERE api_key_id = ANY(%s) AND starts_at >= %s GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(slots=True, kw_only=True)
class KeyFacts:
    """What there is to say of one key."""

    last_used: date | None = None  # a day of UTC
    requests: int = 0  # this month
    spent: dict[str, Decimal] = field(default_factory=dict)  # this month, by currency
    rules: list[str] = field(default_factory=list)  # its own limits and budgets


def key_facts(keys: Iterable[ApiKey], now: datetime) -> dict[int, KeyFacts]:
    """Return what is known of keys, by their ids, in four queries."""
    ids = [key.pk for key in keys]
    facts: dict[int, KeyFacts] = defaultdict(KeyFacts)
    if not ids:
        return facts
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(LAST_USED, [ids])
        for key_id, starts_at in cursor.fetchall():
            facts[key_id].last_used = starts_at.astimezone(UTC).date() if starts_at is not None else None
        cursor.execute(SPENT, [ids, month])
        for key_id, currency, cost, requests in cursor.fetchall():
            facts[key_id].spent[currency] = cost
            facts[key_id].requests += requests
    for rule in (*RateLimit.objects.filter(api_key__in=ids), *Budget.objects.filter(api_key__in=ids)):
        if rule.api_key_id is not None:
            facts[rule.api_key_id].rules.append(str(rule))
    return facts
