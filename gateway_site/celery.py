"""Celery: two queues, each with workers of its own, and one beat for the whole deployment.

What asks upstreams, or tells others, waits as long as they please, so it has the queue `upstreams`: the ledger and
publishing never stand behind it.
"""

import gc
import os
import sys
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import beat_init, celeryd_init, setup_logging, worker_before_create_process

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")

app = Celery("tollgate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["tenants", "providers", "routing", "gateway_site"])

app.conf.task_routes = {
    "providers.fetch_capabilities": {"queue": "upstreams"},
    "providers.fetch_catalogues": {"queue": "upstreams"},
    "providers.probe_deployments": {"queue": "upstreams"},
    "tenants.deliver_alerts": {"queue": "upstreams"},
}

# Hours are those of the clock, for an interval would begin anew with every start. Each has minutes of its own, the longest
# that a task may take and more (CELERY_TASK_TIME_LIMIT), so that none waits for another.
app.conf.beat_schedule = {
    "drain usage into the ledger": {
        "task": "tenants.drain_usage",
        "schedule": 1.0,
        "options": {"expires": 5},
    },
    "redact and store the bodies that audit policies keep": {
        "task": "tenants.drain_bodies",
        "schedule": 2.0,
        "options": {"expires": 5},
    },
    "delete bodies whose days are over": {"task": "tenants.expire_bodies", "schedule": crontab(minute=15)},
    "sweep the reservations of workers that are gone": {
        "task": "tenants.sweep_reservations",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    "publish unpublished changes": {
        "task": "routing.publish_changes",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    "make the ledger's next partitions": {"task": "tenants.make_partitions", "schedule": crontab(minute=5)},
    "drop usage records that are older than they are kept": {
        "task": "tenants.expire_usage",
        "schedule": crontab(hour=2, minute=50),
    },
    "delete what is older than it is kept of the audit trail, of alerts and of sessions": {
        "task": "tenants.expire_history",
        "schedule": crontab(hour=3, minute=30),
    },
    "ask upstreams what their models can do": {
        "task": "providers.fetch_capabilities",
        "schedule": crontab(minute=25),
        "options": {"expires": 3600},
    },
    "ask providers which models they have": {
        "task": "providers.fetch_catalogues",
        "schedule": crontab(minute=45),
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
        "schedule": crontab(hour=3, minute=20),
    },
    "tell tenants of the thresholds that their budgets crossed": {
        "task": "tenants.deliver_alerts",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    "judge alert rules": {
        "task": "gateway_site.judge_alert_rules",
        "schedule": 60.0,
        "options": {"expires": 50},
    },
    "heartbeat": {"task": "gateway_site.heartbeat", "schedule": 5.0, "options": {"expires": 5}},
}


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Django's settings have set logging up; Celery must not do it again."""


@celeryd_init.connect
def keep_stdout_for_ours(**_: Any) -> None:
    """What Celery prints of being stopped goes past all logging, and whoever stops a worker knows it already."""
    sys.__stdout__ = None  # type: ignore[misc]  # it prints to this and not to sys.stdout


@beat_init.connect
@worker_before_create_process.connect
def keep_what_is_loaded(**_: Any) -> None:
    """The collector need not look at it again, least of all when it ends: that alone took a second."""
    gc.freeze()
