"""Where there is plenty of room an answer leaves before its settle: what that may not change, and when it may not be."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tenants.limits import admission as admission_module
from tenants.limits import settles as settles_module
from tenants.limits.journal import Journal
from tenants.limits.money import from_nanos
from tenants.limits.scripts import COUNTED
from tenants.limits.settles import MOST_LATE
from tenants.limits.spool import Spool
from tenants.limits.spool import read as read_file
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.tenants.limits.gate import (
    ROOT,
    Gate,
    at_once,
    budget,
    caller,
    counted,
    event_of,
    gate_at,
    payer,
    rate,
    sweep,
)

PLENTY = 1_000_000


pytestmark = pytest.mark.journaled


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put off leaves only with other commands."""
    monkeypatch.setattr(settles_module, "LATE_SECONDS", 3_600)


async def settle_soon(gate: Gate, reservation: Any, *, nanos: int = 0, tokens: int = 0) -> Any:
    event = msgspec.structs.replace(
        event_of(reservation.request_id), cost=from_nanos(nanos), budgets=reservation.counters("USD")
    )
    return await gate.admission.settle_soon(reservation, event, tokens=tokens)


def journaled(tmp_path: Path) -> list[str]:
    return [each.request_id for path in (tmp_path / "spool").glob("*.journal") for each in read_file(path)]


# --- It comes all the same -----------------------------------------------------------------------------------


async def test_it_is_settled_in_a_moment(gate: Gate, tmp_path: Path):
    reservation = await gate.reserve(payer(budget(PLENTY)), money={"USD": 600})
    billed = await settle_soon(gate, reservation, nanos=250)
    assert billed.cost == from_nanos(250)
    assert journaled(tmp_path) == [reservation.request_id]
    assert not gate.admission.is_idle  # a worker that stops now waits for it
    await eventually(lambda: gate.admission.is_idle)
    assert await counted(gate) == {"held": 0, "0": 250}
    assert await gate.events() == [reservation.request_id]
    assert journaled(tmp_path) == []


@pytest.mark.usefixtures("patient")
async def test_who_has_an_answer_asks_again_with_what_it_gave_back(gate: Gate):
    alice = payer(budget(PLENTY), rules=(at_once(100), rate(100_000, kind="tokens", id=7)))
    for _ in range(5):
        reservation = await gate.reserve(alice, money={"USD": 600}, tokens=50)
        await settle_soon(gate, reservation, nanos=250, tokens=10)
    last = await gate.reserve(alice, money={"USD": 600}, tokens=50)
    assert await gate.leases(alice.rules[0]) == [last.request_id.encode()]
    assert await counted(gate) == {"held": 600, "0": 5 * 250}
    assert len(await gate.events()) == 5


@pytest.mark.usefixtures("patient")
async def test_whoever_looks_sees_it_settled(gate: Gate):
    alice = payer(budget(PLENTY))
    await settle_soon(gate, await gate.reserve(alice, money={"USD": 600}), nanos=250)
    (standing,) = await gate.admission.standings(alice, end_user="", now=time.time())
    assert (standing.first, standing.second) == (0, 250)


async def test_many_are_settled_in_few_packets(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    protocol = gate.valkey._protocol
    assert protocol is not None
    packets, write = [], protocol._write
    monkeypatch.setattr(protocol, "_write", lambda data: (packets.append(data), write(data)))
    reservations = [await gate.reserve(payer(budget(PLENTY)), money={"USD": 100}) for _ in range(40)]
    packets.clear()
    for each in reservations:
        await settle_soon(gate, each, nanos=7)
    await eventually(lambda: gate.admission.is_idle)
    gate.admission.spares.give_back_all()
    assert len(packets) <= 4  # 16 to a packet at least, if no timer came between
    assert await counted(gate) == {"held": 0, "0": 280}
    assert len(await gate.events()) == 40


@pytest.mark.usefixtures("patient")
async def test_enough_for_a_packet_do_not_wait_for_others(gate: Gate):
    reservations = [await gate.reserve(caller(at_once(PLENTY))) for _ in range(MOST_LATE)]
    for each in reservations:
        await settle_soon(gate, each)
    await eventually(lambda: not gate.admission.active and gate.admission.is_idle)
    assert len(await gate.events()) == MOST_LATE


@pytest.mark.usefixtures("patient")
async def test_the_journal_of_a_worker_that_is_never_idle_does_not_grow(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gate.admission.settles, "_clear_journal", lambda: None)  # it has always something under way
    for _ in range(5):
        reservation = await gate.reserve(caller(at_once(PLENTY)))
        await settle_soon(gate, reservation)
        assert journaled(tmp_path) == [reservation.request_id]


async def test_charlie_is_charged_nothing_of_it(gate: Gate):
    reservation = await gate.reserve(payer(budget(PLENTY)), money={"USD": 600})
    charlie = payer(budget(PLENTY, id=5, scope_name="charlie"))
    await gate.reserve(charlie, money={"USD": 10})
    await settle_soon(gate, reservation, nanos=250)
    await eventually(lambda: not gate.admission.settles._late)
    assert await counted(gate, "tollgate:budget:5.0") == {"held": 10, "0": 0}
    assert await counted(gate) == {"held": 0, "0": 250}


# --- Where room is short it leaves before the answer ---------------------------------------------------------


async def is_put_off(gate: Gate, reservation: Any, *, nanos: int = 0) -> bool:
    await settle_soon(gate, reservation, nanos=nanos)
    return bool(gate.admission.settles._late)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("rules", "is_late"),
    [
        ((), True),
        ((at_once(17),), True),
        ((at_once(16),), False),
        ((at_once(1),), False),
        ((rate(10, id=3),), True),  # what was asked is not given back
        ((rate(1_800, kind="tokens", id=3),), True),
        ((rate(1_600, kind="tokens", id=3),), False),
        ((at_once(100), rate(1_600, kind="tokens", id=3)), False),
    ],
)
async def test_limits_with_little_room(gate: Gate, rules: tuple[Any, ...], is_late: bool):
    assert await is_put_off(gate, await gate.reserve(caller(*rules), tokens=100)) is is_late


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("amount", "is_hard", "is_late"),
    [(1_601, True, True), (1_600, True, False), (100, True, False), (100, False, True)],
)
async def test_budgets_with_little_room(gate: Gate, amount: int, is_hard: bool, is_late: bool):
    reservation = await gate.reserve(payer(budget(amount, is_hard=is_hard)), money={"USD": 100})
    assert await is_put_off(gate, reservation) is is_late


@pytest.mark.usefixtures("patient")
async def test_what_others_took_meanwhile_counts(gate: Gate):
    alice = caller(at_once(20))
    first = await gate.reserve(alice)
    for _ in range(10):
        await gate.reserve(alice)
    assert not await is_put_off(gate, first)


@pytest.mark.usefixtures("patient")
async def test_a_refusal_counts(gate: Gate):
    alice = payer(budget(PLENTY))
    first = await gate.reserve(alice, money={"USD": 100})
    with pytest.raises(Exception, match="budget"):
        await gate.reserve(alice, money={"USD": 2 * PLENTY})
    assert not await is_put_off(gate, first)


@pytest.mark.usefixtures("patient")
async def test_what_was_known_long_ago_counts_no_more(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admission_module, "ROOMY_SECONDS", 0.0)
    assert not await is_put_off(gate, await gate.reserve(caller(at_once(PLENTY))))


@pytest.mark.usefixtures("patient")
async def test_keys_do_not_know_of_each_others_room(gate: Gate):
    alice, charlie = caller(at_once(PLENTY)), caller(at_once(2, id=9), tenant="charlie", key_id=2)
    his = await gate.reserve(charlie)
    hers = await gate.reserve(alice)
    assert not await is_put_off(gate, his)
    assert await is_put_off(gate, hers)


@pytest.mark.usefixtures("patient")
async def test_a_cost_beyond_what_is_held_is_told_as_it_was_billed(gate: Gate):
    reservation = await gate.reserve(payer(budget(PLENTY)), money={"USD": 600})
    assert not await is_put_off(gate, reservation, nanos=900)


@pytest.mark.usefixtures("patient")
async def test_the_room_of_many_keys_is_not_kept_for_ever(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gate.admission, "_cache_size", 10)
    for number in range(100):
        await gate.reserve(caller(at_once(PLENTY, id=number), key_id=number))
    assert len(gate.admission._roomy_at) <= 10


@pytest.mark.usefixtures("patient")
async def test_without_a_disk_it_leaves_before_the_answer(valkey_url: str, tmp_path: Path):
    (tmp_path / "spool").write_text("this is no folder")
    async with gate_at(valkey_url, tmp_path / "else", journal=Journal(tmp_path / "spool", "here-1")) as gate:
        assert not await is_put_off(gate, await gate.reserve(caller()))
        await eventually(lambda: gate.admission.is_idle)
        assert len(await gate.events()) == 1


@pytest.mark.usefixtures("patient")
async def test_with_tls_it_leaves_before_the_answer(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    protocol = gate.valkey._protocol
    assert protocol is not None
    monkeypatch.setattr(protocol, "_socket", -1)  # as with TLS: nobody can say what the kernel has
    assert not await is_put_off(gate, await gate.reserve(caller()))
    await eventually(lambda: gate.admission.is_idle)


@pytest.mark.usefixtures("patient")
async def test_one_that_has_to_be_settled_otherwise_stands_in_the_journal_until_it_is(gate: Gate, tmp_path: Path):
    reservation = await gate.reserve(payer(budget(PLENTY)), money={"USD": 600})
    await sweep(gate)
    assert await is_put_off(gate, reservation, nanos=250)
    gate.admission.settles.send_late()
    while not gate.admission.settles._unsettled:
        await asyncio.sleep(0)
    assert journaled(tmp_path) == [reservation.request_id]
    await eventually(lambda: gate.admission.is_idle)
    assert journaled(tmp_path) == []
    assert [(each.outcome, each.replaces_lost) for each in await gate.records()] == [
        ("served", False),
        ("served", True),
    ]


# --- Valkey is lost ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient")
async def test_what_was_put_off_when_valkey_was_lost_is_spooled(own_gate: Gate, own_server: OwnValkey, tmp_path: Path):
    reservation = await own_gate.reserve(caller(at_once(100)))
    assert await is_put_off(own_gate, reservation)
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    own_gate.admission.settles.send_late()
    assert own_gate.admission.is_idle
    assert journaled(tmp_path) == []  # once is enough
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.settles.replay() == 1
    assert await own_gate.events() == [reservation.request_id]


async def test_what_a_frozen_valkey_never_answers_is_spooled(own_gate: Gate, own_server: OwnValkey):
    reservation = await own_gate.reserve(caller(at_once(100)))
    own_server.freeze()
    await settle_soon(own_gate, reservation)
    await eventually(lambda: own_gate.admission.is_idle)
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    await own_gate.admission.settles.replay()
    assert await own_gate.events() == [reservation.request_id]


# --- The worker is killed ------------------------------------------------------------------------------------

DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from tenants.limits import admission as admission_module
from tenants.limits import settles as settles_module
from tenants.limits.journal import Journal
from tests.tenants.limits.gate import budget, event_of, gate_at, payer
from tests.tenants.limits.test_settle_late import settle_soon

settles_module.LATE_SECONDS = 3_600

async def main(url, folder, when):
    async with gate_at(url, folder, journal=Journal(folder, "dead-1")) as gate:
        reservation = await gate.reserve(payer(budget(1_000_000)), "r1", money={"USD": 600})
        await settle_soon(gate, reservation, nanos=250)
        if when == "sent":
            gate.admission.settles.send_late()
        print("answered", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
"""


@pytest.mark.parametrize("when", ["put off", "sent"])
@pytest.mark.parametrize("is_swept", [False, True])
async def test_a_worker_that_is_killed_has_settled_what_it_answered(
    gate: Gate, valkey_url: str, tmp_path: Path, when: str, is_swept: bool
):
    folder = tmp_path / "spool"
    command = [sys.executable, "-c", DYING, valkey_url, str(folder), when]
    died = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert (died.stdout, died.returncode) == (b"answered\n", -signal.SIGKILL), died.stderr
    if is_swept:
        await sweep(gate)
    Spool(folder, "here-1").adopt(lambda name: name != "dead-1")
    assert await gate.admission.settles.replay() == 1
    assert await counted(gate) == {"held": 0, "0": 250}
    records = await gate.records()
    assert records[-1].cost == from_nanos(250)
    if when == "put off" and is_swept:
        assert [(each.outcome, each.replaces_lost) for each in records] == [("served", False), ("served", True)]
    else:
        assert len(records) == 1
    assert await gate.valkey.call("EXISTS", COUNTED) == 1  # nobody has to count what was spent anew
