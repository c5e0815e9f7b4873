"""Limits, leases and settling, against a real Valkey."""

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway_site.infra.valkey import HotValkey, StoreUnavailable
from tenants.errors import BudgetExhausted, RateLimited, Unavailable
from tenants.limits import admission
from tenants.limits.admission import (
    COUNTED,
    RESERVATIONS,
    RESERVE,
    SCRIPTS,
    SWEEP,
    USAGE_STREAM,
    Admission,
    Request,
    Reservation,
)
from tenants.limits.money import from_nanos
from tenants.limits.spool import Spool, SpooledSettle
from tenants.principal import BudgetRule, Principal, Rule
from tenants.usage_event import UsageEvent, decode, encode
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually

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

    def __init__(self, valkey: HotValkey, spool: Spool) -> None:
        self.valkey = valkey
        self.spool = spool
        self.admission = Admission(valkey, spool)

    async def reserve(self, principal: Principal, request_id: str | None = None, **facts: Any) -> Reservation:
        request_id = request_id or next(ids)
        facts = {"alias": "smart", "end_user": "", "dialect": "openai_chat", "tokens": 0, "money": {}, **facts}
        facts.setdefault("started_at", time.time())
        lost = encode(event_of(request_id, "lost"))
        request = Request(request_id=request_id, if_lost=lost, **facts)
        return await self.admission.reserve(principal, request)

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


def lease_key(rule: Rule) -> str:
    return f"tollgate:limit:{rule.id}"


@asynccontextmanager
async def gate_at(url: str, folder: Path, *, deadline: float = 5.0) -> AsyncIterator[Gate]:
    valkey = HotValkey(url, scripts=SCRIPTS, deadline=deadline)
    await valkey.open()
    try:
        yield Gate(valkey, Spool(folder, "here-1"))
    finally:
        await valkey.aclose()


@pytest.fixture
async def gate(valkey_url: str, tmp_path: Path) -> AsyncIterator[Gate]:
    async with gate_at(valkey_url, tmp_path / "spool") as gate:
        yield gate


@pytest.fixture
async def own_gate(own_server: OwnValkey, tmp_path: Path) -> AsyncIterator[Gate]:
    """One whose Valkey may be frozen and killed; it gives up soon."""
    async with gate_at(own_server.url, tmp_path / "spool", deadline=0.2) as gate:
        yield gate


# --- Rates ---------------------------------------------------------------------------------------------------


async def test_it_admits_exactly_the_amount(gate):
    alice = caller(rate(7))
    assert [await gate.admits(alice) for _ in range(9)] == [True] * 7 + [False] * 2


async def test_a_refusal_says_whose_limit_it_is_and_when_to_come_again(gate):
    alice = caller(rate(2, MINUTE))
    await gate.admitted(2, alice)
    error = await gate.refusal(alice)
    assert error.status == 429
    assert error.code == "rate_limited"
    assert error.message.startswith("The limit of 2 requests per minute of tenant 'alice' is reached. Try again in 6")
    assert error.retry_after_seconds is not None
    assert 59 < error.retry_after_seconds <= 63
    milliseconds = int(error.headers["retry-after-ms"])
    assert milliseconds == error.retry_after_seconds * 1000
    assert error.headers == {
        "retry-after": str(math.ceil(milliseconds / 1000)),
        "retry-after-ms": str(milliseconds),
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": f"{math.ceil(milliseconds / 1000)}s",
    }


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (rate(0, scope="project", scope_name="chatbot"), "0 requests per hour of project 'chatbot' "),
        (rate(0, 86_400_000, scope="api_key", scope_name="laptops"), "0 requests per day of API key 'laptops' "),
        (rate(0, 90_000), "0 requests per 90 s of tenant 'alice' "),
        (at_once(0), "0 requests at once of API key 'laptops' "),
    ],
)
async def test_a_refusal_names_the_scope_and_the_time(gate, rule, words):
    assert words in (await gate.refusal(caller(rule))).message


async def test_who_comes_again_when_told_to_is_admitted(gate):
    alice = caller(rate(3, 200))
    for _ in range(4):
        while await gate.admits(alice):
            pass
        await asyncio.sleep(int((await gate.refusal(alice)).headers["retry-after-ms"]) / 1000)
        assert await gate.admits(alice)


async def test_a_whole_window_later_the_whole_amount_is_free(gate):
    alice = caller(rate(10, 200))
    assert await gate.admitted(12, alice) == 10
    await asyncio.sleep(0.212)  # a window and a slot
    assert await gate.admitted(12, alice) == 10


async def test_there_is_no_second_helping_at_a_boundary(gate):
    alice, window = caller(rate(20, 400)), 400
    while True:  # shortly before a multiple of the window, where a fixed window would end
        seconds, microseconds = await gate.valkey.call("TIME")
        into = (int(seconds) * 1000 + int(microseconds) // 1000) % window
        if 360 <= into <= 385:
            break
        await asyncio.sleep(((375 - into) % window) / 1000)
    assert await gate.admitted(25, alice) == 20
    await asyncio.sleep(0.06)
    assert await gate.admitted(25, alice) == 0


async def test_no_window_wherever_it_begins_holds_more_than_the_amount(gate):
    alice, amount, window = caller(rate(10, 200)), 10, 0.2
    sent, answered, end = [], [], time.monotonic() + 1.3
    while time.monotonic() < end:
        began = time.monotonic()
        if await gate.admits(alice):
            sent.append(began)
            answered.append(time.monotonic())
        await asyncio.sleep(0.001)
    assert all(answered[later] - sent[later - amount] > window - 0.002 for later in range(amount, len(sent)))
    assert len(sent) >= amount * 5  # and it is not stricter than a window and a slot: six of them fit


async def test_who_keeps_to_the_limit_is_not_refused(gate):
    alice = caller(rate(10, 200))
    for _ in range(30):
        assert await gate.admits(alice)
        await asyncio.sleep(0.0215)  # ten in a window and a slot


async def test_a_limit_that_was_changed_counts_from_now_on(gate):
    assert await gate.admitted(5, caller(rate(5, 1_000))) == 5
    changed = caller(rate(5, HOUR))
    assert await gate.admitted(9, changed) == 5
    await gate.admitted(1, changed)
    fields = await gate.valkey.call("HKEYS", lease_key(changed.rules[0]))
    assert len([name for name in fields if name.isdigit()]) == 1  # the other window's slots are gone


async def test_slots_that_nobody_has_summed_up_count(gate):
    alice = caller(rate(5, HOUR))
    assert await gate.admitted(3, alice) == 3
    await gate.valkey.call("HDEL", lease_key(alice.rules[0]), "at", "used")  # as an earlier version leaves them
    assert await gate.admitted(5, alice) == 2


async def test_answers_say_what_is_left_of_the_tightest_limit(gate):
    alice = caller(rate(100), rate(5, MINUTE, id=2), rate(50, id=3))
    reservation = await gate.reserve(alice)
    headers = dict(reservation.headers)
    assert headers.pop(b"x-ratelimit-reset-requests") in {b"%ds" % seconds for seconds in range(57, 61)}
    assert headers == {b"x-ratelimit-limit-requests": b"5", b"x-ratelimit-remaining-requests": b"4"}
    for left in (3, 2, 1, 0):
        reservation = await gate.reserve(alice)
        assert (b"x-ratelimit-remaining-requests", b"%d" % left) in reservation.headers


async def test_without_limits_nothing_is_said_of_them(gate):
    assert (await gate.reserve(caller())).headers == ()
    assert (await gate.reserve(caller(at_once(5)))).headers == ()


async def test_limits_on_tokens_count_tokens_and_not_requests(gate):
    alice = caller(rate(10, kind="tokens"))
    assert await gate.admitted(50, alice) == 50  # that use none, as counting does
    assert await gate.admitted(5, alice, tokens=3) == 3
    assert await gate.admitted(5, alice, tokens=1) == 1


async def test_a_burst_comes_at_once_and_then_evenly(gate):
    alice = caller(rate(10, 1_000, burst=3))  # one each 100 ms
    assert await gate.admitted(10, alice) == 3
    error = await gate.refusal(alice)
    assert 0 < int(error.headers["retry-after-ms"]) <= 100
    await asyncio.sleep(0.205)
    assert await gate.admitted(10, alice) == 2


async def test_a_burst_does_not_add_to_the_amount(gate):
    alice = caller(rate(4, HOUR, burst=100))
    assert await gate.admitted(10, alice) == 4


# --- Several limits at once ----------------------------------------------------------------------------------


async def test_a_request_refused_by_one_limit_consumes_none_of_the_others(gate):
    wide, narrow, slots = rate(10, id=1), rate(2, id=3), at_once(8)
    assert await gate.admitted(9, caller(wide, slots, narrow)) == 2
    assert len(await gate.leases(slots)) == 2
    assert await gate.admitted(20, caller(wide)) == 8


async def test_a_request_refused_for_its_burst_consumes_nothing(gate):
    wide, bursty = rate(10, id=1), rate(100, id=3, burst=1)
    assert await gate.admitted(9, caller(wide, bursty)) == 1
    assert await gate.admitted(20, caller(wide)) == 9


async def test_a_request_refused_for_being_one_too_many_consumes_nothing(gate):
    wide, slots = rate(10, id=1), at_once(1)
    assert await gate.admitted(5, caller(wide, slots)) == 1
    assert await gate.admitted(20, caller(wide)) == 9


async def test_the_message_is_of_the_limit_that_refused(gate):
    rules = rate(100, scope_name="alice"), rate(1, id=3, scope="project", scope_name="chatbot")
    await gate.reserve(caller(*rules))
    assert "project 'chatbot'" in (await gate.refusal(caller(*rules))).message


async def test_keys_of_one_tenant_share_its_limit_and_charlie_has_his_own(gate):
    shared, of_charlie = rate(3, id=1), rate(3, id=9, scope_name="charlie")
    assert await gate.admitted(2, caller(shared, key_id=1)) == 2
    assert await gate.admitted(5, caller(shared, key_id=2)) == 1
    assert await gate.admitted(5, caller(of_charlie, tenant="charlie", key_id=3)) == 3


async def test_a_rule_for_one_model_counts_that_model_only(gate):
    alice = caller(rate(2, model="smart"), rate(5, id=3))
    assert await gate.admitted(4, alice, alias="smart") == 2
    assert await gate.admitted(9, alice, alias="cheap") == 3
    assert not await gate.admits(alice, alias="smart")


async def test_a_rule_per_end_user_counts_each_alone(gate):
    alice = caller(rate(2, per_end_user=True))
    for end_user in ("dora", "émile", "a:b\r\n c", "x" * 200):
        assert await gate.admitted(4, alice, end_user=end_user) == 2
    assert await gate.admitted(4, alice, end_user="") == 4  # nobody is named: the other limits hold


async def test_end_users_hold_their_own_leases(gate):
    alice = caller(at_once(1, per_end_user=True))
    first = await gate.reserve(alice, end_user="dora")
    assert await gate.admits(alice, end_user="emil")
    assert not await gate.admits(alice, end_user="dora")
    await gate.settle(first)
    assert await gate.admits(alice, end_user="dora")


async def test_rules_that_come_with_a_new_principal_hold_at_once(gate):
    assert await gate.admitted(5, caller(rate(100))) == 5
    assert await gate.admitted(9, caller(rate(6))) == 1
    assert await gate.admitted(9, caller()) == 9


# --- Many at once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [rate(10), at_once(10)], ids=["rate", "at once"])
async def test_two_hundred_at_once_admit_exactly_ten(gate, rule):
    assert await gate.admitted(200, caller(rule)) == 10


async def test_connections_share_a_limit(valkey_url, tmp_path):
    async with (
        gate_at(valkey_url, tmp_path / "a") as first,
        gate_at(valkey_url, tmp_path / "b") as second,
        gate_at(valkey_url, tmp_path / "c") as third,
    ):
        alice = caller(rate(10), at_once(10))
        gates = (first, second, third)
        assert sum(await asyncio.gather(*(gate.admitted(70, alice) for gate in gates))) == 10


WORKER = """
import asyncio, sys
from pathlib import Path
from tests.tenants.limits.test_admission import at_once, caller, gate_at, rate

async def main():
    async with gate_at(sys.argv[1], Path(sys.argv[2])) as gate:
        print("ready", flush=True)
        sys.stdin.readline()
        alice = caller(rate(10), at_once(25, id=7))
        results = await asyncio.gather(*(gate.admits(alice, request_id=f"{sys.argv[3]}-{n}") for n in range(100)))
        print(sum(results))

asyncio.run(main())
"""


def test_processes_share_a_limit(valkey_url, tmp_path):
    command = [sys.executable, "-c", WORKER, valkey_url, str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with (
        subprocess.Popen([*command, "a"], **pipes) as first,
        subprocess.Popen([*command, "b"], **pipes) as second,
    ):
        assert [worker.stdout.readline() for worker in (first, second)] == ["ready\n"] * 2
        for worker in (first, second):
            worker.stdin.write("go\n")
            worker.stdin.flush()
        assert sum(int(worker.communicate(timeout=20)[0]) for worker in (first, second)) == 10


# --- Leases --------------------------------------------------------------------------------------------------


async def test_a_lease_is_given_back_by_settling(gate):
    slots = at_once(2)
    alice = caller(slots)
    held = [await gate.reserve(alice) for _ in range(2)]
    error = await gate.refusal(alice)
    assert error.code == "too_many_requests_at_once"
    assert error.headers == {"retry-after": "1", "retry-after-ms": "1000"}
    await gate.settle(held[0])
    assert await gate.leases(slots) == [held[1].request_id.encode()]
    assert await gate.admitted(3, alice) == 1


async def test_leases_of_a_killed_worker_expire(gate):
    slots = at_once(2)
    for request_id in ("killed-1", "killed-2"):
        keys = (f"tollgate:reservation:{request_id}", RESERVATIONS, COUNTED, lease_key(slots))
        await gate.valkey.run(RESERVE, keys, request_id, 200, "lost", "c", 2)
    assert not await gate.admits(caller(slots))
    began = time.monotonic()
    while not await gate.admits(caller(slots)):
        await asyncio.sleep(0.005)
    assert 0.1 < time.monotonic() - began < 1
    assert b"killed-1" not in await gate.leases(slots)


async def test_leases_of_what_runs_long_are_renewed(gate):
    slots = at_once(2)
    old, new = await gate.reserve(caller(slots)), await gate.reserve(caller(slots))
    for reservation in (old, new):
        await gate.valkey.call("ZADD", lease_key(slots), "XX", 1_000, reservation.request_id)
    old.renewed_at -= admission.RENEW_SECONDS + 1
    await gate.admission.renew_leases()
    scores: Any = await gate.valkey.call("ZRANGE", lease_key(slots), 0, -1, "WITHSCORES")
    assert scores[:2] == [new.request_id.encode(), b"1000"]
    assert scores[2] == old.request_id.encode()
    assert (
        time.time() * 1000 + admission.LEASE_MS - 5_000
        < int(scores[3])
        < time.time() * 1000 + admission.LEASE_MS + 5_000
    )
    assert time.monotonic() - old.renewed_at < 1


async def test_what_is_settled_is_not_renewed(gate):
    slots = at_once(2)
    reservation = await gate.reserve(caller(slots))
    reservation.renewed_at -= admission.RENEW_SECONDS + 1
    await gate.settle(reservation)
    await gate.admission.renew_leases()
    assert await gate.leases(slots) == []
    assert gate.admission.active == {}


async def test_a_caller_that_goes_while_it_is_admitted_holds_nothing(own_gate, own_server):
    slots = at_once(1)
    own_server.freeze()
    waiting = asyncio.create_task(own_gate.reserve(caller(slots)))
    await asyncio.sleep(0.02)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    own_server.thaw()
    assert await own_gate.admits(caller(slots))
    assert len(await own_gate.leases(slots)) == 1
    assert await own_gate.events() == []


# --- Settling ------------------------------------------------------------------------------------------------


async def test_settling_appends_the_event_once_however_often_it_is_done(gate, valkey_url, tmp_path):
    reservation = await gate.reserve(caller(at_once(5)))
    async with gate_at(valkey_url, tmp_path / "other") as other:
        for each in (gate, gate, other):
            await each.settle(reservation, "first")
        await asyncio.gather(*(other.settle(reservation, "second") for _ in range(10)))
    assert [record.alias for record in await gate.records()] == ["first"]
    assert gate.spool.is_empty


async def test_settling_twice_does_not_give_back_the_lease_of_another(gate):
    slots = at_once(1)
    first = await gate.reserve(caller(slots))
    await gate.settle(first)
    await gate.reserve(caller(slots))
    await gate.settle(first)
    assert not await gate.admits(caller(slots))


async def test_a_cancelled_caller_settles_all_the_same(gate):
    slots = at_once(1)
    reservation = await gate.reserve(caller(slots))
    settling = asyncio.create_task(gate.settle(reservation))
    await asyncio.sleep(0)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    assert await gate.admits(caller(slots))
    assert await gate.events() == [reservation.request_id]


async def test_events_of_hundreds_at_once_all_arrive(gate):
    reservations = [await gate.reserve(caller()) for _ in range(300)]
    await asyncio.gather(*(gate.settle(each) for each in reservations))
    assert sorted(await gate.events()) == sorted(each.request_id for each in reservations)
    assert gate.admission.active == {}


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
    await own_gate.admission.replay()
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
    assert time.monotonic() - began < 2.5
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
    assert await own_gate.admission.replay() == 0
    assert await own_gate.events() == [each.request_id for each in reservations]


async def test_what_is_settled_once_more_counts_once(own_gate, own_server):
    reservation = await own_gate.reserve(caller())
    await own_gate.settle(reservation)
    own_server.freeze()
    with pytest.raises(StoreUnavailable):
        await own_gate.valkey.call("PING")
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    await own_gate.admission.replay()
    assert await own_gate.events() == [reservation.request_id]


async def test_a_worker_that_stops_while_valkey_is_away_leaves_what_is_doubtful_on_disk(own_gate, own_server):
    reservation = await own_gate.reserve(caller())
    await own_gate.settle(reservation)
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    assert own_gate.spool.is_empty
    own_gate.admission.spool_doubtful()
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.replay() == 1
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
    assert await own_gate.admission.replay() == 0
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.replay() == 2
    assert await own_gate.admission.replay() == 0
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
    assert await own_gate.admission.replay() == 1
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
    assert await own_gate.admission.replay() == 1
    assert await own_gate.events() == [reservation.request_id]


async def test_a_replay_that_is_cut_short_goes_on_where_it_was(own_gate, own_server):
    reservations = [Reservation(request_id=next(ids)) for _ in range(400)]
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    for each in reservations:
        await own_gate.settle(each)
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    replaying = asyncio.create_task(own_gate.admission.replay())
    while await own_gate.valkey.call("XLEN", USAGE_STREAM) < 20:
        pass
    own_server.freeze()
    with pytest.raises(StoreUnavailable):
        await replaying
    own_server.thaw()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert 20 <= len(await own_gate.events()) < 400
    assert await own_gate.admission.replay() == 400
    assert await own_gate.events() == [each.request_id for each in reservations]


async def test_scripts_that_valkey_forgot_lose_no_event(gate):
    slots = at_once(1)
    reservation = await gate.reserve(caller(slots))
    await gate.valkey.call("SCRIPT", "FLUSH")
    await gate.settle(reservation)
    assert await gate.admission.replay() == 1
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
    while await gate.admission.replay():
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
    replaying = asyncio.create_task(own_gate.admission.replay())
    await asyncio.sleep(0)
    with suppress(FileNotFoundError):
        (tmp_path / "spool" / "here-1.replaying").unlink()
    assert await replaying == 1
    assert await own_gate.events() == [reservation.request_id]


# --- Money, at the edges -------------------------------------------------------------------------------------


def budget(amount: int = 1_000, **facts: Any) -> BudgetRule:
    facts = {"id": 4, "scope": "tenant", "scope_name": "alice", "currency": "USD", "period": "total", **facts}
    return BudgetRule(amount=amount, timezone="UTC", **facts)


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


@pytest.fixture
async def till(gate: Gate) -> Gate:
    """A gate whose budgets are counted."""
    await gate.valkey.call("SET", COUNTED, "1")
    return gate


async def test_the_largest_budget_is_never_overspent_and_billed_to_the_last_nano(till):
    most = 9_000_000_000 * 10**9
    alice, half = payer(budget(most)), most // 2 - 10_001
    first, second = [await till.reserve(alice, money={"USD": half}) for _ in range(2)]
    with pytest.raises(BudgetExhausted):
        await till.reserve(alice, money={"USD": 20_003})
    third = await till.reserve(alice, money={"USD": 3})
    await charge(till, first, half - 1)
    await charge(till, second, half)
    await charge(till, third, 2)
    assert await counted(till) == {"held": 0, "0": 2 * half + 1}


async def test_what_costs_nothing_is_admitted_where_nothing_is_left(till):
    alice = payer(budget(0))
    reservation = await till.reserve(alice, money={"USD": 0})
    with pytest.raises(BudgetExhausted, match=r"The budget of 0\.00 USD in total of tenant 'alice' is used up"):
        await till.reserve(alice, money={"USD": 1})
    await charge(till, reservation, 0)
    assert (await counted(till)).get("held", 0) == 0


async def test_a_limit_that_was_lowered_below_what_is_spent_refuses_and_forgets_nothing(till):
    running = await till.reserve(payer(budget(1_000)), money={"USD": 400})
    await charge(till, await till.reserve(payer(budget(1_000)), money={"USD": 500}), 500)
    with pytest.raises(BudgetExhausted, match="is used up"):
        await till.reserve(payer(budget(100)), money={"USD": 1})
    await charge(till, running, 400)  # it was admitted under the limit of then
    assert await counted(till) == {"held": 0, "0": 900}
    await till.reserve(payer(budget(1_001)), money={"USD": 101})


async def test_a_rolling_budget_has_no_room_for_what_its_other_days_have_used(till):
    rolling, day = budget(1_000, period="rolling", rolling_days=3), 86_400
    now = time.time()
    await charge(till, await till.reserve(payer(rolling), money={"USD": 800}, started_at=now - day), 800)
    reservation = await till.reserve(payer(rolling), money={"USD": 100}, started_at=now)
    await charge(till, reservation, 900)
    records = await till.records()
    assert [(record.cost, record.written_off) for record in records] == [
        (from_nanos(800), 0),
        (from_nanos(200), from_nanos(700)),
    ]


async def test_a_soft_budget_that_can_count_no_further_loses_no_event(till):
    soft = budget(1_000, is_hard=False)
    await till.valkey.call("HSET", "tollgate:budget:4.0", "0", 2**63 - 5)
    reservation = await till.reserve(payer(soft, rules=(at_once(1),)), money={"USD": 7})
    await charge(till, reservation, 6)
    assert await till.events() == [reservation.request_id]
    assert await counted(till) == {"held": 0, "0": 2**63 - 5}
    assert await till.leases(at_once(1)) == []


@pytest.mark.parametrize("end_user", ["a:b", ":", "dora smith", "held", "0", "4.0:0", "é" * 200, "\N{PILE OF POO}"])
async def test_whatever_end_users_are_called_each_has_a_counter(till, end_user):
    alice = payer(budget(10, per_end_user=True))
    reservation = await till.reserve(alice, end_user=end_user, money={"USD": 10})
    with pytest.raises(BudgetExhausted):
        await till.reserve(alice, end_user=end_user, money={"USD": 1})
    await till.reserve(alice, end_user=f"{end_user}:", money={"USD": 10})
    await charge(till, reservation, 9)
    assert await counted(till, f"tollgate:budget:4.0:{end_user}") == {"held": 0, "0": 9}
    assert (await till.records())[0].budgets == [f"4.0:0:{end_user}"]


@pytest.mark.parametrize(
    ("facts", "days"),
    [
        ({"period": "day"}, 2),
        ({"period": "week"}, 14),
        ({"period": "month"}, 62),
        ({"period": "quarter"}, 184),
        ({"period": "rolling", "rolling_days": 366}, 367),
    ],
)
async def test_a_counter_lives_as_long_as_it_counts_and_can_be_settled(till, facts, days):
    reservation = await till.reserve(payer(budget(**facts)), money={"USD": 5})
    assert await till.valkey.call("PTTL", "tollgate:budget:4.0") > days * 86_400_000
    await charge(till, reservation, 5)
    assert await till.valkey.call("PTTL", "tollgate:budget:4.0") > days * 86_400_000


async def test_a_counter_of_what_never_resets_is_never_forgotten(till):
    await till.reserve(payer(budget(period="month")), money={"USD": 5})
    for period in ("total", "credit"):
        await till.reserve(payer(budget(period=period)), money={"USD": 5})
        assert await till.valkey.call("PTTL", "tollgate:budget:4.0") == -1


async def test_a_counter_lives_longer_when_its_period_becomes_longer(till):
    first_of_may = 1_777_593_600  # a day and a month begin
    for period, days in (("day", 4), ("month", 93), ("day", 93), ("month", 93)):
        await till.reserve(payer(budget(period=period)), money={"USD": 5}, started_at=first_of_may)
        assert days - 1 < await till.valkey.call("PTTL", "tollgate:budget:4.0") / 86_400_000 <= days
    assert await counted(till) == {"held": 20, str(first_of_may): 0}


async def test_old_periods_are_forgotten_and_the_last_one_is_not(till):
    daily, now = budget(period="day"), 1_777_593_600
    for days in (0, 1, 5, 6):
        await charge(till, await till.reserve(payer(daily), money={"USD": 5}, started_at=now + days * 86_400), 5)
    assert await counted(till) == {"held": 0, str(now + 5 * 86_400): 5, str(now + 6 * 86_400): 5}


async def test_a_request_that_is_settled_after_its_period_is_charged_to_it(till):
    daily, now = budget(10, period="day"), 1_777_593_600
    late = await till.reserve(payer(daily), money={"USD": 6}, started_at=now - 1)
    with pytest.raises(BudgetExhausted):  # it is still held
        await till.reserve(payer(daily), money={"USD": 5}, started_at=now)
    await charge(till, late, 6)
    await charge(till, await till.reserve(payer(daily), money={"USD": 10}, started_at=now), 10)
    assert await counted(till) == {"held": 0, str(now - 86_400): 6, str(now): 10}
    assert [record.budgets for record in await till.records()] == [[f"4.0:{now - 86_400}"], [f"4.0:{now}"]]


async def test_what_was_admitted_without_valkey_is_charged_in_full(till):
    degraded = Reservation(request_id=next(ids), holds=(await till.reserve(payer(budget()))).holds, is_degraded=True)
    await charge(till, degraded, 5_000)
    assert (await counted(till))["0"] == 5_000
    with pytest.raises(BudgetExhausted):
        await till.reserve(payer(budget()), money={"USD": 1})


async def test_while_nothing_is_counted_only_the_ledger_hears_of_what_was_never_held(till):
    running = await till.reserve(payer(budget()), money={"USD": 5})
    degraded = Reservation(request_id=next(ids), holds=running.holds, is_degraded=True)
    await till.valkey.call("DEL", COUNTED)
    await charge(till, degraded, 300)
    await charge(till, running, 5)  # held: so its counter is there
    assert await counted(till) == {"held": 0, "0": 5}
    assert await till.events() == [degraded.request_id, running.request_id]


async def test_a_request_that_waits_for_the_count_is_admitted_after_it(gate):
    async def count_budgets() -> None:
        await gate.valkey.call("SET", COUNTED, "1")

    gate.admission.count_budgets = count_budgets
    await gate.reserve(payer(budget()), money={"USD": 5})
    assert await counted(gate) == {"held": 5, "0": 0}


async def test_a_refusal_before_the_count_leaves_nothing_to_replay(gate):
    with pytest.raises(Unavailable):
        await gate.reserve(payer(budget()), money={"USD": 5})
    assert gate.spool.is_empty


async def test_a_reservation_that_is_gone_is_not_renewed_and_settles_all_the_same(till):
    reservation = await till.reserve(payer(budget(), rules=(at_once(1),)), money={"USD": 5})
    await till.valkey.call("DEL", f"tollgate:reservation:{reservation.request_id}")
    reservation.renewed_at -= admission.RENEW_SECONDS + 1
    await till.admission.renew_leases()
    await charge(till, reservation, 5)
    assert await till.leases(at_once(1)) == []
    assert (await counted(till))["0"] == 5


async def test_renewing_keeps_a_request_that_only_holds_money_from_the_sweep(till):
    reservation = await till.reserve(payer(budget()), money={"USD": 5})
    await till.valkey.call("ZADD", RESERVATIONS, 1, reservation.request_id)
    reservation.renewed_at -= admission.RENEW_SECONDS + 1
    await till.admission.renew_leases()
    assert await till.valkey.run(SWEEP, (RESERVATIONS, USAGE_STREAM), 100, 60_000) == 0
    assert await counted(till) == {"held": 5, "0": 0}


async def test_a_late_settle_from_the_disk_replaces_what_the_sweep_said(till, valkey_url, tmp_path):
    reservation = await till.reserve(payer(budget(100)), money={"USD": 60})
    await till.valkey.call("SCRIPT", "FLUSH")
    await charge(till, reservation, 60)
    assert not till.spool.is_empty
    assert await sweep(till) == 1
    async with gate_at(valkey_url, tmp_path / "other") as other:
        await charge(other, await other.reserve(payer(budget(100)), money={"USD": 90}), 90)
    assert await till.admission.replay() == 1
    assert await counted(till) == {"held": 0, "0": 100}
    lost, _, late = await till.records()
    assert (lost.alias, lost.cost, lost.request_id) == ("lost", 0, reservation.request_id)
    assert (late.replaces_lost, late.cost, late.written_off) == (True, from_nanos(10), from_nanos(50))


async def test_a_cancelled_caller_settles_what_does_not_fit_all_the_same(till):
    reservation = await till.reserve(payer(budget(100)), money={"USD": 60})
    settling = asyncio.create_task(charge(till, reservation, 500))
    await asyncio.sleep(0)
    settling.cancel()
    with suppress(asyncio.CancelledError):
        await settling
    async with asyncio.timeout(5):
        while not await till.records():
            pass
    assert [(record.cost, record.written_off) for record in await till.records()] == [
        (from_nanos(100), from_nanos(400))
    ]
    assert await counted(till) == {"held": 0, "0": 100}


async def test_what_a_budget_had_no_room_for_is_not_billed_when_valkey_forgets(own_gate, own_server):
    await own_gate.valkey.call("SET", COUNTED, "1")
    await charge(own_gate, await own_gate.reserve(payer(budget(100)), money={"USD": 60}), 500)
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    await own_gate.admission.replay()
    records = await own_gate.records()
    assert [(record.cost, record.written_off) for record in records] == [(from_nanos(100), from_nanos(400))]


async def test_a_caller_that_goes_while_it_is_admitted_holds_no_money(till):
    waiting = asyncio.create_task(till.reserve(payer(budget()), money={"USD": 5}))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await till.valkey.call("PING")
    assert (await counted(till)).get("held", 0) == 0
    assert await till.valkey.call("ZCARD", RESERVATIONS) == 0
    assert await till.events() == []


async def test_without_valkey_a_worker_spends_its_share_of_what_was_left(own_gate, own_server):
    await own_gate.valkey.call("SET", COUNTED, "1")
    own_gate.admission.peers = 2
    alice, charlie = payer(budget(1_000)), payer(budget(1_000, id=5, scope_name="charlie"), key_id=2, tenant="charlie")
    running = await own_gate.reserve(alice, money={"USD": 200})  # 800 are left: 400 for this worker
    own_server.kill()
    await eventually(lambda: not own_gate.valkey.is_connected)
    degraded = await own_gate.reserve(alice, money={"USD": 300})
    with pytest.raises(BudgetExhausted, match=r"0\.0000001 USD is left"):
        await own_gate.reserve(alice, money={"USD": 150})
    with pytest.raises(Unavailable, match="Budgets cannot be checked"):
        await own_gate.reserve(charlie, money={"USD": 1})  # nobody here has heard of his
    for each in (running, degraded):
        await charge(own_gate, each, 100)
    own_server.start()
    await eventually(lambda: own_gate.valkey.is_connected)
    assert await own_gate.admission.replay() == 2
    assert await own_gate.events() == [running.request_id, degraded.request_id]


async def test_thousands_of_rules_fit_into_one_script(till):
    rules = tuple(at_once(1, id=number) for number in range(1, 4_001))
    budgets = tuple(budget(10, id=number, period="day") for number in range(1, 5_001))
    alice = payer(*budgets, rules=rules)
    reservation = await till.reserve(alice, money={"USD": 6})
    assert not await till.admits(alice)
    await charge(till, reservation, 6)
    swept = await till.reserve(alice, money={"USD": 4})
    assert await sweep(till) == 1
    await charge(till, swept, 9)
    for number in (1, 5_000):
        assert (await counted(till, f"tollgate:budget:{number}.0"))["held"] == 0
    assert [int(record.cost * 10**9) for record in await till.records()] == [6, 0, 4]
    assert await till.admits(payer(rules=rules))
