"""An admission with a real Valkey, and what tests say of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway_site.infra.valkey import HotValkey, Script
from tenants.errors import RateLimited
from tenants.limits.admission import Admission, Request, Reservation
from tenants.limits.journal import Journal
from tenants.limits.money import from_nanos
from tenants.limits.scripts import RESERVATIONS, SCRIPTS, SWEEP, USAGE_STREAM
from tenants.limits.spool import Spool
from tenants.principal import BudgetRule, Principal, Rule
from tenants.usage_event import UsageEvent, decode, encode

ROOT = Path(__file__).resolve().parents[3]
MINUTE, HOUR = 60_000, 3_600_000
ids = (f"request-{number}" for number in count())


def rate(amount: int, window_ms: int = HOUR, **facts: Any) -> Rule:
    facts = {"id": 1, "scope": "tenant", "scope_name": "alice", "kind": "requests", **facts}
    return Rule(amount=amount, window_ms=window_ms, **facts)


def at_once(amount: int, **facts: Any) -> Rule:
    facts = {"id": 2, "scope": "api_key", "scope_name": "laptops", **facts}
    return Rule(kind="concurrency", amount=amount, **facts)


def caller(*rules: Rule, tenant: str = "alice", key_id: int = 1) -> Principal:
    return Principal(key_id=key_id, key_name="laptops", key_prefix="tg_abcd", tenant_id=1, tenant=tenant, rules=rules)


def event_of(request_id: str, alias: str = "smart") -> UsageEvent:
    return UsageEvent(
        request_id=request_id,
        started_at=time.time(),
        tenant_id=1,
        api_key_id=1,
        dialect="openai_chat",
        alias=alias,
        status=200,
        outcome="served",
        cost_status="exact",
        latency_ms=1,
    )


class Gate:
    """An Admission with its connection and spool, and shorter words for what tests ask of it."""

    def __init__(self, valkey: HotValkey, spool: Spool, journal: Journal | None = None) -> None:
        self.valkey = valkey
        self.spool = spool
        self.admission = Admission(valkey, spool, journal)

    async def reserve(
        self,
        principal: Principal,
        request_id: str | None = None,
        *,
        meanwhile: Callable[[], object] | None = None,
        **facts: Any,
    ) -> Reservation:
        request_id = request_id or next(ids)
        facts = {"alias": "smart", "end_user": "", "dialect": "openai_chat", "tokens": 0, "money": {}, **facts}
        facts.setdefault("started_at", time.time())
        lost = encode(event_of(request_id, "lost"))
        request = Request(request_id=request_id, if_lost=lost, **facts)
        return await self.admission.reserve(principal, request, meanwhile=meanwhile)

    async def settle(self, reservation: Reservation, alias: str = "smart") -> None:
        await self.admission.settle(reservation, event_of(reservation.request_id, alias), tokens=0)

    async def admits(self, principal: Principal, **facts: Any) -> bool:
        try:
            await self.reserve(principal, **facts)
        except RateLimited:
            return False
        return True

    async def admitted(self, times: int, principal: Principal, **facts: Any) -> int:
        """Return how many of so many requests at once are admitted."""
        return sum(await asyncio.gather(*(self.admits(principal, **facts) for _ in range(times))))

    async def refusal(self, principal: Principal, **facts: Any) -> RateLimited:
        with pytest.raises(RateLimited) as caught:
            await self.reserve(principal, **facts)
        return caught.value

    async def records(self) -> list[UsageEvent]:
        entries: Any = await self.valkey.call("XRANGE", USAGE_STREAM, "-", "+")
        return [decode(fields[1]) for _, fields in entries]

    async def events(self) -> list[str]:
        """Return the requests of which the ledger hears, in order."""
        return [record.request_id for record in await self.records()]

    async def leases(self, rule: Rule) -> list[bytes]:
        held: Any = await self.valkey.call("ZRANGE", lease_key(rule), 0, -1)
        return held


def noted_scripts(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, *together: Script, alone: Script | None = None
) -> list[int]:
    """Return for how many requests each of these scripts is called from now on; `alone` always is for one."""
    found: list[int] = []
    call, digests = gate.valkey.call, {script.digest for script in together}

    def noted(*command: Any, **settings: Any) -> Any:
        if command[1:] and command[1] in digests:
            found.append(command[3 + command[2]])
        elif alone is not None and command[1:2] == (alone.digest,):
            found.append(1)
        return call(*command, **settings)

    monkeypatch.setattr(gate.valkey, "call", noted)
    return found


def lease_key(rule: Rule) -> str:
    return f"tollgate:limit:{rule.id}"


@asynccontextmanager
async def gate_at(
    url: str, folder: Path, *, deadline: float = 5.0, journal: Journal | None = None
) -> AsyncIterator[Gate]:
    valkey = HotValkey(url, scripts=SCRIPTS, deadline=deadline)
    await valkey.open()
    try:
        yield Gate(valkey, Spool(folder, "here-1"), journal)
    finally:
        await valkey.aclose()


def budget(amount: int = 1_000, **facts: Any) -> BudgetRule:
    facts = {
        "id": 4,
        "scope": "tenant",
        "scope_name": "alice",
        "currency": "USD",
        "period": "total",
        "timezone": "UTC",
    } | facts
    return BudgetRule(amount=amount, **facts)


def payer(*budgets: BudgetRule, rules: tuple[Rule, ...] = (), **facts: Any) -> Principal:
    return msgspec.structs.replace(caller(*rules), budgets=budgets, **facts)


async def charge(gate: Gate, reservation: Reservation, nanos: int) -> None:
    """Settle at a cost."""
    budgets = reservation.counters("USD")
    event = msgspec.structs.replace(event_of(reservation.request_id), cost=from_nanos(nanos), budgets=budgets)
    await gate.admission.settle(reservation, event, tokens=0)


async def counted(gate: Gate, key: str = "tollgate:budget:4.0") -> dict[str, int]:
    flat: Any = await gate.valkey.call("HGETALL", key)
    return {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}


async def sweep(gate: Gate) -> int:
    """Let every lease be over, and sweep."""
    for request_id in await gate.valkey.call("ZRANGE", RESERVATIONS, 0, -1):
        await gate.valkey.call("ZADD", RESERVATIONS, 1, request_id)
    swept: int = await gate.valkey.run(SWEEP, (RESERVATIONS, USAGE_STREAM), 100_000, 60_000)
    return swept
