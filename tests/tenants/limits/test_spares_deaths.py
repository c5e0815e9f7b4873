"""Spares when somebody dies: Valkey, its scripts, a request or a worker."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tenants.limits.scripts import RESERVATIONS
from tenants.principal import Principal
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.tenants.limits.gate import (
    ROOT,
    Gate,
    at_once,
    budget,
    caller,
    counted,
    payer,
    sweep,
)
from tests.tenants.limits.sparing import PLENTY, ask, get_ready
from tests.tenants.limits.test_settle_late import settle_soon

pytestmark = pytest.mark.journaled


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
    gate.admission.spares.close()  # no other is made
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
from tests.tenants.limits.sparing import PLENTY, get_ready

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
