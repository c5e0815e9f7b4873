"""What a web worker tells of what is under way, once a second, and only while somebody watches.

Who watches keeps a key in Valkey alive; workers hear of it at once by an announcement, or within two seconds with what
they ask Valkey anyway. Each tells one value that holds for a few seconds. It has counts of its last seconds, numbered, so
that whoever adds workers up counts each once. The live view has no part in serving: without Valkey it is stale, no more.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic, time
from typing import TYPE_CHECKING

import msgspec
import structlog

from gateway_site.infra.valkey import HotValkey, ScriptFailed, StoreUnavailable
from routing.exchange import Exchange
from routing.flights import NOBODYS, Counts, Flights, can_stop, phase_of
from routing.health import DeploymentHealth

if TYPE_CHECKING:
    from tenants.principal import Principal

log = structlog.get_logger("tollgate.live")

CHANNEL = "tollgate:live"
WATCHED_KEY = "tollgate:live:watched"
TELLING_KEY = "tollgate:live:worker:"
STOPPED_KEY = "tollgate:live:stopped:"  # and the question's name: a list of what each worker has said
WATCHED = "watched"
STOP = "stop"
EVERYBODYS = "*"  # whose request may be stopped: anybody's
WATCHED_SECONDS = 6
TELL_SECONDS = 1.0
TELLING_SECONDS = 5  # how long a telling holds
ANSWER_SECONDS = 10  # how long it is known what came of a stop
NOT_MINE = b"-"  # a worker's answer that has stopped nothing
MOST_FLIGHTS = 200  # that one worker tells of: the oldest and the newest
INTERVALS_TOLD = 4


class Flight(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One request under way."""

    request_id: str
    age: float  # seconds
    tenant_id: int
    tenant: str
    key: str
    alias: str
    provider: str
    deployment: str
    is_stream: bool
    phase: str
    tokens: int  # written so far, as far as that is known
    attempts: int
    can_stop: bool


class Condition(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """How a deployment stands for a worker; of what is at rest and in good health nothing is told."""

    deployment: str
    provider: str
    breaker: str
    open_until: float
    cooldown_until: float
    cooldown_reason: str
    probe: str
    active: int


class Interval(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What was counted between two tellings."""

    number: int
    seconds: float
    tenants: dict[int, Counts]
    deployments: dict[str, tuple[int, int]]  # good and failed calls


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says; times are seconds since the epoch by its own clock."""

    worker: str
    began_at: float  # when it began to tell: its numbers begin with it
    at: float
    revision: int
    flights: list[Flight]
    in_flight: dict[int, int]  # requests by tenant, those that are not listed included
    intervals: list[Interval]
    conditions: list[Condition]


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker says that has stopped a request."""

    request_id: str
    tenant_id: int
    tenant: str
    key: str
    alias: str
    deployment: str
    worker: str


encode = msgspec.json.Encoder().encode
decode_telling = msgspec.json.Decoder(Telling).decode
decode_stopped = msgspec.json.Decoder(Stopped).decode


def stop_message(request_id: str, tenant_id: int | None, question: str) -> str:
    """Return the announcement that asks for a request to be stopped, if it is of this tenant; None: of any.

    Every worker answers, under the question's name: whoever asks knows at once when none has the request.
    """
    return f"{STOP} {request_id} {EVERYBODYS if tenant_id is None else tenant_id} {question}"


class LiveTelling:
    """One worker's part of the live view."""

    def __init__(
        self,
        valkey: HotValkey,
        worker: str,
        flights: Flights,
        health: Callable[[], Iterable[DeploymentHealth]],
        revision: Callable[[], int],
    ) -> None:
        self._valkey = valkey
        self._worker = worker
        self._flights = flights
        self._health = health
        self._revision = revision
        self._telling: asyncio.Task[None] | None = None
        self._answers: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Somebody watches: tell, from now until nobody does any more."""
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_while_watched(), name="live-telling")

    def hear(self, text: str) -> None:
        """Take an announcement."""
        verb, _, rest = text.partition(" ")
        if verb == WATCHED:
            self.wake()
        elif verb == STOP:
            match rest.split(" "):
                case [request_id, whose, question]:
                    self._reply(question, self._stop(request_id, whose))

    async def aclose(self) -> None:
        """Tell nothing more."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)

    async def _tell_while_watched(self) -> None:
        teller = Teller(self._worker, self._flights, self._health, self._revision)
        self._flights.watch(True)
        try:
            # Without Valkey it ends; when it is back and somebody still watches, we are woken again.
            with suppress(StoreUnavailable, ScriptFailed):
                while await self._publish(teller.tell()):
                    await asyncio.sleep(TELL_SECONDS)
        except Exception:
            log.exception("live_telling_failed", worker=self._worker)
        finally:
            self._flights.watch(False)

    async def _publish(self, telling: Telling) -> bool:
        """Send what is told; returns whether anybody still watches."""
        watched = self._valkey.call(b"EXISTS", WATCHED_KEY)
        await self._valkey.call(b"SET", TELLING_KEY + self._worker, encode(telling), b"EX", TELLING_SECONDS)
        return bool(await watched)

    def _stop(self, request_id: str, whose: str) -> Stopped | None:
        """Stop a request, if it is under way here and may be; return what was stopped."""
        exchange = self._flights.find(request_id)
        if exchange is None or exchange.principal is None:
            return None
        principal = exchange.principal
        if whose not in {EVERYBODYS, str(principal.tenant_id)} or not self._flights.stop(exchange):
            return None
        log.info("request_stopped", request_id=request_id, tenant=principal.tenant)
        return self._describe(exchange, principal)

    def _reply(self, question: str, stopped: Stopped | None) -> None:
        answer = asyncio.create_task(self._answer(question, NOT_MINE if stopped is None else encode(stopped)))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    def _describe(self, exchange: Exchange, principal: "Principal") -> Stopped:
        deployment = exchange.deployment
        return Stopped(
            request_id=exchange.request_id,
            tenant_id=principal.tenant_id,
            tenant=principal.tenant,
            key=principal.key_name,
            alias=exchange.facts.model if exchange.facts is not None else "",
            deployment=deployment.facts.slug if deployment is not None else "",
            worker=self._worker,
        )

    async def _answer(self, question: str, said: bytes) -> None:
        key = STOPPED_KEY + question
        with suppress(StoreUnavailable, ScriptFailed):
            told = self._valkey.call(b"RPUSH", key, said)
            await self._valkey.call(b"EXPIRE", key, ANSWER_SECONDS)
            await told


class Teller:
    """Makes one telling after the other, as long as somebody watches."""

    def __init__(
        self,
        worker: str,
        flights: Flights,
        health: Callable[[], Iterable[DeploymentHealth]],
        revision: Callable[[], int],
    ) -> None:
        self._worker = worker
        self._flights = flights
        self._health = health
        self._revision = revision
        self._began_at = time()
        self._told_at = monotonic()
        self._number = 0
        self._calls = {health.deployment: (health.successes, health.failures) for health in self._health()}
        self._intervals: deque[Interval] = deque(maxlen=INTERVALS_TOLD)

    def tell(self) -> Telling:
        """Return how it is now, and what was counted since the last time."""
        now, under_way = time(), [exchange for exchange in self._flights.tasks if exchange.is_logged]
        conditions, calls = self._look_at_deployments(now)
        self._add_interval(calls)
        return Telling(
            worker=self._worker,
            began_at=self._began_at,
            at=now,
            revision=self._revision(),
            flights=[_describe_flight(exchange) for exchange in _listed(under_way)],
            in_flight=_by_tenant(under_way),
            intervals=list(self._intervals),
            conditions=conditions,
        )

    def _add_interval(self, calls: dict[str, tuple[int, int]]) -> None:
        before, self._told_at = self._told_at, monotonic()
        self._number += 1
        interval = Interval(
            number=self._number,
            seconds=max(self._told_at - before, 0.001),
            tenants=self._flights.take_counts(),
            deployments=calls,
        )
        self._intervals.append(interval)

    def _look_at_deployments(self, now: float) -> tuple[list[Condition], dict[str, tuple[int, int]]]:
        conditions, calls = [], {}
        for health in self._health():
            before = self._calls.get(health.deployment, (0, 0))
            counted = (health.successes, health.failures)
            if counted != before:
                self._calls[health.deployment] = counted
                calls[health.deployment] = (max(0, counted[0] - before[0]), max(0, counted[1] - before[1]))
            is_cooling = health.cooldown_until > now
            if health.active or is_cooling or health.breaker.state != "closed" or health.probe not in {"", "ok"}:
                conditions.append(_condition(health, is_cooling))
        return conditions, calls


def _listed(under_way: list[Exchange]) -> list[Exchange]:
    if len(under_way) <= MOST_FLIGHTS:
        return under_way
    half = MOST_FLIGHTS // 2
    return [*under_way[:half], *under_way[-half:]]


def _by_tenant(under_way: Iterable[Exchange]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for exchange in under_way:
        tenant_id = exchange.principal.tenant_id if exchange.principal is not None else NOBODYS
        counts[tenant_id] = counts.get(tenant_id, 0) + 1
    return counts


def _describe_flight(exchange: Exchange) -> Flight:
    principal, facts, deployment = exchange.principal, exchange.facts, exchange.deployment
    return Flight(
        request_id=exchange.request_id,
        age=round(monotonic() - exchange.started, 2),
        tenant_id=principal.tenant_id if principal is not None else NOBODYS,
        tenant=principal.tenant if principal is not None else "",
        key=principal.key_name if principal is not None else "",
        alias=facts.model if facts is not None else "",
        provider=deployment.provider.slug if deployment is not None else "",
        deployment=deployment.facts.slug if deployment is not None else "",
        is_stream=facts is not None and facts.is_stream,
        phase=phase_of(exchange),
        tokens=exchange.frames,
        attempts=len(exchange.attempts),
        can_stop=can_stop(exchange),
    )


def _condition(health: DeploymentHealth, is_cooling: bool) -> Condition:
    breaker = health.breaker
    return Condition(
        deployment=health.deployment,
        provider=health.provider,
        breaker=breaker.state,
        open_until=breaker.open_until if breaker.state == "open" else 0.0,
        cooldown_until=health.cooldown_until if is_cooling else 0.0,
        cooldown_reason=health.cooldown_reason if is_cooling else "",
        probe=health.probe,
        active=health.active,
    )
