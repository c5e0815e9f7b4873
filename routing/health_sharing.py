"""What workers tell each other of deployments' health. Decisions are made in `health.py`, here they are only carried.

    tollgate:health            announcements: changes, tallies of troubled deployments, what probes found
    tollgate:health:states     hash: what holds, for workers that start or have missed something
    tollgate:health:events     stream: every change, on its way into the database (`health_events.py`)
    tollgate:probes            hash: what the last probe of each deployment found
    tollgate:breaker:<deployment>:slot     the one request that may try while a breaker is half-open

Without Valkey every worker goes by what it sees itself. Changes of that time are told when it is back; tallies are not.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

import msgspec
import structlog

from gateway_site.infra import telemetry
from gateway_site.infra.tallies import Count
from gateway_site.infra.valkey import HotValkey, Script, ScriptFailed, StoreUnavailable
from providers.health_feed import CHANNEL, EVENTS_KEPT, EVENTS_STREAM, PROBES_KEY, STATES_KEY, encode, field_of
from routing.health import DeploymentHealth, HealthBoard, HealthChange, Tally
from routing.policy.breaker import Breaker

log = structlog.get_logger("tollgate.health")

SLOT_KEY = "tollgate:breaker:{}:slot"
SLOT_MILLISECONDS = 30_000
TALLY_SECONDS = 0.1
UNTOLD_KEPT = 1_000  # changes that wait for Valkey
TELL = Script(Path(__file__).with_name("health.lua"))
GIVE_BACK = Script(Path(__file__).with_name("give_back_slot.lua"))
SCRIPTS = (TELL, GIVE_BACK)
NUMBER_OF_STATE = {"closed": 0, "half_open": 1, "open": 2}
FAILED_PROBES = frozenset({"unreachable", "rejected"})

health_events = Count(telemetry.health_events)


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An announcement: one of the three."""

    worker: str = ""
    change: HealthChange | None = None
    tallies: tuple[Tally, ...] = ()
    probes: dict[str, str] | None = None  # of all deployments that are probed


_read_message = msgspec.json.Decoder(Message).decode
_read_change = msgspec.json.Decoder(HealthChange).decode


class HealthSharing:
    """One worker's ear and voice."""

    def __init__(self, board: HealthBoard, valkey: HotValkey, worker: str) -> None:
        self._board = board
        self._valkey = valkey
        self._worker = worker
        self._untold: deque[HealthChange] = deque(maxlen=UNTOLD_KEPT)
        self._telling: asyncio.Task[None] | None = None
        self._measured: set[str] = set()
        board.listeners.append(self._decided)

    # --- Telling --------------------------------------------------------------------------------------------

    def _decided(self, change: HealthChange) -> None:
        """Log and count what was decided here, and tell the others."""
        if change.kind == "cooled_down" and change.old == "cooling":
            pass  # only longer than before: others must know, nobody needs to read it
        else:
            _log(change)
            health_events.add(change.deployment, change.kind)
        self._untold.append(change)
        self._measure_one(change.deployment)
        if self._telling is None or self._telling.done():
            with suppress(RuntimeError):  # no event loop: it is told with the next tallies
                self._telling = asyncio.get_running_loop().create_task(self._tell_quietly())

    async def _tell_quietly(self) -> None:
        with suppress(StoreUnavailable):
            await self.tell()

    async def tell(self) -> None:
        """Tell what others have not heard; raises StoreUnavailable, and it is told later."""
        while self._untold:
            change = self._untold[0]
            held = await self._tell(change)
            if self._untold and self._untold[0] is change:
                self._untold.popleft()
            if held is not None and held.worker != self._worker:
                self._adopt(held)

    async def _tell(self, change: HealthChange) -> HealthChange | None:
        """Tell one change; returns what holds instead when another worker was first."""
        field = field_of(change.deployment, is_cooldown=change.kind == "cooled_down")
        announcement = encode(Message(worker=self._worker, change=change))
        arguments = (field, encode(change), CHANNEL, announcement, EVENTS_KEPT, repr(time()))
        try:
            held = await self._valkey.run(TELL, (STATES_KEY, EVENTS_STREAM), *arguments)
        except ScriptFailed as error:
            log.error("health_change_not_shared", deployment=change.deployment, kind=change.kind, reason=str(error))
            return None
        return _change(held)

    async def tell_tallies(self) -> None:
        """Tell outcomes of troubled deployments, and what could not be told before; raises StoreUnavailable.

        Deployments in good health have none, so healthy traffic says nothing.
        """
        tallies = self._board.take_tallies()
        if tallies:
            message = encode(Message(worker=self._worker, tallies=tuple(tallies)))
            await self._valkey.call(b"PUBLISH", CHANNEL, message)
        if self._untold and (self._telling is None or self._telling.done()):
            await self.tell()

    # --- Hearing --------------------------------------------------------------------------------------------

    def hear(self, text: str) -> None:
        """Take in an announcement."""
        try:
            message = _read_message(text)
        except msgspec.DecodeError as error:
            log.debug("health_message_unreadable", reason=str(error))  # of another version
            return
        if message.worker == self._worker:
            return
        if message.change is not None:
            self._adopt(message.change)
        if message.tallies:
            self._board.add_tallies(message.tallies, time())
        if message.probes is not None:
            self._take_probes(message.probes)

    async def catch_up(self) -> None:
        """Adopt what holds and was not heard: at the start, and now and then; raises StoreUnavailable."""
        states = self._valkey.call(b"HGETALL", STATES_KEY)
        probes = await self._valkey.call(b"HGETALL", PROBES_KEY)
        for held in (await states)[1::2]:
            change = _change(held)
            if change is not None and self._is_news(change):
                # Without its name: a worker that was started again may have the name of the one that decided it.
                self._adopt(msgspec.structs.replace(change, worker=""))
        self._take_probes({slug.decode(): found.decode() for slug, found in _pairs(probes)})
        self.measure()

    def _is_news(self, change: HealthChange) -> bool:
        entry = self._board.find(change.deployment)
        if entry is None:
            return False
        return change.kind == "cooled_down" or change.at > entry.breaker.changed_at

    def _adopt(self, change: HealthChange) -> None:
        entry = self._board.find(change.deployment)
        if entry is None or (change.kind == "breaker_opened" and not entry.breaker.settings.enabled):
            return
        self._board.adopt(change)
        self._measure_one(change.deployment)

    def _take_probes(self, probes: Mapping[str, str]) -> None:
        for entry in self._board.all():
            entry.probe = probes.get(entry.deployment, "")

    # --- The half-open slot ---------------------------------------------------------------------------------

    async def claim_slot(self, deployment: str) -> bool:
        """Take the one try that all workers have together; True without Valkey, for each has its own then."""
        key = SLOT_KEY.format(deployment)
        try:
            reply = await self._valkey.call(b"SET", key, self._worker, b"NX", b"PX", SLOT_MILLISECONDS)
        except (StoreUnavailable, ScriptFailed):
            return True
        return reply is not None

    async def give_back(self, deployment: str) -> None:
        """Let the next request of any worker try; a slot that another worker has by now stays its own."""
        with suppress(StoreUnavailable, ScriptFailed):
            await self._valkey.run(GIVE_BACK, (SLOT_KEY.format(deployment),), self._worker)

    # --- Metrics --------------------------------------------------------------------------------------------

    def measure(self) -> None:
        """Set the gauges of all deployments; those that are gone are in good health."""
        entries = self._board.all()
        for entry in entries:
            _measure(entry)
        present = {entry.deployment for entry in entries}
        for slug in self._measured - present:
            telemetry.breaker_state.labels(slug).set(0)
            telemetry.probe_failing.labels(slug).set(0)
        self._measured = present

    def _measure_one(self, deployment: str) -> None:
        entry = self._board.find(deployment)
        if entry is not None:
            _measure(entry)


def _measure(entry: DeploymentHealth) -> None:
    telemetry.breaker_state.labels(entry.deployment).set(_number(entry.breaker))
    telemetry.probe_failing.labels(entry.deployment).set(entry.probe in FAILED_PROBES)


def _number(breaker: Breaker) -> int:
    """The state as a number; an open breaker that a request may try is half-open, though none has come yet."""
    if not breaker.settings.enabled:
        return 0
    return 1 if breaker.state == "open" and breaker.open_until <= time() else NUMBER_OF_STATE[breaker.state]


def _log(change: HealthChange) -> None:
    told: dict[str, Any] = {"deployment": change.deployment, "provider": change.provider}
    told |= {"old": change.old, "new": change.new, "reason": change.reason, "worker": change.worker}
    if change.until is not None:
        told["seconds"] = round(change.until - change.at, 1)
    match change.kind:
        case "breaker_opened":
            log.error("breaker_opened", **told)
        case "breaker_half_open":
            log.info("breaker_half_open", **told)
        case "breaker_closed":
            log.warning("breaker_closed", **told)
        case "cooled_down":
            log.warning("cooled_down", **told)


def _change(held: bytes | None) -> HealthChange | None:
    if held is None:
        return None
    try:
        return _read_change(held)
    except msgspec.DecodeError as error:
        log.debug("health_state_unreadable", reason=str(error))  # of another version
        return None


def _pairs(flat: list[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
