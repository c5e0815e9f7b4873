"""Gates whose Valkey is there, or may be taken away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tenants.limits import spares as spares_module
from tenants.limits.journal import Journal
from tenants.limits.scripts import COUNTED
from tests.gateway_site.infra.own_valkey import OwnValkey
from tests.tenants.limits.gate import Gate, gate_at


@asynccontextmanager
async def asked_gate(request: pytest.FixtureRequest, url: str, folder: Path, **settings: float) -> AsyncIterator[Gate]:
    """A gate; with the mark `journaled` one with a journal, whose budgets are counted."""
    if request.node.get_closest_marker("journaled") is None:
        async with gate_at(url, folder, **settings) as gate:
            yield gate
        return
    async with gate_at(url, folder, journal=Journal(folder, "here-1"), **settings) as gate:
        await gate.valkey.call("SET", COUNTED, "1")
        yield gate


@pytest.fixture
async def gate(request: pytest.FixtureRequest, valkey_url: str, tmp_path: Path) -> AsyncIterator[Gate]:
    async with asked_gate(request, valkey_url, tmp_path / "spool") as gate:
        yield gate


@pytest.fixture
async def own_gate(request: pytest.FixtureRequest, own_server: OwnValkey, tmp_path: Path) -> AsyncIterator[Gate]:
    """One whose Valkey may be frozen and killed; it gives up soon."""
    async with asked_gate(request, own_server.url, tmp_path / "spool", deadline=1.0) as gate:
        yield gate


@pytest.fixture
async def till(gate: Gate) -> Gate:
    """A gate whose budgets are counted."""
    await gate.valkey.call("SET", COUNTED, "1")
    return gate


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares do not grow old."""
    monkeypatch.setattr(spares_module, "SPARE_SECONDS", 3_600.0)


@pytest.fixture
def adopted(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that took a spare."""
    found: list[str] = []
    adopt = gate.admission.spares.adopt
    monkeypatch.setattr(
        gate.admission.spares,
        "adopt",
        lambda spare, request_id, if_lost: (found.append(request_id), adopt(spare, request_id, if_lost)),
    )
    return found
