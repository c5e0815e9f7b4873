"""Requests that come together are admitted together: one script for all of one key that ask in a turn of the event loop.

When hundreds come at once, Valkey would go through the same limits and budgets for each of them. Here it does so once for
up to MOST_TOGETHER, and each has its own reservation all the same. They are admitted if there is plenty of room for all of
them; else each asks for itself, in the order in which they came, and gets the answer that it would have got alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from gateway_site.infra.valkey import HotValkey, Reply, StoreUnavailable
from tenants.limits.charges import Charges, add_up
from tenants.limits.scripts import ADMITTED, RESERVE, Asked, reserve_command

MOST_TOGETHER = 16


class _Waiting(NamedTuple):
    """A request that has asked, and waits for the others of its turn, and for Valkey."""

    asked: Asked
    charges: Charges
    reply: asyncio.Future[Reply | None]  # None: it has to ask for itself


class Gathering:
    """The requests of a worker that ask to be admitted in this turn of its event loop."""

    __slots__ = ("_is_due", "_valkey", "_waiting")

    def __init__(self, valkey: HotValkey) -> None:
        self._valkey = valkey
        self._waiting: list[_Waiting] = []
        self._is_due = False

    async def reserve(self, charges: Charges, asked: Asked, meanwhile: Callable[[], object] | None = None) -> Reply:
        """Return what reserve.lua says of a request; raises StoreUnavailable, ScriptFailed.

        `meanwhile` is called while Valkey is waited for. Who is cancelled before anything was sent for it has not asked.
        """
        if self._valkey.is_quiet:
            return await self._ask(charges, asked, meanwhile)
        reply = self._join(charges, asked)
        if meanwhile is not None:
            meanwhile()
        # In the order in which they came, and by themselves: nothing is sent for those that leave meanwhile.
        return await reply or await self._ask(charges, asked)

    async def _ask(self, charges: Charges, asked: Asked, meanwhile: Callable[[], object] | None = None) -> Reply:
        keys, words = reserve_command(charges.keys, asked.arguments, (asked,))
        return await self._valkey.run(RESERVE, keys, *words, meanwhile=meanwhile)

    def _join(self, charges: Charges, asked: Asked) -> asyncio.Future[Reply | None]:
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Reply | None] = loop.create_future()
        self._waiting.append(_Waiting(asked, charges, reply))
        if len(self._waiting) >= MOST_TOGETHER:
            self._send()
        elif not self._is_due:
            self._is_due = True
            loop.call_soon(self._send_due)
        return reply

    def _send_due(self) -> None:
        self._is_due = False
        self._send()

    def _send(self) -> None:
        """Ask for all that wait, those of the same rules together."""
        waiting, self._waiting = self._waiting, []
        groups: dict[tuple[str, ...], list[_Waiting]] = {}
        for each in waiting:
            if not each.reply.done():  # else it has left
                groups.setdefault(each.charges.keys, []).append(each)
        for group in groups.values():
            self._send_group(group)
        self._valkey.flush()

    def _send_group(self, group: Sequence[_Waiting]) -> None:
        first, *others = group
        keys = first.charges.keys
        arguments = add_up(first.charges, first.asked.arguments, [each.asked.arguments for each in others])
        if arguments is None:
            _answer(group, None)
            return
        keys, words = reserve_command(keys, arguments, [each.asked for each in group])
        try:
            reply = self._valkey.call(b"EVALSHA", RESERVE.digest, len(keys), *keys, *words, has_more=True)
        except StoreUnavailable as error:
            _refuse(group, error)
        else:
            reply.add_done_callback(partial(_answered, group))


def _answered(group: Sequence[_Waiting], reply: asyncio.Future[Reply]) -> None:
    error = reply.exception()
    if isinstance(error, StoreUnavailable):
        _refuse(group, error)
    elif error is not None:  # the script was forgotten
        _answer(group, None)
    else:
        is_for_each = len(group) == 1 or reply.result()[0] == ADMITTED
        _answer(group, reply.result() if is_for_each else None)


def _answer(group: Sequence[_Waiting], reply: Reply | None) -> None:
    for each in group:
        if not each.reply.done():
            each.reply.set_result(reply)


def _refuse(group: Sequence[_Waiting], error: StoreUnavailable) -> None:
    for each in group:
        if not each.reply.done():
            each.reply.set_exception(StoreUnavailable(str(error)))
