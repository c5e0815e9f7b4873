"""What a worker holds while it serves: connections, the configuration, and what keeps both current."""

import asyncio
import os
import socket
from contextlib import aclosing, suppress
from pathlib import Path

import structlog

from gateway_site.infra import valkey
from gateway_site.infra.secrets import SecretUnreadable, decrypt
from gateway_site.infra.telemetry import config_revision
from gateway_site.infra.threads import run_query
from gateway_site.infra.valkey import HotValkey, ScriptFailed, StoreUnavailable
from providers.transport import Transport
from routing import snapshot_store
from routing.snapshot import EMPTY, LiveSnapshot, Snapshot
from tenants import keys
from tenants.announcements import CHANNEL as PRINCIPALS_CHANNEL
from tenants.auth import GENERATION_KEY, Authenticator
from tenants.limits.admission import SCRIPTS, Admission
from tenants.limits.spool import Spool

log = structlog.get_logger("tollgate.runtime")

POLL_SECONDS = 2.0
HOUSEKEEPING_SECONDS = 5.0


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
    ) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}"
        self.snapshot = LiveSnapshot(EMPTY, {})
        self.valkey = HotValkey(valkey_url, scripts=SCRIPTS)
        self.transport = Transport()
        self.spool = Spool(state_dir / "spool", self.worker)
        self.admission = Admission(self.valkey, self.spool, cache_size=cache_size)
        self.authenticator = Authenticator(
            self.valkey, peppers=keys.peppers(peppers), cache_size=cache_size, cache_seconds=cache_seconds
        )
        self._valkey_url = valkey_url
        self._state_dir = state_dir
        self._generation: bytes | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect, load the configuration from wherever it can be had, and begin to follow changes."""
        await self.valkey.open()
        self.spool.adopt(_is_running)
        self.swap(await self._boot())
        for work in (self._listen, self._poll, self._keep_house):
            self._tasks.append(asyncio.create_task(work(), name=work.__name__))

    async def aclose(self) -> None:
        """Stop following, replay what was spooled if that is possible, and close every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(StoreUnavailable, ScriptFailed):
            await self.admission.replay()
        await self.transport.aclose()
        await self.valkey.aclose()

    def swap(self, snapshot: Snapshot) -> None:
        """Serve another configuration from now on; requests in flight keep theirs."""
        credentials = {}
        for provider in snapshot.providers:
            if provider.credential:
                try:
                    credentials[provider.slug] = decrypt(provider.credential)
                except SecretUnreadable as error:
                    log.error("credential_unreadable", provider=provider.slug, reason=str(error))
        self.snapshot = LiveSnapshot(snapshot, credentials)
        self.transport.keep_only(self.snapshot.pools)
        config_revision.set(snapshot.number)
        log.info("configuration_loaded", revision=snapshot.number, worker=self.worker)

    async def _boot(self) -> Snapshot:
        """Return the newest configuration that can be had: from Valkey, else Postgres, else the last copy on disk."""
        with suppress(StoreUnavailable, ScriptFailed):
            found = await self.valkey.call(b"GET", snapshot_store.SNAPSHOT_KEY)
            if isinstance(found, bytes):
                return self._keep(found)
        try:
            blob = await run_query(snapshot_store.newest_blob)
            return self._keep(blob) if blob is not None else EMPTY
        except Exception as error:
            log.error("boot_without_stores", reason=str(error).strip())
        return snapshot_store.read_copy(self._state_dir) or EMPTY

    def _keep(self, blob: bytes) -> Snapshot:
        snapshot = snapshot_store.decode(blob)
        snapshot_store.write_copy(self._state_dir, blob)
        return snapshot

    async def _listen(self) -> None:
        """Follow announcements; whenever the subscription was lost, catch up with what it missed."""
        while True:
            try:
                channels = (PRINCIPALS_CHANNEL, snapshot_store.CHANNEL)
                async with aclosing(valkey.subscribe(self._valkey_url, *channels)) as messages:
                    async for message in messages:
                        if message is None:
                            await self._catch_up()
                        else:
                            await self._hear(*message)
            except (StoreUnavailable, ScriptFailed) as error:
                log.warning("announcements_lost", reason=str(error))
                await asyncio.sleep(0.5)

    async def _hear(self, channel: str, text: str) -> None:
        if channel == PRINCIPALS_CHANNEL:
            self.authenticator.forget(int(text) if text.isdigit() else None)
        elif text.isdigit() and int(text) > self.snapshot.number:
            await self._load_announced()

    async def _load_announced(self) -> None:
        blob = await self.valkey.call(b"GET", snapshot_store.SNAPSHOT_KEY)
        if isinstance(blob, bytes):
            snapshot = snapshot_store.decode(blob)
            if snapshot.number > self.snapshot.number:
                snapshot_store.write_copy(self._state_dir, blob)
                self.swap(snapshot)

    async def _poll(self) -> None:
        """The fallback for announcements that were lost."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with suppress(StoreUnavailable, ScriptFailed):
                await self._catch_up()

    async def _catch_up(self) -> None:
        number, generation = await self.valkey.call(
            b"MGET", snapshot_store.NUMBER_KEY, GENERATION_KEY
        )
        if generation != self._generation:
            if self._generation is not None:
                self.authenticator.forget()
            self._generation = generation
        if number is not None and int(number) > self.snapshot.number:
            await self._load_announced()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            await self.admission.renew_leases()
            with suppress(StoreUnavailable, ScriptFailed):
                await self.admission.replay()


def _is_running(worker: str) -> bool:
    """Whether a worker still runs; of other hosts we cannot know, and leave their spool to them."""
    host, _, pid = worker.rpartition("-")
    return host != socket.gethostname() or (pid.isdigit() and Path(f"/proc/{pid}").exists())
