"""Celery: signs of life."""

from time import time

from celery import shared_task
from django.conf import settings

from gateway_site.infra import valkey

HEARTBEAT_KEY = "tollgate:beat"


@shared_task(name="gateway_site.heartbeat")
def heartbeat() -> None:
    """Say that beat schedules and a worker works; `manage.py healthcheck beat` looks for it."""
    with valkey.connect(settings.VALKEY_URL) as client:
        client.set(HEARTBEAT_KEY, f"{time():.0f}", ex=60)
