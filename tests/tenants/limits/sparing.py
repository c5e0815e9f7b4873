"""What tests of spares do to get one, and how they look at what is held."""

import asyncio
from typing import Any

from tenants.principal import Principal
from tests.gateway_site.infra.own_valkey import eventually
from tests.tenants.limits.gate import (
    Gate,
    lease_key,
)
from tests.tenants.limits.test_settle_late import settle_soon

PLENTY = 1_000_000


async def ask(gate: Gate, principal: Principal, *, used: int = 0, nanos: int = 0, **facts: Any) -> str:
    reservation = await gate.reserve(principal, **facts)
    await settle_soon(gate, reservation, tokens=used, nanos=nanos)
    return reservation.request_id


async def get_ready(gate: Gate, principal: Principal, *, used: int = 0, nanos: int = 0, **facts: Any) -> None:
    """Ask twice, so that the key is known to be in use and its next request finds a spare."""
    before = len(gate.admission.spares)
    for _ in range(2):
        await ask(gate, principal, used=used, nanos=nanos, **facts)
    await eventually(lambda: len(gate.admission.spares) > before)


async def is_ready(gate: Gate, principal: Principal, **facts: Any) -> bool:
    """Whether two requests leave a spare behind."""
    for _ in range(2):
        await ask(gate, principal, **facts)
    await asyncio.sleep(0.03)
    await gate.valkey.call("PING")
    return len(gate.admission.spares) == 1


async def fields(gate: Gate, rule: Any) -> dict[str, float]:
    flat: Any = await gate.valkey.call("HGETALL", lease_key(rule))
    return {name.decode(): float(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}


async def is_running(gate: Gate, key: bytes) -> bool:
    value: Any = await gate.valkey.call("GET", key)
    return value != b"settled"


async def used(gate: Gate, rule: Any) -> int:
    return int((await fields(gate, rule))["used"])
