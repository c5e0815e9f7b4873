"""Celery: one worker pool and one beat for the whole deployment."""

import os
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")

app = Celery("tollgate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["tenants", "providers", "routing", "gateway_site"])

app.conf.beat_schedule = {
    "drain usage into the ledger": {
        "task": "tenants.drain_usage",
        "schedule": 1.0,
        "options": {"expires": 5},
    },
    "publish unpublished changes": {
        "task": "routing.publish_changes",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    "make the ledger's next partitions": {"task": "tenants.make_partitions", "schedule": 3600.0},
    "ask upstreams what their models can do": {
        "task": "providers.fetch_capabilities",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "ask providers which models they have": {
        "task": "providers.fetch_catalogues",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "probe deployments": {
        "task": "providers.probe_deployments",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "store what happened to deployments' health": {
        "task": "routing.drain_health_events",
        "schedule": 2.0,
        "options": {"expires": 5},
    },
    "delete old health events": {
        "task": "routing.purge_health_events",
        "schedule": crontab(hour=3, minute=40),
    },
    "delete stored responses that have expired": {
        "task": "routing.purge_stored_responses",
        "schedule": crontab(hour=3, minute=20),  # of the day, for an interval would begin anew with every start
    },
    "heartbeat": {"task": "gateway_site.heartbeat", "schedule": 5.0, "options": {"expires": 5}},
}


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Django's settings have set logging up; Celery must not do it again."""
