"""A key of alice's, and workers that know it by different means."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from routing.runtime import Runtime
from tenants.auth import Authenticator
from tenants.models import ApiKey, Tenant
from tenants.services import create_key
from tests.gateway_site.infra.own_valkey import eventually
from tests.routing.runtimes import runtime_at
from tests.tenants.auth.authenticators import SECRET, authenticator_at, listeners


@pytest.fixture
def key(alice: Tenant) -> ApiKey:
    return create_key(tenant=alice, name="laptops", secret=SECRET)[0]


@pytest.fixture
async def worker(valkey_url: str) -> AsyncIterator[Authenticator]:
    """What a worker authenticates with, deaf to announcements."""
    async with authenticator_at(valkey_url) as authenticator:
        yield authenticator


@pytest.fixture
async def forgetful(valkey_url: str) -> AsyncIterator[Authenticator]:
    """One that asks Valkey and Postgres every time."""
    async with authenticator_at(valkey_url, cache_seconds=0) as authenticator:
        yield authenticator


@pytest.fixture
async def runtimes(valkey_url: str, tmp_path: Path) -> AsyncIterator[tuple[Runtime, Runtime]]:
    """Two workers that hear announcements, and would believe what they know for ten minutes."""
    async with runtime_at(tmp_path / "a", valkey_url) as first, runtime_at(tmp_path / "b", valkey_url) as second:
        await eventually(lambda: listeners(valkey_url) == 2)
        yield first, second
