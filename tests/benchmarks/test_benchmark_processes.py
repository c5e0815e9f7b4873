import os
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from benchmarks.processes import (
    BenchmarkError,
    PeakMemory,
    cpu_seconds,
    free_port,
    process_tree,
    pss_bytes,
    run,
    running,
    serving,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

WAIT = "import time; time.sleep(60)"
BURN = "sum(range(30_000_000))"


def test_the_tree_holds_children_and_their_children(tmp_path):
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAIT!r}])"
    with running([sys.executable, "-c", parent], log=tmp_path / "log") as process:
        deadline = time.monotonic() + 10
        while len(process_tree(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        tree = process_tree(process.pid)
        assert tree[0] == process.pid
        assert len(tree) == 2
        os.kill(tree[1], 9)


def test_time_of_ended_children_counts():
    before = cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert cpu_seconds(os.getpid()) - before >= 0.1


def test_memory_is_that_of_the_process():
    before = pss_bytes(os.getpid())
    ballast = bytearray(os.urandom(1)) * 30_000_000
    assert pss_bytes(os.getpid()) - before >= 0.9 * len(ballast)


def test_the_peak_is_kept_when_it_is_over():
    with PeakMemory(os.getpid(), every_seconds=0.01) as peak:
        ballast = bytearray(os.urandom(1)) * 30_000_000
        time.sleep(0.1)
        del ballast
    assert peak.bytes > 30_000_000


def test_a_command_that_fails_is_an_error_with_its_words():
    with pytest.raises(BenchmarkError, match="no such table"):
        run([sys.executable, "-c", "import sys; sys.exit('no such table')"])


def test_a_server_is_up_when_its_port_accepts_and_gone_afterwards(tmp_path):
    log = tmp_path / "log"
    for _ in range(3):  # a free port may be another's by the time that the server takes it
        port = free_port()
        command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
        with suppress(BenchmarkError), serving(command, port=port, log=log, ready_path="/") as service:
            assert service.url == f"http://127.0.0.1:{port}"
            assert service.started_in_seconds > 0
            break
    else:
        pytest.fail(log.read_text())
    assert not os.path.exists(f"/proc/{service.pid}")


def test_a_server_that_ends_at_once_is_an_error_with_its_log(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no configuration')"]
    with (
        pytest.raises(BenchmarkError, match="no configuration"),
        serving(command, port=free_port(), log=tmp_path / "log"),
    ):
        pass
