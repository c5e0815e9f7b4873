"""Spares: who has one does not wait for Valkey, and no limit, budget or ledger can tell the difference."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tenants.errors import BudgetExhausted, RateLimited
from tenants.limits import settles as settles_module
from tenants.limits import spares as spares_module
from tenants.limits.charges import compile_charges
from tenants.limits.journal import Journal
from tenants.limits.scripts import COUNTED, LEASE_MS, RESERVATION_PREFIX, RESERVATIONS
from tenants.limits.spares import Like
from tenants.principal import Principal
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.tenants.limits.gate import (
    MINUTE,
    ROOT,
    Gate,
    at_once,
    budget,
    caller,
    counted,
    gate_at,
    lease_key,
    payer,
    rate,
    sweep,
)
from tests.tenants.limits.test_settle_late import settle_soon

PLENTY = 1_000_000
NEVER = 3_600.0
MAY_FIRST = 1_777_622_400.0


@pytest.fixture
async def gate(valkey_url: str, tmp_path: Path) -> AsyncIterator[Gate]:
    async with gate_at(valkey_url, tmp_path / "spool", journal=Journal(tmp_path / "spool", "here-1")) as gate:
        await gate.valkey.call("SET", COUNTED, "1")
        yield gate


@pytest.fixture
async def own_gate(own_server: OwnValkey, tmp_path: Path) -> AsyncIterator[Gate]:
    journal = Journal(tmp_path / "spool", "here-1")
    async with gate_at(own_server.url, tmp_path / "spool", deadline=1.0, journal=journal) as gate:
        await gate.valkey.call("SET", COUNTED, "1")
        yield gate


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares do not grow old."""
    monkeypatch.setattr(spares_module, "SPARE_SECONDS", NEVER)


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


# --- Somebody dies -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("lasting")
async def test_the_ledger_does_not_hear_of_one_that_is_swept(gate: Gate):
    alice = payer(budget(PLENTY), rules=(at_once(100),))
    await get_ready(gate, alice, money={"USD": 100})
    assert await sweep(gate) == 1
    assert await counted(gate) == {"held": 0, "0": 0}
    assert await gate.leases(alice.rules[0]) == []
    assert len(await gate.events()) == 2


@pytest.mark.usefixtures("lasting")
async def test_one_that_was_swept_bills_its_request_all_the_same(gate: Gate):
    alice = payer(budget(PLENTY))
    await get_ready(gate, alice, money={"USD": 100})
    await sweep(gate)
    with capture_logs() as logs:
        reservation = await gate.reserve(alice, money={"USD": 100})
        await settle_soon(gate, reservation, nanos=70)
        gate.admission.settles.send_late()
        await eventually(lambda: gate.admission.is_idle)
    gate.admission.spares.give_back_all()
    assert await counted(gate) == {"held": 0, "0": 70}
    assert (await gate.events())[2:] == [reservation.request_id]
    (told,) = [each for each in logs if each["event"] == "reservation_swept"]
    assert told["request_id"] == reservation.request_id


@pytest.mark.usefixtures("lasting")
async def test_a_request_that_took_one_and_is_lost_is_in_the_ledger(gate: Gate):
    alice = payer(budget(PLENTY))
    await get_ready(gate, alice, money={"USD": 100})
    reservation = await gate.reserve(alice, money={"USD": 100})
    assert await sweep(gate) == 1
    assert [(each.request_id, each.alias) for each in await gate.records()][2:] == [(reservation.request_id, "lost")]
    assert await counted(gate) == {"held": 0, "0": 0}


async def test_scripts_that_valkey_forgot_are_loaded_again(gate: Gate):
    alice = payer(budget(PLENTY))
    await get_ready(gate, alice, money={"USD": 100})
    await gate.valkey.call("SCRIPT", "FLUSH")
    reservation = await gate.reserve(alice, money={"USD": 100})
    async with asyncio.timeout(5):
        while await gate.valkey.call("ZRANGE", RESERVATIONS, 0, -1) != [reservation.request_id.encode()]:
            await asyncio.sleep(0.01)
    await gate.settle(reservation)
    await gate.admission.settles.replay()
    assert await counted(gate) == {"held": 0, "0": 0}
    assert len(await gate.events()) == 3


async def test_one_who_has_settled_needs_it_no_more(gate: Gate):
    """The script that puts it down comes second, where it had to be loaded again."""
    alice = payer(budget(PLENTY))
    await get_ready(gate, alice, money={"USD": 100})
    spare = gate.admission.spares.take(*_wanted(gate, alice))
    assert spare is not None
    await ask(gate, alice, money={"USD": 100})
    gate.admission.settles.send_late()
    settled = (await gate.events())[-1]
    gate.admission.spares.adopt(spare, settled, b"{}")
    await gate.valkey.call("PING")
    await sweep(gate)
    assert await counted(gate) == {"held": 0, "0": 0}
    assert len(await gate.events()) == 3


def _wanted(gate: Gate, principal: Principal) -> tuple[Any, Any]:
    (spare,) = gate.admission.spares._spares.values()
    assert spare.charges.principal is principal
    return spare.charges, spare.holds


@pytest.mark.usefixtures("lasting")
async def test_when_valkey_is_lost_they_are_forgotten(own_gate: Gate, own_server: OwnValkey):
    alice = caller(at_once(100))
    await get_ready(own_gate, alice)
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    assert len(own_gate.admission.spares) == 0
    assert (await own_gate.reserve(alice)).is_degraded
    own_server.start()


async def test_a_valkey_that_refuses_is_not_relied_upon(own_gate: Gate, own_server: OwnValkey):
    alice = payer(budget(PLENTY))
    await get_ready(own_gate, alice, money={"USD": 100})
    await own_gate.valkey.call("CONFIG", "SET", "maxmemory", "1")
    assert (await own_gate.reserve(alice, money={"USD": 500})).is_degraded
    assert (await own_gate.reserve(alice, money={"USD": 100})).is_degraded
    await own_gate.valkey.call("CONFIG", "SET", "maxmemory", "0")


async def test_what_valkey_never_answered_is_none(
    own_gate: Gate, own_server: OwnValkey, monkeypatch: pytest.MonkeyPatch
):
    alice = caller(at_once(100))
    for _ in range(2):
        await ask(own_gate, alice)
    own_server.freeze()
    await asyncio.sleep(0.03)  # it is asked for, and lost with the connection
    await eventually(lambda: not own_gate.valkey.is_connected)
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert len(own_gate.admission.spares) == 0
    await get_ready(own_gate, alice)  # and asked for again


async def test_one_who_leaves_in_that_moment_holds_nothing(gate: Gate):
    alice = payer(budget(PLENTY), rules=(at_once(100),))
    await get_ready(gate, alice, money={"USD": 100})
    under_way = gate.valkey.call("PING")  # so that commands leave at the end of the turn
    reserving = asyncio.ensure_future(gate.reserve(alice, money={"USD": 100}))
    await asyncio.sleep(0)
    reserving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reserving
    await under_way
    assert await counted(gate) == {"held": 0, "0": 0}
    assert await gate.leases(alice.rules[0]) == []
    assert len(await gate.events()) == 2


DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from tenants.limits.journal import Journal
from tests.tenants.limits.gate import budget, gate_at, payer
from tests.tenants.limits.test_spares import PLENTY, get_ready

async def main(url, folder, is_busy):
    async with gate_at(url, folder, journal=Journal(folder, "dead-1")) as gate:
        alice = payer(budget(PLENTY))
        await get_ready(gate, alice, money={"USD": 600})
        if is_busy:
            gate.valkey.call("PING")  # so that commands leave at the end of the turn
        await gate.reserve(alice, "r1", money={"USD": 600})
        print("admitted", len(gate.admission.spares), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "busy"))
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
async def test_a_worker_that_is_killed_has_said_whose_it_was(gate: Gate, valkey_url: str, tmp_path: Path, state: str):
    command = [sys.executable, "-c", DYING, valkey_url, str(tmp_path / "dead"), state]
    died = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert (died.stdout, died.returncode) == (b"admitted 0\n", -signal.SIGKILL), died.stderr
    assert await sweep(gate) == 1
    assert [each.alias for each in await gate.records() if each.request_id == "r1"] == ["lost"]
    assert await counted(gate) == {"held": 0, "0": 0}
