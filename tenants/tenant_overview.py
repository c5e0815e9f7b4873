"""What a tenant's page says of it at a glance: this month from daily sums, how its budgets stand, what needs attention."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.db.models import Count, Q

from tenants.budgets import standings
from tenants.burn_down import Burn, burn, most_urgent
from tenants.models import ApiKey, Budget, Member, Project, Tenant

SHOWN_BUDGETS = 8
SOON = timedelta(days=14)
MANY_ERRORS = 0.05
ENOUGH_REQUESTS = 20  # before a rate of errors says something

SUMS = """
SELECT starts_at, currency, sum(requests)::bigint, sum(errors)::bigint, sum(unpriced)::bigint,
    (sum(input_tokens) + sum(cache_read_tokens) + sum(cache_write_tokens) + sum(output_tokens))::bigint, sum(cost)
FROM tenants_usageoverviewday WHERE tenant_id = %s AND starts_at >= %s AND starts_at < %s GROUP BY 1, 2
"""


@dataclass(slots=True, kw_only=True)
class Figures:
    """What was used in some days."""

    requests: int = 0
    errors: int = 0
    unpriced: int = 0
    tokens: int = 0
    cost: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))  # by currency

    @property
    def error_rate(self) -> float:
        """The share of requests that failed, of 1."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that somebody ought to look at."""

    text: str
    tab: str = ""  # of the tenant's page, where it is mended
    link: str = ""  # or the name of a list with this tenant's, and what narrows it
    is_urgent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A tenant at a glance."""

    month: Figures
    before: Figures  # as many days of the month before
    requests_by_day: list[tuple[date, int]]  # of this month
    burns: list[Burn]
    keys: int
    projects: int
    members: int
    notices: list[Notice]


def overview(tenant: Tenant, now: datetime) -> Overview:
    """Look at a tenant, in few queries."""
    now = now.astimezone(UTC)
    month, before, days = _usage(tenant, now)
    burns, counts = _burns(tenant, now), _counts(tenant, now)
    return Overview(
        month=month,
        before=before,
        requests_by_day=days,
        burns=burns,
        keys=counts["keys"],
        projects=Project.objects.for_tenant(tenant).count(),
        members=counts["members"],
        notices=notices(tenant, month, burns, counts),
    )


def _usage(tenant: Tenant, now: datetime) -> tuple[Figures, Figures, list[tuple[date, int]]]:
    begins = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    began_before = (begins - timedelta(days=1)).replace(day=1)
    ended_before = min(began_before + (now - begins), begins)  # the same part of the month before, by whole days
    month, before, daily = Figures(), Figures(), defaultdict[date, int](int)
    with connection.cursor() as cursor:
        cursor.execute(SUMS, [tenant.pk, began_before, begins + timedelta(days=31)])
        for starts_at, currency, requests, errors, unpriced, tokens, cost in cursor.fetchall():
            day = starts_at.astimezone(UTC)
            if day >= begins:
                daily[day.date()] += requests
            elif day > ended_before:
                continue
            figures = month if day >= begins else before
            figures.requests += requests
            figures.errors += errors
            figures.unpriced += unpriced
            figures.tokens += tokens
            figures.cost[currency] += cost
    passed = [begins.date() + timedelta(days=number) for number in range(now.day)]
    return month, before, [(day, daily[day]) for day in passed]


def _burns(tenant: Tenant, now: datetime) -> list[Burn]:
    """The tenant's and its projects' budgets, and what else is about to end."""
    own = Budget.objects.for_tenant(tenant).filter(api_key=None).select_related("tenant", "project", "api_key")
    found = list(own.order_by("project_id", "pk")[:SHOWN_BUDGETS])
    stand = standings(found, now) if found else {}
    burns = [burn(budget, stand[budget.pk], now) for budget in found]
    known = {each.budget.pk for each in burns}
    burns += [each for each in most_urgent(now, tenant.pk) if each.is_near and each.budget.pk not in known]
    return sorted(burns, key=lambda each: (each.urgency, each.budget.pk))


def _counts(tenant: Tenant, now: datetime) -> dict[str, int]:
    works = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=now))
    keys = ApiKey.objects.for_tenant(tenant).of_programs().order_by()
    counts: dict[str, int] = keys.aggregate(
        keys=Count("pk", filter=works),
        expiring=Count("pk", filter=works & Q(expires_at__lte=now + SOON)),
        rotating=Count("pk", filter=works & Q(previous_until__gt=now)),
    )
    members = Member.objects.for_tenant(tenant).order_by()
    counts |= members.aggregate(members=Count("pk"), owners=Count("pk", filter=Q(role=Member.Role.OWNER)))
    return counts


def notices(tenant: Tenant, month: Figures, burns: list[Burn], counts: dict[str, int]) -> list[Notice]:
    """Say what needs attention, the urgent first."""
    found = [*_of_tenant(tenant, burns, counts), *_of_usage(month), *_of_keys(counts)]
    return sorted(found, key=lambda notice: not notice.is_urgent)


def _of_tenant(tenant: Tenant, burns: list[Burn], counts: dict[str, int]) -> list[Notice]:
    found = []
    if tenant.is_suspended:
        reason = f": {tenant.suspended_reason}" if tenant.suspended_reason else "."
        found.append(Notice(text=f"It is suspended, all its keys are refused{reason}", is_urgent=True))
    spent = [each for each in burns if each.is_spent]
    near = [each for each in burns if each.is_near and not each.is_spent]
    if spent:
        found.append(Notice(text=f"{_number(len(spent), 'budget')} used up.", tab="budgets", is_urgent=True))
    if near:
        found.append(Notice(text=f"{_number(len(near), 'budget')} close to the end.", tab="budgets"))
    if not burns:
        found.append(Notice(text="It has no budget: nothing ends its spending.", tab="budgets"))
    if counts["owners"] == 0:
        found.append(Notice(text="Nobody owns it: no member can look after keys and people.", tab="members"))
    return found


def _of_usage(month: Figures) -> list[Notice]:
    found = []
    if month.requests >= ENOUGH_REQUESTS and month.error_rate >= MANY_ERRORS:
        text = f"{month.error_rate:.0%} of this month's requests failed."
        found.append(Notice(text=text, link="tenants_usagerecord", is_urgent=True))
    if month.unpriced:
        found.append(
            Notice(text=f"{month.unpriced:,} requests of this month have no price.", link="tenants_usagerecord")
        )
    return found


def _of_keys(counts: dict[str, int]) -> list[Notice]:
    found = []
    if counts["keys"] == 0:
        found.append(Notice(text="It has no key that works.", tab="api_keys"))
    if counts["expiring"]:
        text = f"{_number(counts['expiring'], 'key')} about to expire."
        found.append(Notice(text=text, link="tenants_apikey:expiring"))
    if counts["rotating"]:
        text = f"{_number(counts['rotating'], 'key')} being rotated: both secrets work."
        found.append(Notice(text=text, link="tenants_apikey:overlapping"))
    return found


def _number(count: int, noun: str) -> str:
    return f"1 {noun} is" if count == 1 else f"{count} {noun}s are"
