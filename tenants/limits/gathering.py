"""Requests that come together are admitted together: one script for those of one key that ask in a turn of the event loop.

When hundreds come at once, Valkey would go through the same limits and budgets for each of them. Here it does so once for
up to MOST_TOGETHER, and each has its own reservation all the same. They are admitted if there is room for all of them; else
each asks for itself and gets the answer that it would have got alone. Nobody is overtaken by another of the same rules.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import structlog

from gateway_site.infra.valkey import HotValkey, Reply, StoreUnavailable
from tenants.limits.charges import Charges, add_up
from tenants.limits.scripts import ADMITTED, RESERVE, Asked, reserve_command

log = structlog.get_logger("tollgate.admission")

MOST_TOGETHER = 16

# The rules that have to be passed: their keys, and where in their arguments stands what is added up.
type Name = tuple[tuple[str, ...], tuple[int, ...]]


class _Waiting(NamedTuple):
    """A request that has asked, and waits for the others of its turn, and for Valkey."""

    asked: Asked
    charges: Charges
    reply: asyncio.Future[Reply | None]  # None: it has to ask for itself


class Gathering:
    """The requests of a worker that ask to be admitted."""

    __slots__ = ("_is_due", "_under_way", "_valkey", "_waiting")

    def __init__(self, valkey: HotValkey) -> None:
        self._valkey = valkey
        # For the end of this turn, or for the answer of those before them.
        self._waiting: dict[Name, list[_Waiting]] = {}
        self._under_way: set[Name] = set()  # some have asked together and have not got their answer
        self._is_due = False

    async def reserve(self, charges: Charges, asked: Asked, meanwhile: Callable[[], object] | None = None) -> Reply:
        """Return what reserve.lua says of a request; raises StoreUnavailable, ScriptFailed.

        `meanwhile` is called while Valkey is waited for. Who is cancelled before anything was sent for it has not asked.
        """
        if self._valkey.is_quiet and not (self._waiting or self._under_way):
            return await self._ask(charges, asked, meanwhile)
        reply = self._join(charges, asked)
        if meanwhile is not None:
            try:
                meanwhile()
            except BaseException:
                reply.cancel()
                raise
        return await reply or await self._ask(charges, asked)

    async def _ask(self, charges: Charges, asked: Asked, meanwhile: Callable[[], object] | None = None) -> Reply:
        keys, words = reserve_command(charges.keys, asked.arguments, (asked,))
        return await self._valkey.run(RESERVE, keys, *words, meanwhile=meanwhile)

    def _join(self, charges: Charges, asked: Asked) -> asyncio.Future[Reply | None]:
        reply: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        name = (charges.keys, charges.amounts)
        waiting = self._waiting.get(name)
        if waiting is None:
            waiting = self._waiting[name] = []
            self._send_soon()
        waiting.append(_Waiting(asked, charges, reply))
        return reply

    def _send_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        """Ask for all that wait but for those whose predecessors have no answer yet."""
        self._is_due = False
        for name in [name for name in self._waiting if name not in self._under_way]:
            waiting = [each for each in self._waiting.pop(name) if not each.reply.done()]  # else it has left
            if rest := waiting[MOST_TOGETHER:]:
                self._waiting[name] = rest
            if group := waiting[:MOST_TOGETHER]:
                self._under_way.add(name)
                self._ask_together(name, group)
        self._valkey.flush()

    def _ask_together(self, name: Name, group: Sequence[_Waiting]) -> None:
        reply = None
        try:
            reply = self._call(group)
        except StoreUnavailable as error:
            self._answer(name, group, error)
            return
        except Exception:
            log.exception("admission_together_failed")  # a defect of ours: no request must wait for ever for it
        if reply is None:
            self._answer(name, group, None)
        else:
            reply.add_done_callback(partial(self._answered, name, group))

    def _call(self, group: Sequence[_Waiting]) -> asyncio.Future[Reply] | None:
        """Send the script for all of them; None where they differ in more than how much they need."""
        first, *others = group
        arguments = add_up(first.charges, first.asked.arguments, [each.asked.arguments for each in others])
        if arguments is None:
            return None
        keys, words = reserve_command(first.charges.keys, arguments, [each.asked for each in group])
        return self._valkey.call(b"EVALSHA", RESERVE.digest, len(keys), *keys, *words, has_more=True)

    def _answered(self, name: Name, group: Sequence[_Waiting], reply: asyncio.Future[Reply]) -> None:
        error = StoreUnavailable("Nobody waits for Valkey any more.") if reply.cancelled() else reply.exception()
        if isinstance(error, StoreUnavailable):
            self._answer(name, group, error)
        elif error is None and (len(group) == 1 or reply.result()[0] == ADMITTED):
            self._answer(name, group, reply.result())
        else:  # they do not all fit, or the script was forgotten
            self._answer(name, group, None)

    def _answer(self, name: Name, group: Sequence[_Waiting], answer: Reply | StoreUnavailable | None) -> None:
        """Tell each of them; the next may ask when these have had their turn: some may have to ask for themselves."""
        for each in group:
            if each.reply.done():
                continue
            if isinstance(answer, StoreUnavailable):
                each.reply.set_exception(StoreUnavailable(str(answer)))
            else:
                each.reply.set_result(answer)
        asyncio.get_running_loop().call_soon(self._had_their_turn, name)

    def _had_their_turn(self, name: Name) -> None:
        self._under_way.discard(name)
        if name in self._waiting:
            self._send_soon()
