"""What workers authenticate with, and how its tests ask it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db.backends.signals import connection_created

from gateway_site.infra.valkey import HotValkey
from tenants import keys
from tenants.announcements import CHANNEL
from tenants.auth import Authenticator
from tenants.errors import GatewayError
from tenants.limits.scripts import SCRIPTS
from tenants.principal import Principal

type Headers = list[tuple[bytes, bytes]]

SECRET = "tg_" + "a" * 40
OTHER = "tg_" + "b" * 40


def bearer(secret: str) -> Headers:
    return [(b"authorization", b"Bearer " + secret.encode())]


@asynccontextmanager
async def authenticator_at(
    url: str, *, cache_size: int = 100, cache_seconds: float = 30.0, peppers: list[str] | None = None
) -> AsyncIterator[Authenticator]:
    valkey = HotValkey(url, scripts=SCRIPTS, deadline=0.5)
    await valkey.open()
    try:
        yield Authenticator(
            valkey,
            peppers=keys.peppers(peppers or settings.TOLLGATE_KEY_PEPPERS),
            cache_size=cache_size,
            cache_seconds=cache_seconds,
        )
    finally:
        await valkey.aclose()


def listeners(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return client.pubsub_numsub(CHANNEL)[0][1]


@contextmanager
def lookups() -> Iterator[list[None]]:
    """Grows by one with each query for a principal, as each has a connection of its own."""
    seen: list[None] = []

    def note(**_: Any) -> None:
        seen.append(None)

    connection_created.connect(note)
    try:
        yield seen
    finally:
        connection_created.disconnect(note)


@contextmanager
def costing_neither_store(url: str) -> Iterator[None]:
    """Nothing asks Valkey or Postgres meanwhile."""
    with redis.Redis.from_url(url) as client, lookups() as asked:
        before = client.info("stats")["total_commands_processed"]
        yield
        assert client.info("stats")["total_commands_processed"] == before + 1  # the first of the two INFOs
    assert asked == []


async def refused(authenticator: Authenticator, headers: Headers) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await authenticator.authenticate(headers)
    return caught.value


async def refused_within(authenticator: Authenticator, secret: str, code: str, *, within: float = 1.0) -> float:
    """Wait until a key is refused with a code, and return how many seconds it took."""
    return await answered(authenticator, secret, lambda outcome: getattr(outcome, "code", "") == code, within)


async def answered(
    authenticator: Authenticator, secret: str, holds: Callable[[Principal | GatewayError], bool], within: float = 1.0
) -> float:
    began = time.monotonic()
    while True:
        outcome: Principal | GatewayError
        try:
            outcome = await authenticator.authenticate(bearer(secret))
        except GatewayError as error:
            outcome = error
        if holds(outcome):
            return time.monotonic() - began
        assert time.monotonic() - began < within, outcome
        await asyncio.sleep(0.002)


def flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall()
