"""Reservations are swept when nobody renews them, and not because Valkey was away so that nobody could."""

from collections.abc import Iterator

import pytest
import redis

from tenants import counters
from tenants.counters import GAP_SECONDS, SWEEPS_AFTER_SECONDS, WATCHED
from tenants.limits.scripts import RESERVATION_PREFIX, RESERVATIONS, USAGE_STREAM


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        yield client


@pytest.fixture
def over(client: redis.Redis) -> None:
    """Two reservations of alice's whose leases are over, and one of charlie's that runs."""
    now = client.time()[0]
    for name, ends in (("alice-1", now - 1), ("alice-2", now - 1), ("charlie", now + 60)):
        # A row is the event and what is held: here nothing.
        client.set(RESERVATION_PREFIX + name, b"\x91\xa2{}")
        client.zadd(RESERVATIONS, {name: ends * 1000})


def watch(client: redis.Redis, *, since: int, last: int) -> None:
    """Let it have been watched since so many seconds ago, and last so many ago."""
    now = client.time()[0]
    client.hset(WATCHED, mapping={"since": now - since, "last": now - last})


def test_what_nobody_renews_is_swept_once(client, over):
    watch(client, since=SWEEPS_AFTER_SECONDS, last=5)
    assert counters.sweep(client) == 2
    assert counters.sweep(client) == 0
    assert client.zrange(RESERVATIONS, 0, -1) == [b"charlie"]
    assert client.xlen(USAGE_STREAM) == 2


def test_nothing_is_swept_when_valkey_has_just_come_up(client, over):
    assert counters.sweep(client) == 0
    assert client.zcard(RESERVATIONS) == 3


def test_nothing_is_swept_after_a_time_without_valkey_until_workers_could_renew(client, over):
    watch(client, since=3600, last=GAP_SECONDS + 1)
    assert counters.sweep(client) == 0
    watch(client, since=SWEEPS_AFTER_SECONDS // 2, last=5)
    assert counters.sweep(client) == 0
    watch(client, since=SWEEPS_AFTER_SECONDS, last=GAP_SECONDS - 5)
    assert counters.sweep(client) == 2
