"""Telling channels of alerts: by e-mail, signed webhook or Slack, again until it worked; and a test of each."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from gateway_site.infra.secrets import SecretUnreadable
from gateway_site.infra.words import plain, utc_text
from tenants.alerting import METRICS, UNKNOWN
from tenants.models import AlertChannel, AlertMessage
from tenants.outbox import GIVE_UP_AFTER, claim_next, deliver_all, pause_after, write_email
from tenants.webhooks import NotDelivered, post

log = structlog.get_logger("tollgate.alerts")

HEADS = {"firing": "Firing", "repeated": "Still firing", "resolved": "Resolved"}
COLOURS = {"critical": "#dc2626", "warning": "#d97706", "notice": "#2563eb"}
RESOLVED_COLOUR = "#16a34a"
TESTS_PER_MINUTE = 6  # of a tenant's channels together

type Document = dict[str, Any]


def deliver_messages() -> int:
    """Send every message that waits and is due; returns how many were delivered."""
    related = ("channel__tenant", "incident__tenant")
    return deliver_all(lambda: claim_next(AlertMessage.objects, *related), deliver)


def deliver(message: AlertMessage) -> bool:
    """Try a message, and keep what came of it."""
    problem, channel = "", message.channel
    if channel is None:
        problem = "The channel was deleted."
    else:
        try:
            _send(channel, subject_of(message), text_of(message), payload(message), slack_payload(message))
        except NotDelivered as error:
            problem = str(error)
    _keep(message, problem)
    return not problem


def try_out(channel: AlertChannel, now: datetime) -> None:
    """Send a test for somebody, some times a minute and no more: nobody is flooded through us; raises NotDelivered."""
    whose = channel.tenant_id or "operators"
    if not any(cache.add(f"alert-test:{whose}:{number}", 1, 60) for number in range(TESTS_PER_MINUTE)):
        raise NotDelivered("There were several tests just now: wait a minute.")
    send_test(channel, now)


def send_test(channel: AlertChannel, now: datetime) -> None:
    """Tell a channel that it works; raises NotDelivered."""
    text = f"This is a test of the channel {channel.name}. Nothing has happened."
    whose = channel.tenant.slug if channel.tenant is not None else None
    document = {"id": 0, "type": "alert.test", "created_at": utc_text(now), "tenant": whose, "text": text}
    _send(channel, "[Tollgate] Test of an alert channel", f"{text}\n", document, {"text": _escaped(text)})


def _keep(message: AlertMessage, problem: str) -> None:
    now = timezone.now()
    message.error, message.next_try_at = problem, now + pause_after(message.tries)
    if not problem:
        message.delivered_at = now
    elif message.channel is None or now - message.created_at > GIVE_UP_AFTER:
        message.given_up_at = now
        log.warning("alert_message_given_up", channel=message.channel_name, message=message.pk, reason=problem)
    fields = ("error", "next_try_at", "delivered_at", "given_up_at")
    AlertMessage.objects.filter(pk=message.pk).update(**{name: getattr(message, name) for name in fields})


# --- The three ways ----------------------------------------------------------------------------------------


def _send(channel: AlertChannel, subject: str, text: str, document: Document, for_slack: Document) -> None:
    if channel.kind == AlertChannel.Kind.EMAIL:
        if not channel.emails:
            raise NotDelivered("The channel has no addresses.")
        write_email(channel.emails, subject, text, {"X-Tollgate-Alert": str(document["id"])})
        return
    is_slack = channel.kind == AlertChannel.Kind.SLACK
    try:
        address, secret = channel.address, None if is_slack else channel.secret
    except SecretUnreadable as error:
        missing = not channel.address_encrypted or (not is_slack and not channel.secret_encrypted)
        raise NotDelivered("The channel has no address or no secret." if missing else str(error)) from None
    body = json.dumps(for_slack if is_slack else document, ensure_ascii=False).encode()
    post(address, body, secret=secret, allow_private=settings.ALERT_WEBHOOKS_MAY_BE_PRIVATE)


# --- What is said ------------------------------------------------------------------------------------------


def subject_of(message: AlertMessage) -> str:
    """One line: what happened to what, and how far it is."""
    incident = message.incident
    line = f"[Tollgate] {HEADS[message.kind]}: {incident.title} ({incident.shown(message.value)})"
    return " ".join(line.split())


def text_of(message: AlertMessage) -> str:
    """The e-mail."""
    return "\n".join([subject_of(message).removeprefix("[Tollgate] "), "", *_details(message), ""])


def _details(message: AlertMessage) -> list[str]:
    incident = message.incident
    lines = [
        f"Rule: {incident.words}",
        f"Severity: {incident.get_severity_display()}",
        f"Since: {incident.began_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, then {incident.shown(incident.value)}",
        f"Worst: {incident.shown(incident.worst)}",
    ]
    if message.kind == AlertMessage.Kind.RESOLVED and incident.resolved_at is not None:
        lines.append(f"Until: {incident.resolved_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    return lines if incident.tenant is None else [*lines, f"Tenant: {incident.tenant}"]


def payload(message: AlertMessage) -> Document:
    """The webhook's body."""
    incident = message.incident
    over_at = incident.resolved_at if message.kind == AlertMessage.Kind.RESOLVED else None
    return {
        "id": message.pk,
        "type": f"alert.{message.kind}",
        "created_at": utc_text(message.created_at),
        "tenant": None if incident.tenant is None else incident.tenant.slug,
        "incident": incident.pk,
        "rule": {"id": incident.rule_id, "name": incident.title, "text": incident.words},
        "severity": incident.severity,
        "metric": incident.metric,
        "currency": incident.currency if METRICS.get(incident.metric, UNKNOWN).is_money else None,
        "value": plain(message.value),
        "value_at_begin": plain(incident.value),
        "worst": plain(incident.worst),
        "began_at": utc_text(incident.began_at),
        "resolved_at": over_at and utc_text(over_at),
    }


def slack_payload(message: AlertMessage) -> Document:
    """The body for Slack and what takes the same."""
    is_over = message.kind == AlertMessage.Kind.RESOLVED
    colour = RESOLVED_COLOUR if is_over else COLOURS.get(message.incident.severity, COLOURS["warning"])
    head = _escaped(subject_of(message).removeprefix("[Tollgate] "))
    text = _escaped("\n".join(_details(message)))
    return {"text": head, "attachments": [{"color": colour, "fallback": head, "text": text}]}


def _escaped(text: str) -> str:
    """Without what Slack would take for mentions and links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
