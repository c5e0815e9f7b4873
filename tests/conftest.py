"""Fixtures that every test may use. Real stores, started with the first test that asks for them."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import hypothesis
import pytest
import redis
from django.conf import settings
from django.core.management.commands import flush
from httpx._transports import default

from gateway_site.embedded import embedded_stores
from tests.environment import IDLE_TRANSACTION, STATE_DIR
from tests.gateway_site.infra.own_valkey import OwnValkey, own_valkey

hypothesis.settings.register_profile("here", deadline=None)  # a pause of the machine is no defect
hypothesis.settings.load_profile("here")

# What migrations leave behind and no test that commits changes: permissions, and the group of auditors.
LASTING_TABLES = {"django_content_type", "auth_permission", "auth_group", "auth_group_permissions"}


def pytest_configure() -> None:
    """Spend no time on what no test is about: slow hashes, permissions made anew after each flush, certificates.

    And leave transactions time: on a slow machine a page's first load takes longer than one may be idle.
    """
    options = settings.DATABASES["default"]["OPTIONS"]
    options["options"] += f" -c idle_in_transaction_session_timeout={IDLE_TRANSACTION}"  # the last one counts
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    default.create_ssl_context = cache(default.create_ssl_context)  # 25 ms for each client, which talks to loopback
    flush.sql_flush = _sql_flush
    flush.emit_post_migrate_signal = lambda *_arguments: None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a process of `make test` whole files, and all that share the gateway's stack to one: it is started once."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            shares = file.startswith("tests/gateway/") and not file.endswith(OWN_STACKS)
            return "tests/gateway" if shares else file

    return Scheduling(config, log)


def _sql_flush(style: Any, connection: Any, **options: bool) -> list[str]:
    """Empty what tests write to, after those that commit."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    written: list[str] = connection.ops.sql_flush(style, sorted({*tables} - LASTING_TABLES), **options)
    return written


@pytest.fixture(scope="session")
def stores() -> Iterator[tuple[str, str]]:
    """A real PostgreSQL and a real Valkey: their URLs, which the settings have already."""
    with embedded_stores(STATE_DIR / "stores", durable=False) as urls:
        yield urls


@pytest.fixture(scope="session")
def django_db_modify_db_settings(stores: tuple[str, str]) -> None:
    """Start the stores before pytest-django makes its database."""


@pytest.fixture(scope="module")
def own_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnValkey]:
    with own_valkey(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture
def own_server(own_process: OwnValkey) -> OwnValkey:
    """A Valkey that tests of one file may mistreat, emptied; each leaves it running."""
    with redis.Redis.from_url(own_process.url) as client:
        client.flushall()
    return own_process


STORES = {"stores", "db", "transactional_db"}
OWN_STACKS = ("test_fault_matrix.py", "test_money_kills.py", "test_setup_guide.py", "test_stores_lost.py")
SLOW_FILES = (  # they start processes, or wait for real time to pass
    "test_admission.py",
    "test_admission_laws.py",
    "test_admission_without_valkey.py",
    "test_benchmark_load.py",
    "test_benchmark_processes.py",
    "test_celery.py",
    "test_embedded.py",
    "test_install_anywhere.py",
    "test_install_both_tools.py",
    "test_install_edits_files.py",
    "test_install_tries_it.py",
    "test_install_undone.py",
    "test_letting_go.py",
    "test_live_start.py",
    "test_server.py",
    "test_simulator_command.py",
    "test_supervisor.py",
    "test_transport_http2.py",
    "test_up.py",
    "test_valkey.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark what needs stores or processes, so that `make test-fast` can leave it out; and begin with what takes longest."""
    for item in items:
        if STORES & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.stores)
        if "tests/gateway/" in item.path.as_posix() or item.path.name in SLOW_FILES:
            item.add_marker(pytest.mark.stack)
    yield  # to who chooses by marks, and to pytest-django, which puts what needs a database first
    items.sort(key=lambda item: "tests/gateway/" not in item.path.as_posix())
