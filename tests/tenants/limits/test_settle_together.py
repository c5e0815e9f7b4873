"""Settles that leave together: one script for those of the same rules, which does what each alone would have done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from tenants.limits import settles as settles_module
from tenants.limits.admission import Reservation
from tenants.limits.money import from_nanos
from tenants.limits.scripts import COUNTED, MOST_EACH, RESERVATIONS, SETTLE, SETTLE_TOGETHER, SWEEP, USAGE_STREAM
from tenants.limits.spool import SpooledSettle
from tenants.limits.spool import read as read_file
from tenants.principal import Principal
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.tenants.limits.gate import (
    HOUR,
    Gate,
    at_once,
    budget,
    caller,
    counted,
    event_of,
    noted_scripts,
    payer,
    rate,
    sweep,
)
from tests.tenants.limits.sparing import fields, used
from tests.tenants.limits.test_settle_late import journaled, settle_soon

pytestmark = pytest.mark.journaled

PLENTY = 10_000_000
RULES = (
    rate(PLENTY),
    rate(PLENTY, id=3, kind="tokens"),
    rate(PLENTY, id=5, kind="tokens", window_ms=86_400_000),
    at_once(10_000),
)
BUDGETS = (budget(PLENTY), budget(PLENTY, id=5, is_hard=False), budget(PLENTY, id=6, currency="EUR", is_hard=False))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put off leaves only when it is told to."""
    monkeypatch.setattr(settles_module, "LATE_SECONDS", 3_600)


@pytest.fixture
def scripts(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each settling script was for."""
    return noted_scripts(gate, monkeypatch, SETTLE_TOGETHER, alone=SETTLE)


def alice(**facts: Any) -> Principal:
    return payer(*BUDGETS, rules=RULES, **facts)


async def reserved(gate: Gate, count: int, who: Principal | None = None, prefix: str = "r") -> list[Reservation]:
    """Reserve for some, so many that it is known that there is plenty of room."""
    found = [
        await gate.reserve(who or alice(), f"{prefix}-{n}", tokens=10 + n, money={"USD": 100 + n}) for n in range(count)
    ]
    return found


async def put_off(gate: Gate, held: Sequence[Reservation], *, nanos: int = 10, tokens: int = 0) -> None:
    for each in held:
        await settle_soon(gate, each, nanos=nanos, tokens=tokens)


async def leave(gate: Gate) -> None:
    """Let go what was put off, and wait until it is settled."""
    gate.admission.settles.send_late()
    await eventually(lambda: gate.admission.settles.is_idle)


# --- What it does --------------------------------------------------------------------------------------------


async def test_those_of_the_same_rules_leave_with_one_script(gate: Gate, scripts: list[int]):
    held = await reserved(gate, 4)
    for number, each in enumerate(held):
        await settle_soon(gate, each, nanos=50 + number, tokens=5)
    assert scripts == []
    await leave(gate)
    assert scripts == [4]
    assert await counted(gate) == await counted(gate, "tollgate:budget:5.0") == {"held": 0, "0": 206}
    assert await counted(gate, "tollgate:budget:6.0") == {"0": 0}
    assert await gate.leases(RULES[3]) == []
    assert [await used(gate, rule) for rule in RULES[:3]] == [4, 20, 20]
    assert await gate.events() == [f"r-{n}" for n in range(4)]
    assert [record.cost for record in await gate.records()] == [from_nanos(50 + n) for n in range(4)]
    assert await gate.valkey.call("ZCARD", RESERVATIONS) == 0
    assert await gate.valkey.call("GET", "tollgate:reservation:r-2") == b"settled"
    assert 110_000 < await gate.valkey.call("PTTL", "tollgate:reservation:r-2") <= 120_000


async def state(gate: Gate) -> dict[str, Any]:
    """Return all that Valkey knows but for when it was."""
    found: dict[str, Any] = {"records": [structs.replace(each, started_at=0) for each in await gate.records()]}
    for key in sorted(await gate.valkey.call("KEYS", "tollgate:limit:*")):
        if await gate.valkey.call("TYPE", key) == b"hash":
            flat = await gate.valkey.call("HGETALL", key)
            numbers = dict(zip(flat[::2], flat[1::2], strict=True))
            found[key.decode()] = (numbers[b"used"], sorted(numbers[name] for name in numbers if name.isdigit()))
        else:
            found[key.decode()] = await gate.valkey.call("ZRANGE", key, 0, -1)
    for key in sorted(await gate.valkey.call("KEYS", "tollgate:budget:*.*")):
        found[key.decode()] = await counted(gate, key.decode())
    for key in sorted(await gate.valkey.call("KEYS", "tollgate:reservation:*")):
        value = await gate.valkey.call("GET", key)
        found[key.decode()] = value if value in {b"settled", b"swept"} else b"held"
    found["index"] = await gate.valkey.call("ZRANGE", RESERVATIONS, 0, -1)
    return found


@pytest.mark.parametrize("count", [2, 5, 16])
@pytest.mark.parametrize("nanos", [0, 1, 100], ids=["nothing", "a nano", "what the first holds"])
@pytest.mark.parametrize("tokens", [0, 10, 900])
async def test_it_leaves_what_each_alone_would_leave(
    gate: Gate, scripts: list[int], count: int, nanos: int, tokens: int
):
    found = []
    for most in (1, 16):
        await gate.valkey.call("FLUSHDB")
        await gate.valkey.call("SET", "tollgate:budgets:counted", "1")
        held = await reserved(gate, count)
        stays = await gate.reserve(alice(), "stays", tokens=3, money={"USD": 33})
        for number, each in enumerate(held):
            await settle_soon(gate, each, nanos=nanos, tokens=tokens + number)
            if most == 1:
                await leave(gate)
        await leave(gate)
        found.append(await state(gate))
        gate.admission.active.pop(stays.request_id)
    assert scripts == [1] * count + [count]
    assert found[0] == found[1]


async def test_tokens_go_back_to_the_slots_that_they_were_reserved_in(gate: Gate):
    held = await reserved(gate, 3)
    before = await fields(gate, RULES[1])
    (slot,) = [name for name in before if name.isdigit()]
    held[0].reserved_at -= 10 * 3_600_000  # it has left the window
    held[1].reserved_at = 0  # nobody knows
    for each in held:
        await settle_soon(gate, each, tokens=2)
    await leave(gate)
    after = await fields(gate, RULES[1])
    assert after["used"] == after[slot] == before["used"] - (12 - 2)


async def test_what_a_soft_budget_has_no_room_for_is_told_all_the_same(gate: Gate):
    soft = payer(budget(2**62, is_hard=False), budget(2**62, id=5), rules=RULES)
    held = await reserved(gate, 3, soft)
    await gate.valkey.call("HSET", "tollgate:budget:4.0", "0", 2**63 - 5)
    await put_off(gate, held, nanos=100)
    await leave(gate)
    assert len(await gate.events()) == 3
    assert await counted(gate) == {"held": 0, "0": 2**63 - 5}
    assert await counted(gate, "tollgate:budget:5.0") == {"held": 0, "0": 300}  # that comes behind it


async def test_one_packet_takes_them(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    other = payer(budget(PLENTY, id=8), key_id=2)
    held = [*await reserved(gate, 3), *await reserved(gate, 2, other, "o"), await gate.reserve(caller(at_once(10_000)))]
    await put_off(gate, held)
    protocol = gate.valkey._protocol
    assert protocol is not None
    packets, write = [], protocol._write
    monkeypatch.setattr(protocol, "_write", lambda data: (packets.append(data), write(data)))
    await leave(gate)
    assert len(packets) == 1
    assert len(await gate.events()) == 6


# --- Who is not settled together -----------------------------------------------------------------------------


async def test_charlies_are_settled_apart(gate: Gate, scripts: list[int]):
    charlie = payer(
        *[structs.replace(each, id=each.id + 10, scope_name="charlie") for each in BUDGETS],
        rules=tuple(structs.replace(each, id=each.id + 10, scope_name="charlie") for each in RULES),
        key_id=3,
        tenant="charlie",
    )
    held = [*await reserved(gate, 2), *await reserved(gate, 3, charlie, "c")]
    await put_off(gate, held)
    await leave(gate)
    assert scripts == [2, 3]
    assert await counted(gate) == {"held": 0, "0": 20}
    assert await counted(gate, "tollgate:budget:14.0") == {"held": 0, "0": 30}
    assert [await gate.leases(rule) for rule in (RULES[3], charlie.rules[3])] == [[], []]


async def test_periods_are_settled_apart(gate: Gate, scripts: list[int]):
    monthly = payer(budget(PLENTY, period="month"))
    held = [await gate.reserve(monthly, money={"USD": 100}, started_at=moment) for moment in (1.78e9, 1.79e9, 1.79e9)]
    await put_off(gate, held)
    await leave(gate)
    assert sorted(scripts) == [1, 2]
    assert sorted(value for name, value in (await counted(gate)).items() if name.isdigit()) == [10, 20]


async def test_windows_are_settled_apart(gate: Gate, scripts: list[int]):
    before, after = (payer(rules=(rate(PLENTY, kind="tokens", window_ms=hours * HOUR),)) for hours in (1, 2))
    held = [*await reserved(gate, 2, before), *await reserved(gate, 2, after, "s")]
    await put_off(gate, held, tokens=1)
    await leave(gate)
    assert scripts == [2, 2]


async def test_currencies_are_settled_apart(gate: Gate, scripts: list[int]):
    held = await reserved(gate, 4)
    for each, currency in zip(held, ("USD", "EUR", "EUR", "USD"), strict=True):
        event = structs.replace(event_of(each.request_id), cost=from_nanos(10), currency=currency)
        await gate.admission.settle_soon(each, event, tokens=0)
    await leave(gate)
    assert scripts == [2, 2]
    assert await counted(gate) == {"held": 0, "0": 20}
    assert await counted(gate, "tollgate:budget:6.0") == {"0": 20}


@pytest.mark.parametrize(("amount", "together"), [(MOST_EACH - 1, [2]), (MOST_EACH, [1, 1])])
@pytest.mark.parametrize("what", ["hold", "tokens", "cost"])
async def test_sums_that_might_not_be_exact_are_not_made(
    gate: Gate, scripts: list[int], what: str, amount: int, together: list[int]
):
    rich = payer(budget(2**62, is_hard=False), rules=(rate(2**52, kind="tokens"),))
    held = []
    for _ in range(2):
        reserves = amount if what == "hold" else 0
        held.append(await gate.reserve(rich, tokens=reserves, money={"USD": reserves}))
    for each in held:
        nanos, tokens = (amount if what == name else 0 for name in ("cost", "tokens"))
        await settle_soon(gate, each, nanos=nanos, tokens=tokens)
    await leave(gate)
    assert scripts == together
    left = await counted(gate)
    assert (left.get("held", 0), left["0"]) == (0, 2 * amount if what == "cost" else 0)
    assert await used(gate, rich.rules[0]) == (2 * amount if what == "tokens" else 0)


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_one_that_was_swept_meanwhile_is_settled_by_itself(gate: Gate, scripts: list[int], which: int):
    held = await reserved(gate, 3)
    for request_id in await gate.valkey.call("ZRANGE", RESERVATIONS, 0, -1):
        if request_id != f"r-{which}".encode():
            await gate.valkey.call("ZADD", RESERVATIONS, "XX", 2**50, request_id)
    await gate.valkey.call("ZADD", RESERVATIONS, "XX", 1, f"r-{which}")
    assert await gate.valkey.run(SWEEP, (RESERVATIONS, USAGE_STREAM), 100_000, 60_000) == 1
    await put_off(gate, held)
    await leave(gate)
    assert scripts == [3, 1, 1]  # the swept one a second time, with an event in the place of the sweep's
    assert await counted(gate) == {"held": 0, "0": 30}
    records = [each for each in await gate.records() if each.alias != "lost"]
    assert sorted((each.request_id, each.replaces_lost) for each in records) == [
        (f"r-{n}", n == which) for n in range(3)
    ]


async def test_one_that_was_settled_before_is_not_settled_again(gate: Gate, scripts: list[int]):
    held = await reserved(gate, 3)
    await gate.settle(held[1])
    await put_off(gate, held)
    await leave(gate)
    assert scripts == [1, 3, 1]
    assert await counted(gate) == {"held": 0, "0": 20}
    assert await gate.events() == ["r-1", "r-0", "r-2"]


async def test_none_of_them_may_be_held_any_more(gate: Gate, scripts: list[int]):
    held = await reserved(gate, 3)
    assert await sweep(gate) == 3
    await put_off(gate, held)
    await leave(gate)
    assert scripts == [3, *[1] * 6]  # each twice, the second time, with an event in the place of the sweep's
    assert await counted(gate) == {"held": 0, "0": 30}


async def test_one_that_comes_twice_is_settled_once(gate: Gate, scripts: list[int]):
    held = await reserved(gate, 3)
    await put_off(gate, [*held, held[1]])
    await leave(gate)
    assert scripts == [4, 1]
    assert await counted(gate) == {"held": 0, "0": 30}
    assert await gate.events() == ["r-0", "r-1", "r-2"]


@pytest.mark.parametrize("is_counted", [True, False])
async def test_one_that_valkey_has_forgotten_leaves_what_it_would_alone(
    gate: Gate, scripts: list[int], is_counted: bool
):
    found = []
    for most in (1, 3):
        await gate.valkey.call("FLUSHDB")
        await gate.valkey.call("SET", COUNTED, "1")
        held = await reserved(gate, 3)
        await gate.valkey.call("DEL", "tollgate:reservation:r-1", *([] if is_counted else [COUNTED]))
        for each in held:
            await put_off(gate, [each], tokens=50)
            if most == 1:
                await leave(gate)
        await leave(gate)
        found.append(await state(gate))
    assert scripts == [1, 1, 1, 3]
    assert found[0] == found[1]
    assert await counted(gate) == {"held": 101, "0": 30 if is_counted else 20}  # nobody knows that it was held


async def test_others_are_settled_if_the_worker_is_killed_before_it_hears_of_one(gate: Gate, tmp_path: Path):
    """The journal is written anew as soon as the kernel has what was sent: what is sent has to be settled by that."""
    held = await reserved(gate, 4)
    await gate.valkey.call("SET", "tollgate:reservation:r-1", "swept")
    await gate.valkey.call("DEL", "tollgate:reservation:r-0")
    await put_off(gate, [held[0], held[1], held[2]])
    gate.admission.settles.send_late()
    await put_off(gate, [held[3]])
    assert journaled(tmp_path) == ["r-3"]
    keys = [f"tollgate:reservation:r-{number}" for number in range(4)]
    assert [value == b"settled" for value in await gate.valkey.call("MGET", *keys)] == [True, False, True, False]
    await leave(gate)


# --- Whatever fails ------------------------------------------------------------------------------------------


async def test_a_script_that_valkey_has_forgotten_is_loaded_again(gate: Gate, scripts: list[int]):
    await gate.valkey.call("SCRIPT", "FLUSH")
    await put_off(gate, await reserved(gate, 3))
    await leave(gate)
    await gate.admission.settles.replay()  # each by itself was not known either
    assert sorted(await gate.events()) == ["r-0", "r-1", "r-2"]
    scripts.clear()
    await put_off(gate, await reserved(gate, 3, prefix="s"))
    await leave(gate)
    assert scripts == [3]
    assert await counted(gate) == {"held": 0, "0": 60}


def spooled(tmp_path: Path) -> list[SpooledSettle]:
    return [settle for path in (tmp_path / "spool").glob("*.jsonl") for settle in read_file(path)]


async def test_what_valkey_refuses_is_spooled(gate: Gate, tmp_path: Path):
    held = await reserved(gate, 3)
    await gate.valkey.call("SET", USAGE_STREAM, "no stream")
    await put_off(gate, held)
    await leave(gate)
    assert await counted(gate) == {"held": 0, "0": 30}
    assert await gate.leases(RULES[3]) == []
    assert [settle.request_id for settle in spooled(tmp_path)] == ["r-0", "r-1", "r-2"]


async def test_what_valkey_did_not_acknowledge_is_spooled_and_settled_once(own_gate: Gate, own_server: OwnValkey):
    await put_off(own_gate, await reserved(own_gate, 3))
    own_server.freeze()
    await leave(own_gate)
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.settles.replay() == 3
    assert sorted(await own_gate.events()) == ["r-0", "r-1", "r-2"]
    assert await counted(own_gate) == {"held": 0, "0": 30}


async def test_what_was_not_acknowledged_may_have_been_settled_before(
    own_gate: Gate, own_server: OwnValkey, tmp_path: Path
):
    """Settled, answered to nobody and lost with all else that Valkey had: only the ledger can tell what was spent."""
    await put_off(own_gate, await reserved(own_gate, 2))
    own_server.freeze()
    await leave(own_gate)
    own_server.thaw()
    assert [settle.doubtful_since > 0 for settle in spooled(tmp_path)] == [True, True]


async def test_what_valkey_forgot_with_its_death_is_settled_once_more(own_gate: Gate, own_server: OwnValkey):
    await put_off(own_gate, await reserved(own_gate, 3))
    await leave(own_gate)
    own_server.kill()  # it keeps nothing on disk
    await eventually(lambda: not own_gate.valkey.is_connected)
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    await own_gate.admission.settles.replay()
    assert await own_gate.events() == ["r-0", "r-1", "r-2"]


async def test_without_valkey_they_are_spooled(own_gate: Gate, own_server: OwnValkey, tmp_path: Path):
    await put_off(own_gate, await reserved(own_gate, 3))
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    own_gate.admission.settles.send_late()
    assert own_gate.admission.settles.is_idle
    assert [settle.request_id for settle in spooled(tmp_path)] == ["r-0", "r-1", "r-2"]
    assert journaled(tmp_path) == []


async def test_the_journal_is_cleared_when_all_are_settled(gate: Gate, tmp_path: Path):
    await put_off(gate, await reserved(gate, 3))
    assert journaled(tmp_path) == ["r-0", "r-1", "r-2"]
    await leave(gate)
    assert journaled(tmp_path) == []


async def test_what_is_swept_afterwards_is_nothing(gate: Gate):
    held = await reserved(gate, 3)
    await put_off(gate, held)
    await leave(gate)
    assert await sweep(gate) == 0
    assert len(await gate.events()) == 3
