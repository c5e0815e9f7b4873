"""Celery: publish what was changed, delete what has expired."""

import structlog
from celery import shared_task

from gateway_site.infra.valkey import StoreUnavailable
from routing.services import publish
from routing.stored_responses import purge

log = structlog.get_logger("tollgate.configuration")


@shared_task(name="routing.publish_changes")
def publish_changes() -> None:
    """Publish if the database differs from what is served; also the repair when an announcement was lost."""
    try:
        publish(note="Published automatically")
    except StoreUnavailable as error:
        log.error("publishing_failed", reason=str(error))


@shared_task(name="routing.purge_stored_responses")
def purge_stored_responses() -> None:
    """Delete the responses whose time is over."""
    deleted = purge()
    if deleted:
        log.info("stored_responses_purged", deleted=deleted)
