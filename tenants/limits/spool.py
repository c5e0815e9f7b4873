"""Usage events on disk while Valkey is away: a file of each worker's own, replayed when Valkey is back.

A line is the request id, what it holds, what it used and the event; replaying settles as if nothing had happened, and
settling twice does nothing. Files of workers that are gone are adopted by whoever starts next, and so are their journals
(`journal.py`).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import time

import msgspec

from tenants.limits.charges import Hold

JOURNAL = ".journal"  # how files end that keep what is about to be sent
END = b"end\n"  # what stands behind it is of no use any more


class SpooledSettle(msgspec.Struct, frozen=True, gc=False):
    """A settle that waits."""

    request_id: str
    holds: tuple[Hold, ...]
    event: str  # empty: only to give back what is held
    cost: int = 0  # nanos
    currency: str = ""
    tokens: int = 0
    reserved_at: int = 0  # ms, by Valkey's clock; 0: it was not
    replaces_lost: bool = False  # the reservation was swept, and the ledger told so
    doubtful_since: float = 0.0  # seconds since 1970: sent by then, so that it may have been settled; 0: it was not

    def doubted(self) -> "SpooledSettle":
        """Return it as one of which nobody knows whether Valkey has done it."""
        return msgspec.structs.replace(self, doubtful_since=time())


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SpooledSettle).decode


def line_of(settle: SpooledSettle) -> bytes:
    """Return a settle as a line of a file."""
    return _encode(settle) + b"\n"


class Spool:
    """Appends settles, and hands them out again."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.jsonl"
        self._folder = folder
        self._name = name

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._path.exists()

    def append(self, settle: SpooledSettle) -> None:
        """Keep a settle; it is on its way to the disk when this returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # It begins a line of its own even where the crash of a worker of this name cut one short.
        line = b"\n" + line_of(settle)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while line:
                line = line[os.write(descriptor, line) :]
        finally:
            os.close(descriptor)

    def take(self) -> Path | None:
        """Set aside what waits now, so that new settles start a new file."""
        taken = self._path.with_suffix(".replaying")
        if not taken.exists():
            if self.is_empty:
                return None
            self._path.rename(taken)
        return taken

    def adopt(self, is_alive: Callable[[str], bool]) -> None:
        """Take over the files of workers that are gone, and what one of them was taking over itself."""
        for path in sorted(self._folder.glob("*")):
            owner = path.stem.rpartition("@")[2]
            if path.suffix in {".adopted", JOURNAL}:  # of this name: of a worker that had it before
                is_orphan = owner == self._name or not is_alive(owner)
            else:
                is_orphan = path.suffix in {".jsonl", ".replaying"} and owner != self._name and not is_alive(owner)
            if is_orphan:
                self._take_over(path)

    def _take_over(self, path: Path) -> None:
        # Renamed first, so that two who try at once never both get it. One who dies here leaves it to the next, who
        # may append some a second time: settling twice does nothing.
        source = path.stem.partition("@")[0] if path.suffix == ".adopted" else path.name
        adopted = path.with_name(f"{source}@{self._name}.adopted")
        with suppress(FileNotFoundError):
            path.rename(adopted)
            is_journal = source.endswith(JOURNAL)
            for settle in read(adopted):
                self.append(settle.doubted() if is_journal else settle)
            adopted.unlink()


def read(path: Path) -> Iterator[SpooledSettle]:
    """Yield a file's settles; a last line that a crash cut short is left out."""
    with path.open("rb") as file:
        for line in file:
            if line == END:
                return
            if line.endswith(b"\n"):
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    yield _decode(line)
