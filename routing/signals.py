"""Whatever way a part of the configuration is saved or deleted, it is noted by whom, and published after the commit.

The note is made in the transaction of the change: a publication that cannot see the change cannot see the note either.
"""

from dataclasses import dataclass
from typing import Any

import structlog
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from gateway_site.infra import tasks
from gateway_site.infra.actor import Actor, actor
from providers.models import Deployment, ModelPrice, Provider
from routing.models import ConfigChange, ModelAlias, Route, RouteTarget
from tenants.audit import watch

log = structlog.get_logger("tollgate.configuration")

CONFIGURATION = (Provider, Deployment, ModelPrice, Route, RouteTarget, ModelAlias)
AUDITED = (Route, RouteTarget, ModelAlias)  # revisions have their verbs: published, rolled_back


def connect() -> None:
    """Connect the receivers; called once when Django is ready."""
    for model in CONFIGURATION:
        for signal in (post_save, post_delete):
            signal.connect(_changed, sender=model, dispatch_uid=f"configuration-{model.__name__}")
    for model in AUDITED:
        watch(model)


def _changed(sender: type, **_: Any) -> None:
    ask = _AskToPublish(by=actor())
    # Once per transaction and actor, however many rows are touched.
    if any(callback == ask for _, callback, *_ in transaction.get_connection().run_on_commit):
        return
    if ask.by.name:
        ConfigChange.objects.create(username=ask.by.name, user_id=ask.by.user_id)
    transaction.on_commit(ask)


@dataclass(frozen=True, slots=True, kw_only=True)
class _AskToPublish:
    """What is done after the commit; a savepoint that is rolled back takes it along, as it does the note."""

    by: Actor

    def __call__(self) -> None:
        try:
            tasks.send("routing.publish_changes")
        except tasks.TaskNotSent as error:
            # The beat looks for unpublished changes too; saving must not fail for this.
            log.error("publishing_not_asked_for", reason=str(error))
