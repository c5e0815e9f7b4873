"""Money at the edges: large sums, slots, sweeps, and budgets that change under requests."""

import asyncio
import time
from contextlib import suppress

import pytest

from tenants.errors import BudgetExhausted, Unavailable
from tenants.limits import admission
from tenants.limits.admission import Reservation
from tenants.limits.money import from_nanos
from tenants.limits.scripts import COUNTED, RESERVATIONS, SWEEP, USAGE_STREAM
from tests.gateway_site.infra.own_valkey import eventually
from tests.tenants.limits.gate import at_once, budget, charge, counted, gate_at, ids, payer, sweep


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
    assert await till.admission.settles.replay() == 1
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
    await own_gate.admission.settles.replay()
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
    assert await own_gate.admission.settles.replay() == 2
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
