"""The container files, as far as they can be checked without a container engine."""

import re
from typing import Any

import pytest
import yaml
from celery.app.utils import find_app
from celery.bin.celery import celery as celery_command
from django.core.management import get_commands, load_command_class

from gateway_site.management.commands.healthcheck import NODES
from tests.deploy.dockerfile import Instruction, read_dockerfile
from tests.docs.environment_variables import REPOSITORY, variables

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
BUILDER, RUNTIME = read_dockerfile(REPOSITORY / "Dockerfile")
SECRETS = ("SECRET_KEY", "TOLLGATE_SECRETS_KEY", "TOLLGATE_KEY_PEPPER")
PLACEHOLDER = re.compile(r"\$\{([A-Z_]+)(?::([?-])([^}]*))?\}")


def placeholder(text: str) -> tuple[str, str, str]:
    """The name of a variable that Compose fills in, ? or - for what to do without it, and the message or default."""
    [parts] = PLACEHOLDER.findall(text)
    return parts


def named(stage: list[Instruction], name: str) -> list[Instruction]:
    return [instruction for instruction in stage if instruction.name == name]


def environment(stage: list[Instruction]) -> dict[str, str]:
    return dict(word.split("=", 1) for each in named(stage, "ENV") for word in each.words)


def copied() -> list[str]:
    """What the image takes from the repository."""
    copies = [each.words for stage in (BUILDER, RUNTIME) for each in named(stage, "COPY")]
    return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def check_command(words: list[str]) -> None:
    """Fail unless the command exists, in the image and in the code."""
    match words:
        case ["python", "manage.py", name, *arguments]:
            assert name in get_commands()
            check_arguments(name, arguments)
        case ["python", script, *_]:
            assert (REPOSITORY / script).is_file()
            assert script in copied()
        case ["celery", "--quiet", "-A", app, name, *_]:
            assert find_app(app).main == "tollgate"
            assert name in celery_command.commands
        case _:
            pytest.fail(f"Nobody knows the command {words}.")


def check_arguments(name: str, arguments: list[str]) -> None:
    command = get_commands()[name]
    loaded = load_command_class(command, name) if isinstance(command, str) else command
    loaded.create_parser("manage.py", name).parse_args(arguments)


# --- Compose ------------------------------------------------------------------------------------------------


def test_the_parts_of_a_deployment_are_there():
    assert set(SERVICES) == {"postgres", "valkey", "migrate", "web", "worker", "upstreams", "beat"}
    assert set(OURS) == {"migrate", "web", "worker", "upstreams", "beat"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name):
    words = OURS[name].get("command")
    if words is None:
        [command] = named(RUNTIME, "CMD")
        words = command.words
    check_command(words)


@pytest.mark.parametrize("name", ["web", "worker", "upstreams", "beat"])
def test_the_health_of_every_process_is_asked_for(name):
    kind, *words = OURS[name]["healthcheck"]["test"]
    assert (kind, words) == ("CMD", ["python", "manage.py", "healthcheck", name])
    check_command(words)


def test_every_queue_has_a_worker_that_reads_no_other_and_that_the_check_of_its_health_knows():
    read = {}
    for name in ("worker", "upstreams"):
        options = dict(word.split("=") for word in OURS[name]["command"] if "=" in word)
        assert options.get("--hostname", "celery@%h") == f"{NODES[name]}@%h"
        read[name] = options["--queues"]
    assert read == {"worker": "tollgate", "upstreams": "upstreams"}


@pytest.mark.parametrize("name", OURS)
def test_every_variable_that_is_set_is_one_that_the_code_reads(name):
    assert sorted(OURS[name]["environment"].keys() - variables()) == []


@pytest.mark.parametrize("name", OURS)
def test_every_process_gets_the_secrets_and_the_stores(name):
    given = OURS[name]["environment"]
    for secret in SECRETS:
        assert placeholder(given[secret])[:2] == (secret, "?")
    assert given["DATABASE_URL"].startswith("postgresql://tollgate:${POSTGRES_PASSWORD:?")
    assert given["VALKEY_URL"].startswith("redis://valkey:")


def test_no_secret_has_a_default():
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    needed = {name for name, kind, _ in PLACEHOLDER.findall(text) if kind == "?"}
    defaulted = {name for name, kind, _ in PLACEHOLDER.findall(text) if kind != "?"}
    assert needed == {*SECRETS, "POSTGRES_PASSWORD"}
    assert needed.isdisjoint(defaulted)


def test_the_guide_makes_every_secret_that_is_asked_for():
    guide = (REPOSITORY / "docs" / "operators.md").read_text(encoding="utf-8")
    for secret in (*SECRETS, "POSTGRES_PASSWORD"):
        assert f"\n{secret}=$(" in guide


@pytest.mark.parametrize("name", SERVICES)
def test_services_wait_for_what_can_be_waited_for(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_completed_successfully":
            assert SERVICES[other]["restart"] == "no"
        else:
            assert how["condition"] == "service_healthy"
            assert "test" in SERVICES[other]["healthcheck"]


def test_every_volume_is_declared_and_used():
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])


def test_web_keeps_its_state_under_a_host_name_that_stays():
    web = SERVICES["web"]
    assert web["volumes"] == [f"state:{environment(RUNTIME)['TOLLGATE_STATE_DIR']}"]
    assert web["hostname"] == "web"


def test_web_is_given_the_time_that_streams_may_take():
    web = SERVICES["web"]
    _, _, seconds = placeholder(web["environment"]["SHUTDOWN_TIMEOUT"])
    assert int(web["stop_grace_period"].removesuffix("s")) > int(seconds) + 5


def test_only_the_gateway_is_reachable_and_only_from_this_machine_unless_asked():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"web": ["${BIND:-127.0.0.1}:${PORT:-8080}:8080"]}


def test_valkey_writes_to_disk_and_evicts_nothing():
    command = " ".join(SERVICES["valkey"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


# --- The image ----------------------------------------------------------------------------------------------


def test_every_source_of_a_copy_exists_and_reaches_the_builder():
    let_through = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for source in copied():
        assert (REPOSITORY / source).exists(), source
        assert f"!{source}" in let_through


def test_the_image_has_everything_that_runs():
    packages = {path.parent.name for path in REPOSITORY.glob("*/apps.py")}
    assert packages >= {"gateway_site", "tenants", "providers", "routing"}
    assert packages | {"manage.py", "templates", "static", "requirements.lock"} <= set(copied())


def test_packages_are_installed_with_their_hashes():
    assert any("--require-hashes" in each.text and "requirements.lock" in each.text for each in named(BUILDER, "RUN"))


def test_both_stages_are_the_same_python():
    assert {stage[0].words[0] for stage in (BUILDER, RUNTIME)} == {"python:3.13-slim"}


def test_it_does_not_run_as_root():
    [user] = named(RUNTIME, "USER")
    assert user.text == "tollgate"
    after = RUNTIME[RUNTIME.index(user) :]
    assert not named(after, "RUN")
    assert "useradd --system --uid 10001" in named(RUNTIME, "RUN")[0].text


def test_its_variables_are_ones_that_the_code_reads():
    assert sorted(environment(RUNTIME).keys() - variables() - {"PATH"}) == []


def test_it_holds_no_secret():
    assert not {*SECRETS, "DATABASE_URL", "VALKEY_URL"} & environment(RUNTIME).keys()
    assert not named(RUNTIME, "ARG")


def test_static_files_are_collected_where_they_are_served_from():
    assert any("manage.py collectstatic --noinput" in each.text for each in named(RUNTIME, "RUN"))
    assert environment(RUNTIME)["STATIC_ROOT"].startswith("/app/")


def test_its_own_command_and_health_check_exist():
    [command], [health] = named(RUNTIME, "CMD"), named(RUNTIME, "HEALTHCHECK")
    check_command(command.words)
    check = Instruction(name="CMD", text=health.text.partition(" CMD ")[2])
    check_command(check.words)
