"""Celery: signs of life, and alert rules, which watch all parts of the gateway."""

from time import time

import structlog
from celery import shared_task
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from gateway_site.health import alert_gauges
from gateway_site.infra import valkey
from tenants import alert_rules

log = structlog.get_logger("tollgate.alerts")

HEARTBEAT_KEY = "tollgate:beat"


@shared_task(name="gateway_site.heartbeat")
def heartbeat() -> None:
    """Say that beat schedules and a worker works; `manage.py healthcheck beat` looks for it."""
    with valkey.connect(settings.VALKEY_URL) as client:
        client.set(HEARTBEAT_KEY, f"{time():.0f}", ex=60)


@shared_task(name="gateway_site.judge_alert_rules")
def judge_alert_rules() -> None:
    """Judge alert rules; whom they tell, `tenants.deliver_alerts` does."""
    try:
        alert_rules.judge_rules(timezone.now(), alert_gauges.read_gauges())
    except OperationalError as error:
        log.error("alert_rules_not_judged", reason=str(error).strip())  # tried again within the minute
