"""What `manage.py up` decides and says; that it runs everything is tested with the whole stack."""

import json
import os
import shlex
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from gateway_site.node import up
from gateway_site.node.state import (
    StateError,
    adopt_environment,
    keep_secrets,
    read_environment,
    write_environment,
)
from gateway_site.node.stores import without_password

REPOSITORY = Path(__file__).resolve().parents[3]
SECRETS = ("SECRET_KEY", "TOLLGATE_SECRETS_KEY", "TOLLGATE_KEY_PEPPER")
OPTIONS = up.Options(host="0.0.0.0", port=8080, workers=2, embedded=True, simulator_port=9100, shutdown_seconds=30)
FACTS = {"operator_username": "operator", "operator_password": "pa55", "api_key": "tg_key", "simulator": True}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch, tmp_path):
    names = (*SECRETS, "DATABASE_URL", "VALKEY_URL", "REDIS_URL", "HOST", "PORT", "WORKERS")
    for name in names:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.setenv("TOLLGATE_STATE_DIR", str(tmp_path))


def run_up(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it, expecting that it refuses to start."""
    return subprocess.run(
        [sys.executable, "-m", "gateway_site.node.up", *arguments],
        env={**os.environ, "PORT": str(free_port()), **environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- Refusals, one sentence each ----------------------------------------------------------------------------


def test_a_busy_port_is_named_with_a_way_out():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused = run_up(PORT=str(port))
    assert refused.returncode == 1
    assert refused.stderr == (
        f"Tollgate: port {port} on 127.0.0.1 is in use; choose another one, for example: PORT={port + 1} make run\n"
    )


def test_an_impossible_port_is_named():
    assert run_up(PORT="99999").stderr == ("Tollgate: PORT=99999 is not a port: it must be between 1 and 65535.\n")


def test_an_address_of_another_machine_is_named():
    assert "cannot listen on 192.0.2.1" in run_up("--host", "192.0.2.1").stderr


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://tollgate:hunter2@127.0.0.1:1/tollgate"),
        ("DATABASE_URL", "postgresql//tollgate:hunter2@127.0.0.1:1/tollgate"),
        ("VALKEY_URL", "redis://:hunter2@127.0.0.1:1/0"),
        ("REDIS_URL", "https://:hunter2@127.0.0.1:1/0"),
    ],
)
def test_a_store_that_cannot_be_reached_is_named_without_its_password(name, url):
    refused = run_up(**{name: url})
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Tollgate: {name} cannot be used: ")
    assert refused.stderr.count("\n") == 1
    assert "hunter2" not in refused.stderr


def test_a_password_is_blotted_out_however_it_is_spelled():
    url = "postgresql://tollgate:a%2Fb@db/tollgate"
    assert without_password(f"no {url}, no a%2Fb, no a/b", url) == "no ***, no ***, no ***"


@pytest.mark.parametrize(
    ("url", "said", "left"),
    [
        ("redis://:e@server/0", "Error: redis://:e@server/0 refused the secret", "Error: *** refused the secret"),
        ("redis://me:e@server/0", "no user e at me:e@server", "no user e at ***@server"),
        ("redis://:pass@server/0", "password 'pass' of bypass, pass", "password '***' of bypass, ***"),
        ("redis://server/0", "no server", "no server"),
    ],
)
def test_a_short_password_takes_nothing_else_along(url, said, left):
    assert without_password(said, url) == left


def test_a_store_that_is_away_is_no_reason_when_the_disk_has_a_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://tollgate:hunter2@127.0.0.1:1/tollgate")
    monkeypatch.setenv("VALKEY_URL", "redis://:hunter2@127.0.0.1:1/0")
    (tmp_path / read_copy_name()).write_text("{}")
    away = up.stores_away(tmp_path)
    assert away.keys() == {"DATABASE_URL", "VALKEY_URL"}
    assert not any("hunter2" in reason for reason in away.values())


def read_copy_name() -> str:
    """The name that workers give to their copy."""
    from routing.snapshot_store import COPY_NAME

    assert up.SNAPSHOT_COPY == COPY_NAME
    return COPY_NAME


def test_a_url_that_makes_no_sense_is_refused_even_then(tmp_path):
    (tmp_path / up.SNAPSHOT_COPY).write_text("{}")
    refused = run_up(VALKEY_URL="https://:hunter2@127.0.0.1:1/0")
    assert refused.stderr.startswith("Tollgate: VALKEY_URL cannot be used: ")


def test_without_embedded_stores_both_urls_are_needed():
    refused = run_up("--no-embedded")
    assert refused.stderr == "Tollgate: with --no-embedded, DATABASE_URL and VALKEY_URL must be set.\n"


# --- Secrets ------------------------------------------------------------------------------------------------


def test_secrets_are_made_once_and_kept_for_their_owner_only(tmp_path):
    made = keep_secrets(tmp_path)
    write_environment(tmp_path, made)
    assert set(made) == set(SECRETS)
    Fernet(made["TOLLGATE_SECRETS_KEY"])
    assert keep_secrets(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "environment.json").stat().st_mode) == 0o600


def test_a_secret_of_the_environment_is_not_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "from outside")
    assert set(keep_secrets(tmp_path)) == {"TOLLGATE_SECRETS_KEY", "TOLLGATE_KEY_PEPPER"}


def test_secrets_stay_when_they_come_from_outside_for_once(tmp_path, monkeypatch):
    made = keep_secrets(tmp_path)
    write_environment(tmp_path, made | {"DATABASE_URL": "postgresql://embedded"})
    monkeypatch.setenv("SECRET_KEY", "from outside")
    write_environment(tmp_path, keep_secrets(tmp_path))
    assert read_environment(tmp_path) == made


def test_a_damaged_file_of_secrets_is_not_replaced(tmp_path):
    (tmp_path / "environment.json").write_text("{")
    with pytest.raises(StateError, match="holds your secrets"):
        keep_secrets(tmp_path)


def test_commands_run_by_hand_find_what_up_made(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://mine")
    write_environment(tmp_path, {"DATABASE_URL": "postgresql://embedded", "VALKEY_URL": "unix:///embedded"})
    with monkeypatch.context():
        adopt_environment()
        assert os.environ["DATABASE_URL"] == "postgresql://mine"
        assert os.environ.pop("VALKEY_URL") == "unix:///embedded"


# --- What it starts -----------------------------------------------------------------------------------------


def names(services: list) -> list[str]:
    return [service.name for service in services]


def test_the_simulator_runs_only_where_the_demo_uses_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with_simulator = up.services(OPTIONS, listener, tmp_path, simulator=True)
        without = up.services(OPTIONS, listener, tmp_path, simulator=False)
    celery = ["celery worker", "celery upstreams", "celery beat"]
    assert names(with_simulator) == ["simulator", *celery, "web worker", "web worker"]
    assert names(without) == names(with_simulator)[1:]


def test_every_queue_has_a_worker_that_reads_no_other(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = up.services(OPTIONS, listener, tmp_path, simulator=False)
    workers = [service.command for service in started if service.name in {"celery worker", "celery upstreams"}]
    read = [word.removeprefix("--queues=") for words in workers for word in words if word.startswith("--queues=")]
    assert read == ["tollgate", "upstreams"]
    assert ["--hostname=upstreams@%h" in words for words in workers] == [False, True]  # two of a name are taken for one
    assert "--concurrency=1" in workers[1]


def test_a_busy_simulator_port_is_replaced_by_a_free_one():
    with socket.create_server(("127.0.0.1", 0)) as server:
        busy = up.Options(
            host="",
            port=1,
            workers=1,
            embedded=True,
            shutdown_seconds=1,
            simulator_port=server.getsockname()[1],
        )
        assert up.with_free_simulator_port(busy).simulator_port not in (0, busy.simulator_port)


def test_the_gauges_of_a_dead_process_are_dropped(tmp_path):
    (tmp_path / "gauge_livesum_4711.db").touch()
    (tmp_path / "counter_4711.db").touch()
    up.forget_metrics(tmp_path)(4711)
    assert os.listdir(tmp_path) == ["counter_4711.db"]


# --- The banner ---------------------------------------------------------------------------------------------


def test_the_banner_says_how_to_sign_in_and_what_to_try(tmp_path):
    banner = up.banner(OPTIONS, FACTS, tmp_path)
    assert "http://127.0.0.1:8080/admin/" in banner
    assert "operator  password pa55" in banner
    curls = [shlex.split(line) for line in banner.splitlines() if line.startswith("  curl")]
    assert [words[2] for words in curls] == [
        "http://127.0.0.1:8080/v1/chat/completions",
        "http://127.0.0.1:8080/v1/messages",
    ]
    assert all(json.loads(words[-1])["stream"] for words in curls)
    assert "Authorization: Bearer tg_key" in curls[0]
    assert "x-api-key: tg_key" in curls[1]


def test_the_password_is_shown_once_and_not_kept(tmp_path):
    (tmp_path / "first_run.json").write_text(json.dumps(FACTS))
    up.forget_password(tmp_path, up.read_facts(tmp_path))
    later = up.banner(OPTIONS, up.read_facts(tmp_path), tmp_path)
    assert "pa55" not in later
    assert "manage.py changepassword operator" in later
    assert "tg_key" in later


def test_an_ipv6_address_is_bracketed():
    options = up.Options(host="::", port=8080, workers=1, embedded=True, simulator_port=9100, shutdown_seconds=30)
    assert options.base_url == "http://[::1]:8080"
