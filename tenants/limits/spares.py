"""Spares: reservations made ahead, so that a request of a key in use need not wait for Valkey.

A spare is a reservation as any other, of twice what the last request needed, so that most others fit as well. Whoever
takes it has it put down to its own id, by a command that leaves this process before the request goes upstream. What
nobody takes within a second is given back, the request that was counted for it included.

One is made only where much is free (`reserve.lua`): near the end of a limit each request asks for itself.
"""

import asyncio
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
    COUNTED,
    LEASE_MS,
    RESERVATION_PREFIX,
    RESERVATIONS,
    RESERVE,
    SETTLE,
    settle_command,
)
from tenants.limits.spool import SpooledSettle

log = structlog.get_logger("tollgate.admission")

SPARE_SECONDS = 1.0
SPARE_LEASE_MS = 5_000  # what a killed worker leaves behind is swept after this
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
    reply: Any = None  # reserve.lua's
    made_at: float = 0.0  # of the monotonic clock; later than Valkey made it

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return monotonic() - self.made_at

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
        self._timer: asyncio.TimerHandle | None = None
        self._adopting: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._spares)

    def take(self, charges: Charges, wanted: tuple[Hold, ...]) -> Spare | None:
        """Return a spare that will do for a request, which has to adopt it."""
        name = (charges.principal.key_id, charges.keys)
        spare = self._spares.get(name)
        if (
            spare is None
            or spare.charges.principal is not charges.principal
            or spare.age >= SPARE_SECONDS
            or not is_enough(spare.holds, wanted)
        ):
            return None
        return self._spares.pop(name)

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
        if name in self._spares or name in self._awaited or len(self._spares) >= MOST_SPARES:
            return
        money = {currency: amount * TIMES for currency, amount in like.money.items()}
        arguments, holds = prepare(charges, tokens=like.tokens * TIMES, money=money, now=time())
        spare = Spare(id=uuid4().hex, charges=charges, holds=holds)
        keys = (RESERVATION_PREFIX + spare.id, RESERVATIONS, COUNTED, *charges.keys)
        try:
            reply = self._valkey.call(
                b"EVALSHA", RESERVE.digest, len(keys), *keys, spare.id, SPARE_LEASE_MS, b"", *arguments
            )
        except StoreUnavailable:
            return
        self._awaited.add(name)
        reply.add_done_callback(partial(self._made, name, spare))

    def _made(self, name: Name, spare: Spare, reply: asyncio.Future[Reply]) -> None:
        self._awaited.discard(name)
        if reply.cancelled() or reply.exception() is not None or reply.result()[0] != ADMITTED:
            return  # there is no room to spare: the next request asks for itself
        spare.reply, spare.made_at = reply.result(), monotonic()
        self._on_made(spare.charges, spare.reply)
        self._spares[name] = spare
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SPARE_SECONDS, self._give_back_old)

    def give_back_all(self) -> None:
        """Give back what waits: the worker stops, or somebody wants to know what is used."""
        while self._spares:
            self._give_back(self._spares.popitem()[1])

    def forget(self) -> None:
        """Valkey was lost, and perhaps they with it; else they are swept."""
        self._spares.clear()

    def _give_back_old(self) -> None:
        self._timer = None
        for name in list(self._spares):
            seconds_left = SPARE_SECONDS - self._spares[name].age
            if seconds_left > 0:
                self._timer = asyncio.get_running_loop().call_later(seconds_left, self._give_back_old)
                return
            self._give_back(self._spares.pop(name))

    def _give_back(self, spare: Spare) -> None:
        holds = (*spare.holds, *request_holds(spare.charges))
        settle = SpooledSettle(spare.id, holds, "", reserved_at=spare.reply[1])
        keys, *arguments = settle_command(settle, remembered_ms=SPARE_LEASE_MS)
        try:
            reply = self._valkey.call(b"EVALSHA", SETTLE.digest, len(keys), *keys, *arguments, has_more=True)
        except StoreUnavailable:
            return  # it is swept
        reply.add_done_callback(_retrieve)


def _retrieve(reply: asyncio.Future[Reply]) -> None:
    """What was not given back is swept."""
    if not reply.cancelled():
        reply.exception()
