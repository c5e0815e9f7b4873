"""Run child processes, restart the ones that die, stop them all in order. Knows nothing about Tollgate.

One thread and one loop: `turn` waits for a signal or the next restart, then looks after whoever died. What
to do about it is decided by values without a process in sight (`Backoff`, `describe_exit`, `stop_order`).

    with Supervisor() as supervisor:            # leaving it stops all children: the last started first
        supervisor.start(Service(name="store", ...))
        supervisor.wait_for(is_ready, timeout=10, what="the store")
        supervisor.run()                        # until SIGINT or SIGTERM: StopRequested

Children are in process groups of their own, so that a terminal's Ctrl-C reaches the supervisor only, and
die with it (`launch.py`).
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Self

LAUNCHER = Path(__file__).with_name("launch.py")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
TURN_SECONDS = 0.05  # how often we look at something that no signal tells us about
KILL_SECONDS = 5.0  # from a service's kill signal to SIGKILL

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
HEALTHY_SECONDS = 30.0  # who lived that long starts again at the first delay
DEATHS_WHILE_STARTING = 3


class StopRequested(Exception):
    """SIGINT or SIGTERM arrived."""


class StartFailed(Exception):
    """Something cannot be started at all; the message says what."""


# --- Values and decisions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who a child becomes when we are root, and the files it must be able to read as that."""

    uid: int
    gid: int
    needs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What to run, and how to stop it."""

    name: str
    command: Sequence[str]
    group: str = ""  # neighbours of one group stop together; empty = alone
    env: Mapping[str, str] | None = None  # None = ours
    account: Account | None = None  # None = ours
    log: Path | None = None  # None = our stdout and stderr
    pass_fds: tuple[int, ...] = ()
    reports_ready: bool = False  # writes to the file descriptor READY_FD of its environment
    once: bool = False  # a step that ends by itself and is not restarted
    tried_again: bool = False  # a step that is restarted until it ends with success
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    kill_signal: signal.Signals = signal.SIGKILL  # when it does not stop in time, or must not take any
    on_exit: Callable[[int], None] | None = None  # told the pid


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before starting something that keeps dying."""

    deaths: int = 0  # in a row

    def after_death(self, *, alive_seconds: float) -> "Backoff":
        return Backoff(deaths=1 if alive_seconds >= HEALTHY_SECONDS else self.deaths + 1)

    @property
    def delay_seconds(self) -> float:
        doublings = min(max(self.deaths - 1, 0), 16)
        return min(FIRST_DELAY_SECONDS * (1 << doublings), LONGEST_DELAY_SECONDS)


def describe_exit(status: int) -> str:
    """Say how a process ended, from `Popen.returncode`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def stop_order[T](started: Sequence[T], group: Callable[[T], str]) -> list[list[T]]:
    """Return who stops together, in turn: the last started first, neighbours of one group at once."""
    keyed = [(group(item) or f"#{index}", item) for index, item in enumerate(started)]
    return [[item for _, item in members] for _, members in groupby(reversed(keyed), key=lambda pair: pair[0])]


# --- Processes ----------------------------------------------------------------------------------------------


def spawn(service: Service, *, ready_fd: int | None = None) -> subprocess.Popen[bytes]:
    """Start it in a process group of its own; it gets its stop signal when this thread's process dies."""
    env = dict(os.environ if service.env is None else service.env)
    fds = service.pass_fds
    if ready_fd is not None:
        env["READY_FD"] = str(ready_fd)
        fds = (*fds, ready_fd)
    output = None if service.log is None else open_log(service.log)
    try:
        return subprocess.Popen(
            launch_command(service), env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            pass_fds=fds, process_group=0,
        )  # fmt: skip
    finally:
        if output is not None:
            os.close(output)


def launch_command(service: Service) -> list[str]:
    """Return the command with `launch.py` in front."""
    account = service.account
    identity = "-" if account is None else f"{account.uid}:{account.gid}"
    needed = [] if account is None else [str(path) for path in account.needs]
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(service.stop_signal))]
    return [*launcher, identity, *needed, "--", *service.command]


def open_log(path: Path, *, keep_bytes: int = 10_000_000) -> int:
    """Open for appending; a log that has grown too long is moved aside first."""
    if path.exists() and path.stat().st_size > keep_bytes:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def log_tail(path: Path, *, lines: int = 5) -> str:
    """Return the last lines, for an error message."""
    with suppress(OSError):
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    return ""


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal what is left of a child's process group, if anything is."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def stop_process(process: subprocess.Popen[bytes], service: Service) -> None:
    """Stop one process outside of a supervisor: asked, told, killed."""
    for number, seconds in ((service.stop_signal, service.stop_seconds), (service.kill_signal, KILL_SECONDS)):
        if process.poll() is None:
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


@dataclass(slots=True, kw_only=True, eq=False)
class Child:
    """One service and the process it has at the moment."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0  # monotonic, as all times here
    restart_at: float | None = None  # set while it is dead and waits for its next start
    backoff: Backoff = field(default_factory=Backoff)
    retired: bool = False  # it is not to be restarted any more
    pid: int | None = None  # of the process it has, or had last
    last_status: int | None = None
    _ready: socket.socket | None = None

    def start(self) -> None:
        ready_fd = self._open_ready_pipe() if self.service.reports_ready else None
        try:
            self.process = spawn(self.service, ready_fd=ready_fd)
        finally:
            if ready_fd is not None:
                os.close(ready_fd)
        self.pid = self.process.pid
        self.started_at = time.monotonic()
        self.restart_at = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it runs, and has said so if it is one that says."""
        if not self.alive or self._ready is None:
            return self.alive
        try:
            return bool(self._ready.recv(1, socket.MSG_PEEK))  # nothing and closed: it will never be
        except BlockingIOError:
            return False

    def send(self, number: signal.Signals) -> None:
        if self.alive and self.process is not None:
            self.process.send_signal(number)

    def buried(self) -> int | None:
        """Take note of a death, once: return the exit status of a process that has just ended."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        signal_group(self.process.pid, signal.SIGKILL)  # children that it leaves behind
        if self._ready is not None:
            self._ready.close()
            self._ready = None
        if self.service.on_exit is not None:
            self.service.on_exit(self.process.pid)
        self.process, self.last_status = None, status
        return status

    def _open_ready_pipe(self) -> int:
        self._ready, theirs = socket.socketpair()
        self._ready.setblocking(False)
        return theirs.detach()


class Supervisor:
    """Keeps its children running until it is told to stop."""

    def __init__(self) -> None:
        self.children: list[Child] = []  # in the order of their start
        self.starting = True  # while this holds, a child that dies over and over ends the whole
        self._stops = 0
        self._reload = False
        self._wake = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        self._catch_signals()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._release_signals()

    def start(self, service: Service) -> Child:
        child = Child(service=service)
        child.start()
        self.children.append(child)
        return child

    def run_step(self, service: Service, *, what: str) -> None:
        """Run something that ends by itself, and wait for it; StartFailed when it fails."""
        step = self.start(service)
        while step in self.children:
            self.turn(TURN_SECONDS)
        if step.last_status != 0:
            raise StartFailed(f"{what} failed ({describe_exit(step.last_status or 0)}).")

    def wait_for(self, is_true: Callable[[], bool], *, timeout: float, what: str) -> None:
        """Look after the children until it is true; StartFailed after the timeout."""
        deadline = time.monotonic() + timeout
        while not is_true():
            if time.monotonic() > deadline:
                raise StartFailed(f"{what} did not become ready within {timeout:g} seconds.")
            self.turn(TURN_SECONDS)

    def run(self) -> None:
        """Look after the children until StopRequested; SIGHUP replaces those that report readiness."""
        self.starting = False
        while True:
            if self._reload:  # it may have been asked for while all was starting
                self._reload = False
                self.replace([child for child in self.children if child.service.reports_ready])
            else:
                self.turn(None)

    def replace(self, children: Iterable[Child], *, timeout: float = 60.0) -> None:
        """Replace them one by one: the old one stops when the new one is ready, else the new one."""
        for old in children:
            new = self.start(old.service)
            new.retired = True  # until it has shown that it works
            deadline = time.monotonic() + timeout
            while new.alive and not new.ready and time.monotonic() < deadline:
                self.turn(TURN_SECONDS)
            failed, kept = (old, new) if new.ready else (new, old)
            failed.retired, kept.retired = True, False
            failed.send(failed.service.stop_signal)
            if kept is old:
                log(
                    "error",
                    "The new process did not become ready; the old one goes on",
                    service=old.service.name,
                )
                return
            log("info", "Replaced", service=old.service.name, pid=old.pid, new_pid=new.pid)

    def turn(self, timeout: float | None) -> None:
        """Wait for a signal, the next restart or the timeout, then bury the dead and start who is due."""
        self._wait(timeout)
        if self._stops:
            raise StopRequested
        for child in list(self.children):
            self._look_after(child)

    def stop(self) -> None:
        """Stop all in order; another SIGINT or SIGTERM meanwhile kills what is left."""
        if not self.children:
            return
        already, began = self._stops, time.monotonic()
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal has just shown ^C
        log("info", "Stopping: what is under way may end first; Ctrl-C again stops at once")
        for members in stop_order(self.children, lambda child: child.service.group):
            for child in members:
                child.send(child.service.stop_signal)
            patience = max(child.service.stop_seconds for child in members)
            self._wait_until_gone(members, patience, unless=lambda: self._stops > already)
        self.children.clear()
        log("info", "Stopped", seconds=round(time.monotonic() - began, 1))

    def _wait_until_gone(self, members: list[Child], seconds: float, *, unless: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while any(child.alive for child in members) and time.monotonic() < deadline and not unless():
            self._wait(TURN_SECONDS)
        for child in members:
            self._kill(child, in_time=unless())
            child.buried()

    def _kill(self, child: Child, *, in_time: bool) -> None:
        if not child.alive or child.process is None:
            return
        if not in_time:
            log("warning", "Did not stop in time and is killed", service=child.service.name, pid=child.pid)
        child.send(child.service.kill_signal)
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(KILL_SECONDS)
        signal_group(child.process.pid, signal.SIGKILL)
        child.process.wait()

    def _look_after(self, child: Child) -> None:
        status = child.buried()
        is_over = child.service.once and (child.last_status == 0 or not child.service.tried_again)
        if child.process is None and (is_over or child.retired):
            self.children.remove(child)
            return
        if status is not None:
            self._plan_restart(child, status)
        if child.restart_at is not None and time.monotonic() >= child.restart_at:
            child.start()

    def _plan_restart(self, child: Child, status: int) -> None:
        now = time.monotonic()
        child.backoff = child.backoff.after_death(alive_seconds=now - child.started_at)
        child.restart_at = now + child.backoff.delay_seconds
        if self.starting and child.backoff.deaths >= DEATHS_WHILE_STARTING and not child.service.tried_again:
            raise StartFailed(_cannot_start(child.service, status))
        log(
            "warning",
            "Died and is started again",
            service=child.service.name,
            pid=child.pid,
            how=describe_exit(status),
            next_start_seconds=child.backoff.delay_seconds,
        )

    # Signals wake the selector through a socket pair; what they mean is looked at in `turn` and `stop`.

    def _catch_signals(self) -> None:
        self._awake, wakes = socket.socketpair()
        for end in (self._awake, wakes):
            end.setblocking(False)
        self._wakes = wakes
        self._wake.register(self._awake, selectors.EVENT_READ)
        self._old_wakeup_fd = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        handled = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGCHLD)
        self._old_handlers = {number: signal.signal(number, self._on_signal) for number in handled}

    def _release_signals(self) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup_fd)
        self._wake.close()
        self._awake.close()
        self._wakes.close()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number in STOP_SIGNALS:
            self._stops += 1
        elif number == signal.SIGHUP:
            self._reload = True

    def _wait(self, timeout: float | None) -> None:
        due = [child.restart_at for child in self.children if child.restart_at is not None]
        if due:
            until_due = max(min(due) - time.monotonic(), 0)
            timeout = until_due if timeout is None else min(timeout, until_due)
        if self._wake.select(timeout):
            with suppress(BlockingIOError):
                self._awake.recv(4096)


def _cannot_start(service: Service, status: int) -> str:
    sentence = f"{service.name} cannot be started ({describe_exit(status)})."
    tail = "" if service.log is None else log_tail(service.log)
    return f"{sentence} Its log {service.log} ends with:\n{tail}" if tail else sentence


# --- Log lines ----------------------------------------------------------------------------------------------


def log(level: str, event: str, **fields: object) -> None:
    """Write one line to stderr as LOG_FORMAT says, without the 30 MB that structlog would cost us."""
    timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = render_log(os.environ.get("LOG_FORMAT", "text"), timestamp, level, event, fields)
    print(line, file=sys.stderr, flush=True)


def render_log(log_format: str, timestamp: str, level: str, event: str, fields: Mapping[str, object]) -> str:
    if log_format == "json":
        return json.dumps({"timestamp": timestamp, "level": level, "event": event, **fields})
    pairs = " ".join(f"{key}={_logfmt_value(value)}" for key, value in fields.items())
    if log_format == "logfmt":
        return f"timestamp={timestamp} level={level} event={_logfmt_value(event)} {pairs}".rstrip()
    return f"{timestamp} [{level:<9}] {event:<28} {pairs}".rstrip()


def _logfmt_value(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(character in text for character in ' "=\n') else text
