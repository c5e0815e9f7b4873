"""Celery: publish what was changed, delete what has expired."""

import structlog
from celery import shared_task

from gateway_site.infra.valkey import StoreUnavailable
from routing import health_events
from routing.services import publish
from routing.stored_responses import purge

log = structlog.get_logger("tollgate.configuration")


@shared_task(name="routing.publish_changes")
def publish_changes() -> None:
    """Publish what differs from what is served, or let it wait; also the repair when an announcement was lost."""
    try:
        publish(note="Automatic")
    except StoreUnavailable as error:
        log.error("publishing_failed", reason=str(error))


@shared_task(name="routing.purge_stored_responses")
def purge_stored_responses() -> None:
    """Delete the responses whose time is over."""
    deleted = purge()
    if deleted:
        log.info("stored_responses_purged", deleted=deleted)


@shared_task(name="routing.drain_health_events")
def drain_health_events() -> None:
    """Store what has happened to deployments' health; without Valkey it waits, or there is nothing."""
    try:
        health_events.drain()
    except StoreUnavailable as error:
        log.error("health_events_not_drained", reason=str(error))


@shared_task(name="routing.purge_health_events")
def purge_health_events() -> None:
    """Delete what is older than thirty days."""
    try:
        deleted = health_events.purge()
    except StoreUnavailable as error:
        log.error("health_events_not_drained", reason=str(error))
    else:
        log.info("health_events_purged", deleted=deleted)
