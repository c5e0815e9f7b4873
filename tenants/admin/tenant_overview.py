"""A tenant's page at its top: figures of the month, budgets as bars, what needs attention, where to go on."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from tenants.burn_down import Burn
from tenants.dashboard_words import amount, share
from tenants.models import Budget, Tenant
from tenants.standing import standing_of
from tenants.tenant_overview import Figures, Notice, Overview, overview

CENT = Decimal("0.01")
MANY_TIMES = 5


def overview_context(request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
    """What the template shows."""
    found = overview(tenant, timezone.now())
    return {
        "overview": found,
        "figures": _figures(tenant, found),
        "bars": _bars(found),
        "burns": [_burn(each) for each in found.burns],
        "notices": [
            {"text": each.text, "url": _url(each, tenant), "is_urgent": each.is_urgent} for each in found.notices
        ],
        "actions": _actions(request, tenant),
    }


def _figures(tenant: Tenant, found: Overview) -> list[dict[str, str]]:
    month, before = found.month, found.before
    keys = 0 if tenant.is_suspended else found.keys  # then all are refused
    spent = money(before.cost) if before.cost else "nothing"
    return [
        {"name": "Spent", "value": money(month.cost), "note": f"{spent} in the same days before"},
        {"name": "Requests", "value": f"{month.requests:,}", "note": _change(month.requests, before.requests)},
        {"name": "Tokens", "value": f"{month.tokens:,}", "note": _change(month.tokens, before.tokens)},
        {"name": "Failed", "value": _rate(month), "note": _failed(before)},
        {
            "name": "Keys that work",
            "value": f"{keys:,}",
            "note": f"{_count(found.projects, 'project')}, {_count(found.members, 'member')}",
        },
    ]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _rate(figures: Figures) -> str:
    return share(figures.error_rate if figures.requests else None)


def _failed(before: Figures) -> str:
    return f"{_rate(before)} in the same days before" if before.requests else "nothing in the same days before"


def _change(now: int, before: int) -> str:
    if not before:
        return "nothing in the same days before"
    if now > MANY_TIMES * before:
        return f"{now / before:,.0f} times the same days before"
    return f"{(now - before) / before:+.0%} on the same days before"


def money(cost: Mapping[str, Decimal]) -> str:
    """Amounts to the cent, never added up over currencies."""
    return ", ".join(f"{total.quantize(CENT):,} {currency}" for currency, total in sorted(cost.items())) or "Nothing"


def _bars(found: Overview) -> list[dict[str, Any]]:
    most = max((requests for _, requests in found.requests_by_day), default=0)
    return [
        {"day": f"{day:%Y-%m-%d}", "requests": requests, "height": round(100 * requests / most) if most else 0}
        for day, requests in found.requests_by_day
    ]


def _burn(each: Burn) -> dict[str, Any]:
    budget, standing = each.budget, each.standing
    owner = budget.api_key.name if budget.api_key else budget.project or "whole tenant"
    only = f"{budget.model} only" if budget.model else ""
    spent = int(min(each.share or 0, Decimal(1)) * 100) if each.share is not None else 100
    return {
        "name": str(budget),
        "owner": ", ".join(filter(None, (str(owner), only, "each end user" if budget.per_end_user else ""))),
        "url": reverse("admin:tenants_budget_change", args=[budget.pk]),
        "spent": f"{amount(standing.most)} {budget.currency}",
        "left": f"{amount(standing.left)} {budget.currency}",
        "share": spent,
        "tone": "danger" if each.is_spent else "warning" if each.is_near else "fine",
        "ends": _ends(each),
        "is_hard": budget.is_hard,
    }


def _ends(each: Burn) -> str:
    resets = each.standing.resets_at
    if each.is_spent:
        return f"used up until {resets:%Y-%m-%d %H:%M} UTC" if resets else "used up"
    if each.ends_at is not None:
        return f"ends about {each.ends_at:%Y-%m-%d} at this rate"
    if resets is not None:
        return f"lasts until it resets, {resets:%Y-%m-%d %H:%M} UTC"
    return "each day the oldest day leaves it" if each.budget.period == Budget.Period.ROLLING else "lasts at this rate"


def _url(notice: Notice, tenant: Tenant) -> str:
    if notice.tab:
        return f"#{notice.tab}"
    if not notice.link:
        return ""
    name, _, status = notice.link.partition(":")
    query = {"tenant__id__exact": tenant.pk, **({"status": status} if status else {})}
    return f"{reverse(f'admin:{name}_changelist')}?{urlencode(query)}"


def _actions(request: HttpRequest, tenant: Tenant) -> list[dict[str, str]]:
    user: Any = request.user
    chosen = urlencode({"tenant": tenant.pk}) if standing_of(user).is_operator else ""
    found = [("Connect a tool", "cable", "connect", "tenants.view_apikey", chosen)]
    found.append(("Playground", "science", "playground", "tenants.add_apikey", chosen))
    report = urlencode({"tenant": tenant.slug, "group_by": "model", "order": "cost"})
    found.append(("Usage by model", "monitoring", "usage", "tenants.view_usageday", report))
    return [
        {"title": title, "icon": icon, "url": f"{reverse(name)}?{query}" if query else reverse(name)}
        for title, icon, name, permission, query in found
        if user.has_perm(permission)
    ]
