"""Stored responses for the event loop: saved, loaded and deleted in the ORM's threads, each within its tenant.

A body is a conversation, so it is kept encrypted, and compressed before that: every turn stores all turns before it.
When Postgres cannot be asked, all three raise Unavailable (503, `store_unavailable`).
"""

import asyncio
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from django.apps import apps
from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import timezone

from gateway_site.infra.secrets import SecretUnreadable, decrypt_bytes, encrypt_bytes
from gateway_site.infra.threads import run_query
from tenants.errors import Unavailable

if TYPE_CHECKING:
    from routing.models import StoredResponse

log = structlog.get_logger("tollgate.responses")

PATIENCE_SECONDS = 5.0  # with a Postgres that does not answer
COMPRESSION = 1  # zlib's fastest
ID = re.compile(r"[!-~]{1,255}")
PURGE_BATCH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredValue:
    """A stored response: its conversation, or who keeps it."""

    body: bytes | None  # JSON; None = the upstream keeps it
    deployment: str  # slug of whoever answered; it may be gone
    dialect: str  # in which the upstream was asked

    @property
    def is_native(self) -> bool:
        """Whether the upstream keeps it, under the same id."""
        return self.body is None


async def save(
    tenant_id: int,
    api_key_id: int,
    response_id: str,
    *,
    deployment: str,
    dialect: str,
    body: bytes | None,
    retention_days: int,
) -> None:
    """Store a response, in place of one of the tenant's with the same id; `body` None: the upstream keeps it."""
    if not ID.fullmatch(response_id):
        log.warning("response_not_stored", tenant_id=tenant_id, reason="its id is not one")
        return
    expires_at = timezone.now() + timedelta(days=retention_days)

    def write() -> None:
        row = _model()(
            response_id=response_id,
            tenant_id=tenant_id,
            api_key_id=api_key_id,
            deployment=deployment,
            dialect=dialect,
            is_native=body is None,
            body=b"" if body is None else _seal(body),
            expires_at=expires_at,
        )
        _upsert(row)

    await _ask(write)


async def load(tenant_id: int, response_id: str) -> StoredValue | None:
    """Return a tenant's response; None when there is none, or no longer."""
    return await _ask(lambda: _read(tenant_id, response_id)) if ID.fullmatch(response_id) else None


async def delete(tenant_id: int, response_id: str) -> bool:
    """Delete a tenant's response; False when there was none, or no longer."""
    return await _ask(lambda: _delete(tenant_id, response_id)) if ID.fullmatch(response_id) else False


def purge(*, batch: int = PURGE_BATCH) -> int:
    """Delete what has expired, a batch at a time so that no transaction is long; returns how many."""
    deleted = 0
    rows = _model().objects
    while ids := list(rows.expired().order_by("expires_at").values_list("pk", flat=True)[:batch]):
        # Asked again: one of them may have been stored anew meanwhile.
        count, _ = rows.expired().filter(pk__in=ids).delete()
        deleted += count
    return deleted


async def _ask[R](function: Callable[[], R]) -> R:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await run_query(function)
    except (OperationalError, InterfaceError, TimeoutError) as error:
        log.error("stored_responses_unavailable", reason=str(error).strip() or type(error).__name__)
        raise Unavailable(
            "Stored responses cannot be reached right now. Try again in a moment.",
            code="store_unavailable",
            headers={"retry-after": "2"},
            retry_after_seconds=2,
        ) from None


def _model() -> "type[StoredResponse]":
    """The model, found when it is needed, in a thread: the pipeline, which imports this module, imports no models."""
    return apps.get_model("routing", "StoredResponse")


def _upsert(row: "StoredResponse") -> None:
    written = [field.name for field in row._meta.concrete_fields if not field.primary_key]
    try:
        _model().objects.bulk_create(
            [row],
            update_conflicts=True,
            unique_fields=["response_id", "tenant"],
            update_fields=[name for name in written if name not in ("response_id", "tenant")],
        )
    except IntegrityError as error:
        # Its tenant was deleted while the request ran.
        log.warning("response_not_stored", tenant_id=row.tenant_id, reason=str(error).strip())


def _read(tenant_id: int, response_id: str) -> StoredValue | None:
    row = _model().objects.for_tenant(tenant_id).current().filter(response_id=response_id).first()
    if row is None:
        return None
    try:
        body = None if row.is_native else _unseal(bytes(row.body))
    except SecretUnreadable as error:
        log.error("stored_response_unreadable", tenant_id=tenant_id, reason=str(error))
        return None
    return StoredValue(body=body, deployment=row.deployment, dialect=row.dialect)


def _delete(tenant_id: int, response_id: str) -> bool:
    count, _ = _model().objects.for_tenant(tenant_id).current().filter(response_id=response_id).delete()
    return count > 0


def _seal(body: bytes) -> bytes:
    return encrypt_bytes(zlib.compress(body, COMPRESSION))


def _unseal(sealed: bytes) -> bytes:
    return zlib.decompress(decrypt_bytes(sealed))
