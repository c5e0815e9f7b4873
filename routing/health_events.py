"""Health events on their way from Valkey into the database, and out of it again when they are old."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
from django.conf import settings
from django.utils import timezone

from gateway_site.infra import valkey
from providers.health_feed import EVENTS_STREAM, STATES_KEY, Note, decode_note
from providers.models import Deployment
from routing.models import HealthEvent

log = structlog.get_logger("tollgate.health")

BATCH = 500
KEPT = timedelta(days=30)


def drain() -> int:
    """Store what waits in the stream, once however often it is read; returns how many; raises StoreUnavailable."""
    stored = 0
    with valkey.connect(settings.VALKEY_URL) as client:
        while waiting := client.xrange(EVENTS_STREAM, count=BATCH):
            entries: Any = waiting
            rows = list(_rows(entries))
            HealthEvent.objects.bulk_create(rows, ignore_conflicts=True)
            client.xdel(EVENTS_STREAM, *[stream_id for stream_id, _ in entries])
            stored += len(rows)
    return stored


def _rows(entries: Any) -> Iterator[HealthEvent]:
    for stream_id, fields in entries:
        try:
            row = _row(stream_id.decode(), decode_note(fields[b"event"]))
        except (msgspec.DecodeError, KeyError, ValueError, OverflowError, OSError) as error:  # the last three: no time
            log.error("health_event_unreadable", id=stream_id.decode(), reason=str(error))
        else:
            yield row


def _row(stream_id: str, note: Note) -> HealthEvent:
    return HealthEvent(
        stream_id=stream_id,
        at=datetime.fromtimestamp(note.at, UTC),
        deployment=_text(note.deployment, 63),
        provider=_text(note.provider, 63),
        kind=_text(note.kind, 32),
        old=_text(note.old, 32),
        new=_text(note.new, 32),
        reason=_text(note.reason, 500),
        until=None if note.until is None else datetime.fromtimestamp(note.until, UTC),
        worker=_text(note.worker, 64),
    )


def _text(told: str, most: int) -> str:
    """Return it as PostgreSQL takes it."""
    return told.replace("\0", "")[:most]


def purge() -> int:
    """Delete events of more than thirty days, and what Valkey still holds of deployments that are gone."""
    deleted, _ = HealthEvent.objects.filter(at__lt=timezone.now() - KEPT).delete()
    slugs = set(Deployment.objects.values_list("slug", flat=True))
    with valkey.connect(settings.VALKEY_URL) as client:
        fields: Any = client.hkeys(STATES_KEY)
        gone = [field for field in fields if field.decode().rpartition("/")[0] not in slugs]
        if gone:
            client.hdel(STATES_KEY, *gone)
    return deleted
