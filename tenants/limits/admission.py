"""Admission: one Valkey script before a request (reserve) and one after it (settle).

Every limit of a request is checked and charged in one step, or none is. What `reserve` returns has to be settled, and
settling twice does nothing. Budgets join the same two scripts; the seam is `Reservation`.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import structlog

from gateway_site.infra.telemetry import usage_spooled
from gateway_site.infra.valkey import HotValkey, Reply, Script, ScriptFailed, StoreUnavailable
from tenants.errors import RateLimited
from tenants.limits.spool import Spool, SpooledSettle
from tenants.limits.spool import read as read_spool
from tenants.limits.windows import window_name
from tenants.principal import Principal, Rule

log = structlog.get_logger("tollgate.admission")

LEASE_MS = 90_000  # a killed worker's leases are free again after this
RENEW_SECONDS = 30.0
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
    is_degraded: bool = False  # admitted without Valkey: nothing is held there
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
        self._compiled: dict[int, _Charges] = {}
        self._cache_size = cache_size

    async def reserve(self, principal: Principal, request_id: str, *, alias: str, end_user: str) -> Reservation:
        """Charge every limit that applies; raises RateLimited, which says whose limit it is and when to come again."""
        charges = self._charges(principal, alias, end_user)
        try:
            reply = await self._valkey.run(RESERVE, charges.keys, request_id, LEASE_MS, *charges.arguments)
        except asyncio.CancelledError:
            self._release(request_id, charges.leases)
            raise
        except (StoreUnavailable, ScriptFailed) as error:
            # Traffic goes on without Valkey; what cannot be counted now is not refused. Valkey may have counted it
            # and failed to say so: settling gives leases back all the same.
            log.warning("admission_degraded", reason=str(error), tenant=principal.tenant)
            return self._hold(Reservation(request_id=request_id, leases=charges.leases, is_degraded=True))
        admitted, number, remaining, milliseconds = reply
        rule = charges.rules[number - 1] if number else None
        if not admitted:
            raise _refusal(rule, milliseconds)
        headers = _limit_headers(rule, remaining, milliseconds) if rule is not None else ()
        return self._hold(Reservation(request_id=request_id, leases=charges.leases, headers=headers))

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
        settle = SpooledSettle(reservation.request_id, reservation.leases, event.decode())
        try:
            acknowledged = self._send(settle)
        except StoreUnavailable as error:
            self._keep(settle, error)
            return
        acknowledged.add_done_callback(lambda reply: self._acknowledged(settle, reply))
        with suppress(StoreUnavailable, ScriptFailed):
            await asyncio.shield(acknowledged)

    async def replay(self) -> int:
        """Settle what was spooled; return how many. Stops when Valkey goes away again."""
        path = self._spool.take() if self._valkey.is_connected else None
        if path is None:
            return 0
        count = 0
        for settle in read_spool(path):
            await self._valkey.run(SETTLE, (USAGE_STREAM, *settle.leases), *self._arguments(settle))
            count += 1
        path.unlink(missing_ok=True)
        log.info("spool_replayed", count=count)
        return count

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
        self._spool.append(settle)
        usage_spooled.inc()
        log.warning("usage_spooled", request_id=settle.request_id, reason=str(error))

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
