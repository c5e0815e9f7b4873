"""Bodies that an audit policy keeps: from Valkey to the table, opened there, and deleted when their days are over.

Worker → stream (encrypted) → drain: redacted, encrypted again → table. What a drain cannot read is dropped: bodies are
best-effort, and one must not hold up the others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import structlog
from django.db import IntegrityError, connection, transaction

from gateway_site.infra.secrets import SecretUnreadable
from tenants.kept_body import MOST_BYTES, STREAM, Content, KeptBody, open_body, open_content, seal
from tenants.models import RequestBody, Tenant
from tenants.redaction import Choice, Redactor
from tenants.stream_text import assemble, is_stream

if TYPE_CHECKING:
    import redis

log = structlog.get_logger("tollgate.bodies")

BATCH = 50
DRAIN_SECONDS = 10.0
EXPIRE_BATCH = 1_000
LOCK = 0x70110006  # of Postgres' advisory locks: one drain at a time
UNREADABLE = (SecretUnreadable, zlib.error, msgspec.DecodeError, KeyError, ValueError)


def drain(client: redis.Redis) -> int:
    """Move what waits in the stream to the table and return how many bodies that were; nothing while another is at it."""
    until, stored = monotonic() + DRAIN_SECONDS, 0
    with _lock() as is_ours:
        while is_ours and monotonic() < until:
            entries: Any = client.xrange(STREAM, count=BATCH)
            if not entries:
                break
            stored += store(list(_readable(fields for _, fields in entries)))
            client.xdel(STREAM, *(entry_id for entry_id, _ in entries))
    return stored


def store(bodies: Sequence[KeptBody]) -> int:
    """Redact and keep bodies, of tenants that are still there; those that are kept already stay as they are."""
    tenants = Tenant.objects.in_bulk({body.tenant_id for body in bodies})
    rows = list(_rows(bodies, tenants))
    if not rows:
        return 0
    try:
        with transaction.atomic():
            RequestBody.objects.bulk_create(rows, ignore_conflicts=True)
    except IntegrityError:  # a tenant was deleted meanwhile
        there = set(Tenant.objects.filter(pk__in=tenants).values_list("pk", flat=True))
        RequestBody.objects.bulk_create((row for row in rows if row.tenant_id in there), ignore_conflicts=True)
    return len(rows)


def read(body: RequestBody) -> Content:
    """Open what is kept of a request; raises BodyUnreadable. Whoever calls notes by whom it was opened."""
    try:
        return open_content(bytes(body.content))
    except UNREADABLE as error:
        raise BodyUnreadable(str(error) or type(error).__name__) from None


def expire() -> int:
    """Delete the bodies whose days are over, by what their tenant says now, and return how many they were."""
    deleted = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM tenants_requestbody WHERE request_id IN (SELECT body.request_id"
                " FROM tenants_requestbody body JOIN tenants_tenant tenant ON tenant.id = body.tenant_id"
                " WHERE body.started_at <= statement_timestamp() - make_interval(days => tenant.audit_retention_days)"
                " LIMIT %s)",
                [EXPIRE_BATCH],
            )
            deleted += cursor.rowcount
            if cursor.rowcount < EXPIRE_BATCH:
                return deleted


class BodyUnreadable(Exception):
    """A body was encrypted with a key that is gone, or is damaged."""


def _rows(bodies: Iterable[KeptBody], tenants: Mapping[int, Tenant]) -> Iterator[RequestBody]:
    for body in bodies:
        if body.tenant_id in tenants:
            try:
                yield _row(body, tenants[body.tenant_id])
            except Exception:  # whatever clients send, one body must not hold up the others
                log.exception("body_not_redacted", request_id=body.request_id)


def _row(body: KeptBody, tenant: Tenant) -> RequestBody:
    choice = Choice(personal=tenant.audit_redacts_personal, media=tenant.audit_redacts_media)
    redactor = Redactor(choice)
    content = redacted(body, redactor)
    return RequestBody(
        request_id=UUID(body.request_id),
        tenant=tenant,
        started_at=datetime.fromtimestamp(body.started_at, UTC),
        content=seal(content),
        request_size=body.request_size,
        answer_size=body.answer_size,
        is_request_cut=body.request_size > len(body.request),
        is_answer_cut=body.answer_size > len(body.answer),
        redactions=dict(redactor.counts),
    )


def redacted(body: KeptBody, redactor: Redactor) -> Content:
    """Return a body as it is stored: text without what was taken out; a stream as what its frames add up to."""
    answer = _text(body.answer)
    is_frames = is_stream(answer)
    if is_frames:
        answer = assemble(answer)[:MOST_BYTES]
    return Content(
        headers=tuple((name, redactor.text(value)) for name, value in body.headers),
        request=_storable(redactor.body(_text(body.request))),
        answer=_storable(redactor.text(answer) if is_frames else redactor.body(answer)),
        is_stream=is_frames,
    )


def _storable(text: str) -> str:
    """Without half characters, which JSON may hold and UTF-8 may not."""
    return text.encode(errors="replace").decode()


def _text(data: bytes) -> str:
    return data.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _readable(entries: Iterable[dict[bytes, bytes]]) -> Iterator[KeptBody]:
    for fields in entries:
        try:
            body = open_body(fields[b"body"])
            UUID(body.request_id)
        except UNREADABLE as error:
            log.warning("body_unreadable", reason=str(error) or type(error).__name__)
        else:
            yield body


@contextmanager
def _lock() -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
