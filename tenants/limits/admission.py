"""Admission: one Valkey script before a request (reserve) and one after it (settle).

Every limit and every budget of a request is checked and charged in one step, or none is. What `reserve` returns has to be
settled, and settling twice does nothing. A reservation whose worker is gone is swept when its lease ends.

Of a key in use the next reservation is made ahead (`spares.py`). How a settle gets to Valkey is in `settles.py`. Without
Valkey a worker enforces its share of each limit by itself (`local.py`), or refuses, as the tenant wishes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, time
from typing import NamedTuple

import msgspec
import structlog

from gateway_site.infra.valkey import HotValkey, Reply, ScriptFailed, StoreUnavailable
from tenants.errors import GatewayError
from tenants.limits.charges import (
    Charges,
    Hold,
    compile_charges,
    foreign_budget,
    peek_arguments,
    prepare,
)
from tenants.limits.gathering import Gathering
from tenants.limits.journal import Journal
from tenants.limits.local import LocalLimits
from tenants.limits.money import to_nanos
from tenants.limits.refusals import (
    Headers,
    Tightest,
    budget_refusal,
    foreign_currency,
    limit_headers,
    rate_refusal,
    unknown_limits,
)
from tenants.limits.scripts import (
    ADMITTED,
    LEASE_MS,
    PEEK,
    RENEW,
    RESERVATION_PREFIX,
    RESERVATIONS,
    ROOMY,
    SPACIOUS,
    UNCOUNTED,
    Asked,
)
from tenants.limits.settles import Settles
from tenants.limits.spares import Like, Spare, Spares
from tenants.limits.spool import Spool, SpooledSettle
from tenants.principal import BudgetRule, Principal, Rule
from tenants.usage_event import UsageEvent, encode

log = structlog.get_logger("tollgate.admission")

RENEW_SECONDS = 12.0
MOST_LEFTS = 20_000  # budgets of which a worker remembers what was left
ROOMY_SECONDS = 1.0  # how long it is believed that there is plenty of room


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
    like: Like | None = None  # what the next request may be like; None: it is not known to come soon
    is_degraded: bool = False  # admitted without Valkey: nothing is known to be held there
    renewed_at: float = msgspec.field(default_factory=monotonic)

    def counters(self, currency: str) -> list[str]:
        """Return the budget counters that a cost in a currency is charged to."""
        return [hold.counter for hold in self.holds if hold.kind == "b" and hold.currency == currency]

    def covers(self, cost: int, currency: str) -> bool:
        """Whether its hard budgets hold as much, in nanos: then nothing of it is written off."""
        return not [hold for hold in self.holds if hold.is_hard and hold.amount < cost and hold.currency == currency]


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
        self.active: dict[str, Reservation] = {}  # not settled yet, by request id
        self.peers = 1  # web workers that share the limits, this one included
        self.count_budgets: Callable[[], Awaitable[None]] | None = None  # when Valkey has come up without them
        self._local: LocalLimits | None = None  # what was admitted since Valkey was lost; None: it is there
        self._lefts: dict[str, int] = {}  # of budgets by key, as Valkey said last
        self._roomy_at: dict[tuple[str, ...], float] = {}  # when there was plenty of room last, by keys (monotonic)
        self.settles = Settles(valkey, spool, journal, on_quiet=self._get_ready)
        self.spares = Spares(valkey, on_made=self._remember)
        self._gathering = Gathering(valkey)
        self._likes: list[Like] = []  # of those that ended since the last request came
        valkey.on_lost = self._lost
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
        if (spare := self._spare(charges, holds)) is not None:
            return await self._adopt(spare, request, meanwhile)
        was_connected = self._valkey.is_connected
        was_roomy = self._is_roomy(charges.keys)
        try:
            asked = Asked(request.request_id, request.if_lost, arguments, holds)
            reply = await self._reserve(charges, asked, meanwhile)
        except asyncio.CancelledError:
            self.settles.release(request.request_id, holds)
            raise
        except (StoreUnavailable, ScriptFailed) as error:
            try:
                return self._reserve_alone(charges, holds, request, str(error))
            except GatewayError:
                if was_connected and not isinstance(error, Uncounted):  # it may have admitted it and failed to say so
                    self.settles.keep(SpooledSettle(request.request_id, holds, ""), error)
                raise
        self._local = None
        if reply[0] != ADMITTED:
            self._roomy_at.pop(charges.keys, None)
            raise self._refusal(charges, request, reply)
        self._remember(charges, reply)
        return self._hold(
            Reservation(
                request_id=request.request_id,
                holds=holds,
                headers=self._headers(charges, request, (reply[2], reply[3])),
                reserved_at=reply[1],
                keys=charges.keys,
                like=Like(charges, request.tokens, request.money) if was_roomy and reply[5] == SPACIOUS else None,
            )
        )

    def _spare(self, charges: Charges, wanted: tuple[Hold, ...]) -> Spare | None:
        """Take what was reserved ahead, where Valkey is well and knows all, and the kernel has what is sent to it."""
        if self._local is not None or self.settles.is_behind or not self._valkey.is_plain:
            return None
        return self.spares.take(charges, wanted)

    async def _adopt(
        self, spare: Spare, request: Request, meanwhile: Callable[[], object] | None = None
    ) -> Reservation:
        """Return the reservation that was made ahead; Valkey is told whose it is before this returns."""
        self._send_late()
        self.spares.adopt(spare, request.request_id, request.if_lost)
        if meanwhile is not None:
            meanwhile()
        if not self._valkey.is_flushed:
            try:
                await asyncio.sleep(0)  # commands of one turn of the event loop leave at its end
            except asyncio.CancelledError:
                self.settles.release(request.request_id, spare.holds)
                raise
        charges = spare.charges
        return self._hold(
            Reservation(
                request_id=request.request_id,
                holds=spare.holds,
                headers=self._headers(charges, request, spare.standing(request.tokens)),
                reserved_at=spare.reply[1],
                keys=charges.keys,
                like=Like(charges, request.tokens, request.money),
            )
        )

    async def _reserve(self, charges: Charges, asked: Asked, meanwhile: Callable[[], object] | None = None) -> Reply:
        if self.settles.is_behind:
            await self.settles.catch_up()
        self._send_late()  # first: who has had an answer asks again with what it gave back
        reply = await self._gathering.reserve(charges, asked, meanwhile)
        if reply[0] == UNCOUNTED and self.count_budgets is not None:
            await self.count_budgets()
            reply = await self._gathering.reserve(charges, asked)
        if reply[0] == UNCOUNTED:
            raise Uncounted("What was spent of the budgets is being counted.")
        return reply

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

    def _send_late(self) -> None:
        """Send what was put off together with the command that comes now: another request has come."""
        self._likes.clear()
        self.settles.send_late(has_more=True)

    def _get_ready(self) -> None:
        """Nothing has come: now there is time to get ready for it."""
        likes, self._likes = self._likes, []
        if self.settles.is_behind:
            return
        self.spares.peers = self.peers
        for like in likes:
            self.spares.make(like)

    def _lost(self) -> None:
        self.settles.doubt_unwritten()
        self.spares.forget()
        self._likes.clear()

    def _remember(self, charges: Charges, reply: Reply) -> None:
        """Remember what Valkey said of limits and budgets."""
        if lefts := reply[4]:
            if len(self._lefts) > MOST_LEFTS:
                self._lefts.clear()
            self._lefts.update(zip(charges.budget_keys, lefts, strict=True))
        if reply[5] < ROOMY:
            self._roomy_at.pop(charges.keys, None)
            return
        if len(self._roomy_at) >= self._cache_size:
            self._roomy_at.clear()
        self._roomy_at[charges.keys] = monotonic()

    def _is_roomy(self, keys: tuple[str, ...]) -> bool:
        """Whether nobody is in want of what a request gives back: there was plenty of it a moment ago."""
        roomy_at = self._roomy_at.get(keys)
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
        return not self.active and self.settles.is_idle

    async def standings(self, principal: Principal, *, end_user: str, now: float) -> list[Standing]:
        """Return how much of each limit and budget is used, and charge nothing; raises StoreUnavailable, ScriptFailed."""
        charges = compile_charges(principal, alias=None, end_user=end_user)
        if not charges.keys:
            return []
        self._send_late()
        self.spares.give_back_all()
        found = await self._valkey.run(PEEK, charges.keys, *peek_arguments(charges, now))
        return [
            Standing(charge.rule, int(first), int(second))
            for charge, (first, second) in zip(charges.charges, found, strict=True)
        ]

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
        return await self.settles.billed(event, self.settles.submit(settle))

    async def settle_soon(self, reservation: Reservation, event: UsageEvent, *, tokens: int) -> UsageEvent:
        """The same, but for waiting where that could tell nothing new.

        Where there is plenty of room it is in the journal, and sent in a moment; else it has left this process. Either way
        it is settled if the process is killed now, and what Valkey refuses or never answers is spooled as ever. Only a cost
        beyond what a hard budget holds may be billed otherwise than it is told.
        """
        cost = to_nanos(event.cost)
        settle = self._end(reservation, event, cost, tokens)
        is_certain = reservation.covers(cost, event.currency)
        if is_certain and self._is_roomy(reservation.keys) and self.settles.put_off(settle):
            if reservation.like is not None:
                self._likes.append(reservation.like)
            return event
        acknowledged = self.settles.submit(settle)
        if acknowledged is not None and is_certain:
            if not self._valkey.is_flushed:
                await asyncio.sleep(0)  # commands of one turn of the event loop leave at its end
            if self._valkey.is_flushed:
                return event
        return await self.settles.billed(event, acknowledged)

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
