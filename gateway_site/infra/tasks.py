"""Asking Celery for a task, by its name. Celery's client is loaded with the first one: serving needs none of it."""

from importlib import import_module

from django.conf import settings


class TaskNotSent(Exception):
    """The broker could not be reached."""


def send(name: str) -> None:
    """Put a task into the queue, or raise TaskNotSent at once."""
    from kombu.exceptions import OperationalError

    app = import_module(settings.CELERY_APP).app
    try:
        app.send_task(name, retry=False)
    except OperationalError as error:
        raise TaskNotSent(str(error)) from error
