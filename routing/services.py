"""Publishing the configuration: compile, validate, store as a revision, announce."""

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import structlog
from django.conf import settings
from django.db import connection, transaction

from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from routing.compiler import compile_snapshot, differences, find_errors
from routing.models import ConfigRevision
from routing.snapshot import EMPTY, Snapshot, decode, encode
from routing.snapshot_store import CHANNEL, NUMBER_KEY, SNAPSHOT_KEY

log = structlog.get_logger("tollgate.configuration")

PUBLISH_LOCK = 0x70110001  # of Postgres' advisory locks: one publisher at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What came of publishing."""

    number: int  # the revision that is served now
    errors: list[str] = field(default_factory=list)  # not published when there are any
    is_new: bool = False


def publish(*, author: Any = None, note: str = "") -> Published:
    """Publish what the database says, unless that is what is served already; raises StoreUnavailable."""
    with transaction.atomic():
        _lock()
        snapshot = compile_snapshot()
        checksum = hashlib.sha256(encode(snapshot)).hexdigest()
        newest = ConfigRevision.objects.order_by("-number").first()
        served = _newest_published()
        if newest is not None and newest.checksum == checksum:
            revision = newest
            is_new = False
        else:
            revision = _store(snapshot, checksum, newest, served, author, note)
            is_new = revision.status == ConfigRevision.Status.PUBLISHED
    if revision.status == ConfigRevision.Status.REJECTED:
        log.error("configuration_rejected", revision=revision.number, errors=revision.errors)
        if served is not None:
            announce(served)  # Valkey may have been away when it was published, or have lost it since
        return Published(number=served.number if served is not None else 0, errors=revision.errors)
    announce(revision)
    return Published(number=revision.number, is_new=is_new)


def roll_back(*, revision: ConfigRevision, author: Any = None) -> Published:
    """Serve an older revision again, under a new number; raises ValueError for one that was rejected.

    The objects in the database stay as they are, so the next change to any of them publishes them all again.
    """
    if revision.status != ConfigRevision.Status.PUBLISHED:
        raise ValueError(f"{revision} was rejected and cannot be served.")
    with transaction.atomic():
        _lock()
        newest = ConfigRevision.objects.order_by("-number").first()
        served = _newest_published()
        assert newest is not None
        assert served is not None
        try:
            snapshot = decode(bytes(revision.blob))
        except msgspec.DecodeError:
            sentence = f"Revision {revision.number} was written by another version of Tollgate and cannot be read."
            return Published(number=served.number, errors=[sentence])
        errors = find_errors(snapshot)
        if errors:
            return Published(number=served.number, errors=errors)
        again = _create(
            snapshot,
            number=newest.number + 1,
            # The checksum is that of the database as it is now: nothing is published by itself until that changes.
            checksum=hashlib.sha256(encode(compile_snapshot())).hexdigest(),
            before=_readable(served),
            author=author,
            note=f"Roll back to revision {revision.number}",
        )
    announce(again)
    return Published(number=again.number, is_new=True)


def announce(revision: ConfigRevision) -> None:
    """Put a revision into Valkey, unless a newer one is there, and tell every worker; raises StoreUnavailable."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            put = partial(_put, revision)
            is_news = client.transaction(put, NUMBER_KEY, value_from_callable=True)  # type: ignore[arg-type]
    except StoreUnavailable as error:
        raise StoreUnavailable(f"Revision {revision.number} is stored but could not be announced: {error}") from error
    if is_news:
        log.info("configuration_published", revision=revision.number, changes=len(revision.diff))


def _put(revision: ConfigRevision, pipeline: Any) -> bool:
    # Done again by redis-py when the number changes meanwhile: of two publishers at once the newer revision stays.
    stored = pipeline.get(NUMBER_KEY)
    is_news = stored is None or int(stored) < revision.number
    pipeline.multi()
    if is_news:
        pipeline.set(SNAPSHOT_KEY, bytes(revision.blob))
        pipeline.set(NUMBER_KEY, revision.number)
        pipeline.publish(CHANNEL, str(revision.number))
    return is_news


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PUBLISH_LOCK])


def _newest_published() -> ConfigRevision | None:
    return ConfigRevision.objects.filter(status=ConfigRevision.Status.PUBLISHED).order_by("-number").first()


def _store(
    snapshot: Snapshot,
    checksum: str,
    newest: ConfigRevision | None,
    served: ConfigRevision | None,
    author: Any,
    note: str,
) -> ConfigRevision:
    number = newest.number + 1 if newest is not None else 1
    errors = find_errors(snapshot)
    if errors:
        return ConfigRevision.objects.create(
            number=number,
            status=ConfigRevision.Status.REJECTED,
            author=author,
            note=note,
            errors=errors,
            checksum=checksum,
        )
    before = _readable(served) if served is not None else EMPTY
    return _create(snapshot, number=number, checksum=checksum, before=before, author=author, note=note)


def _readable(revision: ConfigRevision) -> Snapshot:
    """Return a revision's snapshot; an empty one if another version of Tollgate wrote it in a form of its own."""
    try:
        return decode(bytes(revision.blob))
    except msgspec.DecodeError:
        log.warning("revision_unreadable", revision=revision.number)
        return EMPTY


def _create(
    snapshot: Snapshot, *, number: int, checksum: str, before: Snapshot, author: Any, note: str
) -> ConfigRevision:
    numbered = msgspec.structs.replace(snapshot, number=number)
    return ConfigRevision.objects.create(
        number=number,
        status=ConfigRevision.Status.PUBLISHED,
        author=author,
        note=note,
        diff=differences(before, numbered),
        blob=encode(numbered),
        checksum=checksum,
    )
