"""Spares: reservations made ahead, so that a request of a key in use need not wait for Valkey.

A spare is a reservation as any other, of twice what the last request needed, so that most others fit as well. Whoever
takes it has it put down to its own id, by a command that leaves this process before the request goes upstream. What
nobody takes within a second is given back, the request that was counted for it included.

One is made only where much is free (`reserve.lua`): near the end of a limit each request asks for itself. All spares of
all workers together hold a sixteenth of what is free of a rule at most.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic, time
from typing import Any
from uuid import uuid4

import msgspec
import structlog

from gateway_site.infra.valkey import HotValkey, Reply, ScriptFailed, StoreUnavailable
from tenants.limits.charges import Charges, Hold, is_enough, prepare, request_holds
from tenants.limits.scripts import (
    ADMITTED,
    ADOPT,
    LEASE_MS,
    RESERVATION_PREFIX,
    RESERVATIONS,
    RESERVE,
    SETTLE,
    Asked,
    reserve_command,
    settle_command,
)
from tenants.limits.spool import SpooledSettle
from tenants.limits.windows import SLOTS
from tenants.principal import Rule

log = structlog.get_logger("tollgate.admission")

SPARE_SECONDS = 1.0
REMEMBERED_MS = 5_000  # how long Valkey knows of one that it was given back
SHARE = 16  # of what is free of a rule, all spares hold one part of so many at most
TIMES = 2  # what the last request needed
MOST_SPARES = 10_000

type Name = tuple[int, tuple[str, ...]]  # whose it is: key id and what it was charged to


class Like(msgspec.Struct, frozen=True, gc=False):
    """What the next request of a key may be like: the last one."""

    charges: Charges
    tokens: int
    money: Mapping[str, int]

    @property
    def name(self) -> Name:
        """Under which its spare is found."""
        return self.charges.principal.key_id, self.charges.keys


class Spare(msgspec.Struct, gc=False):
    """A reservation that waits for its request."""

    id: str
    charges: Charges
    holds: tuple[Hold, ...]
    made_at: float  # of the monotonic clock; sooner than Valkey made it
    reply: Any = None  # reserve.lua's

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return monotonic() - self.made_at

    @property
    def is_current(self) -> bool:
        """Whether a request that comes now is counted in the slots of windows that it was counted in."""
        reserved_at = self.reply[1]
        now = reserved_at + self.age * 1000
        windows = [charge.rule.window_ms for charge in self.charges.charges if isinstance(charge.rule, Rule)]
        return all(now // (window / SLOTS) == reserved_at // (window / SLOTS) for window in windows if window)

    def standing(self, tokens: int) -> tuple[list[int], list[int]]:
        """Return the tightest limits of requests and of tokens, as they are once a request with so many has taken it."""
        age = int(self.age * 1000)
        (rule, remaining, reset), (tokens_rule, tokens_remaining, tokens_reset) = self.reply[2], self.reply[3]
        unused = next((hold.amount - tokens for hold in self.holds if hold.kind == "t"), 0)
        return (
            [rule, remaining, max(1, reset - age)],
            [tokens_rule, tokens_remaining + unused, max(1, tokens_reset - age)],
        )


class Spares:
    """The spares of a worker, one of each key at most."""

    def __init__(self, valkey: HotValkey, *, on_made: Callable[[Charges, Reply], object]) -> None:
        self._valkey = valkey
        self._on_made = on_made  # told what Valkey said of limits and budgets
        self._spares: dict[Name, Spare] = {}  # the oldest first
        self._awaited: set[Name] = set()
        self._held: Counter[str] = Counter()  # by spares, by rule
        self.peers = 1  # web workers that make some of the same rules, this one included
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._adopting: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._spares)

    def take(self, charges: Charges, wanted: tuple[Hold, ...]) -> Spare | None:
        """Return a spare that will do for a request, which has to adopt it; one that will not is given back."""
        name = (charges.principal.key_id, charges.keys)
        spare = self._spares.get(name)
        if spare is None:
            return None
        self._drop(name)
        if (
            spare.charges.principal is charges.principal
            and spare.age < SPARE_SECONDS
            and spare.is_current
            and is_enough(spare.holds, wanted)
        ):
            return spare
        self._give_back(spare)  # it must not be in the way of the request that will ask for itself
        return None

    def adopt(self, spare: Spare, request_id: str, if_lost: bytes) -> None:
        """Have a spare put down to the request that took it; raises StoreUnavailable, and then nothing was sent."""
        keys = (RESERVATION_PREFIX + spare.id, RESERVATION_PREFIX + request_id, RESERVATIONS)
        arguments = (spare.id, request_id, LEASE_MS, if_lost)
        adopted = self._valkey.call(b"EVALSHA", ADOPT.digest, len(keys), *keys, *arguments)
        adopted.add_done_callback(partial(self._adopted, keys, arguments))

    def _adopted(self, keys: tuple[str, ...], arguments: tuple[Any, ...], reply: asyncio.Future[Reply]) -> None:
        if reply.cancelled() or isinstance(reply.exception(), StoreUnavailable):
            return  # it is swept without an event, and its request settles as one that Valkey has forgotten
        if reply.exception() is not None:  # the script was forgotten
            task = asyncio.ensure_future(self._adopt_again(keys, arguments))
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)
        elif not reply.result():
            log.warning("reservation_swept", request_id=arguments[1])

    async def _adopt_again(self, keys: tuple[str, ...], arguments: tuple[Any, ...]) -> None:
        try:
            await self._valkey.run(ADOPT, keys, *arguments)
        except (StoreUnavailable, ScriptFailed) as error:
            log.warning("adopt_failed", reason=str(error), request_id=arguments[1])

    def make(self, like: Like) -> None:
        """Ask for a spare, unless there is one."""
        charges, name = like.charges, like.name
        if self._is_closed or name in self._spares or name in self._awaited or len(self._spares) >= MOST_SPARES:
            return
        room = SHARE * self.peers * (1 + max((self._held[key] for key in charges.keys), default=0))
        money = {currency: amount * TIMES for currency, amount in like.money.items()}
        arguments, holds = prepare(charges, tokens=like.tokens * TIMES, money=money, now=time())
        spare = Spare(id=uuid4().hex, charges=charges, holds=holds, made_at=monotonic())
        asked = Asked(spare.id, b"", arguments, holds)
        keys, words = reserve_command(charges.keys, arguments, (asked,), room=room)
        try:
            reply = self._valkey.call(b"EVALSHA", RESERVE.digest, len(keys), *keys, *words)
        except StoreUnavailable:
            return
        self._awaited.add(name)
        self._held.update(charges.keys)
        reply.add_done_callback(partial(self._made, name, spare))

    def _made(self, name: Name, spare: Spare, reply: asyncio.Future[Reply]) -> None:
        self._awaited.discard(name)
        if reply.cancelled() or reply.exception() is not None or reply.result()[0] != ADMITTED:
            self._let_go(spare.charges)
            return  # there is no room to spare: the next request asks for itself
        spare.reply = reply.result()
        self._on_made(spare.charges, spare.reply)
        self._spares[name] = spare
        if self._is_closed:
            self.give_back_all()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SPARE_SECONDS, self._give_back_old)

    @property
    def is_idle(self) -> bool:
        """Whether none waits, nor will."""
        return not (self._spares or self._awaited)

    def close(self) -> None:
        """Give back what waits, and make no more."""
        self._is_closed = True
        self.give_back_all()

    def give_back_all(self) -> None:
        """Give back what waits: somebody wants to know what is used."""
        for name in list(self._spares):
            self._give_back(self._drop(name))

    def forget(self) -> None:
        """Valkey was lost, and perhaps they with it; else they are swept."""
        for name in list(self._spares):
            self._drop(name)

    def _drop(self, name: Name) -> Spare:
        spare = self._spares.pop(name)
        self._let_go(spare.charges)
        return spare

    def _let_go(self, charges: Charges) -> None:
        self._held.subtract(charges.keys)
        for key in charges.keys:
            if not self._held[key]:
                del self._held[key]

    def _give_back_old(self) -> None:
        self._timer = None
        for name in list(self._spares):
            seconds_left = SPARE_SECONDS - self._spares[name].age
            if seconds_left > 0:
                self._timer = asyncio.get_running_loop().call_later(seconds_left, self._give_back_old)
                return
            self._give_back(self._drop(name))

    def _give_back(self, spare: Spare) -> None:
        holds = (*spare.holds, *request_holds(spare.charges))
        settle = SpooledSettle(spare.id, holds, "", reserved_at=spare.reply[1])
        keys, *arguments = settle_command(settle, remembered_ms=REMEMBERED_MS)
        try:
            reply = self._valkey.call(b"EVALSHA", SETTLE.digest, len(keys), *keys, *arguments, has_more=True)
        except StoreUnavailable:
            return  # it is swept
        reply.add_done_callback(_retrieve)


def _retrieve(reply: asyncio.Future[Reply]) -> None:
    """What was not given back is swept."""
    if not reply.cancelled():
        reply.exception()
