"""Celery: the ledger's upkeep."""

from datetime import timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from tenants.ledger import drain, ensure_partition

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


@shared_task(name="tenants.make_partitions")
def make_partitions() -> None:
    """Make the partitions of the next days before anybody waits for them."""
    today = timezone.now().date()
    for days in range(DAYS_AHEAD + 1):
        ensure_partition(today + timedelta(days=days))
