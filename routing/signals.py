"""Whatever way a part of the configuration is saved or deleted, it is published after the commit, by Celery."""

from typing import Any

import structlog
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from gateway_site.infra import tasks
from providers.models import Deployment, ModelPrice, Provider
from routing.models import ModelAlias, Route, RouteTarget

log = structlog.get_logger("tollgate.configuration")

CONFIGURATION = (Provider, Deployment, ModelPrice, Route, RouteTarget, ModelAlias)


def connect() -> None:
    """Connect the receivers; called once when Django is ready."""
    for model in CONFIGURATION:
        for signal in (post_save, post_delete):
            signal.connect(_changed, sender=model, dispatch_uid=f"configuration-{model.__name__}")


def _changed(sender: type, **_: Any) -> None:
    # Once per transaction, however many rows it touches.
    if not any(callback is _ask_to_publish for _, callback, *_ in transaction.get_connection().run_on_commit):
        transaction.on_commit(_ask_to_publish)


def _ask_to_publish() -> None:
    try:
        tasks.send("routing.publish_changes")
    except tasks.TaskNotSent as error:
        # The beat looks for unpublished changes too; saving must not fail for this.
        log.error("publishing_not_asked_for", reason=str(error))
