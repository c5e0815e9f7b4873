"""The console's first page: what happens, what it costs, what is wrong; for members of a tenant, of theirs alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.utils import timezone

from gateway_site.console import home_charts
from gateway_site.console.attention import (
    MOST,
    find_facts,
    for_operators,
    link,
    of_alert_rules,
    of_budgets,
    of_documents,
)
from gateway_site.health.issues import FEWEST_REQUESTS
from gateway_site.setup.facts import needs_setup
from tenants import dashboard_words as words
from tenants.admin.scope import standing_in
from tenants.burn_down import Burn, most_urgent
from tenants.dashboard import Dashboard, Figures, Group, has_usage, read_dashboard
from tenants.dashboard_question import (
    CUSTOM,
    GROUPS,
    ORDERS,
    RANGES,
    Span,
    View,
    ViewRefused,
    read_view,
    usual_view,
)
from tenants.models import ApiKey
from tenants.standing import Standing

PERMISSION = "tenants.view_usageday"
PARAMETERS = ("range", "from", "to", "by", "order", "tenant", "model", "provider", "currency")
EXPIRY_DAYS = 14
MOST_KEYS = 5
TITLES = {"tenant": "Tenants", "model": "Models", "provider": "Providers"}


def home(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the page shows."""
    standing, now = standing_in(request), timezone.now()
    context |= {"title": "Home", "standing": standing}
    if not request.user.has_perm(PERMISSION):
        return context
    view, error = _view(request, standing, now)
    dashboard = read_dashboard(view, standing.tenant_id)
    burns = _burns(request, standing, now)
    query = {name: request.GET[name] for name in PARAMETERS if request.GET.get(name)} if not error else {}
    context |= {
        "error": error,
        "view": view,
        "is_empty": not dashboard.now.requests and not dashboard.before.requests and not has_usage(standing.tenant_id),
        "controls": _controls(view, query, dashboard, standing),
        "cards": _cards(dashboard, standing),
        "charts": home_charts.charts(view, dashboard),
        "tables": _tables(view, dashboard, query, standing),
        "burns": [_burn_row(each, standing) for each in burns],
        "links": _links(),
        "setup_hint": needs_setup(request),
        "timed_since": dashboard.timed_since,
        **_attention(request, standing, burns, now),
    }
    return context | (_of_member(view, dashboard, standing, now) if standing.tenant is not None else {})


def _view(request: HttpRequest, standing: Standing, now: datetime) -> tuple[View, str]:
    is_member = standing.tenant is not None
    try:
        return read_view(request.GET.dict(), now=now, is_member=is_member), ""
    except ViewRefused as error:
        return usual_view(now=now, is_member=is_member), str(error)


def _burns(request: HttpRequest, standing: Standing, now: datetime) -> list[Burn]:
    return most_urgent(now, standing.tenant_id) if request.user.has_perm("tenants.view_budget") else []


def _attention(request: HttpRequest, standing: Standing, burns: list[Burn], now: datetime) -> dict[str, Any]:
    if standing.is_operator:
        facts = find_facts(request)
        notices = for_operators(facts, burns, now, request.user)
    else:
        user: Any = request.user
        alerts = of_alert_rules(standing.tenant_id, user) if user.has_perm("tenants.view_alertincident") else ()
        # Who acts as an owner accepts nothing in their name.
        documents = () if standing.is_acting else of_documents(user)
        notices = [*documents, *alerts, *of_budgets(burns, is_own=True)]
    return {"notices": notices[:MOST], "more_notices": max(0, len(notices) - MOST)}


def _links() -> dict[str, str]:
    """Pages that there may or may not be."""
    return {"setup": link("setup"), "connect": link("connect"), "usage": link("usage")}


# --- Controls ----------------------------------------------------------------------------------------------


def _controls(view: View, query: Mapping[str, str], dashboard: Dashboard, standing: Standing) -> dict[str, Any]:
    def choices(names: Mapping[str, str], chosen: str, parameter: str, *dropped: str) -> list[dict[str, Any]]:
        return [
            {
                "label": label,
                "url": _address(query, **dict.fromkeys(dropped), **{parameter: name}),
                "on": name == chosen,
            }
            for name, label in names.items()
        ]

    groups = GROUPS if standing.tenant is None else {}
    return {
        "ranges": choices(RANGES, view.span.name, "range", "from", "to"),
        "groups": choices(groups, view.group_by, "by"),
        "orders": choices(ORDERS, view.order, "order"),
        "currencies": choices({each: each for each in sorted(dashboard.currencies)}, dashboard.currency, "currency")
        if len(dashboard.currencies) > 1
        else [],
        "chips": [
            {"label": f"{GROUPS[name]}: {value}", "url": _address(query, **{name: None})}
            for name in GROUPS
            if (value := getattr(view, name))
        ],
        "kept": {name: value for name, value in query.items() if name not in {"range", "from", "to"}},
        "is_custom": view.span.name == CUSTOM,
        "from": view.span.begins.date().isoformat(),
        "to": (view.span.ends - timedelta(seconds=1)).date().isoformat(),
        "span": _span_words(view.span),
        "before": _before_words(view.span),
    }


def _address(query: Mapping[str, str], **changes: str | None) -> str:
    """Return the same page otherwise."""
    parameters = {name: value for name, value in {**query, **changes}.items() if value is not None}
    return f"?{urlencode(parameters)}"


def _span_words(span: Span) -> str:
    if span.step == "day":
        last = span.ends - timedelta(days=1)
        return words.day(span.begins) if last == span.begins else f"{words.day(span.begins)} to {words.day(last)}"
    return f"{words.day(span.begins)}, {span.begins:%H:%M} to " + (
        "now" if span.passed < 1 else f"{words.day(span.ends)}, {span.ends:%H:%M}"
    )


def _before_words(span: Span) -> str:
    if span.step == "day":
        last = span.before_ends - timedelta(days=1)
        return words.day(span.before) if last == span.before else f"{words.day(span.before)} to {words.day(last)}"
    return f"{words.day(span.before)}, {span.before:%H:%M} to {words.day(span.before_ends)}, {span.before_ends:%H:%M}"


# --- Cards -------------------------------------------------------------------------------------------------


def _cards(board: Dashboard, standing: Standing) -> list[dict[str, Any]]:
    says_something = min(board.now.requests, board.before.requests) >= FEWEST_REQUESTS
    down, up = ("down", "up") if says_something else ("", "")
    cards = [_requests(board), _money("Spend", board, lambda figures: figures.cost)]
    if standing.is_operator:
        cards += [_margin(board, up)]
    cards += [
        _tokens(board),
        _rate("Error rate", board.now.error_rate, board.before.error_rate, down, _failed(board)),
        _rate("Cache hit rate", board.now.cache_rate, board.before.cache_rate, up, "of prompt tokens, by providers"),
        _times("Latency, p95", board.timings.latency, board.timings_before.latency, down),
        _times("First token, p95", board.timings.first_token, board.timings_before.first_token, down),
    ]
    return cards


def _requests(board: Dashboard) -> dict[str, Any]:
    return {
        "label": "Requests",
        "value": words.count(board.now.requests),
        "title": f"{board.now.requests:,.0f}",
        "change": words.change(board.now.requests, board.before.requests),
        "details": [f"{words.count(board.now.errors)} failed"],
    }


def _failed(board: Dashboard) -> str:
    return f"{words.count(board.now.errors)} of {words.count(board.now.requests)} requests"


def _money(label: str, board: Dashboard, amounts: Callable[[Figures], dict[str, Decimal]]) -> dict[str, Any]:
    now, before, currency = amounts(board.now), amounts(board.before), board.currency
    return {
        "label": label,
        "value": words.amount(now.get(currency, Decimal(0))),
        "unit": currency,
        "title": f"{now.get(currency, Decimal(0)).normalize():f} {currency}",
        "change": words.change(now.get(currency), before.get(currency)),
        "details": [f"{words.amount(now[each])} {each}" for each in board.currencies[1:] if now.get(each)],
    }


def _margin(board: Dashboard, good: Any) -> dict[str, Any]:
    margins = {each: board.now.margin(each) for each in board.currencies}
    before = board.before.margin(board.currency)
    paid = [f"{words.amount(board.now.cost_price.get(each, Decimal(0)))} {each}" for each in board.currencies]
    others = [f"{words.amount(margins[each])} {each}" for each in board.currencies[1:] if margins[each]]
    return {
        "label": "Margin",
        "value": words.amount(margins[board.currency]),
        "unit": board.currency,
        "title": f"{margins[board.currency].normalize():f} {board.currency}",
        "change": words.change(margins[board.currency], before, good=good) if before > 0 else None,
        "details": [*others, f"we pay {', '.join(paid)}"],
    }


def _tokens(board: Dashboard) -> dict[str, Any]:
    now = board.now
    return {
        "label": "Tokens",
        "value": words.count(now.tokens),
        "title": f"{now.tokens:,.0f}",
        "change": words.change(now.tokens, board.before.tokens),
        "details": [
            f"{words.count(now.input_tokens + now.cache_write_tokens)} in",
            f"{words.count(now.cache_read_tokens)} cached",
            f"{words.count(now.output_tokens)} out",
        ],
    }


def _rate(label: str, now: float | None, before: float | None, good: Any, detail: str) -> dict[str, Any]:
    return {
        "label": label,
        "value": words.share(now),
        "change": words.change_of_share(now, before, good=good),
        "details": [detail],
    }


def _times(
    label: str, now: Mapping[int, float | None], before: Mapping[int, float | None], good: Any
) -> dict[str, Any]:
    return {
        "label": label,
        "value": words.duration(now[95]),
        "change": words.change(now[95], before[95], good=good) if before[95] else None,
        "details": [f"p50 {words.duration(now[50])}", f"p99 {words.duration(now[99])}"],
    }


# --- Tables ------------------------------------------------------------------------------------------------


def _tables(view: View, board: Dashboard, query: Mapping[str, str], standing: Standing) -> list[dict[str, Any]]:
    shown = [name for name in TITLES if name in board.groups and (standing.is_operator or name == "model")]
    return [
        {
            "title": TITLES[name],
            "rows": [_row(name, each, board, query, standing) for each in board.groups[name]],
            "report": _report_link(name, view),
        }
        for name in shown
    ]


def _row(name: str, group: Group, board: Dashboard, query: Mapping[str, str], standing: Standing) -> dict[str, Any]:
    figures, currency = group.figures, board.currency
    return {
        "name": group.name or "none",
        "url": _address(query, **{name: group.name}) if group.name else "",
        "records": _records_link(name, group),
        "requests": words.count(figures.requests),
        "errors": words.share(figures.error_rate),
        "is_failing": (figures.error_rate or 0) >= 0.05,  # as /health: many_failures
        "spend": words.amount(figures.cost.get(currency, Decimal(0))),
        "others": ", ".join(f"{words.amount(each)} {name}" for name, each in figures.cost.items() if name != currency),
        "latency": words.duration(group.timings.latency[95]) if group.timings else words.NOTHING,
    }


def _records_link(name: str, group: Group) -> str:
    parameter = {"tenant": "tenant__id__exact", "model": "alias", "provider": "provider"}[name]
    return link("admin:tenants_usagerecord_changelist", **{parameter: group.key}) if group.key else ""


def _report_link(name: str, view: View) -> str:
    last = view.span.ends - timedelta(seconds=1)
    filters = {each: getattr(view, each) for each in GROUPS if getattr(view, each)}
    span = {"from": f"{view.span.begins:%Y-%m-%d}", "to": f"{last:%Y-%m-%d}"}
    return link("usage", group_by=name, order="cost", **span, **filters)


# --- Budgets -----------------------------------------------------------------------------------------------


def _burn_row(burn: Burn, standing: Standing) -> dict[str, Any]:
    budget, stand = burn.budget, burn.standing
    per_cent = None if burn.share is None else round(burn.share * 100)
    return {
        "name": _budget_name(burn, standing),
        "what": _budget_kind(burn),
        "url": link("admin:tenants_budget_change", budget.pk),
        "spent": words.amount(stand.most),
        "limit": f"{words.amount(stand.limit)} {budget.currency}",
        "per_cent": per_cent,
        "width": min(100, per_cent or 0),
        "passed": None if burn.passed is None else round(burn.passed * 100),
        "tone": "bad" if burn.is_spent else "warn" if burn.is_near else "good",
        "ends": _ends(burn),
    }


def _budget_name(burn: Burn, standing: Standing) -> str:
    budget = burn.budget
    parts = [] if standing.tenant is not None else [budget.tenant.slug]
    if budget.project is not None:
        parts.append(budget.project.slug)
    if budget.api_key is not None:
        parts.append(budget.api_key.name or f"key {budget.api_key_id}")
    return " / ".join(parts) or "All of it"


def _budget_kind(burn: Burn) -> str:
    budget = burn.budget
    kinds = {"rolling": f"last {budget.rolling_days} days", "credit": "prepaid credit", "total": "in total"}
    parts = [kinds.get(budget.period, f"per {budget.period}")]
    if budget.model:
        parts.append(budget.model)
    if budget.per_end_user:
        parts.append("each end user; the highest")
    return ", ".join([*parts, "hard" if budget.is_hard else "soft"])


def _ends(burn: Burn) -> str:
    """Say what becomes of it."""
    resets = burn.standing.resets_at
    if burn.is_spent:
        return "spent" if resets is None else f"spent; begins anew {_day(burn, resets)}"
    if burn.ends_at is None:
        return "lasts" if resets is None else f"lasts until {_day(burn, resets)}"
    early = burn.days_early
    moment = f"{burn.ends_at:%H:%M}" if burn.budget.period == "day" else words.day(burn.ends_at)
    at_this_rate = f"at this rate spent {'at' if burn.budget.period == 'day' else 'on'} {moment}"
    if not early:
        return at_this_rate
    return f"{at_this_rate}, {early} day{'' if early == 1 else 's'} early"


def _day(burn: Burn, resets: datetime) -> str:
    """The day that begins then where the tenant is."""
    return words.day(resets.astimezone(ZoneInfo(burn.budget.tenant.timezone)))


# --- Members -----------------------------------------------------------------------------------------------


def _of_member(view: View, board: Dashboard, standing: Standing, now: datetime) -> dict[str, Any]:
    assert standing.tenant is not None
    own = ApiKey.objects.for_tenant(standing.tenant).of_programs()
    keys = own.expiring_before(now + timedelta(days=EXPIRY_DAYS))
    return {
        "tenant": standing.tenant,
        "expiring_keys": [_key_row(key, now) for key in keys.order_by("expires_at")[:MOST_KEYS]],
        "cards": [*_cards(board, standing), {"label": "API keys", "value": words.count(own.active().count())}],
        "errors": words.count(board.now.errors) if board.now.errors else "",
        "errors_url": link("admin:tenants_usagerecord_changelist"),
        "keys_url": link("admin:tenants_apikey_changelist"),
    }


def _key_row(key: ApiKey, now: datetime) -> dict[str, Any]:
    assert key.expires_at is not None
    days = (key.expires_at - now).days
    return {
        "name": key.name or f"key {key.pk}",
        "url": link("admin:tenants_apikey_change", key.pk),
        "when": "today" if days < 1 else f"in {days} day{'' if days == 1 else 's'}",
    }
