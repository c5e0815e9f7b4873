"""Where a published configuration is kept: Valkey for the workers, Postgres for ever, and a last good copy on disk."""

import os
from pathlib import Path

import structlog

from routing.models import ConfigRevision
from routing.snapshot import decode

__all__ = ["CHANNEL", "NUMBER_KEY", "SNAPSHOT_KEY", "decode", "newest_blob", "read_copy", "write_copy"]

log = structlog.get_logger("tollgate.snapshot")

SNAPSHOT_KEY = "tollgate:config:snapshot"
NUMBER_KEY = "tollgate:config:number"
CHANNEL = "tollgate:config:published"
COPY_NAME = "snapshot.json"


def newest_blob() -> bytes | None:
    """Return the newest published configuration from the database."""
    revision = (
        ConfigRevision.objects.filter(status=ConfigRevision.Status.PUBLISHED).order_by("-number").only("blob").first()
    )
    return bytes(revision.blob) if revision is not None else None


def write_copy(folder: Path, blob: bytes) -> None:
    """Keep a copy for a start without stores; credentials in it are encrypted."""
    temporary = folder / f"{COPY_NAME}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(blob)
        temporary.chmod(0o600)
        temporary.replace(folder / COPY_NAME)
    except OSError as error:
        log.warning("snapshot_copy_not_written", reason=str(error))


def read_copy(folder: Path) -> bytes | None:
    """Return the last good copy; None when there is none that can be read."""
    try:
        return (folder / COPY_NAME).read_bytes()
    except OSError:
        return None
