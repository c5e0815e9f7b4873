"""What a worker serves, and how it keeps current: with real stores that come, go and forget."""

import asyncio
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from cryptography.fernet import Fernet
from django.db import connections

from gateway_site.infra.threads import run_query
from providers.models import Provider
from routing import runtime as runtime_module
from routing.models import ConfigRevision, ModelAlias, Route
from routing.runtime import Runtime
from routing.services import publish, roll_back
from routing.snapshot import EMPTY, Alias, Snapshot, decode, encode
from routing.snapshot import Deployment as CompiledDeployment
from routing.snapshot import Provider as CompiledProvider
from routing.snapshot_store import CHANNEL, NUMBER_KEY, SNAPSHOT_KEY, write_copy
from tenants.limits.admission import Request, Reservation
from tenants.limits.scripts import RESERVATIONS, USAGE_STREAM
from tenants.limits.spool import SpooledSettle
from tenants.models import Tenant
from tenants.services import create_key
from tenants.usage_event import UsageEvent
from tenants.usage_event import decode as read_event
from tenants.usage_event import encode as write_event
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.routing.catalogue import CREDENTIAL, Catalogue, make_catalogue
from tests.routing.runtimes import runtime_at
from tests.tenants.limits.gate import at_once, caller, lease_key

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def catalogue() -> Catalogue:
    """Published as revision 1."""
    catalogue = make_catalogue()
    publish()
    return catalogue


@pytest.fixture
def _never_polls(monkeypatch) -> None:
    """What is noticed in a test was announced."""
    monkeypatch.setattr(runtime_module, "POLL_SECONDS", 60)


@asynccontextmanager
async def listening(state_dir: Path, client: redis.Redis) -> AsyncIterator[Runtime]:
    """A runtime that hears announcements by now."""
    before = listeners(client)
    async with runtime_at(state_dir) as runtime:
        await eventually(lambda: listeners(client) == before + 1)
        yield runtime


def listeners(client: redis.Redis) -> int:
    return client.pubsub_numsub(CHANNEL)[0][1]


@contextmanager
def postgres_away(folder: Path) -> Iterator[None]:
    """Let the database be looked for in a folder where there is none."""
    database = connections.settings["default"]
    host, database["HOST"] = database["HOST"], str(folder)
    try:
        yield
    finally:
        database["HOST"] = host


def retries(runtime: Runtime) -> int:
    return runtime.snapshot.routes["openai-smart"].facts.retries


async def publish_retries(number: int) -> int:
    """Publish a change, and return the number of the revision."""

    def change() -> int:
        Route.objects.update(retries=number)
        return publish().number

    return await run_query(change)


def put(client: redis.Redis, blob: bytes, *, number: int) -> None:
    """Put a configuration into Valkey without a word to anybody."""
    client.mset({SNAPSHOT_KEY: blob, NUMBER_KEY: number})


def renumbered(number: int, **changes: Any) -> bytes:
    """Return the newest published configuration under another number."""
    blob = ConfigRevision.objects.filter(status="published").order_by("-number")[0].blob
    return encode(msgspec.structs.replace(decode(bytes(blob)), number=number, **changes))


# --- Following what is published -----------------------------------------------------------------------------


@pytest.mark.usefixtures("_never_polls")
async def test_every_worker_serves_what_is_published_within_a_second(client, catalogue, tmp_path):
    took = []
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(listening(tmp_path / name, client)) for name in ("a", "b", "c")]
        assert [worker.snapshot.number for worker in workers] == [1, 1, 1]
        for number in range(2, 8):
            assert await publish_retries(number) == number
            took.append(await eventually(lambda number=number: all(each.snapshot.number == number for each in workers)))
            assert [retries(worker) for worker in workers] == [number] * 3
    assert min(took) < 1


async def test_it_serves_what_was_published_when_the_announcement_was_lost(client, catalogue, tmp_path):
    async with listening(tmp_path, client) as worker:
        put(client, await run_query(renumbered, 2), number=2)
        await eventually(lambda: worker.snapshot.number == 2, within=runtime_module.POLL_SECONDS + 1)


@pytest.mark.usefixtures("_never_polls")
async def test_it_listens_again_after_its_subscription_was_cut(client, catalogue, tmp_path):
    async with listening(tmp_path, client) as worker:
        client.client_kill_filter(_type="pubsub")
        await eventually(lambda: listeners(client) == 0)
        await publish_retries(4)
        await eventually(lambda: worker.snapshot.number == 2)
        await eventually(lambda: listeners(client) == 1)
        await publish_retries(5)
        await eventually(lambda: worker.snapshot.number == 3)


async def test_it_goes_on_when_valkey_was_killed_and_came_back_empty(own_server, catalogue, tmp_path, settings):
    settings.VALKEY_URL = own_server.url
    await run_query(publish)
    async with runtime_at(tmp_path) as worker:
        own_server.kill()
        await eventually(lambda: not worker.valkey.is_connected)
        assert worker.snapshot.number == 1
        assert worker.snapshot.resolve("smart", 1) is not None
        own_server.start()
        await publish_retries(4)
        await eventually(lambda: worker.snapshot.number == 2)


async def test_requests_in_flight_keep_the_configuration_they_began_with(client, catalogue, tmp_path):
    async with listening(tmp_path, client) as worker:
        of_the_request = worker.snapshot
        await publish_retries(9)
        await eventually(lambda: worker.snapshot.number == 2)
        assert of_the_request.number == 1
        assert of_the_request.routes["openai-smart"].facts.retries == 1


@pytest.mark.usefixtures("_never_polls")
async def test_a_roll_back_is_served_like_any_other_revision(client, catalogue, tmp_path):
    async with listening(tmp_path, client) as worker:
        await publish_retries(9)
        await eventually(lambda: worker.snapshot.number == 2)
        await run_query(lambda: roll_back(revision=ConfigRevision.objects.get(number=1)))
        await eventually(lambda: worker.snapshot.number == 3)
        assert retries(worker) == 1


async def test_an_older_configuration_is_not_served_again(client, catalogue, tmp_path):
    async with listening(tmp_path, client) as worker:
        old = await run_query(renumbered, 1)
        await publish_retries(4)
        await eventually(lambda: worker.snapshot.number == 2)
        put(client, old, number=1)
        client.publish(CHANNEL, "1")
        client.publish(CHANNEL, "7")  # and one that says more than there is
        await publish_principals_and_wait(worker, client)
        assert worker.snapshot.number == 2


async def publish_principals_and_wait(worker: Runtime, client: redis.Redis) -> None:
    """Wait until all that was announced before has been heard."""
    heard = worker.authenticator._generation
    client.publish("tollgate:principals:changed", "1")
    await eventually(lambda: worker.authenticator._generation > heard)


UNUSABLE = {
    "garbage": b"not a configuration",
    "another shape": b'{"number":5,"providers":{"a":"mapping"}}',
    "unknown adapter": encode(
        Snapshot(
            number=5,
            providers=(CompiledProvider(slug="p", adapter="of-the-future", base_url="https://x", dialects=("d",)),),
            deployments=(CompiledDeployment(slug="d", provider="p", model="m"),),
        )
    ),
    "dangling": encode(Snapshot(number=5, aliases=(Alias(name="smart", route="nowhere"),))),
}


@pytest.mark.usefixtures("_never_polls")
@pytest.mark.parametrize("blob", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_what_it_cannot_serve_stops_neither_serving_nor_listening(client, catalogue, tmp_path, blob):
    alice = await run_query(Tenant.objects.create, slug="alice")
    key, secret = await run_query(create_key, tenant=alice, name="laptops")
    headers = [(b"x-api-key", secret.encode())]
    async with listening(tmp_path, client) as worker:
        put(client, blob, number=5)
        client.publish(CHANNEL, "5")
        await publish_principals_and_wait(worker, client)
        assert worker.snapshot.number == 1
        while not worker.authenticator._cache:
            await worker.authenticator.authenticate(headers)
        await run_query(key.revoke)
        await eventually(lambda: not is_believed(worker))
        put(client, await run_query(renumbered, 6), number=6)
        client.publish(CHANNEL, "6")
        await eventually(lambda: worker.snapshot.number == 6)


def is_believed(worker: Runtime) -> bool:
    """Whether a principal would be answered from memory."""
    return any(entry.fresh_until > time.monotonic() for entry in worker.authenticator._cache.values())


# --- Starting ------------------------------------------------------------------------------------------------


async def test_it_starts_with_what_valkey_has(client, catalogue, tmp_path):
    put(client, await run_query(renumbered, 8), number=8)
    async with runtime_at(tmp_path) as worker:
        assert worker.snapshot.number == 8


async def test_it_starts_with_what_postgres_has_when_valkey_is_empty(client, catalogue, tmp_path):
    client.flushall()
    async with runtime_at(tmp_path) as worker:
        assert worker.snapshot.number == 1


async def test_it_starts_with_what_postgres_has_when_valkey_is_away(catalogue, tmp_path):
    async with runtime_at(tmp_path, OwnValkey(tmp_path / "nowhere").url) as worker:
        assert worker.snapshot.number == 1


@pytest.mark.parametrize("blob", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_it_starts_with_what_postgres_has_when_valkeys_cannot_be_served(client, catalogue, tmp_path, blob):
    put(client, blob, number=5)
    async with runtime_at(tmp_path) as worker:
        assert worker.snapshot.number == 1


async def test_it_starts_with_the_newest_that_was_published_not_with_one_rejected(client, catalogue, tmp_path):
    await run_query(Provider.objects.create, slug="broken", adapter="nonesuch")
    assert (await run_query(publish)).errors
    client.flushall()
    async with runtime_at(tmp_path) as worker:
        assert worker.snapshot.number == 1


async def test_it_starts_with_its_copy_when_both_are_away(catalogue, tmp_path):
    async with runtime_at(tmp_path):
        pass
    with postgres_away(tmp_path):
        async with runtime_at(tmp_path, OwnValkey(tmp_path / "nowhere").url) as worker:
            assert worker.snapshot.number == 1
            assert worker.snapshot.resolve("smart", 1) is not None


async def test_its_copy_is_of_what_it_served_last_and_for_its_owner_only(client, catalogue, tmp_path):
    async with listening(tmp_path, client) as worker:
        await publish_retries(4)
        await eventually(lambda: worker.snapshot.number == 2)
    copy = tmp_path / "snapshot.json"
    assert decode(copy.read_bytes()).number == 2
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert CREDENTIAL.encode() not in copy.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["snapshot.json"]


@pytest.mark.parametrize("copy", [None, *UNUSABLE.values()], ids=["none", *UNUSABLE.keys()])
async def test_with_nothing_to_serve_it_starts_empty(tmp_path, copy):
    if copy is not None:
        write_copy(tmp_path, copy)
    with postgres_away(tmp_path):
        async with runtime_at(tmp_path, OwnValkey(tmp_path / "nowhere").url) as worker:
            assert worker.snapshot.number == EMPTY.number
            assert worker.snapshot.resolve("smart", 1) is None


@pytest.mark.usefixtures("_never_polls")
async def test_before_the_first_revision_it_starts_empty_and_then_follows(client, tmp_path):
    async with listening(tmp_path, client) as worker:
        assert worker.snapshot.number == 0
        await run_query(make_catalogue)
        await run_query(publish)
        await eventually(lambda: worker.snapshot.number == 1)


# --- What is served ------------------------------------------------------------------------------------------


def authorization(worker: Runtime, slug: str = "openai-large") -> str:
    return dict(worker.snapshot.deployments[slug].fixed_headers).get("Authorization", "")


async def test_credentials_are_readable_after_the_secrets_key_was_rotated(catalogue, tmp_path, settings):
    old = settings.TOLLGATE_SECRETS_KEYS
    settings.TOLLGATE_SECRETS_KEYS = [Fernet.generate_key().decode(), *old]
    newer = await run_query(make_catalogue, slug="newer", tenant=await run_query(Tenant.objects.create, slug="alice"))
    assert newer.provider.credential_encrypted
    await run_query(publish)
    async with runtime_at(tmp_path) as worker:
        assert authorization(worker) == authorization(worker, "newer-large") == f"Bearer {CREDENTIAL}"


async def test_a_credential_whose_key_is_lost_takes_nothing_else_with_it(catalogue, tmp_path, settings):
    settings.TOLLGATE_SECRETS_KEYS = [Fernet.generate_key().decode()]
    await run_query(make_catalogue, slug="newer", tenant=await run_query(Tenant.objects.create, slug="alice"))
    await run_query(publish)
    async with runtime_at(tmp_path) as worker:
        assert authorization(worker) == ""
        assert authorization(worker, "newer-large") == f"Bearer {CREDENTIAL}"


async def test_charlie_does_not_get_alices_alias(client, catalogue, tmp_path):
    def publish_alices_own() -> tuple[Tenant, Tenant]:
        alice, charlie = (Tenant.objects.create(slug=slug) for slug in ("alice", "charlie"))
        ModelAlias.objects.create(name="hers", tenant=alice, route=catalogue.route)
        publish()
        return alice, charlie

    async with listening(tmp_path, client) as worker:
        alice, charlie = await run_query(publish_alices_own)
        await eventually(lambda: worker.snapshot.number == 2)
        assert worker.snapshot.resolve("hers", alice.pk) is not None
        assert worker.snapshot.resolve("hers", charlie.pk) is None
        assert worker.snapshot.names_for(charlie.pk) == ["smart"]


# --- Keeping house -------------------------------------------------------------------------------------------


def event_of(request_id: str) -> UsageEvent:
    return UsageEvent(
        request_id=request_id,
        started_at=time.time(),
        tenant_id=1,
        api_key_id=1,
        dialect="openai_chat",
        alias="smart",
        status=200,
        outcome="served",
        cost_status="exact",
        latency_ms=1,
    )


def events(client: redis.Redis) -> list[str]:
    """Return the requests of which the ledger hears."""
    return sorted(read_event(fields[b"event"]).request_id for _, fields in client.xrange(USAGE_STREAM))


def leave_behind(state_dir: Path, worker: str, request_id: str) -> Path:
    """Spool a settle as a worker that ended without Valkey."""
    path = state_dir / "spool" / worker
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        msgspec.json.encode(SpooledSettle(request_id, (), write_event(event_of(request_id)).decode())) + b"\n"
    )
    return path


async def test_what_workers_left_behind_is_in_the_stream_soon(client, tmp_path):
    host = runtime_module.HOST
    leave_behind(tmp_path, f"{host}-999999999.jsonl", "a")
    leave_behind(tmp_path, f"{host}-999999998.replaying", "b")
    kept = [leave_behind(tmp_path, name, "c") for name in (f"{host}-{os.getppid()}.replaying", "another-host-1.jsonl")]
    async with runtime_at(tmp_path):
        await eventually(lambda: events(client) == ["a", "b"])
        await eventually(lambda: sorted((tmp_path / "spool").iterdir()) == sorted(kept))


def test_a_worker_is_named_after_its_host_and_process():
    assert f"{socket.gethostname()}-".startswith(runtime_module.HOST)
    assert runtime_module._is_running(f"{runtime_module.HOST}-{os.getpid()}")
    assert not runtime_module._is_running(f"{runtime_module.HOST}-999999999")
    assert runtime_module._is_running("another-host-999999999")  # who knows


async def test_what_was_spooled_is_replayed_before_it_closes(own_server, tmp_path):
    with redis.Redis.from_url(own_server.url) as client:
        async with runtime_at(tmp_path, own_server.url) as worker:
            own_server.kill()
            await eventually(lambda: not worker.valkey.is_connected)
            await worker.admission.settle(Reservation(request_id="r"), event_of("r"), tokens=0)
            own_server.start()
            await eventually(lambda: worker.valkey.is_connected)
        assert events(client) == ["r"]


async def test_what_it_reserved_ahead_is_given_back_when_it_closes(client, tmp_path):
    alice = caller(at_once(100))
    async with runtime_at(tmp_path) as worker:
        for name in ("a", "b"):
            request = Request(
                request_id=name,
                alias="smart",
                end_user="",
                dialect="openai_chat",
                started_at=0.0,
                tokens=0,
                money={},
                if_lost=b"{}",
            )
            reservation = await worker.admission.reserve(alice, request)
            await worker.admission.settle_soon(reservation, event_of(name), tokens=0)
        await eventually(lambda: len(worker.admission.spares) == 1)
    assert client.zcard(RESERVATIONS) == 0
    assert client.zcard(lease_key(at_once(100))) == 0


async def test_it_closes_without_its_stores_and_keeps_what_was_spooled(own_server, tmp_path):
    async with runtime_at(tmp_path, own_server.url) as worker:
        own_server.kill()
        await eventually(lambda: not worker.valkey.is_connected)
        await worker.admission.settle(Reservation(request_id="r"), event_of("r"), tokens=0)
    own_server.start()
    assert len(list((tmp_path / "spool").iterdir())) == 1
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
