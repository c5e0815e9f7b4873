"""A whole Tollgate for tests: `manage.py up` with two web workers, Celery, its own stores and a simulator."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
from celery import Celery

from gateway_site.node.supervisor import LAUNCHER
from gateway_site.settings import broker_url

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300
OWN_VARIABLES = ("DATABASE_URL", "VALKEY_URL", "SECRET_KEY", "TOLLGATE_SECRETS_KEY", "TOLLGATE_KEY_PEPPER")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """A request as the simulator got it."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    outcome: str  # open, finished, disconnected, cut

    def header(self, name: str) -> str | None:
        """Return a header's value, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class Stack:
    """What tests do with it."""

    def __init__(self, state_dir: Path, port: int, simulator_port: int, process: subprocess.Popen[bytes]) -> None:
        self.state_dir = state_dir
        self.url = f"http://127.0.0.1:{port}"
        self.simulator_url = f"http://127.0.0.1:{simulator_port}"
        self.process = process
        self.operator_password = ""
        self._celery: Celery | None = None

    def manage(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a management command against this stack."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**environment(self.state_dir), **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def post(self, path: str, key: str, body: dict[str, Any] | bytes, **headers: str) -> httpx.Response:
        """Send one request with a connection of its own."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(
            self.url + path,
            content=content,
            headers={"authorization": f"Bearer {key}", "content-type": "application/json", **names},
            timeout=30,
            verify=False,  # there is no TLS here, and making ready for it takes 18 ms
        )

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the stack's own database."""
        stored = json.loads((self.state_dir / "environment.json").read_text())
        with psycopg.connect(stored["DATABASE_URL"]) as connection:
            return connection.execute(sql, parameters).fetchall()

    def execute(self, sql: str, *parameters: Any) -> None:
        """Change the stack's own database."""
        stored = json.loads((self.state_dir / "environment.json").read_text())
        with psycopg.connect(stored["DATABASE_URL"]) as connection:
            connection.execute(sql, parameters)

    def record(self, request_id: str) -> dict[str, Any]:
        """Return a request's ledger row, as soon as it is there."""
        found = self._record(request_id)
        if found is None:
            self._drain_soon()
            found = wait_for(lambda: self._record(request_id), f"usage record of {request_id}")
        return found

    def _drain_soon(self) -> None:
        """Ask Celery for what beat asks for every second: hundreds of tests would wait for it."""
        if self._celery is None:
            stored = json.loads((self.state_dir / "environment.json").read_text())
            self._celery = Celery(broker=broker_url(stored["VALKEY_URL"]), set_as_current=False)
        self._celery.send_task("tenants.drain_usage", queue="tollgate", ignore_result=True, retry=False)

    def _record(self, request_id: str) -> dict[str, Any] | None:
        found = self.query("SELECT to_jsonb(r) FROM tenants_usagerecord r WHERE request_id = %s", request_id)
        return found[0][0] if found else None

    def workers(self) -> list[psutil.Process]:
        """Return the web workers that run now."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "serve" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def upstream_requests(self, limit: int = 20) -> list[UpstreamRequest]:
        """Return what the simulator got last, oldest first."""
        rows = httpx.get(f"{self.simulator_url}/_simulator/requests", params={"limit": limit}, verify=False).json()
        return [_upstream_request(row) for row in rows]

    def upstream_request(self, mark: str) -> UpstreamRequest:
        """Return the upstream request whose body holds a mark."""
        return next(row for row in reversed(self.upstream_requests(100)) if mark.encode() in row.body)

    def counters(self) -> dict[str, Any]:
        """Return the simulator's counters."""
        return dict(httpx.get(f"{self.simulator_url}/_simulator/counters", verify=False).json())

    def log(self) -> str:
        """Return all that the stack has printed."""
        return (self.state_dir / "up.log").read_text(errors="replace")

    def access_lines(self, request_id: str) -> list[dict[str, Any]]:
        """Return the access lines of a request."""
        lines = (line for line in self.log().splitlines() if request_id in line and line.startswith("{"))
        return [entry for entry in map(json.loads, lines) if entry.get("event") == "request"]


def wait_for[T](look: Callable[[], T | None], what: str, *, seconds: float = 30.0) -> T:
    """Return the first thing that is found, looking again and again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not seen within {seconds} s: {what}")


def environment(state_dir: Path) -> dict[str, str]:
    """Return the environment of a fresh machine, but for the state directory."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    return {**kept, "TOLLGATE_STATE_DIR": str(state_dir), "LOG_FORMAT": "json", "LOG_LEVEL": "INFO"}


@contextmanager
def running_stack(state_dir: Path, *, workers: int = 2) -> Iterator[Stack]:
    """Start everything, wait until it serves, and stop it as Ctrl-C would."""
    state_dir.mkdir(parents=True, exist_ok=True)
    port, simulator_port = free_port(), free_port()
    variables = {
        **environment(state_dir),
        "PORT": str(port),
        "WORKERS": str(workers),
        "TOLLGATE_SIMULATOR_PORT": str(simulator_port),
    }
    with (state_dir / "up.log").open("wb") as log:
        process = subprocess.Popen(
            dying_with_us(sys.executable, "manage.py", "up"),
            cwd=ROOT,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    stack = Stack(state_dir, port, simulator_port, process)
    try:
        stack.operator_password = wait_for(lambda: _password(stack), "the banner", seconds=START_SECONDS)
        yield stack
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def dying_with_us(*command: str) -> list[str]:
    """Return how to run a command that gets SIGTERM when the tests end, even by SIGKILL (on Linux; elsewhere it stays)."""
    return [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(signal.SIGTERM)), "-", "--", *command]


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _password(stack: Stack) -> str | None:
    if stack.process.poll() is not None:
        raise AssertionError(f"manage.py up ended:\n{stack.log()}")
    lines = [line.split() for line in stack.log().splitlines() if line.startswith("  Sign in")]
    is_printed_whole = "Ctrl-C stops everything" in stack.log()
    return lines[0][lines[0].index("password") + 1] if lines and is_printed_whole else None


def _upstream_request(row: dict[str, Any]) -> UpstreamRequest:
    return UpstreamRequest(
        method=row["method"],
        path=row["path"],
        query=row["query"],
        headers=tuple((name, value) for name, value in row["headers"]),
        body=base64.b64decode(row["body"]),
        outcome=row["outcome"],
    )
