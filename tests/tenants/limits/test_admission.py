"""Limits, leases and settling, against a real Valkey."""

import asyncio
import math
import subprocess
import sys
import time
from typing import Any

import pytest

from tenants.limits import admission
from tenants.limits.scripts import COUNTED, RESERVATIONS, RESERVE
from tests.tenants.limits.gate import HOUR, MINUTE, ROOT, at_once, caller, gate_at, lease_key, rate

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
    alice, window = caller(rate(20, 4_000)), 4_000
    while True:  # shortly before a multiple of the window, where a fixed window would end
        seconds, microseconds = await gate.valkey.call("TIME")
        into = (int(seconds) * 1000 + int(microseconds) // 1000) % window
        if 3_600 <= into <= 3_850:
            break
        await asyncio.sleep(((3_750 - into) % window) / 1000)
    assert await gate.admitted(25, alice) == 20
    await asyncio.sleep(0.6)
    assert await gate.admitted(25, alice) == 0


async def test_no_window_wherever_it_begins_holds_more_than_the_amount(gate):
    alice, amount, window = caller(rate(10, 200)), 10, 0.2
    sent, answered, end = [], [], time.monotonic() + 2.2
    while time.monotonic() < end:
        began = time.monotonic()
        if await gate.admits(alice):
            sent.append(began)
            answered.append(time.monotonic())
        await asyncio.sleep(0.001)
    assert all(answered[later] - sent[later - amount] > window - 0.002 for later in range(amount, len(sent)))
    assert len(sent) >= amount * 5  # and it is not stricter than a window and a slot: ten of them fit


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
    rule = rate(10, HOUR, burst=3)  # one each 360 s
    alice = caller(rule)
    assert await gate.admitted(10, alice) == 3
    error = await gate.refusal(alice)
    assert 0 < int(error.headers["retry-after-ms"]) <= 360_000
    await gate.valkey.call("HINCRBYFLOAT", lease_key(rule), "tat", -738_000)  # as if 2.05 of these had passed
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
    began = time.monotonic()
    for request_id in ("killed-1", "killed-2"):
        keys = (RESERVATIONS, COUNTED, lease_key(slots), f"tollgate:reservation:{request_id}")
        await gate.valkey.run(RESERVE, keys, 1, 1_000, 0, "c", 2, request_id, "lost")
    assert not await gate.admits(caller(slots))
    while not await gate.admits(caller(slots)):
        await asyncio.sleep(0.005)
    assert 0.9 < time.monotonic() - began < 10
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
