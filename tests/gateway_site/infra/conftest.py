import pytest
import redis


@pytest.fixture
def valkey_url(stores: tuple[str, str]) -> str:
    """The shared Valkey, emptied."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
    return stores[1]
