"""Real stores from the wheels, in directories of their own."""

import os
import pwd
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from gateway_site.embedded import EmbeddedPostgres, EmbeddedStore, EmbeddedValkey, embedded_stores, wait_ready
from gateway_site.node.state import StateError
from gateway_site.node.supervisor import spawn, stop_process

REPOSITORY = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@contextmanager
def running(store: EmbeddedStore) -> Iterator["subprocess.Popen[bytes]"]:
    store.prepare()
    process = spawn(store.service())
    try:
        wait_ready(store, process)
        yield process
    finally:
        stop_process(process, store.service())


@contextmanager
def run_by_another_process(state_dir: Path) -> Iterator[int]:
    """Stores whose owner can be killed; yields the owner's pid."""
    script = (
        "import sys, time; from pathlib import Path; from gateway_site.embedded import embedded_stores\n"
        "with embedded_stores(Path(sys.argv[1]), durable=False): print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(state_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        yield owner.pid
        owner.kill()


def ask(database_url: str, query: str) -> list[object]:
    with psycopg.connect(database_url) as connection:
        return [row[0] for row in connection.execute(query).fetchall()]


def test_both_start_and_are_what_they_should_be(state_dir):
    with embedded_stores(state_dir, durable=False) as (database_url, valkey_url):
        assert ask(database_url, "SHOW server_version")[0].startswith("18")
        assert ask(database_url, "SELECT extname FROM pg_extension ORDER BY 1") == ["plpgsql", "vector"]
        assert ask(database_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [False]
        with redis.Redis.from_url(valkey_url) as valkey:
            assert valkey.info("server")["valkey_version"].startswith("9")
            assert valkey.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_data_stays_over_a_restart(state_dir):
    for _ in range(2):
        with embedded_stores(state_dir) as (database_url, valkey_url):
            with psycopg.connect(database_url) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS starts (n int)")
                connection.execute("INSERT INTO starts VALUES (1)")
            with redis.Redis.from_url(valkey_url) as valkey:
                starts = valkey.incr("starts")
            assert ask(database_url, "SELECT count(*) FROM starts") == [starts]
    assert starts == 2


def test_both_are_started_again_within_twenty_seconds_and_not_made_again(state_dir):
    EmbeddedPostgres(state_dir, durable=False).prepare()
    version = state_dir / "postgres" / "PG_VERSION"
    made_at, began = version.stat().st_mtime_ns, time.monotonic()
    with embedded_stores(state_dir, durable=False):
        assert time.monotonic() - began < 20
    assert version.stat().st_mtime_ns == made_at


def test_valkey_keeps_what_it_was_told_when_it_is_killed(state_dir):
    store = EmbeddedValkey(state_dir)
    with running(store) as process, redis.Redis.from_url(store.url()) as valkey:
        valkey.set("kept", "yes")
        time.sleep(1.2)  # appendfsync everysec; what is written survives a kill, what is synced a power cut
        process.kill()
    with running(store), redis.Redis.from_url(store.url()) as valkey:
        assert valkey.get("kept") == b"yes"


def test_tests_can_make_databases_of_their_own(state_dir):
    with embedded_stores(state_dir, durable=False) as (database_url, _):
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS test_tollgate")
            connection.execute("CREATE DATABASE test_tollgate")
        test_url = database_url.replace("/tollgate?", "/test_tollgate?")
        assert ask(test_url, "SELECT '[1,2]'::vector::text") == ["[1,2]"]


def test_nobody_else_can_reach_them(state_dir):
    with running(EmbeddedPostgres(state_dir, durable=False)) as process:
        connections = psutil.Process(process.pid).net_connections("inet")
        assert connections == []
        assert stat.S_IMODE((state_dir / "run").stat().st_mode) == 0o700


def test_they_stop_when_the_test_fails(state_dir):
    with pytest.raises(ZeroDivisionError), embedded_stores(state_dir, durable=False) as (database_url, _):
        raise ZeroDivisionError
    with pytest.raises(psycopg.OperationalError):
        ask(database_url, "SELECT 1")


def test_a_second_run_is_told_who_is_running(state_dir):
    with (
        run_by_another_process(state_dir) as pid,
        pytest.raises(StateError, match=rf"already runs from .* \(process {pid}\)"),
        embedded_stores(state_dir),
    ):
        pass


def test_it_recovers_from_a_killed_run(state_dir):
    with run_by_another_process(state_dir) as pid:
        os.kill(pid, signal.SIGKILL)
    with embedded_stores(state_dir, durable=False) as (database_url, _):
        assert ask(database_url, "SELECT 1") == [1]


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_server_left_behind_is_stopped_first(state_dir, kind, capsys):
    store = kind(state_dir, durable=False)
    with running(store) as left_behind:
        kind(state_dir).prepare()
        assert left_behind.wait(1) is not None
    assert "left behind" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_stale_pid_file_does_not_stop_the_wrong_process(state_dir, kind):
    store = kind(state_dir, durable=False)
    store.prepare()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        (store.data / store.pid_file_name).write_text(f"{bystander.pid}\n{store.data}\n")
        with running(store):
            assert bystander.poll() is None
        bystander.kill()


def test_an_interrupted_first_run_is_begun_anew(tmp_path):
    unfinished = tmp_path / "postgres.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    store = EmbeddedPostgres(tmp_path, durable=False)
    store.prepare()
    assert not unfinished.exists()
    with running(store):
        assert ask(store.url(), "SELECT current_database()") == ["tollgate"]


def test_a_long_path_has_its_sockets_elsewhere(tmp_path):
    long = tmp_path / ("a" * 120) / 'with spaces, and "quotes" % more'
    store = EmbeddedValkey(long, durable=False)
    with running(store), redis.Redis.from_url(store.url()) as valkey:
        assert valkey.ping()
    assert store.socket_dir.parent == Path("/tmp")
    store.socket_dir.rmdir()


@pytest.mark.parametrize("name", ['a "b" c%20d', "a,b"])
def test_odd_characters_in_the_path_are_no_obstacle(tmp_path_factory, name):
    store = EmbeddedPostgres(tmp_path_factory.mktemp("odd") / name, durable=False)
    with running(store):
        assert ask(store.url(), "SELECT 1") == [1]
    if store.socket_dir.parent == Path("/tmp"):
        store.socket_dir.rmdir()


def test_a_socket_directory_that_somebody_else_made_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="is not ours"):
        EmbeddedValkey(tmp_path / "state").prepare()


def test_data_of_another_version_is_refused_in_words(tmp_path):
    store = EmbeddedPostgres(tmp_path)
    store.data.mkdir()
    (store.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(StateError, match="made by PostgreSQL 17"):
        store.prepare()


def test_a_failed_start_shows_the_end_of_the_log(tmp_path):
    store = EmbeddedValkey(tmp_path)
    store.prepare()
    (store.data / "appendonlydir").write_text("not a directory")
    process = spawn(store.service())
    with pytest.raises(StateError, match=r"(?s)Valkey did not start; its log .*appendonlydir"):
        wait_ready(store, process)


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_root_runs_them_as_nobody_without_any_privilege(tmp_path_factory):
    open_dir = Path("/tmp", f"tollgate-test-{os.getpid()}")  # tmp_path is closed to others
    store = EmbeddedValkey(open_dir, durable=False)
    with running(store) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert psutil.Process(process.pid).username() == "nobody"
        assert re.search(r"CapPrm:\s+0+\n", status)
    subprocess.run(["rm", "-r", str(open_dir)], check=True)


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_a_directory_closed_to_all_but_root_stays_closed(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with embedded_stores(closed / "state", durable=False) as (database_url, _):
        assert ask(database_url, "SELECT 1") == [1]
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_root_leaves_a_users_data_to_the_user(tmp_path):
    store = EmbeddedValkey(tmp_path, durable=False)
    store.data.mkdir()
    daemon = pwd.getpwnam("daemon")
    os.chown(store.data, daemon.pw_uid, daemon.pw_gid)
    with running(store) as process:
        assert psutil.Process(process.pid).username() == "daemon"
