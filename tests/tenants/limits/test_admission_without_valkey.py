"""Admission while Valkey is away, and after it; the spools of workers that are gone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from gateway_site.infra.valkey import StoreUnavailable
from tenants.errors import Unavailable
from tenants.limits.admission import Reservation
from tenants.limits.scripts import USAGE_STREAM
from tenants.limits.spool import SpooledSettle
from tenants.usage_event import encode
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.tenants.limits.gate import MINUTE, Gate, at_once, caller, event_of, gate_at, ids, rate

# --- Without Valkey ------------------------------------------------------------------------------------------


@asynccontextmanager
async def gate_nowhere(tmp_path: Path, *, peers: int = 1) -> AsyncIterator[Gate]:
    async with gate_at(OwnValkey(tmp_path / "nowhere").url, tmp_path / "spool") as gate:
        gate.admission.peers = peers
        yield gate


async def test_without_valkey_a_worker_admits_its_share(tmp_path):
    async with gate_nowhere(tmp_path, peers=4) as gate:
        assert await gate.admitted(50, caller(rate(20))) == 5
        assert await gate.admitted(50, caller(rate(2, id=3))) == 1
        assert await gate.admitted(50, caller(rate(20, id=4), tenant="charlie", key_id=2)) == 5


async def test_without_valkey_answers_tell_limits_as_they_do_with_it(tmp_path):
    async with gate_nowhere(tmp_path) as gate:
        alice = caller(rate(2, MINUTE))
        reservation = await gate.reserve(alice)
        assert reservation.is_degraded
        assert [name for name, _ in reservation.headers] == [
            b"x-ratelimit-limit-requests",
            b"x-ratelimit-remaining-requests",
            b"x-ratelimit-reset-requests",
        ]
        assert reservation.headers[1][1] == b"1"
        await gate.reserve(alice)
        error = await gate.refusal(alice)
        assert (error.status, error.code) == (429, "rate_limited")
        assert error.message.startswith("The limit of 2 requests per minute of tenant 'alice' is reached.")
        assert error.headers["x-ratelimit-remaining-requests"] == "0"
        assert 57_000 <= int(error.headers["retry-after-ms"]) <= 63_000


async def test_without_valkey_end_users_are_counted_each_alone(tmp_path):
    async with gate_nowhere(tmp_path) as gate:
        alice = caller(rate(3, per_end_user=True))
        assert await gate.admitted(9, alice, end_user="dora") == 3
        assert await gate.admitted(9, alice, end_user="emil") == 3


async def test_without_valkey_requests_at_once_are_given_back_by_settling(tmp_path):
    async with gate_nowhere(tmp_path) as gate:
        alice = caller(at_once(2))
        held = [await gate.reserve(alice) for _ in range(2)]
        assert (await gate.refusal(alice)).code == "too_many_requests_at_once"
        await gate.settle(held[0])
        assert await gate.admitted(3, alice) == 1
        await gate.admission.renew_leases()


async def test_without_valkey_a_tenant_may_rather_be_refused(tmp_path):
    async with gate_nowhere(tmp_path) as gate:
        strict = msgspec.structs.replace(caller(rate(100)), refuses_without_valkey=True)
        with pytest.raises(Unavailable) as caught:
            await gate.reserve(strict)
        assert (caught.value.status, caught.value.code) == (503, "limits_unavailable")
        assert caught.value.headers == {"retry-after": "2"}
        assert await gate.admits(caller(rate(100), tenant="charlie", key_id=2))
        assert len(gate.admission.active) == 1


async def test_what_runs_when_valkey_is_lost_counts_on(own_gate, own_server):
    slots = at_once(3)
    before = [await own_gate.reserve(caller(slots)) for _ in range(2)]
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    assert await own_gate.admitted(5, caller(slots)) == 1
    await own_gate.settle(before[0])
    assert await own_gate.admitted(5, caller(slots)) == 1
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)


async def test_limits_are_shared_again_when_valkey_is_back(own_gate, own_server):
    alice = caller(rate(4))
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    assert await own_gate.admitted(9, alice) == 4
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admitted(9, alice) == 4
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    assert await own_gate.admitted(9, alice) == 4  # nothing is left of the time before
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)


async def test_a_refusal_whose_admission_was_lost_gives_its_lease_back(own_gate, own_server):
    slots = at_once(5)
    strict = msgspec.structs.replace(caller(slots), refuses_without_valkey=True)
    own_server.freeze()
    with pytest.raises(Unavailable):
        await own_gate.reserve(strict)  # Valkey has it and never says so
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    await own_gate.admission.settles.replay()
    assert await own_gate.leases(slots) == []
    assert await own_gate.events() == []


async def test_a_frozen_valkey_keeps_one_request_waiting_and_not_every_one(own_gate, own_server):
    alice = caller(rate(1_000))
    own_server.freeze()
    await own_gate.reserve(alice)
    began = time.monotonic()
    for _ in range(200):
        await own_gate.reserve(alice)
        await asyncio.sleep(0.005)  # long enough for tries to connect, whose end nobody waits for
    assert time.monotonic() - began < 20
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)


async def test_what_valkey_forgot_with_its_death_is_settled_once_more(own_gate, own_server):
    reservations = [await own_gate.reserve(caller()) for _ in range(50)]
    for each in reservations:
        await own_gate.settle(each)
    assert len(await own_gate.events()) == 50
    own_server.kill()  # it keeps nothing on disk
    await eventually(lambda: not own_gate.valkey.is_connected)
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.events() == []
    assert await own_gate.admission.settles.replay() == 0
    assert await own_gate.events() == [each.request_id for each in reservations]


async def test_what_is_settled_once_more_counts_once(own_gate, own_server):
    reservation = await own_gate.reserve(caller())
    await own_gate.settle(reservation)
    own_server.freeze()
    with pytest.raises(StoreUnavailable):
        await own_gate.valkey.call("PING")
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    await own_gate.admission.settles.replay()
    assert await own_gate.events() == [reservation.request_id]


async def test_a_worker_that_stops_while_valkey_is_away_leaves_what_is_doubtful_on_disk(own_gate, own_server):
    reservation = await own_gate.reserve(caller())
    await own_gate.settle(reservation)
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    assert own_gate.spool.is_empty
    own_gate.admission.settles.spool_doubtful()
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.settles.replay() == 1
    assert await own_gate.events() == [reservation.request_id]


async def test_what_is_settled_while_valkey_is_away_comes_back_exactly_once(own_gate, own_server):
    slots = at_once(2)
    reservation = await own_gate.reserve(caller(slots))
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    degraded = await own_gate.reserve(caller(slots))
    for each in (reservation, degraded):
        await own_gate.settle(each)
    assert not own_gate.spool.is_empty
    assert await own_gate.admission.settles.replay() == 0
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.settles.replay() == 2
    assert await own_gate.admission.settles.replay() == 0
    assert await own_gate.events() == [each.request_id for each in (reservation, degraded)]
    assert own_gate.spool.is_empty


async def test_a_settle_whose_answer_was_lost_counts_once(own_gate, own_server):
    slots = at_once(1)
    reservation = await own_gate.reserve(caller(slots))
    own_server.freeze()
    await own_gate.settle(reservation)  # Valkey has it and never says so
    assert not own_gate.spool.is_empty
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.settles.replay() == 1
    assert await own_gate.events() == [reservation.request_id]
    assert await own_gate.leases(slots) == []


async def test_an_admission_whose_answer_was_lost_gives_its_lease_back(own_gate, own_server):
    slots = at_once(1)
    own_server.freeze()
    reservation = await own_gate.reserve(caller(slots))
    assert reservation.is_degraded
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    await own_gate.settle(reservation)
    assert await own_gate.leases(slots) == []
    assert await own_gate.admits(caller(slots))


async def test_a_cancelled_settle_that_valkey_never_hears_of_is_spooled(own_gate, own_server):
    reservation = await own_gate.reserve(caller())
    own_server.freeze()
    settling = asyncio.create_task(own_gate.settle(reservation))
    await asyncio.sleep(0.02)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    own_server.kill()
    await eventually(lambda: not own_gate.spool.is_empty)
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.settles.replay() == 1
    assert await own_gate.events() == [reservation.request_id]


async def test_a_replay_that_is_cut_short_goes_on_where_it_was(own_gate, own_server):
    reservations = [Reservation(request_id=next(ids)) for _ in range(400)]
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    for each in reservations:
        await own_gate.settle(each)
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    replaying = asyncio.create_task(own_gate.admission.settles.replay())
    while await own_gate.valkey.call("XLEN", USAGE_STREAM) < 20:
        pass
    own_server.freeze()
    with pytest.raises(StoreUnavailable):
        await replaying
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert 20 <= len(await own_gate.events()) < 400
    assert await own_gate.admission.settles.replay() == 400
    assert await own_gate.events() == [each.request_id for each in reservations]


async def test_scripts_that_valkey_forgot_lose_no_event(gate):
    slots = at_once(1)
    reservation = await gate.reserve(caller(slots))
    await gate.valkey.call("SCRIPT", "FLUSH")
    await gate.settle(reservation)
    assert await gate.admission.settles.replay() == 1
    assert await gate.events() == [reservation.request_id]
    assert await gate.leases(slots) == []
    assert await gate.admits(caller(slots))


# --- Spools of workers that are gone -------------------------------------------------------------------------


def spooled(folder: Path, name: str, *request_ids: str) -> Path:
    path = folder / name
    folder.mkdir(exist_ok=True)
    settles = [SpooledSettle(each, (), encode(event_of(each)).decode()) for each in request_ids]
    path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in settles))
    return path


async def replayed(gate: Gate) -> list[str]:
    while await gate.admission.settles.replay():
        pass
    return sorted(await gate.events())


async def test_spools_of_workers_that_are_gone_are_taken_over(gate, tmp_path):
    folder = tmp_path / "spool"
    spooled(folder, "here.example-7.jsonl", "a", "b")
    spooled(folder, "here.example-7.replaying", "c")
    spooled(folder, "here-8.jsonl@here-9.adopted", "d")  # and who was taking it over is gone as well
    alive = [spooled(folder, name, "e") for name in ("here-2.jsonl", "here-2.replaying", "here-3.jsonl@here-2.adopted")]
    gate.spool.adopt(lambda worker: worker == "here-2")
    assert sorted(folder.iterdir()) == sorted([*alive, folder / "here-1.jsonl"])
    assert await replayed(gate) == ["a", "b", "c", "d"]


async def test_a_worker_that_starts_under_its_old_name_goes_on_with_its_own(gate, tmp_path):
    folder = tmp_path / "spool"
    spooled(folder, "here-1.jsonl", "a")
    spooled(folder, "here-1.replaying", "b")
    spooled(folder, "here-8.jsonl@here-1.adopted", "c")
    gate.spool.adopt(lambda worker: True)
    assert await replayed(gate) == ["a", "b", "c"]
    assert list(folder.iterdir()) == []


async def test_a_line_that_a_crash_cut_short_holds_up_no_other(gate, tmp_path):
    path = spooled(tmp_path / "spool", "here-7.jsonl", "a", "b")
    with path.open("a") as file:
        file.write('{"request_id":"c","holds":[],"event":"never fini')
    gate.spool.adopt(lambda worker: False)
    assert await replayed(gate) == ["a", "b"]


async def test_a_spool_taken_by_another_meanwhile_stops_nobody(own_gate, own_server, tmp_path):
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    reservation = Reservation(request_id=next(ids))
    await own_gate.settle(reservation)
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    replaying = asyncio.create_task(own_gate.admission.settles.replay())
    await asyncio.sleep(0)
    with suppress(FileNotFoundError):
        (tmp_path / "spool" / "here-1.replaying").unlink()
    assert await replaying == 1
    assert await own_gate.events() == [reservation.request_id]
