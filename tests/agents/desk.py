"""Where an agent works: a home and a folder of its own, a user without privileges, and nobody to call but loopback."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOBODY = 65534
RUN_SECONDS = 120
NOWHERE = "http://127.0.0.1:9"  # the discard port: what is not on loopback cannot be reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended and what it printed."""

    exit_code: int
    output: str
    complaints: str  # what it printed as errors


class Desk:
    """A folder with a home, a place for temporary files and one for work; programs started here own nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.work, self.temporary = folder / "home", folder / "work", folder / "tmp"
        for place in (self.home, self.work, self.temporary):
            place.mkdir()

    def run(self, command: list[str], **variables: str) -> Finished:
        """Run a program to its end, which comes with the time-out at the latest, for all that it has started too."""
        self._give_away()
        output, complaints = self.folder / "output", self.folder / "complaints"
        with (
            output.open("wb") as out,
            complaints.open("wb") as err,
            self._start(command, variables, out, err) as process,
        ):
            try:
                exit_code: int | None = process.wait(timeout=RUN_SECONDS)
            except subprocess.TimeoutExpired:
                exit_code = None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        printed, complained = output.read_text(errors="replace"), complaints.read_text(errors="replace")
        assert exit_code is not None, f"not finished in {RUN_SECONDS} s:\n{printed[-4000:]}\n{complained[-4000:]}"
        return Finished(exit_code=exit_code, output=printed, complaints=complained)

    def _start(self, command: list[str], variables: dict[str, str], out: Any, err: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            cwd=self.work,
            env={**self._environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            **_user(),
        )

    def _environment(self) -> dict[str, str]:
        """Return all that a program sees of this machine: no settings, keys or proxies of whoever runs the tests."""
        proxies = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1"}
        path = "/usr/local/bin:/usr/bin:/bin"
        return {"HOME": str(self.home), "TMPDIR": str(self.temporary), "PATH": path, "LANG": "C.UTF-8", **proxies}

    def _give_away(self) -> None:
        if not _user():
            return
        for place in (self.folder, *self.folder.rglob("*")):
            os.chown(place, NOBODY, NOBODY, follow_symlinks=False)


@contextmanager
def desk() -> Iterator[Desk]:
    """Set up a desk, and clear it away."""
    folder = Path(tempfile.mkdtemp(prefix="tollgate-agent-")).resolve()
    try:
        yield Desk(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> dict[str, Any]:
    """Return whom to run as: Claude Code refuses to work unasked for root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
