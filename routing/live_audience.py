"""Who watches at this worker: one look at Valkey a second, one snapshot for all of them.

The sequence number is Valkey's time in seconds, so it goes up over workers and reconnections. When Valkey is away, viewers
are told since when what they see is stale.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import msgspec
import structlog

from gateway_site.infra.valkey import ScriptFailed, StoreUnavailable
from routing.live import CHANNEL, TELLING_KEY, WATCHED, WATCHED_KEY, WATCHED_SECONDS, Telling, decode_telling, encode
from routing.live_view import LiveView, Place, Snapshot, show_to_operator, show_to_tenant
from routing.report import WORKERS_KEY
from routing.runtime import Runtime
from routing.snapshot import LiveSnapshot

log = structlog.get_logger("tollgate.live")

LINGER_SECONDS = 60.0  # a page that is loaded again finds its curves
TICK_SECONDS = 1.0
MOST_VIEWERS = 500  # of a worker
MOST_OF_A_SESSION = 20
MOST_SECONDS = 1.5  # Valkey's deadline ends a look earlier


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody may see: all, or one tenant."""

    tenant_id: int | None  # None: an operator
    sees_upstreams: bool = False
    models: tuple[str, ...] | None = None  # that the tenant may use; None: all

    def may_use(self, alias: str) -> bool:
        """Whether the tenant may use an alias."""
        if self.models is None or alias in self.models:
            return True
        return any(each.endswith("*") and alias.startswith(each[:-1]) for each in self.models)


class Viewer(Protocol):
    """Somebody who watches."""

    seat: Seat
    session: str

    def show(self, text: str) -> None:
        """Take the newest; what was not sent yet may be dropped."""


class Audience:
    """All viewers of one worker."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._viewers: set[Viewer] = set()
        self._view = LiveView()
        self._task: asyncio.Task[None] | None = None
        self._left_at = 0.0
        self._stale_since: float | None = None  # Valkey's time of the last snapshot, once there is no newer one
        self._last_at = 0.0
        self._reach: dict[Seat, tuple[int, frozenset[str]]] = {}

    def has_room(self, session: str) -> bool:
        """Whether one more of a session can watch: each asks the database every few seconds."""
        of_session = sum(viewer.session == session for viewer in self._viewers)
        return len(self._viewers) < MOST_VIEWERS and of_session < MOST_OF_A_SESSION

    def join(self, viewer: Viewer) -> str:
        """Show every second from now on; returns the last two minutes, as far as they are known here."""
        self._viewers.add(viewer)
        if self._task is None or self._task.done():
            self._view = LiveView()
            self._task = asyncio.create_task(self._watch(), name="live-audience")
        return _text({"kind": "history", "points": self._view.history(viewer.seat.tenant_id)})

    def leave(self, viewer: Viewer) -> None:
        """One viewer less."""
        self._viewers.discard(viewer)
        self._left_at = monotonic()

    async def _watch(self) -> None:
        while self._viewers or monotonic() - self._left_at < LINGER_SECONDS:
            pause = TICK_SECONDS
            try:
                async with asyncio.timeout(MOST_SECONDS):
                    pause = await self._tick()
            except (StoreUnavailable, ScriptFailed, TimeoutError):
                self._tell_stale()
            except Exception:
                log.exception("live_snapshot_failed", worker=self._runtime.worker)
                self._tell_stale()
            await asyncio.sleep(pause)
        self._reach.clear()

    async def _tick(self) -> float:
        """Show a snapshot to everybody; returns how long it is to the next second of Valkey's clock."""
        valkey = self._runtime.valkey
        time = valkey.call(b"TIME")
        names = valkey.call(b"ZRANGE", WORKERS_KEY, 0, -1)
        before = await valkey.call(b"SET", WATCHED_KEY, 1, b"EX", WATCHED_SECONDS, b"GET")
        if before is None:
            await valkey.call(b"PUBLISH", CHANNEL, WATCHED)
        seconds, micros = map(int, await time)
        tellings = await self._read([name.decode() for name in await names])
        snapshot = self._view.add_up(
            tellings, _places(self._runtime.snapshot), sequence=seconds, at=seconds + micros / 1e6
        )
        self._last_at, self._stale_since = snapshot.at, None
        self._show(snapshot)
        return TICK_SECONDS - micros / 1e6 + 0.02

    async def _read(self, names: list[str]) -> dict[str, Telling | None]:
        if not names:
            return {}
        blobs = await self._runtime.valkey.call(b"MGET", *(TELLING_KEY + name for name in names))
        tellings: dict[str, Telling | None] = dict.fromkeys(names)
        for name, blob in zip(names, blobs, strict=True):
            with suppress(msgspec.DecodeError):  # of another version
                tellings[name] = None if blob is None else decode_telling(blob)
        return tellings

    def _show(self, snapshot: Snapshot) -> None:
        texts: dict[Seat, str] = {}
        for viewer in self._viewers:
            text = texts.get(viewer.seat)
            if text is None:
                text = texts[viewer.seat] = _text(self._shown(snapshot, viewer.seat))
            viewer.show(text)

    def _shown(self, snapshot: Snapshot, seat: Seat) -> dict[str, Any]:
        if seat.tenant_id is None:
            return show_to_operator(snapshot, sees_upstreams=seat.sees_upstreams)
        return show_to_tenant(snapshot, seat.tenant_id, self._reachable(seat))

    def _reachable(self, seat: Seat) -> frozenset[str]:
        """Return the deployments behind the names that a tenant can send, which change with revisions only."""
        configured = self._runtime.snapshot
        known = self._reach.get(seat)
        if known is None or known[0] != configured.number:
            known = self._reach[seat] = configured.number, reachable(configured, seat)
        return known[1]

    def _tell_stale(self) -> None:
        if self._stale_since is None:
            self._stale_since = self._last_at
        text = _text({"kind": "stale", "since": self._stale_since or None})
        for viewer in self._viewers:
            viewer.show(text)


def reachable(configured: LiveSnapshot, seat: Seat) -> frozenset[str]:
    """Return the deployments that serve what a tenant may use."""
    found: set[str] = set()
    for name in configured.names_for(seat.tenant_id or 0):
        route = configured.resolve(name, seat.tenant_id or 0) if seat.may_use(name) else None
        if route is not None:
            found.update(target.facts.deployment for target in route.targets)
    return frozenset(found)


def _places(configured: LiveSnapshot) -> Iterable[Place]:
    return [
        Place(deployment=live.facts.slug, provider=live.provider.slug, is_enabled=live.is_enabled)
        for live in configured.deployments.values()
    ]


def _text(message: dict[str, Any]) -> str:
    return encode(message).decode()


_audiences: WeakKeyDictionary[Runtime, Audience] = WeakKeyDictionary()


def audience_of(runtime: Runtime) -> Audience:
    """Return the audience of a worker."""
    audience = _audiences.get(runtime)
    if audience is None:
        audience = _audiences[runtime] = Audience(runtime)
    return audience
