"""The schedule and the queues: what is named exists, and what waits for others keeps nothing else waiting."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

from celery.schedules import crontab

from gateway_site.celery import app
from tests.gateway.stack import ROOT, dying_with_us

ASK_UPSTREAMS = {"providers.fetch_capabilities", "providers.fetch_catalogues", "providers.probe_deployments"}
WAIT_FOR_OTHERS = ASK_UPSTREAMS | {"tenants.deliver_alerts"}


def queue_of(task: str) -> str:
    return app.amqp.router.route({}, task)["queue"].name


def test_the_worker_loads_every_task_that_is_scheduled():
    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= app.tasks.keys()


def test_what_waits_for_others_has_a_queue_of_its_own():
    app.loader.import_default_modules()
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert ours >= WAIT_FOR_OTHERS
    assert {name for name in ours if queue_of(name) == "upstreams"} == WAIT_FOR_OTHERS
    assert {queue_of(name) for name in ours - WAIT_FOR_OTHERS} == {"tollgate"}


def test_every_task_of_the_providers_asks_upstreams():
    """A new one that does not may be named here; one that does must not be forgotten."""
    app.loader.import_default_modules()
    assert {name for name in app.tasks if name.startswith("providers.")} == ASK_UPSTREAMS


def test_no_two_hourly_tasks_begin_in_the_same_minute():
    schedules = [entry["schedule"] for entry in app.conf.beat_schedule.values()]
    assert not [
        each for each in schedules if isinstance(each, float) and each > 60
    ]  # they would begin with beat, together
    minutes = Counter(minute for each in schedules if isinstance(each, crontab) for minute in each.minute)
    assert minutes
    assert set(minutes.values()) == {1}


def test_a_worker_that_is_told_to_stop_prints_nothing_past_our_logs(tmp_path):
    celery = [sys.executable, "-m", "celery", "--quiet", "--broker=memory://", "-A", "gateway_site"]
    command = dying_with_us(*celery, "worker", "--pool=solo")
    variables = {**os.environ, "LOG_FORMAT": "json", "LOG_LEVEL_CELERY": "INFO"}
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        worker = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=stderr)
    deadline = time.monotonic() + 60
    while b" ready." not in log.read_bytes():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    worker.send_signal(signal.SIGTERM)
    printed, _ = worker.communicate(timeout=30)
    assert (printed, worker.returncode) == (b"", 0)
