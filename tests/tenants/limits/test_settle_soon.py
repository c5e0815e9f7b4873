"""An answer leaves when its settle has left the worker: what that may not change, and when it waits after all."""

import asyncio

import msgspec
import pytest

from tenants.limits.money import from_nanos
from tests.gateway_site.infra.own_valkey import eventually
from tests.tenants.limits.gate import at_once, budget, caller, counted, event_of, payer


async def settle_soon(gate, reservation, *, nanos=0):
    event = msgspec.structs.replace(
        event_of(reservation.request_id), cost=from_nanos(nanos), budgets=reservation.counters("USD")
    )
    return await gate.admission.settle_soon(reservation, event, tokens=0)


async def test_valkey_has_it_all_the_same(till):
    reservation = await till.reserve(payer(budget(1_000)), money={"USD": 600})
    billed = await settle_soon(till, reservation, nanos=250)
    assert billed.cost == from_nanos(250)
    assert await counted(till) == {"held": 0, "0": 250}  # the connection answers in order: the settle came first
    assert await till.events() == [reservation.request_id]


async def test_it_does_not_wait_for_an_answer(own_gate, own_server):
    alice = caller(at_once(5))
    reservation = await own_gate.reserve(alice)
    own_server.freeze()
    await asyncio.wait_for(settle_soon(own_gate, reservation), timeout=0.8)  # the connection is given up after a second
    assert not own_gate.admission.is_idle  # a worker that stops now waits for it
    await eventually(lambda: own_gate.admission.is_idle)
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    await own_gate.admission.settles.replay()  # it was spooled when nobody answered
    assert await own_gate.events() == [reservation.request_id]
    assert await own_gate.leases(alice.rules[0]) == []


async def test_without_valkey_it_is_on_disk_when_it_returns(own_gate, own_server):
    reservation = await own_gate.reserve(caller())
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    await settle_soon(own_gate, reservation)
    assert own_gate.admission.is_idle
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.settles.replay() == 1


@pytest.mark.parametrize(("limit", "billed"), [(1_000, 900), (700, 700)])
async def test_a_cost_beyond_what_is_held_is_told_as_it_was_billed(till, limit, billed):
    reservation = await till.reserve(payer(budget(limit)), money={"USD": 600})
    event = await settle_soon(till, reservation, nanos=900)
    assert (event.cost, event.written_off) == (from_nanos(billed), from_nanos(900 - billed))


async def test_many_at_once_are_all_settled(till):
    reservations = await asyncio.gather(*(till.reserve(payer(budget(10_000)), money={"USD": 100}) for _ in range(100)))
    await asyncio.gather(*(settle_soon(till, each, nanos=7) for each in reservations))
    assert await counted(till) == {"held": 0, "0": 700}
    await eventually(lambda: till.admission.is_idle)


async def test_charlie_is_charged_nothing_of_it(till):
    reservation = await till.reserve(payer(budget(1_000)), money={"USD": 600})
    await till.reserve(payer(budget(1_000, id=5, scope_name="charlie")), money={"USD": 10})
    await settle_soon(till, reservation, nanos=250)
    assert await counted(till, "tollgate:budget:5.0") == {"held": 10, "0": 0}
