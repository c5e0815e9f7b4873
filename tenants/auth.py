"""From a credential to a Principal: the worker's own cache, then Valkey, then Postgres.

A key that is revoked or a tenant that is suspended is announced to every worker, which forgets what it knew; a cached
entry is also too old after `PRINCIPAL_CACHE_SECONDS`. When Postgres cannot be asked, keys known before go on working and
unknown ones get 503: our own outage is never a 401.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, time

import msgspec
import structlog

from gateway_site.infra.threads import run_query
from gateway_site.infra.valkey import HotValkey, ScriptFailed, StoreUnavailable
from tenants import keys
from tenants.errors import Forbidden, GatewayError, Unauthenticated, Unavailable
from tenants.limits.scripts import STORE_PRINCIPAL
from tenants.principal import Principal
from tenants.principals import load_principal

log = structlog.get_logger("tollgate.auth")

GENERATION_KEY = b"tollgate:principals:generation"
PRINCIPAL_KEY = "tollgate:principal:"
SHARED_CACHE_MS = 60_000
NEGATIVE_SECONDS = 10.0
STALE_SECONDS = 6 * 3600.0  # how long a known key outlives a Postgres that is away
PATIENCE_SECONDS = 1.0  # how long a known key waits for stores that do not answer; unknown ones have to wait longer
UNKNOWN_PATIENCE_SECONDS = 5.0
REST_SECONDS = 2.0  # how long known keys go on without asking after that

_decode = msgspec.json.Decoder(Principal | None).decode
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Entry:
    principal: Principal | None  # None: there is no such key
    fresh_until: float


class Authenticator:
    """Finds principals, and refuses those that may not call."""

    def __init__(
        self, valkey: HotValkey, *, peppers: Sequence[keys.Pepper], cache_size: int, cache_seconds: float
    ) -> None:
        self._valkey = valkey
        self._peppers = tuple(peppers)
        self._salt = os.urandom(16)
        self._cache: OrderedDict[bytes, _Entry] = OrderedDict()
        self._unknown: OrderedDict[bytes, _Entry] = OrderedDict()  # apart: guessed keys must not push out real ones
        self._cache_size = cache_size
        self._cache_seconds = cache_seconds
        self._loading: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._generation = 0
        self._rest_until = 0.0

    async def authenticate(self, headers: Sequence[tuple[bytes, bytes]]) -> Principal:
        """Return whoever calls; raises Unauthenticated (401), Forbidden (403) or Unavailable (503)."""
        secret = credential(headers)
        if secret is None:
            raise Unauthenticated(
                "No API key was sent. Send it as 'Authorization: Bearer …', 'x-api-key' or 'x-goog-api-key'.",
                code="missing_api_key",
            )
        mark = keys.mark(secret, self._salt)
        entry = self._cache.get(mark) or self._unknown.get(mark)
        if entry is not None and entry.fresh_until > monotonic():
            principal = entry.principal
        else:
            principal = await self._look_up(mark, secret, entry)
        return _admit(principal)

    def forget(self, tenant_id: int | None = None) -> None:
        """Ask anew for a tenant's keys (None: for all) and for keys that were unknown: something about them changed."""
        self._generation += 1
        self._rest_until = 0.0  # what changed was changed in stores that are there
        now = monotonic()
        self._unknown.clear()
        for entry in self._cache.values():
            if tenant_id is None or entry.principal is None or entry.principal.tenant_id == tenant_id:
                entry.fresh_until = min(entry.fresh_until, now)  # kept for when no store can be asked

    async def _look_up(self, mark: bytes, secret: str, known: _Entry | None) -> Principal | None:
        stale = _outliving(known)
        if stale is not None and self._rest_until > monotonic():
            return stale
        task = self._loading.get(mark)
        if task is None:
            task = asyncio.create_task(self._load(mark, secret))
            self._loading[mark] = task
            task.add_done_callback(lambda done: self._loaded(mark, done))
        try:
            async with asyncio.timeout(UNKNOWN_PATIENCE_SECONDS if stale is None else PATIENCE_SECONDS):
                return await asyncio.shield(task)
        except (StoreUnavailable, TimeoutError):
            if stale is not None:
                self._rest_until = monotonic() + REST_SECONDS
                return stale
            raise Unavailable(
                "API keys cannot be checked right now. Try again in a moment.",
                code="store_unavailable",
                headers={"retry-after": "2"},
                retry_after_seconds=2,
            ) from None

    def _loaded(self, mark: bytes, task: "asyncio.Task[Principal | None]") -> None:
        del self._loading[mark]
        if not task.cancelled():
            task.exception()

    async def _load(self, mark: bytes, secret: str) -> Principal | None:
        generation = self._generation
        digests = [keys.digest(secret, pepper.value) for pepper in self._peppers]
        principal = await self._load_shared(digests)
        if generation == self._generation:
            self._remember(mark, principal)
        return principal

    async def _load_shared(self, digests: list[str]) -> Principal | None:
        generation: bytes | None = None
        with suppress(StoreUnavailable, ScriptFailed):
            names = [PRINCIPAL_KEY + digest for digest in digests]
            *found, seen = await self._valkey.call(b"MGET", *names, GENERATION_KEY)
            known = next((blob for blob in found if blob is not None), None)
            if known is not None:
                with suppress(msgspec.DecodeError):  # of another version: asked of Postgres, and replaced
                    return _decode(known)
            generation = seen or b"0"
        try:
            digest, principal = await run_query(load_principal, digests)
        except Exception as error:
            log.error("principal_lookup_failed", reason=str(error).strip())
            raise StoreUnavailable(str(error)) from error
        if generation is not None:
            await self._share(digest, principal, generation)
        return principal

    async def _share(self, digest: str, principal: Principal | None, generation: bytes) -> None:
        lifetime = SHARED_CACHE_MS if principal is not None else int(NEGATIVE_SECONDS * 1000)
        names = (GENERATION_KEY, PRINCIPAL_KEY + digest)
        with suppress(StoreUnavailable, ScriptFailed):
            await self._valkey.run(STORE_PRINCIPAL, names, generation, _encode(principal), lifetime)

    def _remember(self, mark: bytes, principal: Principal | None) -> None:
        lifetime = self._cache_seconds if principal is not None else min(NEGATIVE_SECONDS, self._cache_seconds)
        if principal is None:
            self._cache.pop(mark, None)
        cache = self._unknown if principal is None else self._cache
        cache[mark] = _Entry(principal, monotonic() + lifetime)
        cache.move_to_end(mark)
        while len(cache) > self._cache_size:
            cache.popitem(last=False)


def _outliving(known: _Entry | None) -> Principal | None:
    """Return the principal that an entry stands for while no store can be asked."""
    if known is None or known.fresh_until < monotonic() - STALE_SECONDS:
        return None
    return known.principal


def credential(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Return the API key of a request; of several, Authorization comes before x-api-key before x-goog-api-key."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            secret = value[7:].strip()
            if secret:
                return _text(secret)
        elif name in {b"x-api-key", b"x-goog-api-key"} and value:
            found.setdefault(name, value)
    chosen = found.get(b"x-api-key") or found.get(b"x-goog-api-key")
    return _text(chosen) if chosen else None


def _text(value: bytes) -> str:
    return value[: keys.MAX_KEY_LENGTH + 1].decode("latin-1")


def _admit(principal: Principal | None) -> Principal:
    if principal is None:
        raise Unauthenticated("This API key is not valid. Check that it was copied whole.", code="invalid_api_key")
    refusal = refusal_of(principal, time())
    if refusal is not None:
        raise refusal
    return principal


def refusal_of(principal: Principal, now: float) -> GatewayError | None:
    """Return why a known key may not call at this time, None when it may."""
    if principal.is_revoked:
        return Unauthenticated(f"API key {principal.key_prefix}… was revoked.", code="revoked_api_key")
    if principal.expires_at is not None and principal.expires_at <= now:
        what = "was replaced by a new secret" if principal.is_replaced else "has expired"
        return Unauthenticated(f"API key {principal.key_prefix}… {what}.", code="expired_api_key")
    if principal.is_suspended:
        return Forbidden(
            f"Tenant {principal.tenant!r} is suspended. Ask whoever runs this gateway.",
            code="tenant_suspended",
        )
    return None
