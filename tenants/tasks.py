"""Celery: the ledger's upkeep."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from gateway_site.infra import valkey
from tenants.ledger import drain, ensure_partition

DAYS_AHEAD = 7


@shared_task(name="tenants.drain_usage")
def drain_usage() -> None:
    """Move usage events from Valkey into the ledger."""
    with valkey.connect(settings.VALKEY_URL) as client:
        drain(client)


@shared_task(name="tenants.make_partitions")
def make_partitions() -> None:
    """Make the partitions of the next days before anybody waits for them."""
    today = timezone.now().date()
    for days in range(DAYS_AHEAD + 1):
        ensure_partition(today + timedelta(days=days))
