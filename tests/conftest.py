"""Fixtures that every test may use. Real stores, started with the first test that asks for them."""

from collections.abc import Iterator

import pytest

from gateway_site.embedded import embedded_stores
from tests.environment import STATE_DIR


@pytest.fixture(scope="session")
def stores() -> Iterator[tuple[str, str]]:
    """A real PostgreSQL and a real Valkey: their URLs, which the settings have already."""
    with embedded_stores(STATE_DIR / "stores", durable=False) as urls:
        yield urls


@pytest.fixture(scope="session")
def django_db_modify_db_settings(stores: tuple[str, str]) -> None:
    """Start the stores before pytest-django makes its database."""


SLOW_FILES = (  # they start processes, or wait for real time to pass
    "test_admission.py",
    "test_admission_laws.py",
    "test_benchmark_load.py",
    "test_benchmark_processes.py",
    "test_embedded.py",
    "test_server.py",
    "test_simulator_command.py",
    "test_supervisor.py",
    "test_transport_http2.py",
    "test_up.py",
    "test_valkey.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs stores or processes, so that `make test-fast` can leave it out."""
    for item in items:
        if "stores" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.stores)
        if "tests/gateway/" in item.path.as_posix() or item.path.name in SLOW_FILES:
            item.add_marker(pytest.mark.stack)
