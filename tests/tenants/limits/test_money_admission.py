"""Budgets and limits of tokens, against a real Valkey."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from time import time
from typing import Any

import pytest

from gateway_site.infra.valkey import HotValkey
from tenants.errors import BudgetExhausted, Forbidden, RateLimited, Unavailable
from tenants.limits.admission import Admission, Request, Reservation
from tenants.limits.money import from_nanos
from tenants.limits.scripts import COUNTED, SCRIPTS, SWEEP, USAGE_STREAM
from tenants.limits.spool import Spool
from tenants.principal import BudgetRule, Principal, Rule
from tenants.usage_event import UsageEvent, decode

DOLLAR = 1_000_000_000
ids = (f"{number:032x}" for number in count(1))


def budget(dollars: float = 1, **facts: Any) -> BudgetRule:
    facts = {"id": 1, "scope": "tenant", "scope_name": "alice", "currency": "USD", "period": "month", **facts}
    return BudgetRule(amount=round(dollars * DOLLAR), timezone="UTC", **facts)


def tokens_per_minute(amount: int, **facts: Any) -> Rule:
    facts = {"id": 9, "scope": "tenant", "scope_name": "alice", "kind": "tokens", "window_ms": 60_000, **facts}
    return Rule(amount=amount, **facts)


def caller(*rules: Rule | BudgetRule) -> Principal:
    return Principal(
        key_id=1,
        key_name="laptops",
        key_prefix="tg_abcd",
        tenant_id=1,
        tenant="alice",
        rules=tuple(rule for rule in rules if isinstance(rule, Rule)),
        budgets=tuple(rule for rule in rules if isinstance(rule, BudgetRule)),
    )


class Till:
    """An Admission with its connection, and shorter words for what tests ask of it."""

    def __init__(self, valkey: HotValkey, spool: Spool) -> None:
        self.valkey = valkey
        self.admission = Admission(valkey, spool)

    async def reserve(self, principal: Principal, most: float = 0, *, tokens: int = 0, **facts: Any) -> Reservation:
        """Reserve for a request that can cost so many dollars at most."""
        money = facts.pop("money", {"USD": round(most * DOLLAR)})
        facts = {"alias": "smart", "end_user": "", "dialect": "openai_chat", "started_at": time(), **facts}
        request_id = facts.pop("request_id", None) or next(ids)
        lost = b'{"request_id":"%b"}' % request_id.encode()
        request = Request(request_id=request_id, tokens=tokens, money=money, if_lost=lost, **facts)
        return await self.admission.reserve(principal, request)

    async def settle(
        self, reservation: Reservation, dollars: float, *, tokens: int = 0, currency: str = "USD"
    ) -> UsageEvent:
        """Settle at a cost; return the event as it was billed."""
        event = UsageEvent(
            request_id=reservation.request_id,
            started_at=time(),
            tenant_id=1,
            api_key_id=1,
            dialect="openai_chat",
            alias="smart",
            status=200,
            outcome="served",
            cost_status="exact",
            latency_ms=1,
            cost=from_nanos(round(dollars * DOLLAR)),
            currency=currency,
            budgets=reservation.counters(currency),
        )
        return await self.admission.settle(reservation, event, tokens=tokens)

    async def balance(self, rule: BudgetRule, end_user: str = "") -> tuple[float, float]:
        """Return what is held of a budget and what was spent, in dollars."""
        key = f"tollgate:budget:{rule.id}.{rule.resets}" + (f":{end_user}" if end_user else "")
        flat: Any = await self.valkey.call("HGETALL", key)
        fields = {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
        return fields.pop("held", 0) / DOLLAR, sum(fields.values()) / DOLLAR

    async def events(self) -> list[UsageEvent]:
        entries: Any = await self.valkey.call("XRANGE", USAGE_STREAM, "-", "+")
        return [
            decode(fields[1])
            for _, fields in entries
            if fields[1].startswith(b'{"request_id') and b"alias" in fields[1]
        ]

    async def sweep(self) -> int:
        """Let every lease be over, and sweep."""
        members: Any = await self.valkey.call("ZRANGE", "tollgate:reservations", 0, -1)
        for member in members:
            await self.valkey.call("ZADD", "tollgate:reservations", 1, member)
        swept: int = await self.valkey.run(SWEEP, ("tollgate:reservations", USAGE_STREAM), 100, 60_000)
        return swept


@pytest.fixture
async def till(valkey_url: str, tmp_path: Path) -> AsyncIterator[Till]:
    valkey = HotValkey(valkey_url, scripts=SCRIPTS, deadline=5.0)
    await valkey.open()
    await valkey.call("SET", COUNTED, "1")
    try:
        yield Till(valkey, Spool(tmp_path / "spool", "here-1"))
    finally:
        await valkey.aclose()


async def test_a_request_holds_the_most_that_it_can_cost_until_it_is_settled_at_what_it_did_cost(till):
    month = budget(1)
    reservation = await till.reserve(caller(month), 0.4)
    assert await till.balance(month) == (0.4, 0)
    await till.settle(reservation, 0.1)
    assert await till.balance(month) == (0, 0.1)
    assert (await till.events())[0].cost == Decimal("0.1")


async def test_of_two_hundred_requests_at_once_only_as_many_are_admitted_as_can_be_paid(till):
    ten = budget(10)
    found = await asyncio.gather(*(till.reserve(caller(ten), 1) for _ in range(200)), return_exceptions=True)
    admitted = [each for each in found if isinstance(each, Reservation)]
    assert len(admitted) == 10
    assert all(isinstance(each, BudgetExhausted) for each in found if not isinstance(each, Reservation))
    await asyncio.gather(*(till.settle(each, 1) for each in admitted))
    assert await till.balance(ten) == (0, 10)
    with pytest.raises(
        BudgetExhausted, match=r"The budget of 10\.00 USD a month of tenant 'alice' is used up\. It resets at "
    ):
        await till.reserve(caller(ten), 1)


async def test_a_refusal_says_what_is_left_and_that_trying_again_is_no_use(till):
    month = budget(1)
    await till.settle(await till.reserve(caller(month), 0.5), 0.25)
    with pytest.raises(BudgetExhausted) as caught:
        await till.reserve(caller(month), 0.8)
    assert caught.value.message.startswith(
        "This request may cost up to 0.80 USD, and 0.75 USD is left of the budget of 1.00"
    )
    assert caught.value.headers == {"x-should-retry": "false"}


async def test_what_one_rule_refuses_costs_none_of_the_others(till):
    month, minute = budget(1), tokens_per_minute(100)
    with pytest.raises(RateLimited):
        await till.reserve(caller(month, minute), 0.5, tokens=101)
    with pytest.raises(BudgetExhausted):
        await till.reserve(caller(month, minute), 2, tokens=60)
    assert await till.balance(month) == (0, 0)
    reservation = await till.reserve(caller(month, minute), 0.5, tokens=100)
    assert (b"x-ratelimit-remaining-tokens", b"0") in reservation.headers


async def test_tokens_are_corrected_when_the_request_is_settled(till):
    minute = tokens_per_minute(100)
    reservation = await till.reserve(caller(minute), tokens=90)
    with pytest.raises(RateLimited, match="The limit of 100 tokens per minute of tenant 'alice' is reached"):
        await till.reserve(caller(minute), tokens=20)
    await till.settle(reservation, 0, tokens=30)
    reservation = await till.reserve(caller(minute), tokens=20)
    assert (b"x-ratelimit-remaining-tokens", b"50") in reservation.headers


async def test_a_soft_budget_is_counted_and_refuses_nothing(till):
    soft = budget(1, is_hard=False)
    for _ in range(3):
        await till.settle(await till.reserve(caller(soft), 1), 1)
    assert await till.balance(soft) == (0, 3)


async def test_what_costs_more_than_was_held_is_written_off_beyond_the_budget(till):
    month = budget(1)
    first, second = await till.reserve(caller(month), 0.2), await till.reserve(caller(month), 0.5)
    billed = await till.settle(first, 0.9)  # 0.5 is held by the other, so that 0.5 is left for this one
    assert (billed.cost, billed.written_off) == (Decimal("0.5"), Decimal("0.4"))
    await till.settle(second, 0.5)
    assert await till.balance(month) == (0, 1)
    events = await till.events()
    assert [(each.cost, each.written_off) for each in events] == [(Decimal("0.5"), Decimal("0.4")), (Decimal("0.5"), 0)]


async def test_a_swept_reservation_gives_back_what_it_holds_and_is_told_to_the_ledger(till):
    month = budget(1)
    reservation = await till.reserve(caller(month), 0.4)
    assert await till.sweep() == 1
    assert await till.balance(month) == (0, 0)
    assert await till.sweep() == 0
    await till.settle(reservation, 0.3)
    assert await till.balance(month) == (0, 0.3)
    assert [each.replaces_lost for each in await till.events()] == [True]


async def test_a_late_settle_takes_no_more_than_there_is_room_for(till):
    month = budget(1)
    late = await till.reserve(caller(month), 0.4)
    await till.sweep()
    await till.settle(await till.reserve(caller(month), 0.9), 0.9)
    await till.settle(late, 0.4)
    assert await till.balance(month) == (0, 1)
    assert [(each.cost, each.written_off) for each in await till.events()][1] == (Decimal("0.1"), Decimal("0.3"))


async def test_settling_twice_charges_once(till):
    month = budget(1)
    reservation = await till.reserve(caller(month), 0.4)
    for _ in range(3):
        await till.settle(reservation, 0.3)
    assert await till.balance(month) == (0, 0.3)
    assert len(await till.events()) == 1


async def test_while_budgets_are_not_counted_nothing_is_admitted_under_a_hard_one(till):
    await till.valkey.call("DEL", COUNTED)
    with pytest.raises(Unavailable, match="Budgets cannot be checked right now"):
        await till.reserve(caller(budget(1)), 0.4)
    assert await till.balance(budget(1)) == (0, 0)


async def test_a_model_in_another_currency_than_a_hard_budget_is_refused(till):
    with pytest.raises(Forbidden, match=r"The budget of tenant 'alice' is in EUR, and this model is sold in USD"):
        await till.reserve(caller(budget(1, currency="EUR")), 0.4)


async def test_each_end_user_has_a_budget_of_its_own_where_it_says_so(till):
    each = budget(1, per_end_user=True)
    await till.settle(await till.reserve(caller(each), 1, end_user="dora"), 1)
    with pytest.raises(BudgetExhausted, match="for each end user"):
        await till.reserve(caller(each), 1, end_user="dora")
    await till.reserve(caller(each), 1, end_user="emil")
    await till.reserve(caller(each), 1)
    assert (await till.balance(each, "dora"), await till.balance(each, "emil")) == ((0, 1), (1, 0))
    assert (await till.events())[0].budgets[0].endswith(":dora")


async def test_the_last_days_of_a_rolling_budget_count_together(till):
    day = 86_400
    rolling = budget(1, period="rolling", rolling_days=3)
    now = time()
    for days, dollars in ((5, 1), (2, 0.5), (1, 0.2)):
        await till.settle(await till.reserve(caller(rolling), dollars, started_at=now - days * day), dollars)
    with pytest.raises(BudgetExhausted, match=r"0\.30 USD is left of the budget of 1\.00 USD in 3 days"):
        await till.reserve(caller(rolling), 0.4, started_at=now)
    await till.reserve(caller(rolling), 0.3, started_at=now)


async def test_an_increase_ends_by_itself_and_a_reset_begins_a_new_counter(till):
    now = datetime.now(UTC).replace(day=15, hour=12).timestamp()  # the month does not end meanwhile
    month = budget(1, increase=DOLLAR, increase_until=now + 60)
    await till.settle(await till.reserve(caller(month), 1.5, started_at=now), 1.5)
    with pytest.raises(BudgetExhausted):
        await till.reserve(caller(month), 0.1, started_at=now + 61)
    await till.reserve(caller(budget(1, resets=1)), 1, started_at=now + 61)
