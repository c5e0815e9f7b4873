from collections.abc import Iterator

import pytest
import redis

from tests.gateway_site.infra.own_valkey import OwnValkey, own_valkey


@pytest.fixture
def valkey_url(stores: tuple[str, str]) -> str:
    """The shared Valkey, emptied."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
    return stores[1]


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
