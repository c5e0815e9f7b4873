"""Spares where room is short: each request asks for itself, and nobody is refused for another's spare."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tenants.errors import BudgetExhausted, RateLimited
from tenants.limits import spares as spares_module
from tenants.limits.charges import compile_charges
from tenants.limits.journal import Journal
from tenants.limits.scripts import LEASE_MS, RESERVATIONS
from tenants.limits.spares import Like
from tenants.principal import Principal
from tests.gateway_site.infra.own_valkey import eventually
from tests.tenants.limits.gate import (
    MINUTE,
    Gate,
    at_once,
    budget,
    caller,
    counted,
    gate_at,
    lease_key,
    payer,
    rate,
)
from tests.tenants.limits.sparing import PLENTY, ask, fields, get_ready, is_ready
from tests.tenants.limits.test_settle_late import settle_soon

pytestmark = pytest.mark.journaled


# --- Where room is short, each asks for itself ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "running", "is_made"),
    [
        ((), 0, True),
        ((at_once(40),), 10, True),
        ((at_once(40),), 19, True),  # itself included, twenty are left
        ((at_once(40),), 20, False),  # more than half of it is in use
        ((at_once(18),), 0, True),
        ((at_once(16),), 0, False),
        ((at_once(1),), 0, False),
        ((rate(40, id=3),), 10, True),
        ((rate(40, id=3),), 18, False),
        ((rate(18, id=3),), 0, False),
        ((rate(1_000, burst=40, id=3),), 10, True),
        ((rate(1_000, burst=40, id=3),), 19, False),
        ((rate(1_000, burst=10, id=3),), 0, False),
        ((rate(10_000, kind="tokens", id=3),), 20, True),  # a hundred each, the spare two hundred
        ((rate(10_000, kind="tokens", id=3),), 50, False),
        ((rate(3_000, kind="tokens", id=3),), 0, False),  # sixteen times two hundred are not left
        ((at_once(40), rate(18, id=3)), 0, False),
    ],
)
async def test_limits_with_little_room(gate: Gate, rules: tuple[Any, ...], running: int, is_made: bool):
    alice = caller(*rules)
    for _ in range(running):
        await gate.reserve(alice, tokens=100)
    for _ in range(2):
        if not await gate.admits(alice, tokens=100):
            return
    assert await is_ready_with(gate, alice) is is_made


async def test_where_room_is_short_nothing_is_held_for_a_moment(gate: Gate):
    alice = caller(at_once(40))
    await ask(gate, alice)
    last = await gate.reserve(alice)
    for _ in range(22):
        await gate.reserve(alice)
    await settle_soon(gate, last)
    (like,) = gate.admission._likes  # there was room when it came
    gate.admission.settles.send_late()
    gate.admission.spares.make(like)
    assert len(await gate.leases(alice.rules[0])) == 22
    assert not gate.admission.spares._held
    assert len(gate.admission.spares) == 0


@pytest.mark.parametrize(("amount", "is_asked"), [(5, False), (18, False), (19, True)])
async def test_a_key_with_little_room_does_not_even_ask(gate: Gate, amount: int, is_asked: bool):
    alice = caller(rate(amount, id=3))
    for _ in range(2):
        await ask(gate, alice)
    assert bool(gate.admission._likes) is is_asked


async def is_ready_with(gate: Gate, alice: Principal) -> bool:
    """Settle the last two requests, and look whether they leave a spare behind."""
    for reservation in list(gate.admission.active.values())[-2:]:
        await settle_soon(gate, reservation, tokens=100)
    await asyncio.sleep(0.03)
    running = len(gate.admission.active) + len(gate.admission.spares)
    assert await gate.valkey.call("ZCARD", RESERVATIONS) == running  # one too many was given back
    return len(gate.admission.spares) == 1


@pytest.mark.parametrize(
    ("amount", "is_hard", "is_made"),
    [(3_201, True, True), (3_200, True, False), (1_700, True, False), (150, False, True)],
)
async def test_budgets_with_little_room(gate: Gate, amount: int, is_hard: bool, is_made: bool):
    assert await is_ready(gate, payer(budget(amount, is_hard=is_hard)), money={"USD": 100}) is is_made


@pytest.mark.parametrize("facts", [{"tokens": 101}, {"money": {"USD": 201}}], ids=["tokens", "money"])
async def test_who_needs_more_than_it_holds_asks(gate: Gate, adopted: list[str], facts: dict[str, Any]):
    alice = payer(budget(PLENTY), rules=(rate(100_000, kind="tokens", id=7),))
    asked = {"tokens": 50, "money": {"USD": 100}}
    await get_ready(gate, alice, **asked)
    await ask(gate, alice, **{**asked, **facts})
    assert adopted == []
    gate.admission.settles.send_late()
    assert (await counted(gate))["held"] == 0
    await get_ready(gate, alice, **asked)
    adopted.clear()
    last = await gate.reserve(alice, tokens=100, money={"USD": 200})  # twice as much is there
    assert adopted == [last.request_id]


async def test_one_that_will_not_do_is_not_in_the_way(gate: Gate):
    alice = payer(budget(35))
    await get_ready(gate, alice, money={"USD": 1})
    reservation = await gate.reserve(alice, money={"USD": 34})
    assert await counted(gate) == {"held": 34, "0": 0}
    assert reservation.covers(34, "USD")


@pytest.mark.usefixtures("lasting")
async def test_it_does_not_grow_from_request_to_request(gate: Gate):
    alice = payer(budget(PLENTY))
    for _ in range(5):
        await get_ready(gate, alice, money={"USD": 100})
        assert await counted(gate) == {"held": 200, "0": 0}
        await ask(gate, alice, money={"USD": 100})


@pytest.mark.usefixtures("lasting")
async def test_another_period_is_charged_anew(gate: Gate, adopted: list[str]):
    alice = payer(budget(PLENTY, period="day"))
    now = time.time()
    await get_ready(gate, alice, money={"USD": 100}, started_at=now)
    tomorrow = await gate.reserve(alice, money={"USD": 100}, started_at=now + 86_400)
    assert adopted == []
    assert tomorrow.counters("USD") != (await gate.reserve(alice, money={"USD": 100})).counters("USD")


@pytest.mark.usefixtures("lasting")
async def test_an_increase_that_ends_is_noticed(gate: Gate, adopted: list[str]):
    now = time.time()
    alice = payer(budget(PLENTY, increase=PLENTY, increase_until=now + 60))
    await get_ready(gate, alice, money={"USD": 100})
    await gate.reserve(alice, money={"USD": 100}, started_at=now + 61)
    assert adopted == []


async def test_limits_that_were_changed_are_asked(gate: Gate):
    await get_ready(gate, caller(at_once(1_000)))
    with pytest.raises(RateLimited):
        await gate.reserve(caller(at_once(0)))


async def test_a_refusal_is_what_it_ever_was(gate: Gate):
    alice = payer(budget(PLENTY))
    await get_ready(gate, alice, money={"USD": 100})
    with pytest.raises(BudgetExhausted):
        await gate.reserve(alice, money={"USD": 2 * PLENTY})


async def test_charlie_cannot_take_it(gate: Gate, adopted: list[str]):
    shared = at_once(1_000)
    await get_ready(gate, caller(shared))
    charlie = caller(shared, tenant="charlie", key_id=2)
    await gate.reserve(charlie)
    assert len(gate.admission.spares) == 1
    impostor = caller(shared, tenant="charlie", key_id=1)  # as after a key's number was given anew
    await gate.reserve(impostor)
    assert adopted == []


@pytest.mark.usefixtures("lasting")
async def test_all_of_a_tenants_keys_hold_a_small_part_of_its_limit(gate: Gate):
    gate.admission.peers = 2
    shared = at_once(100)
    for key_id in range(10):
        await is_ready(gate, caller(shared, key_id=key_id))
    assert len(gate.admission.spares) == 3  # a sixteenth of a hundred, for two workers
    assert len(await gate.leases(shared)) == 3
    gate.admission.spares.give_back_all()
    assert not gate.admission.spares._held


async def test_the_leases_of_those_that_run_last_as_long_as_ever(gate: Gate):
    slots = at_once(100)
    await gate.reserve(caller(slots))
    await get_ready(gate, caller(slots))
    gate.admission.spares.give_back_all()
    assert int(await gate.valkey.call("PTTL", lease_key(slots))) > LEASE_MS


async def test_a_burst_is_not_given_back_twice(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    """What has drained from the bucket since is free already."""
    monkeypatch.setattr(spares_module, "SPARE_SECONDS", 0.2)
    often = rate(60_000, window_ms=MINUTE, burst=100)  # one in a millisecond
    await get_ready(gate, caller(often))
    before = (await fields(gate, often))["tat"]
    await eventually(lambda: not len(gate.admission.spares))
    assert (await fields(gate, often))["tat"] == pytest.approx(before, abs=0.01)


async def test_none_is_made_nor_taken_while_valkey_has_to_be_told_something(gate: Gate, adopted: list[str]):
    alice = caller(at_once(100))
    await get_ready(gate, alice)
    gate.admission.settles._is_spooling = gate.admission.settles._is_spooling = True
    await gate.reserve(alice)
    assert adopted == []
    gate.admission.settles._is_spooling = True
    gate.admission.spares.give_back_all()
    assert not await is_ready_now(gate, alice)


async def is_ready_now(gate: Gate, alice: Principal) -> bool:
    gate.admission._likes = [Like(compile_charges(alice, alias="smart", end_user=""), 0, {})]
    gate.admission._get_ready()
    await gate.valkey.call("PING")
    return len(gate.admission.spares) > 0


async def test_a_worker_that_stops_makes_none(gate: Gate):
    alice = caller()
    for _ in range(2):
        await ask(gate, alice)
    like = gate.admission._likes[-1]
    gate.admission.settles.send_late()
    gate.admission.spares.make(like)
    gate.admission.spares.close()  # while one is on its way
    assert not gate.admission.spares.is_idle
    await eventually(lambda: gate.admission.spares.is_idle, within=0.5)
    gate.admission.spares.make(like)
    assert gate.admission.spares.is_idle
    await gate.valkey.call("PING")
    assert await gate.valkey.call("ZCARD", RESERVATIONS) == 0


@pytest.mark.usefixtures("lasting")
async def test_workers_together_admit_no_more_than_the_limit(valkey_url: str, tmp_path: Path, gate: Gate):
    alice, runs = caller(at_once(40)), 30
    async with (
        gate_at(valkey_url, tmp_path / "two", journal=Journal(tmp_path / "two", "here-2")) as two,
        gate_at(valkey_url, tmp_path / "three", journal=Journal(tmp_path / "three", "here-3")) as three,
    ):
        for each in (gate, two, three):
            await get_ready(each, alice)
        admitted = await asyncio.gather(*(each.admitted(runs, alice) for each in (gate, two, three)))
        assert sum(admitted) == 40
        assert len(await gate.leases(alice.rules[0])) == 40
