"""Admission: one Valkey script before a request (reserve) and one after it (settle).

Every limit and every budget of a request is checked and charged in one step, or none is. What `reserve` returns has to be
settled, and settling twice does nothing. A reservation whose worker is gone is swept when its lease ends.

Without Valkey a worker enforces its share of each limit by itself (`local.py`), or refuses, as the tenant wishes; usage
waits on disk (`spool.py`). What Valkey acknowledged just before it was lost is settled once more when it is back: it
writes its file only once a second.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import Any, NamedTuple

import msgspec
import structlog

from gateway_site.infra.telemetry import usage_spooled
from gateway_site.infra.valkey import HotValkey, Reply, Script, ScriptFailed, StoreUnavailable
from tenants.errors import GatewayError
from tenants.limits.charges import (
    Charges,
    Hold,
    compile_charges,
    foreign_budget,
    peek_arguments,
    prepare,
    settle_arguments,
)
from tenants.limits.journal import Journal
from tenants.limits.local import LocalLimits
from tenants.limits.money import from_nanos, to_nanos
from tenants.limits.refusals import (
    Headers,
    Tightest,
    budget_refusal,
    foreign_currency,
    limit_headers,
    rate_refusal,
    unknown_limits,
)
from tenants.limits.spool import Spool, SpooledSettle
from tenants.limits.spool import read as read_spool
from tenants.principal import BudgetRule, Principal, Rule
from tenants.usage_event import UsageEvent, decode, encode

log = structlog.get_logger("tollgate.admission")

LEASE_MS = 40_000  # what a killed worker holds is free again after this, and the next sweep
RENEW_SECONDS = 12.0
UNWRITTEN_SECONDS = 3.0  # what Valkey acknowledged so shortly before it was lost may be lost with it
MOST_UNWRITTEN = 20_000
MOST_LEFTS = 20_000  # budgets of which a worker remembers what was left
LATE_SECONDS = 0.003  # how long a settle may wait for others while its answer leaves
MOST_LATE = 16  # settles that wait: they share a packet
ROOMY_SECONDS = 1.0  # how long it is believed that there is plenty of room
SETTLED_MS = 120_000  # how long a repeated settle is recognised; the ledger's primary key guards beyond
CATCH_UP_SECONDS = 0.5  # that a request waits until Valkey is told what was spent without it
SWEPT_MS = 86_400_000  # how long after a sweep a late settle is recognised
USAGE_STREAM = b"tollgate:usage"
RESERVATION_PREFIX = "tollgate:reservation:"
RESERVATIONS = "tollgate:reservations"
COUNTED = "tollgate:budgets:counted"  # there: what was spent is what the counters say

_FOLDER = Path(__file__).parent
RESERVE = Script(_FOLDER / "reserve.lua")
SETTLE = Script(_FOLDER / "settle.lua")
RENEW = Script(_FOLDER / "renew.lua")
SWEEP = Script(_FOLDER / "sweep.lua")
COUNT = Script(_FOLDER / "count.lua")
HOLDS = Script(_FOLDER / "holds.lua")
PEEK = Script(_FOLDER / "peek.lua")
STORE_PRINCIPAL = Script(_FOLDER / "store_principal.lua")
SCRIPTS = (RESERVE, SETTLE, RENEW, STORE_PRINCIPAL)
SETTLED, NO_ROOM, LATE = (0, 1), 2, 3  # what settle.lua returns


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What admission has to know of a request."""

    request_id: str
    alias: str
    end_user: str
    dialect: str
    started_at: float  # seconds since 1970: it says which period of a budget is charged
    tokens: int  # the estimate: prompt and answer
    money: Mapping[str, int]  # the most that it can cost, in nanos by currency
    if_lost: bytes  # the usage event, should the worker be killed


class Reservation(msgspec.Struct, kw_only=True, gc=False):
    """What a request holds until it is settled."""

    request_id: str
    holds: tuple[Hold, ...] = ()
    headers: Headers = ()  # of the tightest limits
    reserved_at: int = 0  # ms, by Valkey's clock
    keys: tuple[str, ...] = ()  # of all that it had to pass
    is_degraded: bool = False  # admitted without Valkey: nothing is known to be held there
    renewed_at: float = msgspec.field(default_factory=monotonic)

    def counters(self, currency: str) -> list[str]:
        """Return the budget counters that a cost in a currency is charged to."""
        return [hold.counter for hold in self.holds if hold.kind == "b" and hold.currency == currency]

    def covers(self, cost: int, currency: str) -> bool:
        """Whether its hard budgets hold as much, in nanos: then nothing of it is written off."""
        return not any(hold.is_hard and hold.amount < cost and hold.currency == currency for hold in self.holds)


class Standing(NamedTuple):
    """How much of a rule is used: requests or tokens and the ms until it is whole; of a budget, nanos held and spent."""

    rule: Rule | BudgetRule
    first: int
    second: int


class Uncounted(StoreUnavailable):
    """Valkey does not know yet what was spent of the budgets: it has admitted nothing."""


class Admission:
    """Reserves, renews and settles."""

    def __init__(
        self, valkey: HotValkey, spool: Spool, journal: Journal | None = None, *, cache_size: int = 20_000
    ) -> None:
        self._valkey = valkey
        self._spool = spool
        self._journal = journal  # without one, every settle leaves before its answer
        self.active: dict[str, Reservation] = {}  # not settled yet, by request id
        self.peers = 1  # web workers that share the limits, this one included
        self.count_budgets: Callable[[], Awaitable[None]] | None = None  # when Valkey has come up without them
        self._local: LocalLimits | None = None  # what was admitted since Valkey was lost; None: it is there
        self._lefts: dict[str, int] = {}  # of budgets by key, as Valkey said last
        self._unwritten: deque[tuple[float, SpooledSettle]] = deque(maxlen=MOST_UNWRITTEN)  # acknowledged lately
        self._doubtful: deque[SpooledSettle] = deque(maxlen=MOST_UNWRITTEN)  # sent shortly before Valkey was lost
        self._roomy_at: dict[tuple[str, ...], float] = {}  # when there was plenty of room last, by keys (monotonic)
        self._late: list[SpooledSettle] = []  # in the journal, and sent in a moment
        self._late_timer: asyncio.TimerHandle | None = None
        self._unacknowledged = 0  # settles that Valkey has not answered yet
        self._unsettled: dict[
            str, asyncio.Task[SpooledSettle]
        ] = {}  # those that have to be settled otherwise, by request id
        self._is_spooling = False
        self._is_stuck = False  # Valkey refuses something that was spooled: nobody waits for it
        self._replay_lock = asyncio.Lock()
        self._replaying: asyncio.Task[None] | None = None
        valkey.on_lost = self._doubt_unwritten
        self._compiled: dict[int, Charges] = {}
        self._cache_size = cache_size

    # --- Before a request ---------------------------------------------------------------------------------------

    async def reserve(
        self, principal: Principal, request: Request, *, meanwhile: Callable[[], object] | None = None
    ) -> Reservation:
        """Charge every limit that applies; raises RateLimited and BudgetExhausted, which say whose limit it is.

        Without Valkey it raises Unavailable for tenants that would rather be refused than be counted by each worker.
        `meanwhile` is called while Valkey works on it; not when Valkey is away.
        """
        charges = self._charges(principal, request)
        if (foreign := foreign_budget(charges, request.money)) is not None:
            raise foreign_currency(foreign, list(request.money))
        arguments, holds = prepare(charges, tokens=request.tokens, money=request.money, now=request.started_at)
        was_connected = self._valkey.is_connected
        try:
            reply = await self._reserve(charges, request, arguments, meanwhile)
        except asyncio.CancelledError:
            self._release(request.request_id, holds)
            raise
        except (StoreUnavailable, ScriptFailed) as error:
            try:
                return self._reserve_alone(charges, holds, request, str(error))
            except GatewayError:
                if was_connected and not isinstance(error, Uncounted):  # it may have admitted it and failed to say so
                    self._keep(SpooledSettle(request.request_id, holds, ""), error)
                raise
        self._local = None
        if reply[0] != 1:
            self._roomy_at.pop(charges.keys, None)
            raise self._refusal(charges, request, reply)
        self._remember_lefts(charges, reply[4])
        headers = self._headers(charges, request, (reply[2], reply[3]))
        reservation = Reservation(
            request_id=request.request_id, holds=holds, headers=headers, reserved_at=reply[1], keys=charges.keys
        )
        self._remember_room(reservation, is_roomy=reply[5] == 1)
        return self._hold(reservation)

    async def _reserve(
        self,
        charges: Charges,
        request: Request,
        arguments: list[str | int],
        meanwhile: Callable[[], object] | None = None,
    ) -> Reply:
        if (self._doubtful or self._is_spooling) and not self._is_stuck:
            await self._catch_up()
        request_id = request.request_id
        keys = (RESERVATION_PREFIX + request_id, RESERVATIONS, COUNTED, *charges.keys)
        self.send_late(has_more=True)  # first: who has had an answer asks again with what it gave back
        reply = await self._valkey.run(
            RESERVE, keys, request_id, LEASE_MS, request.if_lost, *arguments, meanwhile=meanwhile
        )
        if reply[0] == -1 and self.count_budgets is not None:
            await self.count_budgets()
            reply = await self._valkey.run(RESERVE, keys, request_id, LEASE_MS, request.if_lost, *arguments)
        if reply[0] == -1:
            raise Uncounted("What was spent of the budgets is being counted.")
        return reply

    async def _catch_up(self) -> None:
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

    def _refusal(self, charges: Charges, request: Request, reply: Reply) -> GatewayError:
        charge, number = charges.charges[reply[1] - 1], reply[2]
        if isinstance(charge.rule, BudgetRule):
            hold = request.money.get(charge.rule.currency, 0)
            return budget_refusal(charge.rule, number, hold, now=request.started_at)
        return rate_refusal(charge.rule, number, dialect=request.dialect, tokens=request.tokens)

    def _headers(self, charges: Charges, request: Request, found: tuple[list[int], ...]) -> Headers:
        rates = [
            Tightest(charges.charges[number - 1].rule, remaining, reset)  # type: ignore[arg-type]
            for number, remaining, reset in found
            if number
        ]
        return limit_headers(request.dialect, rates) if rates else ()

    def _remember_lefts(self, charges: Charges, lefts: list[int]) -> None:
        if not lefts:
            return
        if len(self._lefts) > MOST_LEFTS:
            self._lefts.clear()
        self._lefts.update(zip(charges.budget_keys, lefts, strict=True))

    def _remember_room(self, reservation: Reservation, *, is_roomy: bool) -> None:
        if not is_roomy:
            self._roomy_at.pop(reservation.keys, None)
            return
        if len(self._roomy_at) >= self._cache_size:
            self._roomy_at.clear()
        self._roomy_at[reservation.keys] = reservation.renewed_at

    def _has_room(self, reservation: Reservation) -> bool:
        """Whether nobody is in want of what a reservation gives back: there was plenty of it a moment ago."""
        roomy_at = self._roomy_at.get(reservation.keys)
        return roomy_at is not None and monotonic() - roomy_at < ROOMY_SECONDS

    def _reserve_alone(self, charges: Charges, holds: tuple[Hold, ...], request: Request, reason: str) -> Reservation:
        """Admit a request by this worker's share of the limits, if its tenant is content with that."""
        if charges.principal.refuses_without_valkey:
            raise unknown_limits("Limits")
        if self._local is None:
            log.warning("admission_degraded", reason=reason, peers=self.peers)
            self._local = LocalLimits(
                hold.key for each in self.active.values() for hold in each.holds if hold.kind == "c"
            )
        decision = self._local.admit(
            charges.charges,
            tokens=request.tokens,
            holds=holds,
            lefts=self._lefts,
            peers=self.peers,
            now=time() * 1000,
        )
        if not decision.is_admitted:
            if decision.is_unknown:
                raise unknown_limits("Budgets")
            assert decision.rule is not None
            raise self._refusal(charges, request, (0, decision.rule + 1, decision.milliseconds))
        found = (
            (decision.rule + 1, decision.remaining, decision.milliseconds) if decision.rule is not None else (0, 0, 0)
        )
        headers = self._headers(charges, request, (list(found),))
        # What it holds is that of a request that Valkey admitted: it may have, and failed to say so.
        return self._hold(Reservation(request_id=request.request_id, holds=holds, headers=headers, is_degraded=True))

    @property
    def is_idle(self) -> bool:
        """Whether everything that was admitted is settled, and acknowledged."""
        return not (self.active or self._late or self._unsettled or self._unacknowledged)

    async def standings(self, principal: Principal, *, end_user: str, now: float) -> list[Standing]:
        """Return how much of each limit and budget is used, and charge nothing; raises StoreUnavailable, ScriptFailed."""
        charges = compile_charges(principal, alias=None, end_user=end_user)
        if not charges.keys:
            return []
        self.send_late(has_more=True)
        found = await self._valkey.run(PEEK, charges.keys, *peek_arguments(charges, now))
        return [
            Standing(charge.rule, int(first), int(second))
            for charge, (first, second) in zip(charges.charges, found, strict=True)
        ]

    def _release(self, request_id: str, holds: tuple[Hold, ...]) -> None:
        """Give back what a caller that has gone may have been given: in the same connection, this comes second."""
        with suppress(StoreUnavailable):
            self._send(SpooledSettle(request_id, holds, "")).add_done_callback(_forget_outcome)

    def _hold(self, reservation: Reservation) -> Reservation:
        self.active[reservation.request_id] = reservation
        return reservation

    def _charges(self, principal: Principal, request: Request) -> Charges:
        charges = self._compiled.get(principal.key_id)
        if charges is None or charges.principal is not principal:
            if len(self._compiled) >= self._cache_size:
                self._compiled.clear()
            charges = self._compiled[principal.key_id] = compile_charges(principal, alias="", end_user="")
        if charges.is_static:
            return charges
        return compile_charges(principal, alias=request.alias, end_user=request.end_user)

    # --- While it runs ------------------------------------------------------------------------------------------

    async def renew_leases(self) -> None:
        """Renew what has been running for a while; called again and again by the worker."""
        old = monotonic() - RENEW_SECONDS
        for reservation in list(self.active.values()):
            if reservation.renewed_at < old and not reservation.is_degraded:
                await self._renew(reservation)

    async def _renew(self, reservation: Reservation) -> None:
        request_id = reservation.request_id
        try:
            keys = (RESERVATION_PREFIX + request_id, RESERVATIONS)
            is_held = await self._valkey.run(RENEW, keys, request_id, LEASE_MS)
            reservation.renewed_at = monotonic()
            if not is_held and request_id in self.active:
                log.warning("reservation_swept", request_id=request_id)
        except (StoreUnavailable, ScriptFailed) as error:
            log.warning("renew_failed", reason=str(error), request_id=request_id)

    # --- After it -----------------------------------------------------------------------------------------------

    async def settle(self, reservation: Reservation, event: UsageEvent, *, tokens: int) -> UsageEvent:
        """Give back what is held, charge what was used, and append the usage event, once; returns it as it was billed.

        The command is on its way before the first await, so a cancelled caller has settled all the same; what Valkey
        does not acknowledge is spooled to disk and replayed. Either way nothing is lost when this returns.
        """
        settle = self._end(reservation, event, to_nanos(event.cost), tokens)
        return await self._acknowledgement(event, self._submit(settle))

    async def settle_soon(self, reservation: Reservation, event: UsageEvent, *, tokens: int) -> UsageEvent:
        """The same, but for waiting where that could tell nothing new.

        Where there is plenty of room it is in the journal, and sent in a moment; else it has left this process. Either way
        it is settled if the process is killed now, and what Valkey refuses or never answers is spooled as ever. Only a cost
        beyond what a hard budget holds may be billed otherwise than it is told.
        """
        cost = to_nanos(event.cost)
        settle = self._end(reservation, event, cost, tokens)
        is_certain = reservation.covers(cost, event.currency)
        if is_certain and self._has_room(reservation) and self._put_off(settle):
            return event
        acknowledged = self._submit(settle)
        if acknowledged is not None and is_certain:
            if not self._valkey.is_flushed:
                await asyncio.sleep(0)  # commands of one turn of the event loop leave at its end
            if self._valkey.is_flushed:
                return event
        return await self._acknowledgement(event, acknowledged)

    def _put_off(self, settle: SpooledSettle) -> bool:
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
        self.send_late()

    def send_late(self, *, has_more: bool = False) -> None:
        """Send what was put off, in one packet; and with the command behind it, where there is one."""
        if not self._late:
            return
        late, self._late = self._late, []
        for number, settle in enumerate(late, 1):
            self._submit(settle, has_more=has_more or number < len(late))
        self._clear_journal()

    def _clear_journal(self) -> None:
        """Forget what is with Valkey, or in the spool."""
        if self._journal is not None and not (self._unacknowledged or self._unsettled or self._late):
            self._journal.clear()

    async def _acknowledgement(self, event: UsageEvent, acknowledged: asyncio.Future[Reply] | None) -> UsageEvent:
        if acknowledged is None:
            return event
        with suppress(StoreUnavailable, ScriptFailed):
            await asyncio.shield(acknowledged)
        if self._unsettled and (task := self._unsettled.get(event.request_id)) is not None:
            return decode((await asyncio.shield(task)).event)
        return event

    def _end(self, reservation: Reservation, event: UsageEvent, cost: int, tokens: int) -> SpooledSettle:
        """Return how a reservation is settled, which this worker counts as over."""
        self.active.pop(reservation.request_id, None)
        if self._local is not None:
            self._local.release(reservation.holds, cost=cost, currency=event.currency)
        return SpooledSettle(
            reservation.request_id,
            reservation.holds,
            encode(event).decode(),
            cost,
            event.currency,
            tokens,
            reservation.reserved_at,
        )

    def _submit(self, settle: SpooledSettle, *, has_more: bool = False) -> asyncio.Future[Reply] | None:
        """Send it; None: it is on disk."""
        try:
            acknowledged = self._send(settle, has_more=has_more)
        except StoreUnavailable as error:
            self._keep(settle, error)
            return None
        self._unacknowledged += 1
        acknowledged.add_done_callback(partial(self._acknowledged, settle))
        return acknowledged

    def _acknowledged(self, settle: SpooledSettle, reply: asyncio.Future[Reply]) -> None:
        self._unacknowledged -= 1
        error = None if reply.cancelled() else reply.exception()
        if reply.cancelled() or error is not None:
            self._keep(settle.doubted(), error)
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
            self._keep(settle, error)
            return settle

    async def _settle_again(self, settle: SpooledSettle) -> SpooledSettle:
        """Settle, with what a hard budget has room for if it has not got enough for all; raises StoreUnavailable."""
        while (reply := await self._valkey.run(SETTLE, *_command(settle)))[0] not in SETTLED:
            settle = _within(settle, reply)
        self._remember_unwritten(settle)
        return settle

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
            self._keep(self._doubtful.popleft(), None)

    async def _settle_doubtful(self) -> None:
        count = len(self._doubtful)
        while self._doubtful:
            await self._settle_again(self._doubtful[0])
            self._doubtful.popleft()
        if count:
            log.info("settled_once_more", count=count)

    def _doubt_unwritten(self) -> None:
        """Valkey was lost: what it acknowledged lately may be lost as well, and settling twice does nothing."""
        oldest = monotonic() - UNWRITTEN_SECONDS
        self._doubtful.extend(settle.doubted() for sent_at, settle in self._unwritten if sent_at >= oldest)
        self._unwritten.clear()

    def _remember_unwritten(self, settle: SpooledSettle) -> None:
        now = monotonic()
        self._unwritten.append((now, settle))
        while self._unwritten[0][0] < now - UNWRITTEN_SECONDS:
            self._unwritten.popleft()

    def _send(self, settle: SpooledSettle, *, has_more: bool = False) -> asyncio.Future[Reply]:
        keys, *arguments = _command(settle)
        return self._valkey.call(b"EVALSHA", SETTLE.digest, len(keys), *keys, *arguments, has_more=has_more)

    def _keep(self, settle: SpooledSettle, error: BaseException | None) -> None:
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


def _command(settle: SpooledSettle) -> tuple[Any, ...]:
    """Return the keys of the script, and behind them its arguments."""
    request_id = settle.request_id
    keys, arguments = settle_arguments(settle.holds, settle.cost, settle.currency)
    note = 1 if settle.replaces_lost else 2 if settle.doubtful_since else 0
    return (
        (USAGE_STREAM, RESERVATION_PREFIX + request_id, RESERVATIONS, COUNTED, *keys),
        *(request_id, SETTLED_MS, settle.event, settle.tokens, settle.reserved_at, note),
        *arguments,
    )


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
