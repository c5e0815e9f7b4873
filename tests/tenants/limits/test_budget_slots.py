"""What counts of a budget's hash, and what is settled once more though nobody remembers whether it was."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway_site.infra.valkey import HotValkey
from tenants.errors import BudgetExhausted
from tenants.limits.admission import Admission, Request, Reservation
from tenants.limits.money import from_nanos
from tenants.limits.scripts import COUNTED, RESERVATION_PREFIX, SCRIPTS, USAGE_STREAM
from tenants.limits.spool import Spool
from tenants.principal import BudgetRule, Principal
from tenants.usage_event import UsageEvent

DOLLAR = 1_000_000_000
MIDDLE_OF_A_MONTH = datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()
ids = (f"{number:032x}" for number in range(1, 1000))


def budget(period: str, **facts: Any) -> BudgetRule:
    facts = {"timezone": "UTC", **facts}
    return BudgetRule(
        id=1, scope="tenant", scope_name="alice", amount=DOLLAR, currency="USD", period=period, is_hard=True, **facts
    )


def caller(rule: BudgetRule, name: str = "alice", number: int = 1) -> Principal:
    return Principal(
        key_id=number, key_name="main", key_prefix="tg_abcd", tenant_id=number, tenant=name, budgets=(rule,)
    )


@pytest.fixture
async def valkey(valkey_url: str) -> AsyncIterator[HotValkey]:
    valkey = HotValkey(valkey_url, scripts=SCRIPTS, deadline=5.0)
    await valkey.open()
    await valkey.call("SET", COUNTED, "1")
    yield valkey
    await valkey.aclose()


@pytest.fixture
def admission(valkey: HotValkey, tmp_path: Path) -> Admission:
    return Admission(valkey, Spool(tmp_path / "spool", "here-1"))


async def reserve(
    admission: Admission, principal: Principal, dollars: float, now: float = MIDDLE_OF_A_MONTH
) -> Reservation:
    request = Request(
        request_id=next(ids),
        alias="smart",
        end_user="",
        dialect="openai_chat",
        started_at=now,
        tokens=0,
        money={"USD": round(dollars * DOLLAR)},
        if_lost=b"{}",
    )
    return await admission.reserve(principal, request)


async def spend(admission: Admission, rule: BudgetRule, dollars: float, now: float = MIDDLE_OF_A_MONTH) -> Reservation:
    reservation = await reserve(admission, caller(rule), dollars, now)
    event = UsageEvent(
        request_id=reservation.request_id,
        started_at=now,
        tenant_id=1,
        api_key_id=1,
        dialect="openai_chat",
        alias="smart",
        status=200,
        outcome="served",
        cost_status="exact",
        latency_ms=1,
        cost=from_nanos(round(dollars * DOLLAR)),
        budgets=reservation.counters("USD"),
    )
    await admission.settle(reservation, event, tokens=0)
    return reservation


async def spent(admission: Admission, rule: BudgetRule, now: float = MIDDLE_OF_A_MONTH) -> float:
    (standing,) = await admission.standings(caller(rule), end_user="", now=now)
    return standing.second / DOLLAR


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (budget("day"), budget("month")),
        (budget("month"), budget("total")),
        (budget("month", timezone="UTC"), budget("month", timezone="Asia/Kolkata")),
    ],
    ids=["a day to a month", "a month to ever", "another time zone"],
)
async def test_what_was_spent_in_slots_of_another_kind_counts_for_every_request_or_for_none(admission, before, after):
    await spend(admission, before, 0.9)
    assert await spent(admission, after) == 0
    await spend(admission, after, 0.2)  # the first of the new slot, which reads all of them
    assert await spent(admission, after) == 0.2
    await spend(admission, after, 0.8)
    with pytest.raises(BudgetExhausted):
        await reserve(admission, caller(after), 0.1)


async def test_the_days_of_a_rolling_budget_go_on_counting_when_it_was_a_budget_of_days(admission):
    await spend(admission, budget("day"), 0.9)
    rolling = budget("rolling", rolling_days=7)
    for _ in range(2):
        with pytest.raises(BudgetExhausted):
            await reserve(admission, caller(rolling), 0.2)
    await reserve(admission, caller(budget("rolling", rolling_days=1)), 0.2, MIDDLE_OF_A_MONTH + 86_400)


async def test_charlies_budget_of_the_same_kind_is_not_alices(admission):
    month = budget("month")
    await spend(admission, month, 1)
    await reserve(admission, caller(msgspec.structs.replace(month, id=2), "charlie", 2), 1)


async def settled_once_more(valkey: HotValkey, admission: Admission, *, knows: bool) -> tuple[int, int, float]:
    """Lose Valkey after a settle, and what it knew of it; return events, whether budgets are counted, and what was spent."""
    month = budget("month")
    reservation = await spend(admission, month, 0.4)
    admission.settles.doubt_unwritten()
    if not knows:
        await valkey.call("DEL", RESERVATION_PREFIX + reservation.request_id)  # by time, or with all its data
    await admission.settles.replay()
    return (
        await valkey.call("XLEN", USAGE_STREAM),
        await valkey.call("EXISTS", COUNTED),
        await spent(admission, month),
    )


async def test_what_was_settled_just_before_valkey_was_lost_is_charged_once(valkey, admission):
    assert await settled_once_more(valkey, admission, knows=True) == (1, 1, 0.4)


async def test_when_nobody_remembers_whether_it_was_settled_it_is_not_charged_again_and_budgets_are_counted_anew(
    valkey, admission
):
    events, is_counted, nanos = await settled_once_more(valkey, admission, knows=False)
    assert (events, is_counted, nanos) == (2, 0, 0.4)  # the ledger takes one of the two


async def test_what_was_spent_without_valkey_is_told_before_anything_else_is_spent(own_server, tmp_path):
    """Else everything that was left when Valkey went away could be spent once more when it is back."""
    valkey = HotValkey(own_server.url, scripts=SCRIPTS, deadline=5.0)
    await valkey.open()
    await valkey.call("SET", COUNTED, "1")
    admission, month = Admission(valkey, Spool(tmp_path / "spool", "here-1")), budget("month")
    await spend(admission, month, 0.1)
    admission.settles._unwritten.clear()  # it was long ago
    own_server.kill()
    for _ in range(3):
        assert (await spend(admission, month, 0.3)).is_degraded
    own_server.start()
    async with asyncio.timeout(10):
        while not valkey.is_connected:
            await asyncio.sleep(0.05)
    await valkey.call("SET", COUNTED, "1")
    with pytest.raises(BudgetExhausted):
        await reserve(admission, caller(month), 0.2)
    assert await spent(admission, month) >= 0.9
    await valkey.aclose()
