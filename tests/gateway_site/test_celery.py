"""The schedule: what it names exists."""

from gateway_site.celery import app


def test_the_worker_loads_every_task_that_is_scheduled():
    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= app.tasks.keys()
