"""Telling tenants of the thresholds that their budgets have crossed: by e-mail and webhook, again until it worked."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from django.conf import settings
from django.utils import timezone

from gateway_site.infra.secrets import SecretUnreadable
from gateway_site.infra.words import plain, utc_text
from tenants.budgets import read_counter
from tenants.limits.periods import slot_end
from tenants.models import Budget, BudgetAlert
from tenants.outbox import GIVE_UP_AFTER, claim_next, deliver_all, pause_after, write_email
from tenants.webhooks import NotDelivered, post

log = structlog.get_logger("tollgate.alerts")


def deliver_alerts() -> int:
    """Tell of every alert that waits and is due; returns how many were delivered."""
    related = ("tenant", "budget__project", "budget__api_key", "budget__tenant")
    return deliver_all(lambda: claim_next(BudgetAlert.objects, *related), deliver)


def deliver(alert: BudgetAlert) -> bool:
    """Try what is left to do for an alert, and keep what came of it."""
    tenant = alert.tenant
    channels: list[tuple[str, bool, Callable[[BudgetAlert], None]]] = [
        ("emailed_at", bool(tenant.alert_emails), send_email),
        ("posted_at", bool(tenant.alert_webhook), call_webhook),
    ]
    wanted = [(field, send) for field, is_wanted, send in channels if is_wanted]
    problems = [problem for field, send in wanted if (problem := _try(alert, field, send))]
    if not wanted:
        problems = ["The tenant has neither an e-mail address nor a webhook for alerts."]
    _keep(alert, problems, is_hopeless=not wanted)
    return not problems


def _try(alert: BudgetAlert, field: str, send: Callable[[BudgetAlert], None]) -> str:
    """Send on one channel unless that is done; returns what went wrong."""
    if getattr(alert, field) is not None:
        return ""
    try:
        send(alert)
    except NotDelivered as error:
        return f"{'E-mail' if field == 'emailed_at' else 'Webhook'}: {error}"
    setattr(alert, field, timezone.now())
    return ""


def _keep(alert: BudgetAlert, problems: list[str], *, is_hopeless: bool) -> None:
    now = timezone.now()
    alert.error = " ".join(problems)
    alert.next_try_at = now + pause_after(alert.tries)
    if not problems:
        alert.delivered_at = now
    elif is_hopeless:
        alert.given_up_at = now
    elif now - alert.waits_since > GIVE_UP_AFTER:
        alert.given_up_at = now
        log.warning("budget_alert_given_up", tenant=alert.tenant.slug, alert=alert.pk, reason=alert.error)
    BudgetAlert.objects.filter(pk=alert.pk).update(
        emailed_at=alert.emailed_at,
        posted_at=alert.posted_at,
        delivered_at=alert.delivered_at,
        given_up_at=alert.given_up_at,
        next_try_at=alert.next_try_at,
        error=alert.error,
    )


# --- What is said ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What there is to say about an alert's budget."""

    scope: str
    name: str  # of the project or the key; empty for the whole tenant
    end_user: str
    since: datetime | None  # when its period began; None: for ever
    until: datetime | None


def facts_of(alert: BudgetAlert) -> Facts:
    """Look up whose budget it is and which of its periods."""
    budget, counter = alert.budget, read_counter(alert.counter)
    start = counter.start if counter is not None else 0
    owner = budget.api_key or budget.project
    is_calendar = budget.period not in {Budget.Period.TOTAL, Budget.Period.CREDIT, Budget.Period.ROLLING}
    end = slot_end(budget.period, start, budget.tenant.timezone)
    return Facts(
        scope=budget.scope,
        name="" if owner is None else str(owner),
        end_user="" if counter is None else counter.end_user,
        since=datetime.fromtimestamp(start, UTC) if is_calendar else None,
        until=datetime.fromtimestamp(end, UTC) if is_calendar else None,
    )


def payload(alert: BudgetAlert) -> bytes:
    """The webhook's body."""
    budget, facts = alert.budget, facts_of(alert)
    document = {
        "id": alert.pk,
        "type": "budget.threshold_reached",
        "created_at": utc_text(alert.created_at),
        "tenant": alert.tenant.slug,
        "threshold": alert.threshold,
        "spent": plain(alert.spent),
        "limit": plain(alert.limit),
        "currency": budget.currency,
        "budget": {
            "id": budget.pk,
            "scope": facts.scope,
            "name": facts.name,
            "period": budget.period,
            "rolling_days": budget.rolling_days,
            "model": budget.model,
            "per_end_user": budget.per_end_user,
            "hard": budget.is_hard,
        },
        "end_user": facts.end_user,
        "period_start": facts.since and utc_text(facts.since),
        "period_end": facts.until and utc_text(facts.until),
    }
    return json.dumps(document, ensure_ascii=False).encode()


def subject_of(alert: BudgetAlert) -> str:
    """One line: whose budget, and how far."""
    percent = f"{alert.spent * 100 / alert.limit:.0f}" if alert.limit else "100"
    return " ".join(f"[Tollgate] {alert.tenant}: {percent}% of {alert.budget} is spent".split())


def text_of(alert: BudgetAlert) -> str:
    """The e-mail."""
    budget, facts = alert.budget, facts_of(alert)
    scope = {"tenant": "the whole tenant", "project": f"project {facts.name}", "api_key": f"API key {facts.name}"}
    details = [
        f"Spent: {plain(alert.spent)} of {plain(alert.limit)} {budget.currency}",
        f"For: {scope[facts.scope]} of {alert.tenant}",
        f"Model: {budget.model}" if budget.model else "",
        f"End user: {facts.end_user}" if facts.end_user else "",
        f"Period: {facts.since:%Y-%m-%d %H:%M} to {facts.until:%Y-%m-%d %H:%M} UTC" if facts.since else "",
    ]
    refusals = "Requests that do not fit into it are" if budget.is_hard else "It is a soft budget: nothing is"
    return "\n".join(
        [
            f"The budget of {budget} has reached {alert.threshold}%.",
            "",
            *filter(None, details),
            "",
            f"{refusals} refused.",
            "",
        ]
    )


# --- The two ways ------------------------------------------------------------------------------------------


def send_email(alert: BudgetAlert) -> None:
    """Write to the tenant's addresses; raises NotDelivered."""
    headers = {"X-Tollgate-Alert": str(alert.pk)}
    write_email(alert.tenant.alert_emails, subject_of(alert), text_of(alert), headers)


def call_webhook(alert: BudgetAlert) -> None:
    """Call the tenant's address; raises NotDelivered."""
    tenant = alert.tenant
    if not tenant.has_alert_secret:
        raise NotDelivered("There is no secret to sign with; make one on the tenant's page.")
    try:
        secret = tenant.alert_secret
    except SecretUnreadable as error:
        raise NotDelivered(str(error)) from None
    post(tenant.alert_webhook, payload(alert), secret=secret, allow_private=settings.ALERT_WEBHOOKS_MAY_BE_PRIVATE)
