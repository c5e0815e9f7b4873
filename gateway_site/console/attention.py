"""What needs attention, for the console's first page: what it means, and where to do something about it.

Most of it is what /health says. What only the database knows comes on top.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from gateway_site.health.facts import Facts, breakers, deployments
from gateway_site.health.issues import PROBE_WORDS, SHOWN, Issue, breakers_not_closed, failed_probes, find_issues
from gateway_site.public.pages import RUNTIME
from providers.models import Deployment, Provider
from routing.services import waiting_draft
from tenants.burn_down import Burn
from tenants.dashboard import unpriced_since
from tenants.legal import pending
from tenants.models import AlertIncident, BudgetAlert, User

MOST = 8  # notices that are shown at once
RANKS = ("critical", "warning", "notice")
UNPRICED_DAYS = 7
ALERT_DAYS = 7
SLOW_TRIES = 3  # an alert that took more has a cause

type Link = tuple[str, str]  # address and words; an empty address: no link

# Where to go for what /health finds: the name of a URL, and what the link says.
PLACES: Mapping[str, tuple[str, str]] = {
    "nothing_published": ("admin:routing_configrevision_changelist", "Open revisions"),
    "worker_lags": ("nodes", "Open nodes"),
    "mixed_versions": ("nodes", "Open nodes"),
    "cooling_down": ("admin:providers_deployment_changelist", "Open deployments"),
    "many_failures": ("admin:tenants_usagerecord_changelist", "Open requests"),
    "poor_reuse": ("admin:providers_provider_changelist", "Open providers"),
    "provider_saturated": ("queue", "Open queues"),
}
OF_DEPLOYMENTS = frozenset({"breaker_open", "breaker_half_open", "probe_failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that is not as it should be."""

    severity: str  # of RANKS
    message: str
    advice: str
    link: str = ""  # where to do something about it
    link_text: str = ""


def link(name: str, *arguments: Any, **query: Any) -> str:
    """Return the address of a page of the console; "" where there is no such page."""
    try:
        address = reverse(name, args=arguments)
    except NoReverseMatch:
        return ""
    return f"{address}?{urlencode(query)}" if query else address


def find_facts(request: HttpRequest) -> Facts | None:
    """Return what the worker that answers knows of the gateway; None where none is behind the console."""
    runtime = getattr(request, "scope", {}).get(RUNTIME)
    if runtime is None:
        return None
    from gateway_site.health.endpoints import collector_of

    return async_to_sync(collector_of(runtime).facts)()


def for_operators(facts: Facts | None, burns: Iterable[Burn], now: datetime, user: Any) -> list[Notice]:
    """Return all that needs attention, the gravest first."""
    found = [] if facts is None else list(of_the_gateway(facts))
    if user.has_perm("providers.view_provider"):
        found += [*_switched_off(), *_unpriced(now)]
    if user.has_perm("routing.view_configrevision"):
        found += _drafts()
    if user.has_perm("tenants.view_budget"):
        found += of_budgets(burns)
    if user.has_perm("tenants.view_budgetalert"):
        found += _alerts(now)
    if user.has_perm("tenants.view_alertincident"):
        found += of_alert_rules(None, user)
    return sorted(found, key=lambda notice: RANKS.index(notice.severity))


def of_the_gateway(facts: Facts) -> Iterator[Notice]:
    """What /health finds, with the way to the deployment that it is about."""
    for issue in find_issues(facts):
        if issue.code not in OF_DEPLOYMENTS:
            name, words = PLACES.get(issue.code, ("", ""))
            yield _of_issue(issue, link(name) if name else "", words)
    open_ones = (each.deployment for each in breakers(facts) if each.state != "closed")
    ill = (row["deployment"] for row in deployments(facts) if row.get("probe", "") in PROBE_WORDS)
    yield from _of_deployments(open_ones, breakers_not_closed(facts))
    yield from _of_deployments(ill, failed_probes(facts))


def _of_deployments(names: Iterable[str], issues: Iterable[Issue]) -> Iterator[Notice]:
    for name, issue in zip(names, issues, strict=True):
        yield _of_issue(issue, link("admin:providers_deployment_changelist", q=name), f"Open {name}")


def _of_issue(issue: Issue, address: str, words: str) -> Notice:
    return Notice(
        severity=issue.severity,
        message=issue.message,
        advice=issue.recommendation,
        link=address,
        link_text=words if address else "",
    )


# --- What the database knows -------------------------------------------------------------------------------


def _switched_off() -> Iterator[Notice]:
    yield from _off("provider", Provider.objects.filter(is_enabled=False))
    yield from _off("deployment", Deployment.objects.filter(is_enabled=False, provider__is_enabled=True))


def _off(noun: str, rows: QuerySet[Any]) -> Iterator[Notice]:
    slugs = list(rows.order_by("slug").values_list("slug", flat=True)[: SHOWN + 1])
    if slugs:
        yield Notice(
            severity="notice",
            message=f"Switched off by hand: {_plural(len(slugs), noun)} {_names(slugs)}.",
            advice="They get no requests until somebody switches them on again.",
            link=link(f"admin:providers_{noun}_changelist"),
            link_text=f"Open {noun}s",
        )


def _unpriced(now: datetime) -> Iterator[Notice]:
    found = unpriced_since(now - timedelta(days=UNPRICED_DAYS))
    if found:
        count = sum(requests for _, requests in found)
        yield Notice(
            severity="warning",
            message=f"{count:,} requests of the last {UNPRICED_DAYS} days had no price: "
            f"{_names([alias for alias, _ in found])}.",
            advice="They were billed nothing, or a tenant's floor. Price the models; manage.py rerate bills what was "
            "served since the price holds.",
            link=link("admin:providers_modelprice_unpriced_models") or link("admin:providers_modelprice_changelist"),
            link_text="Price them",
        )


def _drafts() -> Iterator[Notice]:
    draft = waiting_draft()
    if draft is not None:
        yield Notice(
            severity="warning" if draft.errors else "notice",
            message=f"{draft} waits to be published"
            + (", and cannot be served as it is." if draft.errors else ": the gateway still serves what was before."),
            advice="Look at what it changes, then publish or reject it.",
            link=link("admin:routing_configrevision_change", draft.pk),
            link_text="Review it",
        )


def of_budgets(burns: Iterable[Burn], *, is_own: bool = False) -> Iterator[Notice]:
    """Budgets that are spent, and those that end before their time; a member's own are not named by their tenant."""
    near = [each for each in burns if each.is_near]
    spent = [each for each in near if each.is_spent]
    if spent:
        way_out = "Raise it, increase it for a while, or leave it be."
        yield Notice(
            severity="warning",
            message=f"Spent: {_budgets_of(spent, is_own)}.",
            advice="Requests are refused where the budget is hard. "
            + ("Whoever runs the gateway can raise it." if is_own else way_out),
            link=link("admin:tenants_budget_changelist"),
            link_text="Open budgets",
        )
    soon = [each for each in near if not each.is_spent]
    if soon:
        yield Notice(
            severity="notice",
            message=f"Nearly spent, or will be before the period ends: {_budgets_of(soon, is_own)}.",
            advice="See the burn-down below for when.",
            link=link("admin:tenants_budget_changelist"),
            link_text="Open budgets",
        )


def _budgets_of(burns: list[Burn], is_own: bool) -> str:
    count = "a budget" if len(burns) == 1 else f"{len(burns)} budgets"
    owners = list(dict.fromkeys(each.budget.tenant.slug for each in burns))
    return count if is_own else f"{count} of {_names(owners)}"


def _alerts(now: datetime) -> Iterator[Notice]:
    lost = BudgetAlert.objects.filter(given_up_at__gte=now - timedelta(days=ALERT_DAYS)).count()
    late = BudgetAlert.objects.filter(delivered_at=None, given_up_at=None, tries__gte=SLOW_TRIES).count()
    if lost or late:
        states = ([f"{lost} given up"] if lost else []) + ([f"{late} tried again and again"] if late else [])
        yield Notice(
            severity="warning",
            message=f"Alerts that did not reach their tenants: {', '.join(states)}.",
            advice="The alert says what went wrong: the mail server, or the tenant's address.",
            link=link("admin:tenants_budgetalert_changelist"),
            link_text="Open alerts",
        )


def of_alert_rules(tenant_id: int | None, user: Any) -> Iterator[Notice]:
    """What alert rules of a tenant, or (None) of the operators, have found and nobody takes care of."""
    open_ones = AlertIncident.objects.firing().filter(tenant=tenant_id, acknowledged_at=None)
    found = list(open_ones.values_list("title", "severity")[:50])
    if found:
        titles = _names([title for title, _ in found[: SHOWN + 1]])
        may_act = user.has_perms(("tenants.change_alertincident", "tenants.add_alertsilence"))
        yield Notice(
            severity=min((severity for _, severity in found), key=RANKS.index),
            message=f"{len(found)} {'alert fires' if len(found) == 1 else 'alerts fire'}: {titles}.",
            advice="Each incident says since when and how bad"
            + ("; acknowledge it, or silence its rule for a while." if may_act else "."),
            link=link("admin:tenants_alertincident_changelist", state="firing"),
            link_text="Open incidents",
        )


def of_documents(user: User) -> Iterator[Notice]:
    """Terms and privacy notices that a member has yet to accept."""
    for document in pending(user):
        since = f"{document.effective_from.day} {document.effective_from:%B %Y}"
        yield Notice(
            severity="notice",
            message=f"{document}, in force since {since}, waits for your acceptance.",
            advice="Read it first; that you accept it is said at the end of the page, and recorded.",
            link=f"/{document.kind}",
            link_text="Read and accept",
        )


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _names(names: list[str]) -> str:
    more = " and others" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
