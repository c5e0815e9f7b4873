"""Settles on their way to Valkey: at once or in a moment, once only, and never lost.

What Valkey does not acknowledge is spooled to disk (`spool.py`) and replayed; what it acknowledged just before it was lost
is settled once more when it is back: it writes its file only once a second. What leaves after its answer stands in a
journal meanwhile (`journal.py`).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic

import msgspec
import structlog

from gateway_site.infra.telemetry import usage_spooled
from gateway_site.infra.valkey import HotValkey, Reply, ScriptFailed, StoreUnavailable, is_forgotten
from tenants.limits.charges import Hold
from tenants.limits.journal import Journal
from tenants.limits.money import from_nanos
from tenants.limits.scripts import (
    LATE,
    SETTLE,
    SETTLE_TOGETHER,
    SETTLED,
    by_rules,
    settle_command,
    settle_together_command,
)
from tenants.limits.spool import Spool, SpooledSettle
from tenants.limits.spool import read as read_spool
from tenants.usage_event import UsageEvent, decode, encode

log = structlog.get_logger("tollgate.admission")

UNWRITTEN_SECONDS = 3.0  # what Valkey acknowledged so shortly before it was lost may be lost with it
MOST_UNWRITTEN = 20_000
LATE_SECONDS = 0.003  # how long a settle may wait for others while its answer leaves
MOST_LATE = 16  # settles that wait: they share a packet
CATCH_UP_SECONDS = 0.5  # that a request waits until Valkey is told what was spent without it


class Settles:
    """The settles of a worker."""

    def __init__(
        self, valkey: HotValkey, spool: Spool, journal: Journal | None, *, on_quiet: Callable[[], object]
    ) -> None:
        self._valkey = valkey
        self._spool = spool
        self._journal = journal  # without one, every settle leaves before its answer
        self._on_quiet = on_quiet  # told when what was put off leaves because nothing else came
        self._late: list[SpooledSettle] = []  # in the journal, and sent in a moment
        self._late_timer: asyncio.TimerHandle | None = None
        self._unacknowledged = 0  # settles that Valkey has not answered yet
        self._unsettled: dict[str, asyncio.Task[SpooledSettle]] = {}  # that are settled otherwise, by request id
        self._unwritten: deque[tuple[float, SpooledSettle]] = deque(maxlen=MOST_UNWRITTEN)  # acknowledged lately
        self._doubtful: deque[SpooledSettle] = deque(maxlen=MOST_UNWRITTEN)  # sent shortly before Valkey was lost
        self._is_spooling = False
        self._is_stuck = False  # Valkey refuses something that was spooled: nobody waits for it
        self._replay_lock = asyncio.Lock()
        self._replaying: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether everything is settled, and acknowledged."""
        return not (self._late or self._unsettled or self._unacknowledged)

    @property
    def is_behind(self) -> bool:
        """Whether Valkey has to be told first what was spent without it."""
        return bool(self._doubtful or self._is_spooling) and not self._is_stuck

    # --- At once, or in a moment --------------------------------------------------------------------------------

    def submit(self, settle: SpooledSettle, *, has_more: bool = False) -> asyncio.Future[Reply] | None:
        """Send it; None: it is on disk."""
        try:
            acknowledged = self._send(settle, has_more=has_more)
        except StoreUnavailable as error:
            self.keep(settle, error)
            return None
        self._unacknowledged += 1
        acknowledged.add_done_callback(partial(self._acknowledged, settle))
        return acknowledged

    def put_off(self, settle: SpooledSettle) -> bool:
        """Write a settle down, and send it when its answer has left or with the next command; False: that is impossible."""
        journal = self._journal
        if journal is None or not self._valkey.is_plain:
            return False
        if self._valkey.is_flushed and not (self._late or self._unsettled):
            journal.begin_anew()
        if not journal.append(settle):
            return False
        self._late.append(settle)
        if len(self._late) >= MOST_LATE:
            self.send_late()
        elif self._late_timer is None:
            self._late_timer = asyncio.get_running_loop().call_later(LATE_SECONDS, self._send_late_in_time)
        return True

    def _send_late_in_time(self) -> None:
        self._late_timer = None
        self.send_late(has_more=True)
        self._on_quiet()

    def send_late(self, *, has_more: bool = False) -> None:
        """Send what was put off, in one packet; and with the command behind it, where there is one."""
        if not self._late:
            return
        late, self._late = self._late, []
        groups = by_rules(late)
        for number, group in enumerate(groups, 1):
            self._submit_together(group, has_more=has_more or number < len(groups))
        self._clear_journal()

    def _submit_together(self, settles: list[SpooledSettle], *, has_more: bool) -> None:
        """Send some of the same rules, which cost no hard budget more than they hold."""
        if len(settles) == 1:
            self.submit(settles[0], has_more=has_more)
            return
        keys, *arguments = settle_together_command(settles)
        try:
            reply = self._valkey.call(
                b"EVALSHA", SETTLE_TOGETHER.digest, len(keys), *keys, *arguments, has_more=has_more
            )
        except StoreUnavailable as error:
            for settle in settles:
                self.keep(settle, error)
            return
        self._unacknowledged += len(settles)
        reply.add_done_callback(partial(self._acknowledged_together, settles))

    def _acknowledged_together(self, settles: list[SpooledSettle], reply: asyncio.Future[Reply]) -> None:
        error = None if reply.cancelled() else reply.exception()
        if isinstance(error, ScriptFailed) and is_forgotten(error):
            with suppress(StoreUnavailable):
                self._valkey.call(b"SCRIPT", b"LOAD", SETTLE_TOGETHER.source).add_done_callback(_forget_outcome)
            for settle in settles:
                self.submit(settle)
        elif reply.cancelled() or error is not None:
            for settle in settles:
                self.keep(settle.doubted(), error)
        else:
            others = reply.result()  # were swept, or settled before
            for number in others:
                self.submit(settles[number])
            settled = [settle for number, settle in enumerate(settles) if number not in others] if others else settles
            self._remember_unwritten(*settled)
        self._unacknowledged -= len(settles)
        self._clear_journal()

    def _clear_journal(self) -> None:
        """Forget what is with Valkey, or in the spool."""
        if self._journal is not None and not (self._unacknowledged or self._unsettled or self._late):
            self._journal.clear()

    # --- What Valkey says of them --------------------------------------------------------------------------------

    async def billed(self, event: UsageEvent, acknowledged: asyncio.Future[Reply] | None) -> UsageEvent:
        """Wait for an acknowledgement; return the event as it was billed. None: it is on disk."""
        if acknowledged is None:
            return event
        with suppress(StoreUnavailable, ScriptFailed):
            await asyncio.shield(acknowledged)
        if self._unsettled and (task := self._unsettled.get(event.request_id)) is not None:
            return decode((await asyncio.shield(task)).event)
        return event

    def _acknowledged(self, settle: SpooledSettle, reply: asyncio.Future[Reply]) -> None:
        self._unacknowledged -= 1
        error = None if reply.cancelled() else reply.exception()
        if reply.cancelled() or error is not None:
            self.keep(settle.doubted(), error)
        elif reply.result()[0] not in SETTLED:
            task = asyncio.ensure_future(self._settle_otherwise(settle, reply.result()))
            self._unsettled[settle.request_id] = task
            task.add_done_callback(lambda _: self._forget_unsettled(settle))
        else:
            self._remember_unwritten(settle)
        self._clear_journal()

    def _forget_unsettled(self, settle: SpooledSettle) -> None:
        self._unsettled.pop(settle.request_id, None)
        self._clear_journal()

    async def _settle_otherwise(self, settle: SpooledSettle, reply: Reply) -> SpooledSettle:
        settle = _within(settle, reply)
        try:
            return await self._settle_again(settle)
        except (StoreUnavailable, ScriptFailed) as error:
            self.keep(settle, error)
            return settle

    async def _settle_again(self, settle: SpooledSettle) -> SpooledSettle:
        """Settle, with what a hard budget has room for if it has not got enough for all; raises StoreUnavailable."""
        while (reply := await self._valkey.run(SETTLE, *settle_command(settle)))[0] not in SETTLED:
            settle = _within(settle, reply)
        self._remember_unwritten(settle)
        return settle

    # --- When it was away ----------------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Tell Valkey first what was spent without it, else budgets would be spent twice; raises StoreUnavailable."""
        if not self._valkey.is_connected:
            raise StoreUnavailable("Valkey is not connected.")
        if self._replaying is None:
            self._replaying = asyncio.create_task(self._replay_at_once(), name="replay")
        await asyncio.wait({self._replaying}, timeout=CATCH_UP_SECONDS)
        if self._replaying is not None:
            raise StoreUnavailable("Valkey is still being told what was spent without it.")

    async def _replay_at_once(self) -> None:
        try:
            await self.replay()
        except StoreUnavailable:
            return  # and tried again with the next request
        except Exception as error:
            self._is_stuck = True
            log.warning("replay_failed", reason=str(error))
        finally:
            self._replaying = None

    async def replay(self) -> int:
        """Settle what was spooled; return how many. Stops when Valkey goes away again."""
        if not self._valkey.is_connected:
            return 0
        async with self._replay_lock:
            await self._settle_doubtful()
            count = 0
            while (path := self._spool.take()) is not None:
                for settle in read_spool(path):
                    await self._settle_again(settle)
                    count += 1
                path.unlink(missing_ok=True)
            self._is_spooling = self._is_stuck = False
        if count:
            log.info("spool_replayed", count=count)
        return count

    def spool_doubtful(self) -> None:
        """Put to disk what could not be settled once more; called by a worker that stops while Valkey is away."""
        while self._doubtful:
            self.keep(self._doubtful.popleft(), None)

    async def _settle_doubtful(self) -> None:
        count = len(self._doubtful)
        while self._doubtful:
            await self._settle_again(self._doubtful[0])
            self._doubtful.popleft()
        if count:
            log.info("settled_once_more", count=count)

    def doubt_unwritten(self) -> None:
        """Valkey was lost: what it acknowledged lately may be lost as well, and settling twice does nothing."""
        oldest = monotonic() - UNWRITTEN_SECONDS
        self._doubtful.extend(settle.doubted() for sent_at, settle in self._unwritten if sent_at >= oldest)
        self._unwritten.clear()

    def _remember_unwritten(self, *settles: SpooledSettle) -> None:
        now, unwritten = monotonic(), self._unwritten
        unwritten.extend([(now, settle) for settle in settles])
        while unwritten and unwritten[0][0] < now - UNWRITTEN_SECONDS:
            unwritten.popleft()

    def release(self, request_id: str, holds: tuple[Hold, ...]) -> None:
        """Give back what a caller that has gone may have been given: in the same connection, this comes second."""
        with suppress(StoreUnavailable):
            self._send(SpooledSettle(request_id, holds, "")).add_done_callback(_forget_outcome)

    def _send(self, settle: SpooledSettle, *, has_more: bool = False) -> asyncio.Future[Reply]:
        keys, *arguments = settle_command(settle)
        return self._valkey.call(b"EVALSHA", SETTLE.digest, len(keys), *keys, *arguments, has_more=has_more)

    def keep(self, settle: SpooledSettle, error: BaseException | None) -> None:
        """Keep one on disk until Valkey takes it."""
        try:
            self._spool.append(settle)
        except OSError as disk:
            # The last place where it can be found: an answer that was paid for is delivered all the same.
            log.error("usage_not_kept", request_id=settle.request_id, usage=settle.event, reason=str(disk))
            return
        usage_spooled.inc()
        if not self._is_spooling:  # once for each time that Valkey is away
            log.warning("usage_spooled", request_id=settle.request_id, reason=str(error))
        self._is_spooling = True


def _within(settle: SpooledSettle, reply: Reply) -> SpooledSettle:
    """Return a settle as Valkey takes it: no more than a hard budget has room for, and in the place of a sweep's event."""
    kind, most = reply
    if not settle.event:
        return msgspec.structs.replace(settle, replaces_lost=True)
    event = decode(settle.event)
    cost = settle.cost if most < 0 else min(settle.cost, most)
    event = msgspec.structs.replace(
        event,
        cost=from_nanos(cost),
        written_off=event.written_off + from_nanos(settle.cost - cost),
        replaces_lost=event.replaces_lost or kind == LATE,
    )
    return msgspec.structs.replace(
        settle,
        event=encode(event).decode(),
        cost=cost,
        replaces_lost=settle.replaces_lost or kind == LATE,
    )


def _forget_outcome(reply: asyncio.Future[Reply]) -> None:
    if not reply.cancelled():
        reply.exception()
