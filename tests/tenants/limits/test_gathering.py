"""Requests that ask in the same turn of the event loop: one script for all of them, and each has its own reservation."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tenants.errors import BudgetExhausted, GatewayError, RateLimited, Unavailable
from tenants.limits import gathering
from tenants.limits.admission import Reservation
from tenants.limits.gathering import MOST_TOGETHER
from tenants.limits.scripts import COUNTED, RESERVATIONS, RESERVE
from tenants.principal import BudgetRule, Principal, Rule
from tests.tenants.limits.gate import (
    Gate,
    at_once,
    budget,
    caller,
    charge,
    counted,
    lease_key,
    noted_scripts,
    payer,
    rate,
    sweep,
)
from tests.tenants.limits.sparing import fields, used

PLENTY = 1_000_000
RULES = (
    rate(PLENTY, id=1, burst=PLENTY // 2),
    rate(PLENTY, id=3, kind="tokens"),
    at_once(10_000),
)


@pytest.fixture
def scripts(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each reserve.lua was for."""
    return noted_scripts(gate, monkeypatch, RESERVE)


async def ask(gate: Gate, *asking: Any) -> list[Any]:
    """Let requests ask in one turn, while Valkey works on something else; return what became of each."""
    busy = gate.valkey.call("PING")
    found = await asyncio.gather(*asking, return_exceptions=True)
    await busy
    return found


def begin(gate: Gate, who: Principal, count: int) -> tuple[list[asyncio.Task[Reservation]], Any]:
    """Let requests begin to ask in one turn, while Valkey works on something else; return that as well."""
    busy = gate.valkey.call("PING")
    return [asyncio.ensure_future(gate.reserve(who, f"r-{n}")) for n in range(count)], busy


def admitted(found: list[Any]) -> list[Reservation]:
    assert all(isinstance(each, Reservation | GatewayError) for each in found), found
    return [each for each in found if isinstance(each, Reservation)]


# --- Together is as each alone -------------------------------------------------------------------------------


async def test_those_of_a_turn_share_a_script_and_each_holds_its_own(till, scripts):
    alice = payer(budget(PLENTY), budget(PLENTY, id=5, is_hard=False), rules=RULES)
    asking = [till.reserve(alice, f"r-{n}", tokens=10 + n, money={"USD": 100 + n}) for n in range(4)]
    held = admitted(await ask(till, *asking))
    assert scripts == [4]
    assert [each.request_id for each in held] == ["r-0", "r-1", "r-2", "r-3"]
    assert (await used(till, RULES[0]), await used(till, RULES[1])) == (4, 46)
    assert {each.decode() for each in await till.leases(RULES[2])} == {"r-0", "r-1", "r-2", "r-3"}
    assert (await counted(till))["held"] == (await counted(till, "tollgate:budget:5.0"))["held"] == 406
    for number, reservation in enumerate(held):
        await charge(till, reservation, 10)
        assert (await counted(till))["held"] == sum(100 + n for n in range(number + 1, 4))
    assert (await counted(till)) == {"held": 0, "0": 40}
    assert await till.leases(RULES[2]) == []
    assert sorted(await till.events()) == ["r-0", "r-1", "r-2", "r-3"]


async def test_who_comes_while_valkey_is_idle_does_not_wait_for_others(gate, scripts):
    held = await asyncio.gather(*(gate.reserve(caller(*RULES)) for _ in range(3)))
    assert scripts == [1, 2]
    assert len({each.request_id for each in held}) == 3


async def test_they_leave_at_the_end_of_their_turn(gate, scripts):
    asking, busy = begin(gate, caller(*RULES), 2)
    for _ in range(2):
        assert scripts == []
        await asyncio.sleep(0)
    assert (scripts, gate.valkey.is_flushed) == ([2], True)
    await asyncio.gather(*asking, busy)


async def test_one_that_nobody_joins_leaves_then_too_whatever_it_needs(till, scripts):
    busy = till.valkey.call("PING")
    asking = asyncio.ensure_future(till.reserve(payer(budget(2**62)), money={"USD": 2**60}))
    for _ in range(2):
        await asyncio.sleep(0)
    assert (scripts, till.valkey.is_flushed) == ([1], True)
    await asyncio.gather(asking, busy)


async def test_what_can_be_done_meanwhile_is_done_once(gate):
    done: list[str] = []
    busy = gate.valkey.call("PING")
    asking = [gate.reserve(caller(rate(5)), f"r-{n}", meanwhile=partial(done.append, f"r-{n}")) for n in range(8)]
    found = await asyncio.gather(*asking, busy, return_exceptions=True)
    assert len(admitted(found[:8])) == 5
    assert done == [f"r-{n}" for n in range(8)]


async def test_a_burst_is_admitted_a_few_at_a_time(gate, scripts):
    found = await ask(gate, *(gate.reserve(caller(*RULES)) for _ in range(2 * MOST_TOGETHER + 3)))
    assert len(admitted(found)) == 2 * MOST_TOGETHER + 3
    assert scripts == [MOST_TOGETHER, MOST_TOGETHER, 3]


async def test_headers_say_what_is_left_when_all_of_them_are_in(gate):
    rules = (rate(1_000), rate(5_000, id=3, kind="tokens"))
    found = admitted(await ask(gate, *(gate.reserve(caller(*rules), tokens=10) for _ in range(3))))
    for each in found:
        told = dict(each.headers)
        assert told[b"x-ratelimit-remaining-requests"] == b"997"
        assert told[b"x-ratelimit-remaining-tokens"] == b"4970"


async def test_what_a_killed_worker_held_is_swept_one_by_one(till):
    alice = payer(budget(PLENTY), rules=RULES)
    await ask(till, *(till.reserve(alice, f"lost-{n}", money={"USD": 7 + n}) for n in range(3)))
    assert await sweep(till) == 3
    assert {(each.request_id, each.alias) for each in await till.records()} == {(f"lost-{n}", "lost") for n in range(3)}
    assert (await counted(till))["held"] == 0
    assert await till.leases(RULES[2]) == []


# --- Where there is not plenty of room -----------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "crowd"), [(1, 8), (5, 8), (20, 8), (10, 20), (16, 20), (18, 40), (37, 40)])
@pytest.mark.parametrize(
    "rule",
    [
        lambda amount: rate(amount),
        lambda amount: rate(10 * amount, id=3, kind="tokens"),
        at_once,
        lambda amount: rate(500, burst=amount),
    ],
    ids=["requests", "tokens", "at once", "burst"],
)
async def test_as_many_get_in_as_alone_and_the_first_come_first(gate, rule, amount, crowd):
    found = await ask(gate, *(gate.reserve(caller(rule(amount)), f"r-{n}", tokens=10) for n in range(crowd)))
    held = [each.request_id for each in admitted(found)]
    assert held == [f"r-{n}" for n in range(min(crowd, amount))]
    assert all(isinstance(each, RateLimited) and each.headers["retry-after"] for each in found[len(held) :])


@pytest.mark.parametrize(("limit", "count"), [(99, 0), (100, 1), (350, 3), (799, 7), (800, 8), (80_000, 8)])
async def test_a_hard_budget_is_never_exceeded(till, limit, count):
    found = await ask(till, *(till.reserve(payer(budget(limit)), money={"USD": 100}) for _ in range(8)))
    assert len(admitted(found)) == count
    assert all(isinstance(each, BudgetExhausted) for each in found if isinstance(each, GatewayError))
    assert (await counted(till)).get("held", 0) == 100 * count <= limit


async def test_those_that_do_not_all_fit_ask_for_themselves_once(gate, scripts):
    alice = caller(rate(5))
    assert len(admitted(await ask(gate, *(gate.reserve(alice) for _ in range(4))))) == 4
    assert len(admitted(await ask(gate, *(gate.reserve(alice) for _ in range(3))))) == 1
    assert admitted(await ask(gate, gate.reserve(alice))) == []
    assert scripts == [4, 3, 1, 1, 1, 1]


async def test_leases_that_have_ended_are_in_nobodys_way(gate, scripts):
    slots = at_once(4)
    held = admitted(await ask(gate, *(gate.reserve(caller(slots)) for _ in range(3))))
    for reservation in held[:2]:
        await gate.valkey.call("ZADD", lease_key(slots), "XX", 1, reservation.request_id)
    found = await ask(gate, *(gate.reserve(caller(slots)) for _ in range(3)))
    assert (len(admitted(found)), scripts) == (3, [3, 3])
    assert len(await gate.leases(slots)) == 4


@pytest.mark.parametrize(
    ("facts", "rules"),
    [
        ({"money": {"USD": 10}}, (budget(400),)),
        ({"tokens": 10}, (rate(400, id=3, kind="tokens"),)),
        ({}, (rate(60),)),
    ],
    ids=["money", "tokens", "requests"],
)
async def test_room_is_measured_by_one_of_them(till, facts, rules):
    """Else those that come together would never find that there is plenty."""
    budgets = tuple(rule for rule in rules if isinstance(rule, BudgetRule))
    alice = payer(*budgets, rules=tuple(rule for rule in rules if isinstance(rule, Rule)))
    for _ in range(2):
        found = admitted(await ask(till, *(till.reserve(alice, **facts) for _ in range(4))))
    assert all(each.like is not None for each in found)


async def test_sums_that_lua_cannot_tell_exactly_are_not_made(till, scripts):
    alice = payer(budget(4 * 2**60, is_hard=False))
    found = await ask(till, *(till.reserve(alice, money={"USD": 2**52}) for _ in range(3)))
    assert (len(admitted(found)), scripts) == (3, [1, 1, 1])
    assert (await counted(till))["held"] == 3 * 2**52


# --- Others --------------------------------------------------------------------------------------------------


async def test_charlie_waits_and_pays_for_nobody_but_himself(till, scripts):
    alice = payer(budget(PLENTY), rules=(rate(PLENTY),))
    charlie = payer(budget(50, id=8, scope_name="charlie"), rules=(rate(1, id=9),), key_id=3, tenant="charlie")
    asking = [till.reserve(who, money={"USD": 40}) for who in (alice, charlie, alice, charlie)]
    found = await ask(till, *asking)
    assert [isinstance(each, Reservation) for each in found] == [True, True, True, False]
    assert scripts[:2] == [2, 2]
    assert (await counted(till))["held"] == 80
    assert (await counted(till, "tollgate:budget:8.0"))["held"] == 40
    assert (await used(till, rate(1, id=1)), await used(till, rate(1, id=9))) == (2, 1)


async def test_a_limit_that_changes_in_the_middle_of_a_turn_is_asked_for_apart(gate, scripts):
    before, after = caller(rate(PLENTY)), caller(rate(2 * PLENTY))
    found = admitted(await ask(gate, gate.reserve(before), gate.reserve(after), gate.reserve(before)))
    assert (len(found), scripts) == (3, [1, 1, 1])
    assert dict(found[1].headers)[b"x-ratelimit-limit-requests"] == b"2000000"
    assert await used(gate, rate(1)) == 3


async def test_a_limit_that_becomes_one_of_another_kind_meanwhile_is_asked_for_apart(gate):
    tokens, slots = (
        caller(rate(PLENTY, id=1, kind="tokens"), rate(PLENTY, id=3)),
        caller(at_once(5, id=1), rate(PLENTY, id=3)),
    )
    charlie = caller(rate(PLENTY, id=9), tenant="charlie", key_id=3)
    async with asyncio.timeout(5):
        found = await ask(gate, *(gate.reserve(who, tokens=7) for who in (tokens, slots, tokens, charlie, slots)))
    assert [type(each) for each in found[:1] + found[2:4]] == [Reservation] * 3
    assert await used(gate, rate(1, id=9)) == 1


async def test_a_defect_of_ours_lets_nobody_wait_for_ever(gate, monkeypatch):
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gathering, "add_up", fail)
    async with asyncio.timeout(5):
        with capture_logs() as logs:
            found = await ask(gate, *(gate.reserve(caller(*RULES)) for _ in range(3)))
    assert len(admitted(found)) == 3
    assert [each["event"] for each in logs] == ["admission_together_failed"]


async def test_who_cannot_go_on_while_it_waits_has_not_asked(gate, scripts):
    def fail() -> None:
        raise ZeroDivisionError

    busy = gate.valkey.call("PING")
    asking = [
        gate.reserve(caller(*RULES), "r-0", meanwhile=fail),
        gate.reserve(caller(*RULES), "r-1"),
    ]
    found = await asyncio.gather(*asking, busy, return_exceptions=True)
    assert (type(found[0]), scripts) == (ZeroDivisionError, [1])
    assert await gate.leases(RULES[2]) == [b"r-1"]


async def test_who_comes_while_others_learn_that_they_do_not_fit_comes_behind_them(gate, scripts):
    alice = caller(rate(3))
    asking, busy = begin(gate, alice, 4)
    while not gate.valkey.is_quiet or not scripts:
        await asyncio.sleep(0)
    asking.append(asyncio.ensure_future(gate.reserve(alice, "late")))
    found = await asyncio.gather(*asking, busy, return_exceptions=True)
    assert [each.request_id for each in admitted(found[:5])] == ["r-0", "r-1", "r-2"]


@pytest.mark.parametrize(("limit", "is_roomy"), [(1_600, False), (3_100, False), (3_200, True)])
async def test_the_end_of_a_budget_is_not_taken_for_plenty(till, limit, is_roomy):
    """Else a settle that others wait for could leave behind its answer."""
    alice = payer(budget(limit))
    admitted(await ask(till, *(till.reserve(alice, money={"USD": 100}) for _ in range(16))))
    assert till.admission._is_roomy(("tollgate:budget:4.0",)) is is_roomy


async def test_without_limits_there_is_a_reservation_all_the_same(gate):
    found = admitted(await ask(gate, *(gate.reserve(caller(), f"free-{n}") for n in range(3))))
    index: Any = await gate.valkey.call("ZRANGE", RESERVATIONS, 0, -1)
    assert {each.request_id.encode() for each in found} == set(index) == {b"free-0", b"free-1", b"free-2"}


# --- Whoever leaves, and whatever fails ----------------------------------------------------------------------


async def test_who_leaves_before_anything_was_sent_has_not_asked(gate, scripts):
    asking, busy = begin(gate, caller(*RULES), 3)
    await asyncio.sleep(0)
    asking[1].cancel()
    found = await asyncio.gather(*asking, busy, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert scripts == [2]
    await gate.valkey.call("PING")
    assert {each.decode() for each in await gate.leases(RULES[2])} == {"r-0", "r-2"}
    assert await used(gate, RULES[0]) == 2


async def test_who_leaves_afterwards_is_let_out_again(gate, scripts):
    asking, busy = begin(gate, caller(*RULES), 3)
    while not scripts:
        await asyncio.sleep(0)
    asking[1].cancel()
    found = await asyncio.gather(*asking, busy, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert scripts == [3]
    await gate.valkey.call("PING")
    assert {each.decode() for each in await gate.leases(RULES[2])} == {"r-0", "r-2"}


async def test_who_leaves_while_it_asks_for_itself_is_let_out_again(gate, scripts):
    asking, busy = begin(gate, caller(at_once(2)), 3)
    while len(scripts) < 2:  # they do not all fit
        await asyncio.sleep(0)
    asking[0].cancel()
    found = await asyncio.gather(*asking, busy, return_exceptions=True)
    assert [type(each) for each in found[:3]] == [asyncio.CancelledError, Reservation, RateLimited]
    assert scripts == [3, 1, 1, 1]
    await gate.valkey.call("PING")
    assert await gate.leases(at_once(2)) == [b"r-1"]


async def test_scripts_that_valkey_has_forgotten_are_loaded_again(gate):
    await gate.valkey.call("SCRIPT", "FLUSH")
    found = await ask(gate, *(gate.reserve(caller(*RULES)) for _ in range(3)))
    assert len(admitted(found)) == 3
    assert await used(gate, RULES[0]) == 3


async def test_budgets_that_are_not_counted_yet_are_counted_first(gate):
    times: list[int] = []

    async def count_budgets() -> None:
        times.append(1)
        await gate.valkey.call("SET", COUNTED, "1")

    gate.admission.count_budgets = count_budgets
    found = await ask(gate, *(gate.reserve(payer(budget(PLENTY)), money={"USD": 5}) for _ in range(3)))
    assert len(admitted(found)) == 3
    assert len(times) == 3  # `count_budgets` sees to it that they share one
    assert (await counted(gate))["held"] == 15


async def test_without_valkey_each_is_admitted_by_this_workers_share(own_gate, own_server):
    alice = caller(rate(PLENTY))
    await own_gate.reserve(alice)
    busy = own_gate.valkey.call("PING")
    asking = [asyncio.ensure_future(own_gate.reserve(alice)) for _ in range(3)]
    await asyncio.sleep(0)
    own_server.kill()
    found = await asyncio.gather(*asking, busy, return_exceptions=True)
    held = admitted(found[:3])
    assert len(held) == 3
    assert all(each.is_degraded for each in held)


async def test_a_connection_that_is_lost_before_the_end_of_the_turn_admits_nobody(gate):
    alice = msgspec.structs.replace(caller(*RULES), refuses_without_valkey=True)
    asking, busy = begin(gate, alice, 3)
    await asyncio.sleep(0)
    protocol = gate.valkey._protocol
    gate.valkey._connection_lost(protocol, "lost")
    async with asyncio.timeout(5):
        found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 3
    await busy
    protocol.close()


async def test_rates_hold_what_is_in_their_slots(gate):
    await ask(gate, *(gate.reserve(caller(*RULES), tokens=5) for _ in range(4)))
    await ask(gate, *(gate.reserve(caller(*RULES), tokens=5) for _ in range(3)))
    for rule, total in ((RULES[0], 7), (RULES[1], 35)):
        state = await fields(gate, rule)
        assert state["used"] == total == sum(number for name, number in state.items() if name.isdigit())
