"""Spares: who has one does not wait for Valkey, and no limit, budget or ledger can tell the difference."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tenants.limits import settles as settles_module
from tenants.limits import spares as spares_module
from tenants.limits.scripts import RESERVATION_PREFIX, RESERVATIONS
from tenants.principal import Principal
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.tenants.limits.gate import (
    MINUTE,
    Gate,
    at_once,
    budget,
    caller,
    counted,
    gate_at,
    payer,
    rate,
)
from tests.tenants.limits.sparing import PLENTY, ask, fields, get_ready, is_ready, is_running, used
from tests.tenants.limits.test_settle_late import settle_soon

pytestmark = pytest.mark.journaled


# --- What it is for ------------------------------------------------------------------------------------------


async def test_a_request_of_a_key_in_use_does_not_wait_for_valkey(own_gate: Gate, own_server: OwnValkey):
    alice = payer(budget(PLENTY), rules=(at_once(100), rate(1_000)))
    await get_ready(own_gate, alice, money={"USD": 100})
    own_server.freeze()
    async with asyncio.timeout(0.5):
        reservation = await own_gate.reserve(alice, money={"USD": 100})
    assert not reservation.is_degraded
    own_server.thaw()
    await own_gate.settle(reservation)
    assert (await own_gate.events())[2:] == [reservation.request_id]


async def test_what_there_is_to_do_meanwhile_is_done(gate: Gate):
    alice, done = caller(), []
    await get_ready(gate, alice)
    request = await _request(gate, alice)
    await gate.admission.reserve(alice, request, meanwhile=lambda: done.append("planned"))
    assert done == ["planned"]


async def _request(gate: Gate, principal: Principal) -> Any:
    """Return a request as the gate makes it."""
    made: list[Any] = []
    reserve = gate.admission.reserve
    gate.admission.reserve = lambda principal, request, **_: made.append(request) or asyncio.sleep(0)  # type: ignore[method-assign, assignment, func-returns-value]
    await gate.reserve(principal)
    gate.admission.reserve = reserve  # type: ignore[method-assign]
    return made[0]


async def test_nothing_tells_it_from_one_that_waited(gate: Gate):
    slots, requests, tokens = at_once(100), rate(1_000), rate(100_000, kind="tokens", id=7)
    alice = payer(budget(PLENTY), rules=(slots, requests, tokens))
    facts = {"money": {"USD": 600}, "tokens": 50}
    await get_ready(gate, alice, nanos=250, used=10, **facts)
    reservation = await gate.reserve(alice, **facts)
    assert await gate.leases(slots) == [reservation.request_id.encode()]
    assert await gate.valkey.call("ZRANGE", RESERVATIONS, 0, -1) == [reservation.request_id.encode()]
    kept = [key for key in await gate.valkey.call("KEYS", RESERVATION_PREFIX + "*") if await is_running(gate, key)]
    assert kept == [f"{RESERVATION_PREFIX}{reservation.request_id}".encode()]
    assert (await used(gate, requests), await used(gate, tokens)) == (3, 10 + 10 + 100)
    await settle_soon(gate, reservation, nanos=250, tokens=10)
    gate.admission.settles.send_late()
    assert await counted(gate) == {"held": 0, "0": 750}
    assert (await used(gate, requests), await used(gate, tokens)) == (3, 30)
    assert await gate.leases(slots) == []
    assert (await gate.events())[-1] == reservation.request_id
    assert [each.outcome for each in await gate.records()] == ["served"] * 3


async def test_settling_twice_does_nothing(gate: Gate):
    alice = payer(budget(PLENTY))
    await get_ready(gate, alice, money={"USD": 600})
    reservation = await gate.reserve(alice, money={"USD": 600})
    for _ in range(2):
        await settle_soon(gate, reservation, nanos=250)
        gate.admission.settles.send_late()
    gate.admission.spares.give_back_all()
    assert await counted(gate) == {"held": 0, "0": 250}
    assert len(await gate.events()) == 3


async def test_a_key_is_told_what_remains_of_its_limits(gate: Gate):
    alice = caller(rate(1_000), rate(100_000, kind="tokens", id=7))
    shown = []
    for _ in range(4):
        reservation = await gate.reserve(alice, tokens=50)
        shown.append(dict(reservation.headers))
        await settle_soon(gate, reservation, tokens=50)
        await eventually(lambda: gate.admission.is_idle)
        await gate.valkey.call("PING")
    assert [each[b"x-ratelimit-remaining-requests"] for each in shown] == [b"999", b"998", b"997", b"996"]
    assert [each[b"x-ratelimit-remaining-tokens"] for each in shown] == [b"99950", b"99900", b"99850", b"99800"]


@pytest.mark.usefixtures("lasting")
async def test_a_key_is_told_when_its_limits_are_whole(gate: Gate):
    alice = caller(rate(1_000, window_ms=MINUTE), rate(100_000, kind="tokens", id=7, window_ms=MINUTE))
    await get_ready(gate, alice, tokens=50)
    (spare,) = gate.admission.spares._spares.values()
    spare.made_at -= 40
    (_, _, reset), (_, _, tokens_reset) = spare.standing(50)
    assert all(15_000 < each < 21_000 for each in (reset, tokens_reset))


async def test_two_requests_at_once_make_one(gate: Gate):
    alice = caller()
    await ask(gate, alice)
    first, second = await gate.reserve(alice), await gate.reserve(alice)
    for each in (first, second):
        await settle_soon(gate, each)
    likes = gate.admission._likes
    assert len(likes) == 2
    gate.admission.settles.send_late()
    for like in likes:
        gate.admission.spares.make(like)
    await gate.valkey.call("PING")
    assert len(gate.admission.spares) == 1
    assert await gate.valkey.call("ZCARD", RESERVATIONS) == 1


async def test_one_who_never_waits_knows_of_room_and_budgets(gate: Gate):
    alice = payer(budget(PLENTY))
    for _ in range(2):
        await ask(gate, alice, money={"USD": 100}, nanos=100)
    gate.admission._roomy_at.clear()
    gate.admission._lefts.clear()
    await eventually(lambda: len(gate.admission.spares))
    assert list(gate.admission._lefts.values()) == [PLENTY - 200 - 200]
    await ask(gate, alice, money={"USD": 100})
    assert gate.admission.settles._late


async def test_whoever_looks_does_not_see_it(gate: Gate):
    alice = payer(budget(PLENTY), rules=(at_once(100), rate(1_000)))
    await get_ready(gate, alice, money={"USD": 600}, nanos=250)
    standings = await gate.admission.standings(alice, end_user="", now=time.time())
    assert [(each.first, each.second) for each in standings][::2] == [(0, 0), (0, 500)]
    assert standings[1].first == 2


# --- Nobody took it ------------------------------------------------------------------------------------------


async def test_what_nobody_takes_is_given_back_whole(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settles_module, "LATE_SECONDS", 0.1)
    monkeypatch.setattr(spares_module, "SPARE_SECONDS", 0.1)
    slots, requests, tokens = at_once(100), rate(1_000, burst=100), rate(100_000, kind="tokens", id=7)
    alice = payer(budget(PLENTY), rules=(slots, requests, tokens))
    for _ in range(2):
        await ask(gate, alice, money={"USD": 600}, tokens=50, used=10, nanos=250)
    before = await fields(gate, requests)
    await eventually(lambda: len(gate.admission.spares))
    assert (await fields(gate, requests))["tat"] == pytest.approx(before["tat"] + 3_600, abs=1)
    assert await counted(gate) == {"held": 1_200, "0": 500}
    await eventually(lambda: not len(gate.admission.spares))
    assert await counted(gate) == {"held": 0, "0": 500}
    assert (await used(gate, requests), await used(gate, tokens)) == (2, 20)
    assert 0 <= (await fields(gate, requests))["tat"] - before["tat"] < 1_000  # what had drained by then was free
    assert await gate.leases(slots) == []
    assert await gate.valkey.call("ZCARD", RESERVATIONS) == 0
    assert len(await gate.events()) == 2


async def test_those_that_nobody_takes_are_given_back_in_one_packet(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    for number in range(5):
        await get_ready(gate, caller(key_id=number))
    packets, write = [], gate.valkey._protocol._write  # type: ignore[union-attr]
    monkeypatch.setattr(gate.valkey._protocol, "_write", lambda data: (packets.append(data), write(data)))
    gate.admission.spares.give_back_all()
    await gate.valkey.call("PING")
    assert len(packets) == 1
    assert await gate.valkey.call("ZCARD", RESERVATIONS) == 0


async def test_the_next_one_is_given_back_as_well(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spares_module, "SPARE_SECONDS", 0.05)
    for _ in range(2):
        await get_ready(gate, caller())
        await eventually(lambda: not len(gate.admission.spares))


async def test_an_old_one_is_not_taken(gate: Gate, adopted: list[str], monkeypatch: pytest.MonkeyPatch):
    alice = caller()
    await get_ready(gate, alice)
    monkeypatch.setattr(spares_module, "SPARE_SECONDS", 0.0)
    await gate.reserve(alice)
    assert adopted == []


@pytest.mark.usefixtures("lasting")
@pytest.mark.parametrize("kind", ["requests", "tokens"])
async def test_one_of_another_slot_of_a_window_is_not_taken(gate: Gate, adopted: list[str], kind: str):
    """Else a window could hold more than its amount."""
    alice = caller(rate(1_000_000, kind=kind, window_ms=MINUTE))
    await get_ready(gate, alice, tokens=1)
    (spare,) = gate.admission.spares._spares.values()
    slot = MINUTE // 20
    spare.reply[1] -= spare.reply[1] % slot  # as if it had been made when the slot began
    spare.made_at = time.monotonic() - (slot - 500) / 1000
    assert spare.is_current
    spare.made_at = time.monotonic() - (slot + 1) / 1000
    await gate.reserve(alice, tokens=1)
    assert adopted == []


async def test_the_young_wait_on_when_the_old_are_given_back(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spares_module, "SPARE_SECONDS", 0.4)
    await get_ready(gate, caller(key_id=1))
    await asyncio.sleep(0.25)
    await get_ready(gate, caller(key_id=2))
    await eventually(lambda: len(gate.admission.spares) == 1, within=0.35)
    assert await eventually(lambda: len(gate.admission.spares) == 0, within=0.6) > 0.05


async def test_a_key_that_is_seldom_used_leaves_none_behind(gate: Gate):
    await ask(gate, caller())
    await asyncio.sleep(0.03)
    await gate.valkey.call("PING")
    assert len(gate.admission.spares) == 0
    assert await gate.valkey.call("ZCARD", RESERVATIONS) == 0


async def test_a_busy_key_asks_for_none(gate: Gate):
    for _ in range(5):
        await ask(gate, caller())
        assert len(gate.admission._likes) <= 1  # of the last request, if no other comes


async def test_without_a_journal_there_are_none(valkey_url: str, tmp_path: Path):
    async with gate_at(valkey_url, tmp_path / "spool") as gate:
        assert not await is_ready(gate, caller())


async def test_with_tls_none_is_taken(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    alice = caller()
    await get_ready(gate, alice)
    monkeypatch.setattr(gate.valkey._protocol, "_socket", -1)  # as with TLS: nobody can say what the kernel has
    await gate.reserve(alice)
    assert len(gate.admission.spares) == 1


@pytest.mark.usefixtures("lasting")
async def test_there_are_no_more_than_so_many(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spares_module, "MOST_SPARES", 2)
    for number in range(4):
        await is_ready(gate, caller(key_id=number))
    assert len(gate.admission.spares) == 2
