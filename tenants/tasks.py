"""Celery: the ledger's upkeep."""

from datetime import timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from tenants import alert_messages, bodies, budget_alert_messages, counters
from tenants.counters import sweep
from tenants.ledger import drain, ensure_partition
from tenants.retention import expire, expire_incidents, expire_sessions, expire_trail

log = structlog.get_logger("tollgate.ledger")
DAYS_AHEAD = 7


@shared_task(name="tenants.drain_usage")
def drain_usage() -> None:
    """Move usage events from Valkey into the ledger."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            drain(client)
    except (OperationalError, StoreUnavailable) as error:
        log.error("usage_not_drained", reason=str(error).strip())  # it waits in Valkey, and is tried again every second


@shared_task(name="tenants.expire_usage")
def expire_usage() -> None:
    """Drop the records that are older than they are kept."""
    try:
        for day in expire(settings.USAGE_RETENTION_DAYS, today=timezone.now().date()):
            log.info("usage_expired", day=f"{day}")
    except OperationalError as error:
        log.error("usage_not_expired", reason=str(error).strip())  # the days wait, and are tried again tomorrow


@shared_task(name="tenants.expire_history")
def expire_history() -> None:
    """Delete what is older than it is kept: of the audit trail, of alerts, and sessions that are over."""
    now = timezone.now()
    try:
        counts = {
            "events": expire_trail(settings.AUDIT_RETENTION_DAYS, now=now),
            "incidents": expire_incidents(settings.ALERT_RETENTION_DAYS, now=now),
            "sessions": expire_sessions(now=now),
        }
    except OperationalError as error:
        log.error("history_not_expired", reason=str(error).strip())  # the rest waits, and is tried again tomorrow
        return
    if any(counts.values()):
        log.info("history_expired", **counts)


@shared_task(name="tenants.drain_bodies")
def drain_bodies() -> None:
    """Redact the bodies that audit policies keep, and move them from Valkey to their table."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            bodies.drain(client)
    except (OperationalError, StoreUnavailable) as error:
        log.error("bodies_not_drained", reason=str(error).strip())  # they wait, and are tried again in seconds


@shared_task(name="tenants.expire_bodies")
def expire_bodies() -> None:
    """Delete the bodies whose days are over."""
    try:
        if count := bodies.expire():
            log.info("bodies_expired", count=count)
    except OperationalError as error:
        log.error("bodies_not_expired", reason=str(error).strip())  # tried again within the hour


@shared_task(name="tenants.sweep_reservations")
def sweep_reservations() -> None:
    """End the reservations of workers that are gone, and count what was spent if Valkey has come up without it."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            counters.rebuild(client)
            swept = sweep(client)
    except (OperationalError, StoreUnavailable, counters.NeverQuiet) as error:
        log.error("reservations_not_swept", reason=str(error).strip() or type(error).__name__)
        return
    if swept:
        log.warning("reservations_swept", count=swept)


@shared_task(name="tenants.make_partitions")
def make_partitions() -> None:
    """Make the partitions of the next days before anybody waits for them."""
    today = timezone.now().date()
    for days in range(DAYS_AHEAD + 1):
        ensure_partition(today + timedelta(days=days))


@shared_task(name="tenants.deliver_alerts")
def deliver_alerts() -> None:
    """Tell tenants of the thresholds that their budgets have crossed, and channels of what alert rules have found."""
    try:
        budget_alert_messages.deliver_alerts()
        alert_messages.deliver_messages()
    except OperationalError as error:
        log.error("alerts_not_delivered", reason=str(error).strip())  # they wait, and are tried again in seconds
