"""What a worker holds while it serves: connections, the configuration, and what keeps both current."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from time import monotonic, time

import msgspec
import structlog
from django.db import DatabaseError

from gateway_site import __version__
from gateway_site.infra import valkey
from gateway_site.infra.alarms import Alarms
from gateway_site.infra.postgres import CHECK_SECONDS, PostgresWatch
from gateway_site.infra.secrets import SecretUnreadable, decrypt
from gateway_site.infra.telemetry import config_revision
from gateway_site.infra.threads import run_query
from gateway_site.infra.valkey import HotValkey, ScriptFailed, StoreUnavailable, ThreadValkey
from providers.canonical.seals import SealBox
from providers.transport import Transport
from routing import health_sharing, live, snapshot_store
from routing.flights import flights
from routing.gate import Gates
from routing.health import HealthBoard
from routing.health_sharing import SCRIPTS as HEALTH_SCRIPTS
from routing.health_sharing import TALLY_SECONDS, HealthSharing
from routing.keeping import BodyKeeper
from routing.observe import active_connections, active_requests, answers
from routing.relay import active_streams, buffered_bytes
from routing.report import (
    PUBLISH_SECONDS,
    REPORT,
    WorkerReport,
    describe_deployments,
    publish_report,
    withdraw_report,
)
from routing.snapshot import EMPTY, LiveDeployment, LiveSnapshot, Provider, Secrets, Snapshot, encode
from tenants import keys
from tenants.announcements import CHANNEL as PRINCIPALS_CHANNEL
from tenants.auth import GENERATION_KEY, Authenticator
from tenants.limits.admission import Admission
from tenants.limits.journal import Journal
from tenants.limits.scripts import SCRIPTS
from tenants.limits.spool import Spool

log = structlog.get_logger("tollgate.runtime")

HOST = socket.gethostname()[:50]  # a worker's name has 64 characters in the ledger
LISTEN_AGAIN_SECONDS = 0.5
POLL_SECONDS = 2.0
HOUSEKEEPING_SECONDS = 5.0
SETTLE_SECONDS = 2.0  # how long requests that were cancelled by a shutdown may take to settle


class Runtime:
    """Opened with the worker, closed with it; the data plane's handlers get it with every request."""

    def __init__(
        self,
        *,
        valkey_url: str,
        state_dir: Path,
        peppers: list[str],
        cache_size: int,
        cache_seconds: float,
        seal_secrets: Sequence[str],
        expected_workers: int = 1,
    ) -> None:
        self.worker = f"{HOST}-{os.getpid()}"
        self.started_at = self.loaded_at = time()
        # Web workers that live, this one included; the last known number while Valkey is away.
        self.peers = expected_workers
        self.is_configured = False  # a configuration was found, if only an empty one
        self.snapshot = LiveSnapshot(EMPTY, {})
        self.valkey = HotValkey(valkey_url, scripts=(*SCRIPTS, *HEALTH_SCRIPTS, REPORT))
        self.transport = Transport()
        self.gates = Gates()
        self.alarms = Alarms()
        self.postgres = PostgresWatch()
        self.spool = Spool(state_dir / "spool", self.worker)
        self.journal = Journal(state_dir / "spool", self.worker)
        self.admission = Admission(self.valkey, self.spool, self.journal, cache_size=cache_size)
        self.admission.peers = self.peers
        self.admission.count_budgets = self._count_budgets
        self._counting: asyncio.Task[int] | None = None  # of what was spent, when Valkey has come up empty
        self.authenticator = Authenticator(
            self.valkey, peppers=keys.peppers(peppers), cache_size=cache_size, cache_seconds=cache_seconds
        )
        self.bodies = BodyKeeper(valkey_url)
        self.health = HealthBoard(self.worker)
        self.sharing = HealthSharing(self.health, self.valkey, self.worker)
        self.live = live.LiveTelling(self.valkey, self.worker, flights, self.health.all, lambda: self.snapshot.number)
        self._giving_back: set[asyncio.Task[None]] = set()
        self._seal_secrets = [secret.encode() for secret in seal_secrets]
        self._seal_boxes: dict[int, SealBox] = {}
        self._valkey_url = valkey_url
        self._state_dir = state_dir
        self._generation: bytes | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def seal_box(self, tenant_id: int) -> SealBox:
        """Return the box that packs and opens a tenant's seals."""
        box = self._seal_boxes.get(tenant_id)
        if box is None:
            box = self._seal_boxes[tenant_id] = SealBox(self._seal_secrets, tenant_id)
        return box

    async def open(self) -> None:
        """Connect, load the configuration from wherever it can be had, and begin to follow changes."""
        await self.valkey.open()
        self.spool.adopt(_is_running)
        await self._boot()
        for work, pause in (
            (self._listen, LISTEN_AGAIN_SECONDS),
            (self._catch_up, POLL_SECONDS),
            (self._keep_house, HOUSEKEEPING_SECONDS),
            (self._report, PUBLISH_SECONDS),
            (self.sharing.tell_tallies, TALLY_SECONDS),
            (self.postgres.check, CHECK_SECONDS),
        ):
            self._tasks.append(asyncio.create_task(self._repeat(work, pause), name=work.__name__))

    async def aclose(self) -> None:
        """Let what is being settled be settled, replay what was spooled if that is possible, and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.live.aclose()
        self.admission.spares.close()
        deadline = monotonic() + SETTLE_SECONDS
        while not (self.admission.is_idle and self.admission.spares.is_idle) and monotonic() < deadline:
            await asyncio.sleep(0.01)
        with suppress(StoreUnavailable, ScriptFailed):
            await self.admission.settles.replay()
        self.admission.settles.spool_doubtful()
        with suppress(StoreUnavailable, ScriptFailed):
            await withdraw_report(self.valkey, self.worker)
        await self.bodies.aclose()
        await self.postgres.aclose()
        await self.transport.aclose()
        await self.valkey.aclose()
        if self.admission.is_idle:
            self.journal.close()

    async def take_slot(self, deployment: LiveDeployment) -> bool:
        """Take the slot of a half-open breaker: first of this worker, then among all of them."""
        health = deployment.health
        if not self.health.take_slot(health, time()):
            return False
        try:
            if await self.sharing.claim_slot(health.deployment):
                return True
        except asyncio.CancelledError:
            self.give_back_slot(deployment)  # it may have been claimed all the same
            raise
        health.breaker.give_back_slot()
        return False

    def give_back_slot(self, deployment: LiveDeployment) -> None:
        """Let the next request of any worker try."""
        deployment.health.breaker.give_back_slot()
        task = asyncio.create_task(self.sharing.give_back(deployment.health.deployment))
        self._giving_back.add(task)
        task.add_done_callback(self._giving_back.discard)

    def _equip(self, deployment: LiveDeployment) -> None:
        """Give a deployment what this worker knows of it."""
        provider = deployment.provider
        deployment.health = self.health.of(deployment.facts.slug, provider.slug)
        deployment.health.configure(provider.breaker, provider.cooldown)
        deployment.gates = self.gates

    def swap(self, snapshot: Snapshot) -> None:
        """Serve another configuration from now on; requests in flight keep theirs."""
        secrets = {provider.slug: _decrypted(provider) for provider in snapshot.providers}
        self.snapshot = LiveSnapshot(snapshot, secrets, self._equip)
        self.health.keep_only(self.snapshot.slugs)
        self.loaded_at = time()
        self.transport.keep_only(self.snapshot.pools)
        self.gates.keep(snapshot.providers, peers=self.peers)
        config_revision.set(snapshot.number)
        log.info("configuration_loaded", revision=snapshot.number, worker=self.worker)

    def report(self) -> WorkerReport:
        """Say how this worker is, at this moment."""
        now = time()
        return WorkerReport(
            worker=self.worker,
            host=HOST,
            pid=os.getpid(),
            version=__version__,
            started_at=self.started_at,
            at=now,
            revision=self.snapshot.number,
            revision_since=self.loaded_at,
            active_requests=active_requests.value,
            active_streams=active_streams.value,
            active_connections=active_connections.value,
            buffered_bytes=buffered_bytes(),
            requests_total=answers.total,
            streams_total=answers.streams,
            requests_failed=answers.failed,
            average_latency_ms=round(answers.seconds / answers.total * 1000, 2) if answers.total else None,
            components={
                "valkey": "up" if self.valkey.is_connected else "down",
                "postgres": self.postgres.state,
                "spool": "empty" if self.spool.is_empty else "waiting",
            },
            deployments=describe_deployments(self.snapshot.deployments.values(), self.health, now),
            connections=_statistics(self.transport),
            gates=_statistics(self.gates),
        )

    async def _report(self) -> None:
        peers = await publish_report(self.valkey, self.report())
        # Fewer are believed the second time only: the first report after Valkey was away may come before the others'.
        self.admission.peers = max(peers, self.peers)
        self.gates.share(self.admission.peers)
        if peers != self.peers:
            log.debug("peers_changed", before=self.peers, after=peers)
            self.peers = peers

    async def _boot(self) -> None:
        """Serve the newest configuration that can be had: from Valkey, else Postgres, else the last copy on disk."""
        for source in (self._from_valkey, self._from_postgres, self._from_disk):
            blob = await source()
            if blob is not None and self._serve(blob):
                return

    async def _from_valkey(self) -> bytes | None:
        with suppress(StoreUnavailable, ScriptFailed):
            found = await self.valkey.call(b"GET", snapshot_store.SNAPSHOT_KEY)
            return found if isinstance(found, bytes) else None
        return None

    async def _from_postgres(self) -> bytes | None:
        try:
            return await run_query(snapshot_store.newest_blob) or encode(EMPTY)
        except Exception as error:
            log.error("boot_without_stores", reason=str(error).strip())
            return None

    async def _from_disk(self) -> bytes | None:
        return snapshot_store.read_copy(self._state_dir)

    def _serve(self, blob: bytes) -> bool:
        """Serve a stored configuration if it is newer, and keep a copy; False when this version cannot serve it."""
        try:
            snapshot = snapshot_store.decode(blob)
            if snapshot.number > self.snapshot.number:
                self.swap(snapshot)
                snapshot_store.write_copy(self._state_dir, blob)
            self.is_configured = True
            return True
        except Exception as error:
            log.error("configuration_unusable", reason=f"{type(error).__name__}: {error}")
            return False

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause: float) -> None:
        """Do some work again and again: were it to end with its first failure, nobody would notice."""
        while True:
            try:
                await work()
            except (StoreUnavailable, ScriptFailed) as error:
                log.debug("store_away", work=work.__name__, reason=str(error))
            except Exception:
                log.exception("background_work_failed", work=work.__name__)
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        """Follow announcements; what was announced while nobody listened is caught up with first."""
        channels = (PRINCIPALS_CHANNEL, snapshot_store.CHANNEL, health_sharing.CHANNEL, live.CHANNEL)
        async with aclosing(valkey.subscribe(self._valkey_url, *channels)) as messages:
            async for message in messages:
                if message is None:
                    self.authenticator.forget()
                    await self._catch_up()
                    await self.sharing.catch_up()
                else:
                    await self._hear(*message)

    async def _hear(self, channel: str, text: str) -> None:
        if channel == PRINCIPALS_CHANNEL:
            self.authenticator.forget(int(text) if text.isdigit() else None)
        elif channel == health_sharing.CHANNEL:
            self.sharing.hear(text)
        elif channel == live.CHANNEL:
            self.live.hear(text)
        elif text.isdigit() and int(text) > self.snapshot.number:
            await self._load_announced()

    async def _load_announced(self) -> None:
        blob = await self.valkey.call(b"GET", snapshot_store.SNAPSHOT_KEY)
        if isinstance(blob, bytes):
            self._serve(blob)

    async def _catch_up(self) -> None:
        """Notice changes whose announcements were lost, and that somebody watches."""
        keys = (snapshot_store.NUMBER_KEY, GENERATION_KEY, live.WATCHED_KEY)
        number, generation, watched = await self.valkey.call(b"MGET", *keys)
        if watched is not None:
            self.live.wake()
        if generation != self._generation:
            self.authenticator.forget()
            self._generation = generation
        if number is not None and int(number) > self.snapshot.number:
            await self._load_announced()

    async def _count_budgets(self) -> None:
        """Count what was spent of every budget, once for all that wait for it; raises StoreUnavailable."""
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(run_query(_count_budgets, self._valkey_url))
        try:
            await asyncio.shield(self._counting)
        except (OSError, DatabaseError) as error:
            raise StoreUnavailable(f"What was spent of the budgets cannot be counted: {error}") from error

    async def _keep_house(self) -> None:
        if not self.is_configured:
            await self._boot()
        await self.admission.renew_leases()
        await self.admission.settles.replay()
        await self.sharing.catch_up()


def _count_budgets(valkey_url: str) -> int:
    from tenants import counters  # with the ledger, which no worker needs otherwise

    client = ThreadValkey(valkey_url)
    try:
        return counters.rebuild(client)
    except counters.NeverQuiet as error:
        raise StoreUnavailable("What was spent of the budgets could not be counted yet.") from error
    finally:
        client.close()


def _decrypted(provider: Provider) -> Secrets:
    """Return a provider's secrets, without those that no key opens."""
    found = {}
    for name in ("credential", "proxy", "client_key"):
        if encrypted := getattr(provider, name):
            try:
                found[name] = decrypt(encrypted)
            except SecretUnreadable as error:
                log.error("credential_unreadable", provider=provider.slug, secret=name, reason=str(error))
    return Secrets(**found)


def _statistics(owner: object) -> list[dict[str, object]]:
    statistics = getattr(owner, "statistics", None)
    return msgspec.to_builtins(list(statistics())) if statistics is not None else []


def _is_running(worker: str) -> bool:
    """Whether a worker still runs; of other hosts we cannot know, and leave their spool to them."""
    host, _, pid = worker.rpartition("-")
    return host != HOST or (pid.isdigit() and Path(f"/proc/{pid}").exists())
