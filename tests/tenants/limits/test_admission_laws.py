"""Laws of admission: whatever happens in whatever order, Valkey says what a plain model of it says.

The requests of two keys of alice's tenant (a key that is rotated is another key of the same budgets) and one of charlie's
are reserved (when they come, some at once, ahead), renewed, settled (twice, late, beyond what they hold), cancelled, given
back and swept, while periods pass, limits are raised, lowered and increased for a while, budgets are reset, and Valkey
forgets its scripts.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_site.infra.valkey import HotValkey, Script
from tenants.errors import BudgetExhausted, RateLimited
from tenants.limits.admission import Admission, Request, Reservation
from tenants.limits.charges import compile_charges, prepare
from tenants.limits.money import from_nanos, to_nanos
from tenants.limits.periods import first_slot, slot_start
from tenants.limits.scripts import (
    ADMITTED,
    COUNTED,
    LEASE_MS,
    RENEW,
    RESERVATION_PREFIX,
    RESERVATIONS,
    RESERVE,
    SCRIPTS,
    SETTLE,
    SETTLE_TOGETHER,
    SWEEP,
    USAGE_STREAM,
    Asked,
    reserve_command,
)
from tenants.limits.spares import Spare
from tenants.limits.spool import Spool
from tenants.principal import BudgetRule, Principal, Rule
from tenants.usage_event import UsageEvent, decode, encode

EXAMPLES = 400
MAY_FIRST = 1_777_622_400  # a Friday: months and weeks end on different days
DAY = 86_400
HOUR_MS = 3_600_000
MARGIN = 4096  # of amounts that Lua's numbers do not hold to the last digit
DAYS = (0.3, 1, 1, 2, 7, 31)
END_USERS = ("", "dora", "a:b c", "é" * 200)


def budget(number: int, amount: int, **facts: Any) -> BudgetRule:
    facts = {"scope": "tenant", "scope_name": "alice", "currency": "USD", "period": "month", "timezone": "UTC", **facts}
    return BudgetRule(id=number, amount=amount, **facts)


def all_budgets(unit: int) -> dict[int, BudgetRule]:
    found = [
        budget(1, 30 * unit, timezone="America/Santiago"),
        budget(2, 20 * unit, period="day", scope="project", timezone="Asia/Kathmandu"),
        budget(3, 12 * unit, period="week", per_end_user=True),
        budget(4, 25 * unit, period="rolling", rolling_days=3),
        budget(5, 60 * unit, period="credit"),
        budget(6, 10 * unit, period="total", is_hard=False),
        budget(7, 10 * unit, is_hard=False, currency="EUR"),
        budget(8, 9 * unit, period="quarter", scope_name="charlie"),
    ]
    return {rule.id: rule for rule in found}


RULES = (
    Rule(id=1, scope="tenant", scope_name="alice", kind="concurrency", amount=6),
    Rule(id=2, scope="tenant", scope_name="alice", kind="tokens", amount=300, window_ms=HOUR_MS),
    Rule(id=3, scope="tenant", scope_name="alice", kind="requests", amount=10_000, window_ms=HOUR_MS, burst=5_000),
)
KEYS_OF_ALICE, KEY_OF_CHARLIE = (1, 2), 3


# --- What may happen -----------------------------------------------------------------------------------------

OFTEN = ("reserve",) * 6 + ("settle",) * 4 + ("pass",) * 2
SELDOM = ("cancel", "renew", "expire", "lose", "sweep", "limit", "increase", "reset", "forget_scripts")
AHEAD = ("spare", "spare", "adopt", "give_back")
TOGETHER = ("crowd",) * 3 + ("settle_crowd",) * 3
EVENTS = st.lists(
    st.tuples(st.sampled_from(OFTEN + SELDOM + AHEAD + TOGETHER), *[st.integers(0, 59)] * 3), min_size=20, max_size=80
)


# --- The model -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Held:
    """What a request holds of one budget."""

    rule: BudgetRule
    key: str
    slot: int
    oldest: int
    amount: int
    limit: int
    counter: str


@dataclass(slots=True)
class Order:
    """A request that wants to be admitted."""

    request: Request
    key_id: int
    wanted: list[Held]
    refusal: type[Exception] | None


@dataclass(slots=True)
class Made:
    """A request that was admitted."""

    request_id: str
    reservation: Reservation | None
    held: list[Held]
    tokens: int
    is_alices: bool
    state: str = "active"  # spare, active, settled, swept or released
    spare: Spare | None = None
    is_expired: bool = False


@dataclass(slots=True)
class Model:
    """What ought to be true, in plain Python."""

    unit: int
    budgets: dict[int, BudgetRule]
    now: float = MAY_FIRST
    made: list[Made] = field(default_factory=list)
    slots: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))  # spent, by hash and slot
    spent: Counter[str] = field(default_factory=Counter)  # by counter, for ever
    highest: dict[str, int] = field(default_factory=dict)  # limit that a counter ever had
    tokens: int = 0
    requests: int = 0
    events: list[tuple[str, int, int, bool]] = field(default_factory=list)  # request, cost, written off, replaces

    def rules_of(self, key_id: int) -> tuple[tuple[Rule, ...], tuple[BudgetRule, ...]]:
        if key_id == KEY_OF_CHARLIE:
            return (), (self.budgets[8],)
        return RULES, tuple(rule for number, rule in self.budgets.items() if number != 8)

    def held_of(self, key: str) -> int:
        return sum(held.amount for made in self.active() for held in made.held if held.key == key)

    def active(self) -> list[Made]:
        return [made for made in self.made if made.state in {"active", "spare"}]

    def leases(self) -> set[str]:
        return {made.request_id for made in self.active() if made.is_alices}

    def left(self, held: Held) -> int:
        newest = float("inf") if held.rule.rolling_days else held.slot
        spent = sum(amount for slot, amount in self.slots[held.key].items() if held.oldest <= slot <= newest)
        return held.limit - spent - self.held_of(held.key)

    def wanted(self, key_id: int, end_user: str, amount: int) -> list[Held]:
        """Return what a request would hold."""
        found = []
        for rule in self.rules_of(key_id)[1]:
            if rule.per_end_user and not end_user:
                continue
            owner = f":{end_user}" if rule.per_end_user else ""
            start = slot_start(rule.period, self.now, rule.timezone)
            oldest = first_slot(rule.rolling_days, self.now, rule.timezone) if rule.rolling_days else start
            found.append(
                Held(
                    rule=rule,
                    key=f"tollgate:budget:{rule.id}.{rule.resets}{owner}",
                    slot=start,
                    oldest=oldest,
                    amount=amount if rule.currency == "USD" else 0,
                    limit=rule.limit(self.now),
                    counter=f"{rule.id}.{rule.resets}:{start}{owner}",
                )
            )
        return found

    def refusal(self, key_id: int, wanted: list[Held], tokens: int) -> type[Exception] | None:
        if key_id in KEYS_OF_ALICE and (len(self.leases()) >= 6 or self.tokens + tokens > 300):
            return RateLimited
        for held in wanted:
            margin = 0 if held.limit < 2**53 else MARGIN
            if held.rule.is_hard and held.amount and held.amount + margin > self.left(held):
                return BudgetExhausted
        return None

    def charge(self, order: Order) -> Made:
        made = Made(order.request.request_id, None, order.wanted, order.request.tokens, order.key_id in KEYS_OF_ALICE)
        self.tokens += made.tokens if made.is_alices else 0
        self.requests += made.is_alices
        for held in made.held:
            self.highest[held.counter] = max(self.highest.get(held.counter, 0), held.limit)
            slots = self.slots[held.key]
            if held.slot not in slots:
                kept = slot_start(held.rule.period, held.oldest - 1, held.rule.timezone) if held.oldest else 0
                for slot in [slot for slot in slots if slot < kept]:
                    del slots[slot]
                slots[held.slot] = 0
        self.made.append(made)
        return made

    def settle(self, made: Made, cost: int, currency: str, tokens: int) -> None:
        if made.state == "settled":
            return
        asked, was_swept = cost, made.state == "swept"
        for held in made.held:
            if held.rule.is_hard and held.rule.currency == currency:
                mine = 0 if was_swept else held.amount
                if cost > mine:
                    cost = min(cost, max(mine, self.left(held) + mine, 0))
        made.state = "settled"
        self.tokens += tokens - made.tokens if made.is_alices else 0
        for held in made.held:
            if held.rule.currency == currency and cost:
                self.slots[held.key][held.slot] = self.slots[held.key].get(held.slot, 0) + cost
                self.spent[held.counter] += cost
        self.events.append((made.request_id, cost, asked - cost, was_swept))


# --- Playing it on Valkey ------------------------------------------------------------------------------------


class Game:
    """One interleaving: everything is done to Valkey and to the model."""

    def __init__(self, valkey: HotValkey, spool: Spool, unit: int, reserve_ahead: Script) -> None:
        self.valkey = valkey
        self.reserve_ahead = reserve_ahead
        self.admission = Admission(valkey, spool)
        self.model = Model(unit, all_budgets(unit))
        self.number = 0

    async def play(self, events: list[tuple[str, int, int, int]]) -> None:
        await self.valkey.call("FLUSHALL")
        await self.valkey.call("SET", COUNTED, "1")
        for script in (*SCRIPTS, self.reserve_ahead):
            await self.valkey.call("SCRIPT", "LOAD", script.source)
        for name, *numbers in events:
            await getattr(self, f"do_{name}")(*numbers)
            await self.check()
        await self.end()

    # --- What may happen: three numbers say what exactly

    async def do_reserve(self, who: int, most: int, tokens: int) -> None:
        order = self._order(who, most, tokens)
        reserving = self.admission.reserve(self._principal(order.key_id), order.request)
        if order.refusal is not None:
            with pytest.raises(order.refusal):
                await reserving
            return
        made = self.model.charge(order)
        made.reservation = await reserving
        assert made.reservation.counters("USD") == [held.counter for held in made.held if held.rule.currency == "USD"]

    async def do_crowd(self, who: int, most: int, tokens: int) -> None:
        """Let some of a key ask at once: what becomes of each is what would have become of it alone."""
        asking, expected = [], []
        for number in range(2 + who % 5):
            order = self._order(who, most + number % 2, tokens + number)
            asking.append(self.admission.reserve(self._principal(order.key_id), order.request))
            expected.append(self.model.charge(order) if order.refusal is None else order.refusal)
        busy = self.valkey.call("PING")
        for made, found in zip(expected, await asyncio.gather(*asking, return_exceptions=True), strict=True):
            if isinstance(made, Made):
                assert isinstance(found, Reservation), found
                made.reservation = found
            else:
                assert type(found) is made
        await busy

    async def do_cancel(self, who: int, most: int, tokens: int) -> None:
        order = self._order(who, most, tokens)
        reserving = asyncio.ensure_future(self.admission.reserve(self._principal(order.key_id), order.request))
        knows: Any = await self.valkey.call("SCRIPT", "EXISTS", RESERVE.digest, SETTLE.digest)  # and sends both
        reserving.cancel()
        with suppress(asyncio.CancelledError):
            await reserving
        await self.valkey.call("PING")  # comes after what was sent
        if order.refusal is None and knows[0]:
            made = self.model.charge(order)
            made.state = "released" if knows[1] else "active"  # what nobody gives back is swept

    async def do_spare(self, who: int, most: int, tokens: int) -> None:
        order = self._order(who, most, tokens)
        request = order.request
        charges = compile_charges(self._principal(order.key_id), alias=request.alias, end_user=request.end_user)
        arguments, holds = prepare(charges, tokens=request.tokens, money=request.money, now=self.model.now)
        asked = Asked(request.request_id, b"", arguments, holds)
        keys, words = reserve_command(charges.keys, arguments, [asked], room=1)
        reply = await self.valkey.run(self.reserve_ahead, keys, *words)
        assert (reply[0] == ADMITTED) == (order.refusal is None)
        if reply[0] == ADMITTED:
            made = self.model.charge(order)
            made.state = "spare"
            made.spare = Spare(id=request.request_id, charges=charges, holds=holds, made_at=0.0, reply=reply)

    async def do_adopt(self, which: int, *_: int) -> None:
        """Let a request come that a reservation was made ahead for."""
        if (made := self._pick_spare(which)) is None:
            return
        assert made.spare is not None
        self.number += 1
        made.request_id, made.state = f"{self.number:032x}", "active"
        self.admission.spares.adopt(made.spare, made.request_id, encode(_event(made.request_id)))
        await self.valkey.call("PING")
        while self.admission.spares._adopting:  # the script was forgotten
            await asyncio.sleep(0)
        made.is_expired = False
        made.reservation = Reservation(
            request_id=made.request_id, holds=made.spare.holds, reserved_at=made.spare.reply[1]
        )

    async def do_give_back(self, which: int, *_: int) -> None:
        if (made := self._pick_spare(which)) is None:
            return
        assert made.spare is not None
        (knows,) = await self.valkey.call("SCRIPT", "EXISTS", SETTLE.digest)
        self.admission.spares._give_back(made.spare)
        await self.valkey.call("PING")
        if knows:  # else it is swept
            made.state = "released"
            self.model.tokens -= made.tokens if made.is_alices else 0
            self.model.requests -= made.is_alices

    async def do_settle(self, which: int, amount: int, currency: int) -> None:
        made = self._pick(which)
        if made is None or made.reservation is None:
            return
        amount, code = amount % 16, "USD" if currency % 7 else "EUR"
        cost, tokens = amount * self.model.unit, amount * 3
        self.model.settle(made, cost, code, tokens)
        await self.admission.settle(made.reservation, _cost_of(made, cost, code), tokens=tokens)
        await self.admission.settles.replay()  # where the scripts were forgotten

    async def do_settle_crowd(self, which: int, amount: int, step: int) -> None:
        """Let some leave together that cost no more than they hold: what comes of it is what each alone would have done.

        Among them, now and then, one that was settled before, and behind them one that was swept.
        """
        knows = all(await self.valkey.call("SCRIPT", "EXISTS", SETTLE.digest, SETTLE_TOGETHER.digest))
        crowd = self._picks("active", which, 2 + which % 4)
        crowd[amount % 3 : 0] = self._picks("settled", which, step % 4 == 1)
        crowd += self._picks("swept", which, knows and step % 3 == 1)  # else it is settled in its turn
        late, currency = [], "USD" if step % 7 else "EUR"
        for number, made in enumerate(crowd):
            assert made.reservation is not None
            hard = [held.amount for held in made.held if held.rule.is_hard and held.rule.currency == currency]
            cost, tokens = min([(amount + number) % 13 * self.model.unit, *hard]), (amount + number) % 40
            self.model.settle(made, cost, currency, tokens)
            late.append(self.admission._end(made.reservation, _cost_of(made, cost, currency), cost, tokens))
        self.admission.settles._late = late
        self.admission.settles.send_late()
        while not self.admission.settles.is_idle:
            await asyncio.sleep(0)
        await self.admission.settles.replay()  # where the scripts were forgotten

    def _picks(self, state: str, which: int, most: int) -> list[Made]:
        found = [made for made in self.model.made if made.state == state and made.reservation is not None]
        start = which % len(found) if found else 0
        return [*found[start:], *found[:start]][:most]

    async def do_renew(self, which: int, *_: int) -> None:
        made = self._pick(which)
        if made is None:
            return
        keys = (RESERVATION_PREFIX + made.request_id, RESERVATIONS)
        assert await self.valkey.run(RENEW, keys, made.request_id, LEASE_MS) == (made.state in {"active", "spare"})
        made.is_expired = False

    async def do_expire(self, which: int, *_: int) -> None:
        if (made := self._pick(which)) is not None and made.state in {"active", "spare"}:
            await self.valkey.call("ZADD", RESERVATIONS, "XX", 1, made.request_id)
            made.is_expired = True

    async def do_sweep(self, *_: int) -> None:
        expired = [made for made in self.model.active() if made.is_expired]
        assert await self.valkey.run(SWEEP, (RESERVATIONS, USAGE_STREAM), 100, 60_000) == len(expired)
        for made in expired:
            if made.state == "active":
                self.model.events.append((made.request_id, 0, 0, False))
            made.state = "swept"

    async def do_lose(self, which: int, *_: int) -> None:
        """Sweep one of those that are running."""
        if active := self.model.active():
            await self.do_expire(self.model.made.index(active[which % len(active)]))
            await self.do_sweep()

    async def do_pass(self, which: int, *_: int) -> None:
        self.model.now += DAYS[which % len(DAYS)] * DAY

    async def do_limit(self, which: int, change: int, _: int) -> None:
        rule = self._rule(which)
        self._change(rule, amount=max(0, rule.amount + (change % 24 - 10) * self.model.unit))

    async def do_increase(self, which: int, amount: int, days: int) -> None:
        self._change(
            self._rule(which),
            increase=amount % 12 * self.model.unit,
            increase_until=self.model.now + days % 5 * DAY / 2,
        )

    async def do_reset(self, which: int, *_: int) -> None:
        rule = self._rule(which)
        self._change(rule, resets=rule.resets + 1)

    async def do_forget_scripts(self, *_: int) -> None:
        await self.valkey.call("SCRIPT", "FLUSH")

    # --- What must be true, always

    async def check(self) -> None:
        model, calls = self.model, []
        keys = list(model.slots)
        calls = [self.valkey.call("HGETALL", key) for key in keys]
        index = self.valkey.call("ZRANGE", RESERVATIONS, 0, -1)
        leases = self.valkey.call("ZRANGE", "tollgate:limit:1", 0, -1)
        tokens = self.valkey.call("HGETALL", "tollgate:limit:2")
        requests = self.valkey.call("HGETALL", "tollgate:limit:3")
        for key, reply in zip(keys, await asyncio.gather(*calls), strict=True):
            found = {name.decode(): int(value) for name, value in zip(reply[::2], reply[1::2], strict=True)}
            held = found.pop("held", 0)
            assert held == model.held_of(key) >= 0
            assert {int(slot): spent for slot, spent in found.items()} == model.slots[key]
        assert {each.decode() for each in await index} == {made.request_id for made in model.active()}
        assert {each.decode() for each in await leases} == model.leases()
        for reply, total in ((await tokens, model.tokens), (await requests, model.requests)):
            slots = dict(zip(reply[::2], reply[1::2], strict=True))
            slots.pop(b"at", None)
            slots.pop(b"tat", None)
            used = int(slots.pop(b"used", 0))
            assert used == sum(map(int, slots.values())) == total
            assert min(map(int, slots.values()), default=0) >= 0
        await self._check_limits()

    async def _check_limits(self) -> None:
        """No hard budget has more than its limit spent and held, whatever its slot, as far as it is remembered."""
        for made in self.model.made:
            for held in made.held:
                slots = self.model.slots[held.key]
                if held.rule.is_hard and held.slot in slots:
                    spent = sum(amount for slot, amount in slots.items() if held.oldest <= slot <= held.slot)
                    mine = sum(
                        each.amount
                        for other in self.model.active()
                        for each in other.held
                        if each.key == held.key and held.oldest <= each.slot <= held.slot
                    )
                    assert spent + mine <= max(self._limits(held))

    def _limits(self, held: Held) -> list[int]:
        """Return the limits that a budget had in a window."""
        names = {each.counter for made in self.model.made for each in made.held if each.key == held.key}
        return [self.model.highest[name] for name in names if name.split(":")[1] >= str(held.oldest)]

    async def end(self) -> None:
        """Settle some, sweep the others: nothing is held, and the events say what was spent."""
        for number, made in enumerate(self.model.made):
            if made.state in {"active", "spare"}:
                await (self.do_settle(number, 2, 1) if number % 2 and made.reservation else self.do_expire(number))
        await self.do_sweep()
        await self.check()
        assert all(self.model.held_of(key) == 0 for key in self.model.slots)
        entries: Any = await self.valkey.call("XRANGE", USAGE_STREAM, "-", "+")
        events = [decode(fields[1]) for _, fields in entries]
        found = [
            (each.request_id, to_nanos(each.cost), to_nanos(each.written_off), each.replaces_lost) for each in events
        ]
        assert sorted(found) == sorted(self.model.events)
        spent: Counter[str] = Counter()
        for event in events:
            for name in event.budgets:
                spent[name] += to_nanos(event.cost)
        assert +spent == +self.model.spent
        assert self.admission.active.keys() <= {made.request_id for made in self.model.made if made.state == "swept"}

    def _pick(self, which: int) -> Made | None:
        return self.model.made[which % len(self.model.made)] if self.model.made else None

    def _pick_spare(self, which: int) -> Made | None:
        spares = [made for made in self.model.made if made.state == "spare"]
        return spares[which % len(spares)] if spares else None

    def _rule(self, which: int) -> BudgetRule:
        return list(self.model.budgets.values())[which % len(self.model.budgets)]

    def _change(self, rule: BudgetRule, **facts: Any) -> None:
        self.model.budgets[rule.id] = msgspec.structs.replace(rule, **facts)

    def _principal(self, key_id: int) -> Principal:
        rules, budgets = self.model.rules_of(key_id)
        tenant = "charlie" if key_id == KEY_OF_CHARLIE else "alice"
        return Principal(
            key_id=key_id,
            key_name="laptops",
            key_prefix="tg_abcd",
            tenant_id=1 + (key_id == KEY_OF_CHARLIE),
            tenant=tenant,
            rules=rules,
            budgets=budgets,
        )

    def _order(self, who: int, most: int, tokens: int) -> Order:
        self.number += 1
        request_id, key_id, end_user = f"{self.number:032x}", 1 + who % 3, END_USERS[who % len(END_USERS)]
        amount, tokens = most % 13 * self.model.unit, tokens % 40
        request = Request(
            request_id=request_id,
            alias="smart",
            end_user=end_user,
            dialect="openai_chat",
            started_at=self.model.now,
            tokens=tokens,
            money={"USD": amount},
            if_lost=encode(_event(request_id)),
        )
        wanted = self.model.wanted(key_id, end_user, amount)
        return Order(request, key_id, wanted, self.model.refusal(key_id, wanted, tokens))


def _cost_of(made: Made, cost: int, currency: str) -> UsageEvent:
    assert made.reservation is not None
    budgets = made.reservation.counters(currency) if cost else []
    return msgspec.structs.replace(_event(made.request_id), cost=from_nanos(cost), currency=currency, budgets=budgets)


def _event(request_id: str) -> UsageEvent:
    return UsageEvent(
        request_id=request_id,
        started_at=MAY_FIRST,
        tenant_id=1,
        api_key_id=1,
        dialect="openai_chat",
        alias="smart",
        status=500,
        outcome="lost",
        cost_status="exact",
        latency_ms=0,
    )


def ahead_anywhere(folder: Path) -> Script:
    """Return a reserve.lua that reserves ahead where room is short as well, which is harder."""
    path = folder / "reserve.lua"
    path.write_bytes(RESERVE.source.replace(b"is_ahead and room < 2", b"false"))
    assert path.read_bytes() != RESERVE.source
    return Script(path)


@pytest.fixture(scope="module")
def runner(stores: tuple[str, str]) -> Iterator[tuple[asyncio.Runner, HotValkey]]:
    """A loop that lives as long as its connection does."""
    with asyncio.Runner() as runner:
        valkey = HotValkey(stores[1], scripts=SCRIPTS, deadline=10.0)
        runner.run(valkey.open())
        yield runner, valkey
        runner.run(valkey.aclose())


@pytest.mark.parametrize("unit", [1, 10**9, 10**17], ids=["nanos", "dollars", "hundreds of millions"])
def test_any_interleaving_leaves_what_the_model_says(runner, tmp_path_factory, unit: int):
    loop, valkey = runner
    folder = tmp_path_factory.mktemp("laws")
    spool, reserve_ahead = Spool(folder / "spool", "here-1"), ahead_anywhere(folder)

    @settings(
        max_examples=EXAMPLES if unit == 1 else EXAMPLES // 4,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(EVENTS)
    def plays(events: list[tuple[str, int, int, int]]) -> None:
        loop.run(Game(valkey, spool, unit, reserve_ahead).play(events))

    plays()
