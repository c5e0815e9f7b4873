"""Starts processes, stops them, and asks the kernel what they cost."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 40.0
POLL_SECONDS = 0.01


class BenchmarkError(Exception):
    """Something that is measured, or that measures, did not work; no number is better than a wrong one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A server that is up; `pid` heads the tree of its processes."""

    url: str
    pid: int
    started_in_seconds: float  # from the spawn to the first answer


@contextmanager
def serving(
    command: Sequence[str],
    *,
    port: int,
    log: Path,
    env: Mapping[str, str] | None = None,
    ready_path: str | None = None,
) -> Iterator[Service]:
    """Run a server: up when `ready_path` answers 200, or, without one, when the port accepts."""
    started = time.monotonic()
    with running(command, log=log, env=env) as process:
        while not (_answers_200(port, ready_path) if ready_path else _accepts(port)):
            if process.poll() is not None:
                raise BenchmarkError(f"{command} ended with {process.returncode}:\n{tail(log)}")
            if time.monotonic() > started + START_TIMEOUT_SECONDS:
                raise BenchmarkError(f"{command} is not up after {START_TIMEOUT_SECONDS:g} s:\n{tail(log)}")
            time.sleep(POLL_SECONDS)
        yield Service(url=f"http://{HOST}:{port}", pid=process.pid, started_in_seconds=time.monotonic() - started)


@contextmanager
def running(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output in a file; it is told to stop at the end, and made to if it does not."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed; raises BenchmarkError when it fails."""
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def run_load(mode: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Run the load generator and return its results."""
    results: list[dict[str, Any]] = json.loads(run([sys.executable, "-m", "benchmarks.load", mode, *arguments]))
    return results


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def tail(log: Path, size: int = 3000) -> str:
    """Return the end of a log."""
    return log.read_text(errors="replace")[-size:]


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _answers_200(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=START_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process and all its descendants, the ended ones included."""
    ticks = 0
    for each in process_tree(pid):
        ticks += sum(int(value) for value in _stat(each)[11:15])  # utime stime cutime cstime
    return ticks / TICKS_PER_SECOND


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of a process and its descendants: shared pages by their share."""
    return sum(_pss_bytes(each) for each in process_tree(pid))


def process_tree(pid: int) -> list[int]:
    """Return a process and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    tree = [pid]
    for each in tree:
        tree.extend(children.get(each, []))
    return tree


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on; none when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _pss_bytes(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it ended since the tree was listed
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError(f"the kernel does not tell the memory of process {pid}")


class PeakMemory:
    """Watches the memory of a process tree from a thread while its context is open."""

    def __init__(self, pid: int, *, every_seconds: float = 0.2) -> None:
        self.bytes = pss_bytes(pid)
        self._pid = pid
        self._every_seconds = every_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._every_seconds):
            self.bytes = max(self.bytes, pss_bytes(self._pid))
