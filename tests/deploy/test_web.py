"""`manage.py up --web-only`: web processes, and nothing beside them."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.docs.environment_variables import REPOSITORY

WEB = [sys.executable, str(REPOSITORY / "manage.py"), "up", "--web-only"]
STORES = ("DATABASE_URL", "VALKEY_URL", "REDIS_URL")


def test_it_asks_for_the_stores():
    without = {name: value for name, value in os.environ.items() if name not in STORES}
    refused = subprocess.run(WEB, env=without, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert refused.stderr == "Tollgate: DATABASE_URL and VALKEY_URL must be set.\n"


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def web(port, tmp_path) -> Iterator[subprocess.Popen[bytes]]:
    """Two web processes whose stores are away: they serve all the same."""
    environment = {
        **os.environ,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "VALKEY_URL": "redis://127.0.0.1:1/0",
        "TOLLGATE_STATE_DIR": str(tmp_path),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WORKERS": "2",
    }
    # Both stores are away: it serves the last good copy of the configuration.
    (tmp_path / "snapshot.json").write_text('{"number": 1}')
    process = subprocess.Popen(WEB, env=environment, stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


@pytest.mark.stack
def test_it_runs_web_processes_and_stops_with_success(web, port):
    wait_until_ready(web, port)
    commands = [child.cmdline() for child in psutil.Process(web.pid).children()]
    assert len(commands) == 2
    assert all("serve" in command for command in commands)
    web.send_signal(signal.SIGTERM)
    assert web.wait(timeout=20) == 0


def wait_until_ready(web: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and web.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200 and len(psutil.Process(web.pid).children()) == 2:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    pytest.fail("It did not become ready.")
