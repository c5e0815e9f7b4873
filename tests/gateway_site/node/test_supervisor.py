"""Real processes and real signals; the supervisor runs in a process of its own, driven by a few lines."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway_site.node.supervisor import (
    HEALTHY_SECONDS,
    Backoff,
    Service,
    describe_exit,
    open_log,
    render_log,
    spawn,
    stop_order,
    stop_process,
)

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 15.0
STOPPING = "Stopping: what is under way may end first; Ctrl-C again stops at once"

CHILD = """
import os, signal, sys, time
name, journal, manner = sys.argv[1:]

def note(event):
    with open(journal, "a") as file:
        file.write(f"{name} {event} {os.getpid()}\\n")

def stop(*_):
    note("stopped")
    sys.exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in manner else stop)
note("started")
if "READY_FD" in os.environ and "unready" not in manner:
    os.write(int(os.environ["READY_FD"]), b"1")
if "dies" in manner:
    sys.exit(3)
time.sleep(60)
"""

DRIVER = """
import sys
from contextlib import suppress
from pathlib import Path
from gateway_site.node.supervisor import Service, StartFailed, StopRequested, Supervisor

journal, child, body = sys.argv[1:]

def service(name, manner="obedient", **options):
    return Service(name=name, command=[sys.executable, "-S", "-c", child, name, journal, manner], **options)

try:
    with Supervisor() as supervisor, suppress(StopRequested):
        exec(body)
        supervisor.run()
except StartFailed as error:
    sys.exit(f"failed: {error}")
"""


class Supervised:
    """A supervisor under test, and what its children wrote down."""

    def __init__(self, directory: Path, body: str) -> None:
        self.journal = directory / "journal"
        self.stderr = directory / "stderr"
        self.journal.touch()
        with self.stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(self.journal), CHILD, body],
                stderr=stderr,
                cwd=REPOSITORY,
                env={**os.environ, "LOG_FORMAT": "json"},
            )

    def events(self) -> list[str]:
        """What happened, as `name event`."""
        return [line.rsplit(" ", 1)[0] for line in self.journal.read_text().splitlines()]

    def pids(self, name: str) -> list[int]:
        lines = self.journal.read_text().splitlines()
        return [int(line.split()[2]) for line in lines if line.startswith(f"{name} started ")]

    def wait_for(self, *events: str) -> None:
        until(lambda: all(self.events().count(event) >= events.count(event) for event in events), self)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stderr.read_text().splitlines() if line.startswith("{")]


def until(is_true: Callable[[], bool], told: object = "") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        if time.monotonic() > deadline:
            seen = told.events() if isinstance(told, Supervised) else told
            pytest.fail(f"did not happen in time; seen: {seen}")
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return not re.search(r"State:\s+Z", Path(f"/proc/{pid}/status").read_text())
    return False


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[[str], Supervised]]:
    running: list[Supervised] = []

    def start(body: str) -> Supervised:
        running.append(Supervised(tmp_path, body))
        return running[-1]

    yield start
    for supervised in running:
        if supervised.process.poll() is None:
            supervised.process.kill()
        supervised.process.wait()


# --- Decisions ----------------------------------------------------------------------------------------------


def test_the_delay_doubles_from_a_fifth_of_a_second_to_ten_seconds():
    backoff, delays = Backoff(), []
    for _ in range(9):
        backoff = backoff.after_death(alive_seconds=1)
        delays.append(backoff.delay_seconds)
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10]


def test_the_delay_stays_at_ten_seconds_for_ever():
    assert Backoff(deaths=1_000_000).delay_seconds == 10


def test_who_lived_for_a_while_starts_again_at_the_first_delay():
    tired = Backoff(deaths=7)
    assert tired.after_death(alive_seconds=HEALTHY_SECONDS).delay_seconds == 0.2
    assert tired.after_death(alive_seconds=HEALTHY_SECONDS - 1).delay_seconds == 10


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(0, "exit status 0"), (3, "exit status 3"), (-9, "SIGKILL"), (-250, "signal 250")],
)
def test_an_exit_is_described_by_its_signal_or_status(status, sentence):
    assert describe_exit(status) == sentence


def test_the_last_started_stops_first_and_a_group_stops_at_once():
    started = [("postgres", ""), ("valkey", ""), ("celery", ""), ("web-1", "web"), ("web-2", "web")]
    assert stop_order(started, lambda item: item[1]) == [
        [("web-2", "web"), ("web-1", "web")],
        [("celery", "")],
        [("valkey", "")],
        [("postgres", "")],
    ]


@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        ("text", '2026-01-01T00:00:00Z [warning  ] Died                         service="web worker" pid=7'),
        ("logfmt", 'timestamp=2026-01-01T00:00:00Z level=warning event=Died service="web worker" pid=7'),
        (
            "json",
            '{"timestamp": "2026-01-01T00:00:00Z", "level": "warning", "event": "Died", '
            '"service": "web worker", "pid": 7}',
        ),
    ],
)
def test_a_log_line_has_the_format_of_all_others(log_format, line):
    fields = {"service": "web worker", "pid": 7}
    assert render_log(log_format, "2026-01-01T00:00:00Z", "warning", "Died", fields) == line


# --- Processes ----------------------------------------------------------------------------------------------


def test_it_stops_in_the_opposite_order_of_the_start(supervise):
    supervised = supervise(
        "for name in ('store', 'queue'): supervisor.start(service(name))\n"
        "for _ in range(2): supervisor.start(service('web', group='web'))"
    )
    supervised.wait_for("store started", "queue started", "web started", "web started")
    assert supervised.stop() == 0
    stopped = [event for event in supervised.events() if event.endswith("stopped")]
    assert stopped == ["web stopped", "web stopped", "queue stopped", "store stopped"]


def test_ctrl_c_exits_with_success(supervise):
    supervised = supervise("supervisor.start(service('web'))")
    supervised.wait_for("web started")
    assert supervised.stop(signal.SIGINT) == 0
    begins, ends = supervised.log()
    assert (begins["event"], ends["event"]) == (STOPPING, "Stopped")
    assert 0 <= ends["seconds"] < PATIENCE_SECONDS


def test_a_killed_child_is_started_again_and_the_log_says_how_it_died(supervise):
    supervised = supervise("supervisor.start(service('web'))")
    supervised.wait_for("web started")
    killed = supervised.pids("web")[0]
    os.kill(killed, signal.SIGKILL)
    supervised.wait_for("web started", "web started")
    [line] = supervised.log()
    assert (line["service"], line["pid"], line["how"]) == ("web", killed, "SIGKILL")
    assert line["next_start_seconds"] == 0.2


def test_a_child_that_keeps_dying_is_started_less_and_less_often(supervise):
    supervised = supervise("supervisor.starting = False\nsupervisor.start(service('web', 'dies'))")
    supervised.wait_for(*["web started"] * 4)
    assert [line["next_start_seconds"] for line in supervised.log()][:3] == [0.2, 0.4, 0.8]
    assert supervised.log()[0]["how"] == "exit status 3"


def test_a_child_that_cannot_start_at_all_ends_the_whole(supervise):
    supervised = supervise(
        "supervisor.start(service('store'))\n"
        "broken = supervisor.start(service('web', 'dies'))\n"
        "supervisor.wait_for(lambda: False, timeout=60, what='web')"
    )
    assert supervised.process.wait(PATIENCE_SECONDS) == 1
    assert "failed: web cannot be started (exit status 3)." in supervised.stderr.read_text()
    assert supervised.events()[-1] == "store stopped"


def test_a_step_that_fails_ends_the_whole(supervise):
    supervised = supervise("supervisor.run_step(service('step', 'dies', once=True), what='The step')")
    assert supervised.process.wait(PATIENCE_SECONDS) == 1
    assert "failed: The step failed (exit status 3)." in supervised.stderr.read_text()
    assert supervised.events() == ["step started"]


def test_a_step_may_be_tried_again_until_it_succeeds(supervise, tmp_path):
    tries = tmp_path / "tries"
    script = (
        f"import sys; file = open({str(tries)!r}, 'a+'); file.write('x'); file.seek(0); sys.exit(len(file.read()) < 5)"
    )
    supervised = supervise(
        f"supervisor.start(Service(name='step', command=[sys.executable, '-c', {script!r}], once=True, tried_again=True))\n"
        "supervisor.wait_for(lambda: not supervisor.children, timeout=60, what='The step')"
    )
    until(lambda: tries.exists() and len(tries.read_text()) == 5, supervised)
    time.sleep(0.3)
    assert len(tries.read_text()) == 5
    assert [line["event"] for line in supervised.log()] == ["Died and is started again"] * 4
    assert supervised.stop() == 0


def test_a_deaf_child_is_killed_after_its_time(supervise):
    supervised = supervise("supervisor.start(service('web', 'deaf', stop_seconds=0.3))")
    supervised.wait_for("web started")
    assert supervised.stop() == 0
    assert not is_alive(supervised.pids("web")[0])
    assert [line["event"] for line in supervised.log()] == [STOPPING, "Did not stop in time and is killed", "Stopped"]


def test_a_second_ctrl_c_kills_at_once(supervise):
    supervised = supervise(
        "supervisor.start(service('store', 'deaf', stop_seconds=60))\n"
        "supervisor.start(service('web', 'deaf', stop_seconds=60))"
    )
    supervised.wait_for("store started", "web started")
    supervised.process.send_signal(signal.SIGINT)
    until(lambda: [line["event"] for line in supervised.log()] == [STOPPING], supervised)
    began = time.monotonic()
    assert supervised.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < 3
    assert not any(is_alive(supervised.pids(name)[0]) for name in ("store", "web"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells children of their parent's death")
def test_children_do_not_outlive_a_killed_supervisor(supervise):
    supervised = supervise("for name in ('store', 'web'): supervisor.start(service(name))")
    supervised.wait_for("store started", "web started")
    supervised.stop(signal.SIGKILL)
    supervised.wait_for("store stopped", "web stopped")
    until(lambda: not any(is_alive(supervised.pids(name)[0]) for name in ("store", "web")))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells children of their parent's death")
def test_a_gateway_that_tests_have_started_does_not_outlive_them():
    script = (
        "import subprocess, sys, time; from tests.gateway.stack import dying_with_us\n"
        "command = dying_with_us(sys.executable, '-c', 'import time; time.sleep(60)')\n"
        "print(subprocess.Popen(command, start_new_session=True).pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        pid = int(tests.stdout.readline())
        assert is_alive(pid)
        tests.kill()
    until(lambda: not is_alive(pid))


def test_a_terminals_ctrl_c_reaches_the_supervisor_only(supervise):
    supervised = supervise("supervisor.start(service('web'))")
    supervised.wait_for("web started")
    [pid] = supervised.pids("web")
    assert os.getpgid(pid) == pid


def test_it_is_told_when_a_process_has_ended(supervise, tmp_path):
    supervised = supervise(
        f"note = Path({str(tmp_path / 'ended')!r})\n"
        "supervisor.start(service('web', on_exit=lambda pid: note.write_text(str(pid))))"
    )
    supervised.wait_for("web started")
    [pid] = supervised.pids("web")
    os.kill(pid, signal.SIGKILL)
    until(lambda: (tmp_path / "ended").exists() and (tmp_path / "ended").read_text() == str(pid))


def test_hangup_replaces_who_reports_readiness_one_by_one(supervise):
    supervised = supervise(
        "supervisor.start(service('store'))\n"
        "for name in ('web-1', 'web-2'): supervisor.start(service(name, group='web', reports_ready=True))"
    )
    supervised.wait_for("store started", "web-1 started", "web-2 started")
    supervised.process.send_signal(signal.SIGHUP)
    supervised.wait_for("web-1 stopped", "web-2 stopped")
    assert supervised.events()[3:] == ["web-1 started", "web-1 stopped", "web-2 started", "web-2 stopped"]
    assert supervised.stop() == 0
    assert sorted(supervised.events()[7:9]) == ["web-1 stopped", "web-2 stopped"]
    assert supervised.events()[9:] == ["store stopped"]


def test_hangup_keeps_the_old_process_when_the_new_one_does_not_come_up(supervise, tmp_path):
    broken = tmp_path / "broken"
    supervised = supervise(
        "import dataclasses\n"
        "web = supervisor.start(service('web', reports_ready=True))\n"
        "supervisor.wait_for(lambda: web.ready, timeout=10, what='web')\n"
        "web.service = service('web', 'dies unready', reports_ready=True)\n"
        f"Path({str(broken)!r}).touch()"
    )
    until(broken.exists)
    time.sleep(0.2)
    supervised.process.send_signal(signal.SIGHUP)
    supervised.wait_for("web started", "web started")
    until(lambda: len(supervised.log()) == 1, supervised)
    assert supervised.log()[0]["event"] == "The new process did not become ready; the old one goes on"
    assert is_alive(supervised.pids("web")[0])


def test_what_a_dead_child_leaves_behind_is_swept_away(supervise, tmp_path):
    grandchild = tmp_path / "grandchild"
    script = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(grandchild)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)"
    )
    supervised = supervise(f"supervisor.start(Service(name='celery', command=[sys.executable, '-c', {script!r}]))")
    until(lambda: grandchild.exists() and grandchild.read_text() != "")
    orphan = int(grandchild.read_text())
    os.kill(os.getpgid(orphan), signal.SIGKILL)
    until(lambda: not is_alive(orphan), supervised)


def test_a_long_log_is_moved_aside(tmp_path):
    log = tmp_path / "postgres.log"
    log.write_text("x" * 100)
    os.close(open_log(log, keep_bytes=50))
    assert log.read_text() == ""
    assert (tmp_path / "postgres.log.1").read_text() == "x" * 100


@contextmanager
def spawned(service: Service) -> Iterator["subprocess.Popen[bytes]"]:
    process = spawn(service)
    try:
        yield process
    finally:
        stop_process(process, service)


def test_a_program_that_is_not_there_is_named(tmp_path):
    log = tmp_path / "log"
    with spawned(Service(name="nothing", command=["/does/not/exist"], log=log)) as process:
        assert process.wait(PATIENCE_SECONDS) == 1
    assert log.read_text() == "/does/not/exist cannot be run: No such file or directory.\n"
