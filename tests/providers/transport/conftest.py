"""A transport, pools for it, and certificates."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop
from transport_servers import Authority

from providers.pool import Pool
from providers.transport import Transport

type MakePool = Callable[..., Pool]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Use the event loop that workers run on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """A transport that is closed at the end."""
    transport = Transport()
    yield transport
    await transport.aclose()


@pytest.fixture(scope="session")
def make_pool() -> MakePool:
    """Make a pool that may reach this machine."""

    def make(**fields: Any) -> Pool:
        return Pool(**{"provider": "p", "max_connections": 50, "connect_timeout": 2.0, "allows_private": True} | fields)

    return make


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Who vouches for our servers."""
    return Authority("ours")
