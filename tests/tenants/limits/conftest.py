"""Gates whose Valkey is there, or may be taken away."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenants.limits.scripts import COUNTED
from tests.gateway_site.infra.own_valkey import OwnValkey
from tests.tenants.limits.gate import Gate, gate_at


@pytest.fixture
async def gate(valkey_url: str, tmp_path: Path) -> AsyncIterator[Gate]:
    async with gate_at(valkey_url, tmp_path / "spool") as gate:
        yield gate


@pytest.fixture
async def own_gate(own_server: OwnValkey, tmp_path: Path) -> AsyncIterator[Gate]:
    """One whose Valkey may be frozen and killed; it gives up soon."""
    async with gate_at(own_server.url, tmp_path / "spool", deadline=1.0) as gate:
        yield gate


@pytest.fixture
async def till(gate: Gate) -> Gate:
    """A gate whose budgets are counted."""
    await gate.valkey.call("SET", COUNTED, "1")
    return gate
