"""What a worker keeps of a request for a tenant whose audit policy asks for it.

Bodies are best-effort: they go to Valkey from a thread with a connection of its own, after the answer's last byte. When
Valkey is away or full, or the thread cannot keep up, they are dropped and counted. Nothing waits for them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic

import structlog

import tenants
from gateway_site.infra import telemetry
from gateway_site.infra.tallies import Count
from gateway_site.infra.valkey import Script, ScriptFailed, StoreUnavailable, ThreadValkey, is_forgotten
from routing.exchange import Exchange
from tenants.kept_body import MOST_BYTES, MOST_STREAM_BYTES, STREAM, KeptBody, seal

log = structlog.get_logger("tollgate.bodies")

KEEP = Script(Path(tenants.__file__).parent / "keep_body.lua")
KEPT_HEADERS = frozenset(
    {b"content-type", b"user-agent", b"anthropic-version", b"anthropic-beta", b"openai-beta", b"x-stainless-lang"}
)
MOST_HEADER_BYTES = 500
MOST_PENDING = 64  # bodies that wait for the thread
MOST_WAITING = 5_000  # in Valkey, for the drain
MOST_WAITING_BYTES = 64 * 1024 * 1024
VALKEY_SECONDS = 2.0
PAUSE_SECONDS = 5.0  # after Valkey was away
FRAMES = (b"event:", b"data:", b":")  # what a stream begins with
FINE = frozenset({"served", "client_gone"})

dropped = Count(telemetry.bodies_dropped)


class Kept:
    """Collects what is sent to the client while it is sent."""

    __slots__ = ("_chunks", "_rest", "body", "headers", "request_size", "size")

    def __init__(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.body = body
        self.request_size = len(body)
        self.headers = headers
        self.size = 0  # of the answer
        self._chunks: list[bytes] = []
        self._rest = MOST_STREAM_BYTES

    def add(self, data: bytes) -> None:
        """Take a part of the answer."""
        self.size += len(data)
        if self._rest > 0:
            self._chunks.append(data if len(data) <= self._rest else data[: self._rest])
            self._rest -= len(data)

    @property
    def answer(self) -> bytes:
        """What was sent, or its beginning."""
        return b"".join(self._chunks)


class Overheard:
    """A stream's body that is collected as it passes; closing it closes the body."""

    __slots__ = ("_body", "_kept")

    def __init__(self, body: AsyncIterator[bytes], kept: Kept) -> None:
        self._body = body
        self._kept = kept

    def __aiter__(self) -> "Overheard":
        return self

    async def __anext__(self) -> bytes:
        data = await anext(self._body)
        self._kept.add(data)
        return data

    async def aclose(self) -> None:
        await self._body.aclose()  # type: ignore[attr-defined]


class BodyKeeper:
    """Brings bodies to Valkey from one thread, which starts with the first of them."""

    def __init__(self, valkey_url: str) -> None:
        self._url = valkey_url
        self._executor: ThreadPoolExecutor | None = None
        self._valkey: ThreadValkey | None = None
        self._away_until = 0.0
        self._pending: set[Future[str]] = set()
        self._is_closed = False

    def keep(self, exchange: Exchange) -> None:
        """Let a request that is over be kept, if the policy means it."""
        kept, principal = exchange.kept, exchange.principal
        if kept is None or principal is None or not _is_meant(exchange, principal.keeps_bodies):
            return
        if self._is_closed or len(self._pending) >= MOST_PENDING:
            dropped.add("busy")
            return
        kept.body = kept.body[:MOST_BYTES]  # the rest is not held while it waits for the thread
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bodies")
        work = self._executor.submit(self._bring, kept, exchange.request_id, principal.tenant_id, exchange.started_at)
        self._pending.add(work)
        work.add_done_callback(partial(self._tell, asyncio.get_running_loop()))

    async def aclose(self) -> None:
        """Wait for what is on its way, but not long."""
        self._is_closed = True
        if self._pending:
            waiting = [asyncio.wrap_future(work) for work in self._pending]
            await asyncio.wait(waiting, timeout=VALKEY_SECONDS)
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _tell(self, loop: asyncio.AbstractEventLoop, work: Future[str]) -> None:
        with suppress(RuntimeError):  # the worker has ended
            loop.call_soon_threadsafe(self._done, work)

    def _done(self, work: Future[str]) -> None:
        self._pending.discard(work)
        reason = "" if work.cancelled() else work.result()
        if reason:
            dropped.add(reason)

    def _bring(self, kept: Kept, request_id: str, tenant_id: int, started_at: float) -> str:
        """Return why a body was dropped; empty: it was not. In the thread."""
        if monotonic() < self._away_until:
            return "valkey"
        try:
            sealed = seal(body_of(kept, request_id, tenant_id, started_at))
            return "" if self._send(sealed) else "full"
        except (StoreUnavailable, OSError) as error:
            self._valkey, self._away_until = None, monotonic() + PAUSE_SECONDS
            log.warning("bodies_dropped", reason=str(error))
            return "valkey"
        except Exception:
            log.exception("body_not_kept", request_id=request_id)
            return "failed"

    def _send(self, sealed: bytes) -> bool:
        if self._valkey is None:
            self._valkey = ThreadValkey(self._url, seconds=VALKEY_SECONDS)
        arguments = (1, STREAM, MOST_WAITING, MOST_WAITING_BYTES, sealed)
        try:
            return bool(self._valkey.execute_command(b"EVALSHA", KEEP.digest, *arguments))
        except ScriptFailed as error:
            if not is_forgotten(error):
                raise
        return bool(self._valkey.execute_command(b"EVAL", KEEP.source, *arguments))


def body_of(kept: Kept, request_id: str, tenant_id: int, started_at: float) -> KeptBody:
    """Return what is kept of a request: its beginning, where it is large, and few of its headers."""
    answer = kept.answer
    is_stream = answer.startswith(FRAMES)
    return KeptBody(
        request_id=request_id,
        tenant_id=tenant_id,
        started_at=started_at,
        headers=tuple(
            (name.decode("latin-1"), value[:MOST_HEADER_BYTES].decode("latin-1"))
            for name, value in kept.headers
            if name in KEPT_HEADERS
        ),
        request=kept.body[:MOST_BYTES],
        answer=answer if is_stream else answer[:MOST_BYTES],
        request_size=kept.request_size,
        answer_size=kept.size,
    )


def _is_meant(exchange: Exchange, policy: str) -> bool:
    """Whether a policy means a request; only of those that have a usage record, which leads to their body."""
    if not exchange.outcome:
        return False
    return policy == "all" or (policy == "errors" and exchange.outcome not in FINE)
