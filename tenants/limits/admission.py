"""Admission: one Valkey script before a request (reserve) and one after it (settle).

Every limit of a request is checked and charged in one step, or none is. What `reserve` returns has to be settled, and
settling twice does nothing. Budgets join the same two scripts; the seam is `Reservation`.

Without Valkey a worker enforces its share of each limit by itself (`local.py`), or refuses, as the tenant wishes; usage
waits on disk (`spool.py`). What Valkey acknowledged just before it was lost is settled once more when it is back: it
writes its file only once a second.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time

import structlog

from gateway_site.infra.telemetry import usage_spooled
from gateway_site.infra.valkey import HotValkey, Reply, Script, ScriptFailed, StoreUnavailable
from tenants.errors import RateLimited, Unavailable
from tenants.limits.local import LocalLimits
from tenants.limits.spool import Spool, SpooledSettle
from tenants.limits.spool import read as read_spool
from tenants.limits.windows import window_name
from tenants.principal import Principal, Rule

log = structlog.get_logger("tollgate.admission")

LEASE_MS = 90_000  # a killed worker's leases are free again after this
RENEW_SECONDS = 30.0
UNWRITTEN_SECONDS = 3.0  # what Valkey acknowledged so shortly before it was lost may be lost with it
MOST_UNWRITTEN = 20_000
RETRY_SECONDS = 2
SETTLED_MS = 120_000  # how long a repeated settle is recognised; the ledger's primary key guards beyond
USAGE_STREAM = b"tollgate:usage"
KEY_PREFIX = "tollgate:limit:"

_FOLDER = Path(__file__).parent
RESERVE = Script(_FOLDER / "reserve.lua")
SETTLE = Script(_FOLDER / "settle.lua")
RENEW = Script(_FOLDER / "renew.lua")
STORE_PRINCIPAL = Script(_FOLDER / "store_principal.lua")
SCRIPTS = (RESERVE, SETTLE, RENEW, STORE_PRINCIPAL)

SCOPE_WORDS = {"tenant": "tenant", "project": "project", "api_key": "API key"}


@dataclass(slots=True, kw_only=True)
class Reservation:
    """What a request holds until it is settled."""

    request_id: str
    leases: tuple[str, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()  # x-ratelimit-*, of the tightest limit
    is_degraded: bool = False  # admitted without Valkey: nothing is known to be held there
    renewed_at: float = field(default_factory=monotonic)


@dataclass(frozen=True, slots=True)
class _Charges:
    """A principal's rules as the script's arguments; compiled once while the principal stays the same object."""

    principal: Principal
    rules: tuple[Rule, ...]
    keys: tuple[str, ...]
    arguments: tuple[str | int, ...]
    leases: tuple[str, ...]
    is_static: bool


class Admission:
    """Reserves, renews and settles."""

    def __init__(self, valkey: HotValkey, spool: Spool, *, cache_size: int = 20_000) -> None:
        self._valkey = valkey
        self._spool = spool
        self.active: dict[str, Reservation] = {}  # not settled yet, by request id
        self.peers = 1  # web workers that share the limits, this one included
        self._local: LocalLimits | None = None  # what was admitted since Valkey was lost; None: it is there
        self._unwritten: deque[tuple[float, SpooledSettle]] = deque(maxlen=MOST_UNWRITTEN)  # sent lately
        self._doubtful: deque[SpooledSettle] = deque(maxlen=MOST_UNWRITTEN)  # sent shortly before Valkey was lost
        self._is_spooling = False
        valkey.on_lost = self._doubt_unwritten
        self._compiled: dict[int, _Charges] = {}
        self._cache_size = cache_size

    async def reserve(self, principal: Principal, request_id: str, *, alias: str, end_user: str) -> Reservation:
        """Charge every limit that applies; raises RateLimited, which says whose limit it is and when to come again.

        Without Valkey it raises Unavailable for tenants that would rather be refused than be counted by each worker.
        """
        charges = self._charges(principal, alias, end_user)
        was_connected = self._valkey.is_connected
        try:
            reply = await self._valkey.run(RESERVE, charges.keys, request_id, LEASE_MS, *charges.arguments)
        except asyncio.CancelledError:
            self._release(request_id, charges.leases)
            raise
        except (StoreUnavailable, ScriptFailed) as error:
            try:
                return self._reserve_alone(charges, request_id, str(error))
            except (RateLimited, Unavailable):
                if was_connected and charges.leases:  # it may have counted the request and failed to say so
                    self._keep(SpooledSettle(request_id, charges.leases, ""), error)
                raise
        self._local = None
        admitted, number, remaining, milliseconds = reply
        rule = charges.rules[number - 1] if number else None
        if not admitted:
            raise _refusal(rule, milliseconds)
        headers = _limit_headers(rule, remaining, milliseconds) if rule is not None else ()
        return self._hold(Reservation(request_id=request_id, leases=charges.leases, headers=headers))

    def _reserve_alone(self, charges: _Charges, request_id: str, reason: str) -> Reservation:
        """Admit a request by this worker's share of the limits, if its tenant is content with that."""
        if charges.principal.refuses_without_valkey:
            raise Unavailable(
                "Limits cannot be checked right now. Try again in a moment.",
                code="limits_unavailable",
                headers={"retry-after": str(RETRY_SECONDS)},
                retry_after_seconds=RETRY_SECONDS,
            )
        if self._local is None:
            log.warning("admission_degraded", reason=reason, peers=self.peers)
            self._local = LocalLimits(lease for each in self.active.values() for lease in each.leases)
        decision = self._local.admit(charges.rules, charges.keys, peers=self.peers, now=time() * 1000)
        rule = charges.rules[decision.rule] if decision.rule is not None else None
        if not decision.is_admitted:
            raise _refusal(rule, decision.milliseconds)
        headers = _limit_headers(rule, decision.remaining, decision.milliseconds) if rule is not None else ()
        # Its leases are those of a request that Valkey admitted: it may have, and failed to say so.
        return self._hold(Reservation(request_id=request_id, leases=charges.leases, headers=headers, is_degraded=True))

    def _release(self, request_id: str, leases: tuple[str, ...]) -> None:
        """Give back what a caller that has gone may have been given: in the same connection, this comes second."""
        with suppress(StoreUnavailable):
            self._send(SpooledSettle(request_id, leases, "")).add_done_callback(_forget_outcome)

    async def renew_leases(self) -> None:
        """Renew what has been running for a while; called again and again by the worker."""
        old = monotonic() - RENEW_SECONDS
        for reservation in list(self.active.values()):
            if reservation.renewed_at < old and not reservation.is_degraded:
                await self._renew(reservation)

    def _hold(self, reservation: Reservation) -> Reservation:
        self.active[reservation.request_id] = reservation
        return reservation

    async def _renew(self, reservation: Reservation) -> None:
        try:
            await self._valkey.run(RENEW, reservation.leases, reservation.request_id, LEASE_MS)
            reservation.renewed_at = monotonic()
        except (StoreUnavailable, ScriptFailed) as error:
            log.warning("renew_failed", reason=str(error), request_id=reservation.request_id)

    async def settle(self, reservation: Reservation, event: bytes) -> None:
        """Give back what is held and append the usage event, once.

        The command is on its way before the first await, so a cancelled caller has settled all the same; what Valkey
        does not acknowledge is spooled to disk and replayed. Either way nothing is lost when this returns.
        """
        self.active.pop(reservation.request_id, None)
        if self._local is not None:
            self._local.release(reservation.leases)
        settle = SpooledSettle(reservation.request_id, reservation.leases, event.decode())
        try:
            acknowledged = self._send(settle)
        except StoreUnavailable as error:
            self._keep(settle, error)
            return
        self._remember_unwritten(settle)
        acknowledged.add_done_callback(lambda reply: self._acknowledged(settle, reply))
        with suppress(StoreUnavailable, ScriptFailed):
            await asyncio.shield(acknowledged)

    async def replay(self) -> int:
        """Settle what was spooled; return how many. Stops when Valkey goes away again."""
        if not self._valkey.is_connected:
            return 0
        await self._settle_doubtful()
        path = self._spool.take()
        if path is None:
            return 0
        count = 0
        for settle in read_spool(path):
            await self._settle_again(settle)
            count += 1
        path.unlink(missing_ok=True)
        self._is_spooling = False
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

    async def _settle_again(self, settle: SpooledSettle) -> None:
        await self._valkey.run(SETTLE, (USAGE_STREAM, *settle.leases), *self._arguments(settle))
        self._remember_unwritten(settle)

    def _doubt_unwritten(self) -> None:
        """Valkey was lost: what it acknowledged lately may be lost as well, and settling twice does nothing."""
        oldest = monotonic() - UNWRITTEN_SECONDS
        self._doubtful.extend(settle for sent_at, settle in self._unwritten if sent_at >= oldest)
        self._unwritten.clear()

    def _remember_unwritten(self, settle: SpooledSettle) -> None:
        now = monotonic()
        self._unwritten.append((now, settle))
        while self._unwritten[0][0] < now - UNWRITTEN_SECONDS:
            self._unwritten.popleft()

    def _send(self, settle: SpooledSettle) -> asyncio.Future[Reply]:
        keys: tuple[bytes | str, ...] = (USAGE_STREAM, *settle.leases)
        arguments = self._arguments(settle)
        return self._valkey.call(b"EVALSHA", SETTLE.digest, len(keys), *keys, *arguments)

    @staticmethod
    def _arguments(settle: SpooledSettle) -> tuple[str | int, ...]:
        return (settle.request_id, SETTLED_MS, settle.event)

    def _acknowledged(self, settle: SpooledSettle, reply: asyncio.Future[Reply]) -> None:
        error = None if reply.cancelled() else reply.exception()
        if reply.cancelled() or error is not None:
            self._keep(settle, error)

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

    def _charges(self, principal: Principal, alias: str, end_user: str) -> _Charges:
        charges = self._compiled.get(principal.key_id)
        if charges is None or charges.principal is not principal:
            charges = self._remember(principal)
        if charges.is_static:
            return charges
        return _compile(principal, alias, end_user)

    def _remember(self, principal: Principal) -> _Charges:
        if len(self._compiled) >= self._cache_size:
            self._compiled.clear()
        charges = _compile(principal, "", "")
        self._compiled[principal.key_id] = charges
        return charges


def _forget_outcome(reply: asyncio.Future[Reply]) -> None:
    if not reply.cancelled():
        reply.exception()


def _compile(principal: Principal, alias: str, end_user: str) -> _Charges:
    rules = [rule for rule in principal.rules if _is_enforced(rule) and rule.model in {"", alias}]
    if not end_user:
        rules = [rule for rule in rules if not rule.per_end_user]
    arguments: list[str | int] = []
    for rule in rules:
        kind = "c" if rule.kind == "concurrency" else "r"
        arguments += (kind, rule.amount, rule.window_ms, rule.burst)
    keys = tuple(_key(rule, end_user) for rule in rules)
    return _Charges(
        principal=principal,
        rules=tuple(rules),
        keys=keys,
        arguments=tuple(arguments),
        leases=tuple(key for key, rule in zip(keys, rules, strict=True) if rule.kind == "concurrency"),
        is_static=not any(rule.model or rule.per_end_user for rule in principal.rules if _is_enforced(rule)),
    )


def _is_enforced(rule: Rule) -> bool:
    # Rates of tokens need the token windows that come with budgets; until then they are stored and shown.
    return rule.kind != "tokens"


def _key(rule: Rule, end_user: str) -> str:
    return f"{KEY_PREFIX}{rule.id}:{end_user}" if rule.per_end_user else f"{KEY_PREFIX}{rule.id}"


def _refusal(rule: Rule | None, retry_after_ms: int) -> RateLimited:
    assert rule is not None
    whose = f"{SCOPE_WORDS[rule.scope]} {rule.scope_name!r}"
    seconds = max(1, -(-retry_after_ms // 1000))
    headers = {"retry-after": str(seconds), "retry-after-ms": str(retry_after_ms)}
    if rule.kind == "concurrency":
        return RateLimited(
            f"The limit of {rule.amount} requests at once of {whose} is reached. Try again when one has ended.",
            code="too_many_requests_at_once",
            headers=headers,
            retry_after_seconds=retry_after_ms / 1000,
        )
    headers |= {
        "x-ratelimit-limit-requests": str(rule.amount),
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": f"{seconds}s",
    }
    return RateLimited(
        f"The limit of {rule.amount} requests per {window_name(rule.window_ms)} of {whose} is reached. "
        f"Try again in {seconds} s.",
        headers=headers,
        retry_after_seconds=retry_after_ms / 1000,
    )


def _limit_headers(rule: Rule, remaining: int, reset_ms: int) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-ratelimit-limit-requests", b"%d" % rule.amount),
        (b"x-ratelimit-remaining-requests", b"%d" % remaining),
        (b"x-ratelimit-reset-requests", b"%ds" % -(-reset_ms // 1000)),
    )
