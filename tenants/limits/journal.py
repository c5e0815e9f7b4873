"""What a worker has settled and not told Valkey yet, where the death of the worker does not reach: a file of its own.

Between an answer and its settle lie some milliseconds. What stands here is with the kernel: if the worker is killed then,
whoever starts next replays it like a spool (`spool.py`). The file is written from its beginning again and again, and never
synced: like what was sent to Valkey, it outlives the process, not the machine.
"""

import os
from pathlib import Path

import structlog

from tenants.limits.spool import END, JOURNAL, SpooledSettle, line_of

log = structlog.get_logger("tollgate.journal")

MOST_BYTES = 1024 * 1024


class Journal:
    """Keeps settles until they have been sent."""

    __slots__ = ("_descriptor", "_folder", "_is_broken", "_path", "_size")

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / f"{name}{JOURNAL}"
        self._descriptor = -1
        self._size = 0  # bytes that count
        self._is_broken = False  # and the log told so

    def append(self, settle: SpooledSettle) -> bool:
        """Keep a settle; False when that is impossible, because it is full or cannot be written."""
        line = line_of(settle)
        is_kept = self._size + len(line) <= MOST_BYTES and self._write(line + END, self._size)
        if is_kept:
            self._size += len(line)
        return is_kept

    def begin_anew(self) -> None:
        """Let the next settle take the place of all that was sent."""
        self._size = 0

    def clear(self) -> None:
        """Forget what was sent: nobody need replay it."""
        if self._size:
            self._size = 0
            self._write(END, 0)

    def close(self) -> None:
        """Leave no file behind."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._size = -1, 0
            self._path.unlink(missing_ok=True)

    def _write(self, data: bytes, at: int) -> bool:
        try:
            if self._descriptor < 0:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            is_whole = os.pwrite(self._descriptor, data, at) == len(data)
            reason = "" if is_whole else "The disk took only a part."
        except OSError as error:
            is_whole, reason = False, str(error)
        if not is_whole and not self._is_broken:  # once, until it works again
            log.warning("journal_failed", path=str(self._path), reason=reason)
        self._is_broken = not is_whole
        return is_whole
