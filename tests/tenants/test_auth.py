"""From a credential to a principal, with real stores that come and go."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from django.conf import settings
from django.db import connections, models, transaction
from django.db.backends.signals import connection_created
from django.utils import timezone

from gateway_site.infra.threads import run_query
from gateway_site.infra.valkey import HotValkey
from routing.runtime import Runtime
from tenants import keys
from tenants.announcements import CHANNEL
from tenants.auth import PRINCIPAL_KEY, Authenticator, credential
from tenants.errors import Forbidden, GatewayError, Unauthenticated, Unavailable
from tenants.limits.admission import SCRIPTS
from tenants.models import ApiKey, Budget, Project, RateLimit, Tenant
from tenants.principal import Principal
from tenants.services import create_key, give_secret
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.gateway_site.infra.postgres_away import postgres_at, silent_postgres

type Headers = list[tuple[bytes, bytes]]

needs_stores = pytest.mark.django_db(transaction=True)
SECRET = "tg_" + "a" * 40
OTHER = "tg_" + "b" * 40


def bearer(secret: str) -> Headers:
    return [(b"authorization", b"Bearer " + secret.encode())]


@asynccontextmanager
async def authenticator_at(
    url: str, *, cache_size: int = 100, cache_seconds: float = 30.0, peppers: list[str] | None = None
) -> AsyncIterator[Authenticator]:
    valkey = HotValkey(url, scripts=SCRIPTS, deadline=0.5)
    await valkey.open()
    try:
        yield Authenticator(
            valkey,
            peppers=keys.peppers(peppers or settings.TOLLGATE_KEY_PEPPERS),
            cache_size=cache_size,
            cache_seconds=cache_seconds,
        )
    finally:
        await valkey.aclose()


@pytest.fixture
async def worker(valkey_url: str) -> AsyncIterator[Authenticator]:
    """What a worker authenticates with, deaf to announcements."""
    async with authenticator_at(valkey_url) as authenticator:
        yield authenticator


@pytest.fixture
async def forgetful(valkey_url: str) -> AsyncIterator[Authenticator]:
    """One that asks Valkey and Postgres every time."""
    async with authenticator_at(valkey_url, cache_seconds=0) as authenticator:
        yield authenticator


@asynccontextmanager
async def runtime_at(url: str, state_dir: Path) -> AsyncIterator[Runtime]:
    runtime = Runtime(
        valkey_url=url,
        state_dir=state_dir,
        peppers=settings.TOLLGATE_KEY_PEPPERS,
        cache_size=1_000,
        cache_seconds=600,
        seal_secrets=settings.TOLLGATE_SECRETS_KEYS,
    )
    await runtime.open()
    try:
        yield runtime
    finally:
        await runtime.aclose()


@pytest.fixture
async def runtimes(valkey_url: str, tmp_path: Path) -> AsyncIterator[tuple[Runtime, Runtime]]:
    """Two workers that hear announcements, and would believe what they know for ten minutes."""
    async with runtime_at(valkey_url, tmp_path / "a") as first, runtime_at(valkey_url, tmp_path / "b") as second:
        await eventually(lambda: listeners(valkey_url) == 2)
        yield first, second


def listeners(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return client.pubsub_numsub(CHANNEL)[0][1]


@pytest.fixture
def key(alice: Tenant) -> ApiKey:
    return create_key(tenant=alice, name="laptops", secret=SECRET)[0]


@contextmanager
def lookups() -> Iterator[list[None]]:
    """Grows by one with each query for a principal, as each has a connection of its own."""
    seen: list[None] = []

    def note(**_: Any) -> None:
        seen.append(None)

    connection_created.connect(note)
    try:
        yield seen
    finally:
        connection_created.disconnect(note)


async def refused(authenticator: Authenticator, headers: Headers) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await authenticator.authenticate(headers)
    return caught.value


async def refused_within(authenticator: Authenticator, secret: str, code: str, *, within: float = 1.0) -> float:
    """Wait until a key is refused with a code, and return how many seconds it took."""
    return await answered(authenticator, secret, lambda outcome: getattr(outcome, "code", "") == code, within)


async def answered(
    authenticator: Authenticator, secret: str, holds: Callable[[Principal | GatewayError], bool], within: float = 1.0
) -> float:
    began = time.monotonic()
    while True:
        outcome: Principal | GatewayError
        try:
            outcome = await authenticator.authenticate(bearer(secret))
        except GatewayError as error:
            outcome = error
        if holds(outcome):
            return time.monotonic() - began
        assert time.monotonic() - began < within, outcome
        await asyncio.sleep(0.002)


def flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall()


# --- Credentials ---------------------------------------------------------------------------------------------

AUTHORIZATION, X_API_KEY, X_GOOG = b"authorization", b"x-api-key", b"x-goog-api-key"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([(AUTHORIZATION, b"Bearer one")], "one"),
        ([(AUTHORIZATION, b"bearer   one ")], "one"),
        ([(X_API_KEY, b"two")], "two"),
        ([(X_GOOG, b"three")], "three"),
        ([(X_GOOG, b"three"), (X_API_KEY, b"two"), (AUTHORIZATION, b"Bearer one")], "one"),
        ([(X_GOOG, b"three"), (X_API_KEY, b"two")], "two"),
        ([(AUTHORIZATION, b"Basic dTpw"), (X_API_KEY, b"two")], "two"),
        ([(AUTHORIZATION, b"Bearer "), (X_GOOG, b"three")], "three"),
        ([(X_API_KEY, b""), (X_GOOG, b"three")], "three"),
        ([(X_API_KEY, b"first"), (X_API_KEY, b"second")], "first"),
        ([(AUTHORIZATION, b"Basic dTpw")], None),
        ([(AUTHORIZATION, b"one")], None),
        ([(X_API_KEY, b"k" * 1_000)], "k" * 257),
        ([(X_API_KEY, b"\xff\xfe")], "ÿþ"),
    ],
)
def test_it_finds_the_credential_of_a_request(headers, found):
    assert credential(headers) == found


@needs_stores
@pytest.mark.parametrize("style", [(AUTHORIZATION, "Bearer {}"), (X_API_KEY, "{}"), (X_GOOG, "{}")])
async def test_each_of_the_three_styles_is_understood(worker, key, style):
    name, template = style
    principal = await worker.authenticate([(name, template.format(SECRET).encode())])
    assert (principal.tenant, principal.key_name) == ("alice", "laptops")


async def test_without_a_credential_nobody_is_asked(tmp_path):
    async with authenticator_at(OwnValkey(tmp_path).url) as authenticator:
        error = await refused(authenticator, [(b"user-agent", b"curl")])
    assert isinstance(error, Unauthenticated)
    assert (error.status, error.code) == (401, "missing_api_key")
    assert error.headers == {"www-authenticate": 'Bearer realm="tollgate"'}


# --- Who is let in -------------------------------------------------------------------------------------------


@needs_stores
async def test_unknown_keys_are_refused(worker, key):
    for secret in (OTHER, SECRET[:-1], SECRET + "a", SECRET.upper(), "x", "k" * 300, "tg_\x00", "' OR 1=1 --"):
        error = await refused(worker, bearer(secret))
        assert isinstance(error, Unauthenticated)
        assert (error.status, error.code) == (401, "invalid_api_key")
        assert secret == "x" or secret not in error.message


@needs_stores
async def test_a_principal_knows_all_that_requests_need(worker, alice):
    project = await run_query(Project.objects.create, tenant=alice, slug="chatbot")
    key, secret = await run_query(
        create_key, tenant=alice, name="bot", project=project, allowed_models=["smart", "claude-*"]
    )
    for facts in ({}, {"project": project}, {"api_key": key, "model": "smart", "burst": 3}):
        await run_query(RateLimit.objects.create, tenant=alice, kind="requests", amount=60, per="minute", **facts)
    principal = await worker.authenticate(bearer(secret))
    assert (principal.tenant_id, principal.project, principal.key_prefix) == (alice.pk, "chatbot", secret[:7])
    assert principal.may_use("claude-opus")
    assert not principal.may_use("gpt-5")
    assert [(rule.scope, rule.scope_name, rule.window_ms, rule.burst, rule.model) for rule in principal.rules] == [
        ("tenant", "alice", 60_000, 0, ""),
        ("project", "chatbot", 60_000, 0, ""),
        ("api_key", "bot", 60_000, 3, "smart"),
    ]


@needs_stores
async def test_a_revoked_key_is_refused(worker, key):
    await run_query(key.revoke)
    error = await refused(worker, bearer(SECRET))
    assert (error.status, error.code) == (401, "revoked_api_key")
    assert SECRET not in error.message


@needs_stores
async def test_a_key_expires_while_it_is_cached(worker, alice):
    expires_at = timezone.now() + timedelta(seconds=0.4)
    _, secret = await run_query(create_key, tenant=alice, name="short", expires_at=expires_at)
    await worker.authenticate(bearer(secret))
    with lookups() as asked:
        assert await refused_within(worker, secret, "expired_api_key") > 0
    assert asked == []
    assert (await refused(worker, bearer(secret))).status == 401


@needs_stores
async def test_a_suspended_tenant_is_refused_until_it_is_resumed(forgetful, alice, key):
    await run_query(alice.suspend, "bill unpaid")
    error = await refused(forgetful, bearer(SECRET))
    assert isinstance(error, Forbidden)
    assert (error.status, error.code) == (403, "tenant_suspended")
    assert "bill unpaid" not in error.message
    await run_query(alice.resume)
    assert (await forgetful.authenticate(bearer(SECRET))).tenant == "alice"


@needs_stores
async def test_a_key_imported_from_elsewhere_is_found(worker, alice):
    secret = "sk-from-another-gateway-1234"
    inner = hashlib.sha256(secret.encode()).digest()
    digest = keys.digest_of_sha256(inner, settings.TOLLGATE_KEY_PEPPERS[0].encode())
    await run_query(ApiKey.objects.create, tenant=alice, name="imported", digest=digest, pepper_id="", prefix="sk-from")
    assert (await worker.authenticate([(X_API_KEY, secret.encode())])).key_name == "imported"


# --- Tenants -------------------------------------------------------------------------------------------------


@needs_stores
async def test_charlie_never_gets_alices_principal(valkey_url, alice, charlie):
    owners = {}
    for number in range(10):
        for tenant in (alice, charlie):
            _, secret = await run_query(create_key, tenant=tenant, name=f"key-{number}")
            owners[secret] = tenant.slug
    async with authenticator_at(valkey_url, cache_size=7, cache_seconds=0.02) as worker:

        async def ask(secret: str) -> tuple[str, str]:
            return secret, (await worker.authenticate(bearer(secret))).tenant

        for round_ in range(6):
            if round_ % 2:
                worker.forget()
            assert dict(await asyncio.gather(*map(ask, [*owners] * 5))) == owners


@needs_stores
async def test_what_happens_to_alice_leaves_charlie_alone(runtimes, alice, charlie, key):
    _, of_charlie = await run_query(create_key, tenant=charlie, name="laptops")
    first, _ = runtimes
    for secret in (SECRET, of_charlie):
        await first.authenticator.authenticate(bearer(secret))
    await run_query(alice.suspend)
    await refused_within(first.authenticator, SECRET, "tenant_suspended")
    with lookups() as asked:
        assert (await first.authenticator.authenticate(bearer(of_charlie))).tenant == "charlie"
    assert asked == []


# --- Caches --------------------------------------------------------------------------------------------------


@needs_stores
async def test_a_key_that_is_cached_costs_neither_store_anything(worker, key, valkey_url):
    first = await worker.authenticate(bearer(SECRET))
    with redis.Redis.from_url(valkey_url) as client, lookups() as asked:
        before = client.info("stats")["total_commands_processed"]
        for _ in range(50):
            assert await worker.authenticate(bearer(SECRET)) is first
        assert client.info("stats")["total_commands_processed"] == before + 1  # the first of the two INFOs
    assert asked == []


@needs_stores
async def test_a_second_worker_has_it_from_valkey(worker, key, valkey_url):
    principal = await worker.authenticate(bearer(SECRET))
    async with authenticator_at(valkey_url) as second:
        with lookups() as asked:
            assert await second.authenticate(bearer(SECRET)) == principal
    assert asked == []


@needs_stores
async def test_unknown_keys_are_remembered_by_both(worker, key, valkey_url):
    await refused(worker, bearer(OTHER))
    async with authenticator_at(valkey_url) as second:
        with lookups() as asked:
            for authenticator in (worker, second, worker, second):
                assert (await refused(authenticator, bearer(OTHER))).code == "invalid_api_key"
    assert asked == []


@needs_stores
async def test_guessed_keys_neither_fill_the_memory_nor_push_out_real_ones(valkey_url, key):
    async with authenticator_at(valkey_url, cache_size=10) as worker:
        await worker.authenticate(bearer(SECRET))
        for number in range(60):
            await refused(worker, bearer(f"nobody-{number}"))
        with lookups() as asked:
            await worker.authenticate(bearer(SECRET))
        assert asked == []
        assert len(worker._unknown) == 10
        assert worker._loading == {}


@needs_stores
async def test_a_hundred_at_once_ask_once(worker, key):
    with lookups() as asked:
        principals = await asyncio.gather(*(worker.authenticate(bearer(SECRET)) for _ in range(100)))
    assert len(asked) == 1
    assert {id(principal) for principal in principals} == {id(principals[0])}


@needs_stores
async def test_a_caller_that_goes_takes_nobody_with_it(worker, key):
    with lookups() as asked:
        first, *others = [asyncio.create_task(worker.authenticate(bearer(SECRET))) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        assert [each.tenant for each in await asyncio.gather(*others)] == ["alice"] * 4
    assert first.cancelled()
    assert len(asked) == 1


@needs_stores
async def test_a_cached_copy_of_another_version_is_replaced(worker, key, valkey_url):
    with redis.Redis.from_url(valkey_url) as client:
        for unreadable in (b"{}", b'{"key_id":"seven"}', b"\xff"):
            client.set(PRINCIPAL_KEY + key.digest, unreadable)
            worker.forget()
            assert (await worker.authenticate(bearer(SECRET))).tenant == "alice"
            assert client.get(PRINCIPAL_KEY + key.digest).startswith(b'{"key_id":')


@needs_stores
async def test_neither_cache_holds_a_secret(worker, key, valkey_url):
    await worker.authenticate(bearer(SECRET))
    await refused(worker, bearer(OTHER))
    with redis.Redis.from_url(valkey_url) as client:
        stored = b"".join(name + (client.get(name) or b"") for name in client.scan_iter("tollgate:principal:*"))
    assert stored
    assert SECRET.encode() not in stored
    assert OTHER.encode() not in stored


# --- Changes -------------------------------------------------------------------------------------------------


@needs_stores
async def test_revocations_reach_every_worker_in_less_than_a_second(runtimes, alice):
    for number in range(20):
        key, secret = await run_query(create_key, tenant=alice, name=f"key-{number}")
        for runtime in runtimes:
            await runtime.authenticator.authenticate(bearer(secret))
        await run_query(key.revoke)
        took = [await refused_within(each.authenticator, secret, "revoked_api_key") for each in runtimes]
        assert max(took) < 1


@needs_stores
async def test_a_key_that_was_unknown_works_as_soon_as_it_is_made(runtimes, alice):
    for number in range(5):
        secret = keys.generate()
        for runtime in runtimes:
            await refused(runtime.authenticator, bearer(secret))
        await run_query(create_key, tenant=alice, name=f"key-{number}", secret=secret)
        for runtime in runtimes:
            await answered(runtime.authenticator, secret, lambda outcome: isinstance(outcome, Principal))


@needs_stores
async def test_new_limits_and_suspensions_reach_every_worker(runtimes, alice, key):
    for runtime in runtimes:
        await runtime.authenticator.authenticate(bearer(SECRET))
    limit = await run_query(RateLimit.objects.create, tenant=alice, kind="requests", amount=5, per="minute")
    for runtime in runtimes:
        await answered(runtime.authenticator, SECRET, lambda outcome: len(outcome.rules) == 1)
    await run_query(limit.delete)
    for runtime in runtimes:
        await answered(runtime.authenticator, SECRET, lambda outcome: outcome.rules == ())
    await run_query(alice.suspend)
    for runtime in runtimes:
        await refused_within(runtime.authenticator, SECRET, "tenant_suspended")


@needs_stores
async def test_a_deleted_key_and_a_replaced_secret_are_unknown_at_once(runtimes, alice, key):
    _, short_lived = await run_query(create_key, tenant=alice, name="short-lived")
    for runtime in runtimes:
        for secret in (SECRET, short_lived):
            await runtime.authenticator.authenticate(bearer(secret))

    def change() -> None:
        ApiKey.objects.get(name="short-lived").delete()
        give_secret(key, OTHER)
        key.save()

    await run_query(change)
    for runtime in runtimes:
        for secret in (SECRET, short_lived):
            await refused_within(runtime.authenticator, secret, "invalid_api_key")
        assert (await runtime.authenticator.authenticate(bearer(OTHER))).key_name == "laptops"


@asynccontextmanager
async def held_up_at_the_limits() -> AsyncIterator[Callable[[], bool]]:
    """Lookups have read the key, and wait for its limits until this is left; yields whether one waits."""
    database = connections.settings["default"]
    with psycopg.connect(host=database["HOST"], dbname=database["NAME"], user=database["USER"]) as connection:
        connection.execute("LOCK TABLE tenants_ratelimit IN ACCESS EXCLUSIVE MODE")

        def is_waiting() -> bool:
            waiting = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            return waiting is not None and waiting[0] > 0

        yield is_waiting


@needs_stores
async def test_a_lookup_under_way_does_not_undo_a_revocation_for_others(worker, key, valkey_url):
    async with held_up_at_the_limits() as is_waiting:
        looking = asyncio.create_task(worker.authenticate(bearer(SECRET)))
        await eventually(is_waiting)
        await run_query(key.revoke)
    assert not (await looking).is_revoked  # it was read before
    with redis.Redis.from_url(valkey_url) as client:
        assert client.get(PRINCIPAL_KEY + key.digest) is None
    async with authenticator_at(valkey_url) as second:
        assert (await refused(second, bearer(SECRET))).code == "revoked_api_key"


@needs_stores
async def test_a_lookup_under_way_does_not_undo_a_revocation_in_its_own_worker(runtimes, key):
    authenticator = runtimes[0].authenticator
    async with held_up_at_the_limits() as is_waiting:
        looking = asyncio.create_task(authenticator.authenticate(bearer(SECRET)))
        await eventually(is_waiting)
        heard = authenticator._generation
        await run_query(key.revoke)
        await eventually(lambda: authenticator._generation > heard)
    await looking
    assert (await refused(authenticator, bearer(SECRET))).code == "revoked_api_key"


@needs_stores
async def test_a_revocation_that_was_announced_to_nobody_is_heard_of_afterwards(own_server, tmp_path, key, valkey_url):
    """The worker's Valkey is restarted meanwhile, and counts generations from the beginning again."""
    async with runtime_at(own_server.url, tmp_path) as runtime:
        await eventually(lambda: listeners(own_server.url) == 1)
        await asyncio.sleep(0.3)  # Valkey knows of the listener before it has caught up, and that forgets keys
        await runtime.authenticator.authenticate(bearer(SECRET))
        own_server.kill()
        await run_query(key.revoke)  # announced in another Valkey
        assert (await runtime.authenticator.authenticate(bearer(SECRET))).tenant == "alice"
        own_server.start()
        await refused_within(runtime.authenticator, SECRET, "revoked_api_key", within=4)


@pytest.fixture
def announced(valkey_url: str) -> Iterator[Callable[[], list[bytes]]]:
    """Return the tenants announced since it was last asked."""
    with redis.Redis.from_url(valkey_url) as client, client.pubsub() as messages:
        messages.subscribe(CHANNEL)
        assert messages.get_message(timeout=2)["type"] == "subscribe"

        def heard() -> list[bytes]:
            client.publish(CHANNEL, "the end")
            texts = iter(lambda: messages.get_message(timeout=2)["data"], b"the end")
            return list(texts)

        yield heard


def rows_of(tenant: Tenant) -> dict[str, models.Model]:
    return {
        "key": create_key(tenant=tenant, name="laptops")[0],
        "project": Project.objects.create(tenant=tenant, slug="chatbot"),
        "limit": RateLimit.objects.create(tenant=tenant, kind="requests", amount=5, per="minute"),
        "budget": Budget.objects.create(tenant=tenant, amount=5),
        "tenant": tenant,
    }


@needs_stores
@pytest.mark.parametrize("name", ["key", "project", "limit", "budget", "tenant"])
def test_saving_and_deleting_are_announced(charlie, announced, name):
    row, its_tenant = rows_of(charlie)[name], b"%d" % charlie.pk
    announced()
    row.save()
    assert announced() == [its_tenant]
    row.delete()
    assert set(announced()) == {its_tenant}


@needs_stores
def test_only_what_is_committed_is_announced(alice, key, announced):
    announced()
    with transaction.atomic():
        key.revoke()
        assert announced() == []
        transaction.set_rollback(True)
    assert announced() == []


@needs_stores
def test_saving_does_not_fail_for_want_of_valkey(alice, key, tmp_path, settings):
    settings.VALKEY_URL = OwnValkey(tmp_path).url
    key.revoke()
    assert ApiKey.objects.get().revoked_at is not None


# --- Stores that are away ------------------------------------------------------------------------------------


@needs_stores
async def test_without_postgres_known_keys_go_on_and_unknown_ones_get_503(forgetful, key, valkey_url, tmp_path):
    await forgetful.authenticate(bearer(SECRET))
    await refused(forgetful, bearer("was-unknown-before"))
    flush(valkey_url)
    with postgres_at(tmp_path):
        assert (await forgetful.authenticate(bearer(SECRET))).tenant == "alice"
        for secret in (OTHER, "was-unknown-before"):
            error = await refused(forgetful, bearer(secret))
            assert isinstance(error, Unavailable)
            assert (error.status, error.code, error.retryable) == (503, "store_unavailable", True)
            assert error.headers == {"retry-after": "2"}
        assert (await forgetful.authenticate(bearer(SECRET))).tenant == "alice"
    assert (await refused(forgetful, bearer(OTHER))).status == 401


@needs_stores
async def test_without_postgres_a_revoked_key_stays_refused(forgetful, key, valkey_url, tmp_path):
    await run_query(key.revoke)
    await refused(forgetful, bearer(SECRET))
    flush(valkey_url)
    with postgres_at(tmp_path):
        assert (await refused(forgetful, bearer(SECRET))).code == "revoked_api_key"


@needs_stores
async def test_without_postgres_a_new_worker_knows_what_valkey_knows(worker, key, valkey_url, tmp_path):
    await worker.authenticate(bearer(SECRET))
    async with authenticator_at(valkey_url) as second:
        with postgres_at(tmp_path):
            assert (await second.authenticate(bearer(SECRET))).tenant == "alice"
            assert (await refused(second, bearer(OTHER))).status == 503


@needs_stores
async def test_a_postgres_that_never_answers_holds_up_no_known_key_for_long(
    forgetful, key, valkey_url, tmp_path_factory
):
    await forgetful.authenticate(bearer(SECRET))
    flush(valkey_url)
    async with silent_postgres(tmp_path_factory.mktemp("pg")):
        began = time.monotonic()
        assert (await forgetful.authenticate(bearer(SECRET))).tenant == "alice"
        assert time.monotonic() - began < 1.5
        for _ in range(100):
            assert (await forgetful.authenticate(bearer(SECRET))).tenant == "alice"
        assert time.monotonic() - began < 1.6


@needs_stores
async def test_after_postgres_was_away_a_change_is_heard_at_once(runtimes, key, valkey_url, tmp_path):
    authenticator = runtimes[0].authenticator
    while not authenticator._cache:  # what it hears while it looks a key up makes it forget the key again
        await authenticator.authenticate(bearer(SECRET))
    flush(valkey_url)
    authenticator.forget()
    with postgres_at(tmp_path):
        assert (await authenticator.authenticate(bearer(SECRET))).tenant == "alice"
    await run_query(key.revoke)
    await refused_within(authenticator, SECRET, "revoked_api_key", within=0.5)


def nowhere(tmp_path: Path, own_server: OwnValkey) -> AbstractAsyncContextManager[Authenticator]:
    return authenticator_at(OwnValkey(tmp_path / "nowhere").url, cache_seconds=0)


def frozen(tmp_path: Path, own_server: OwnValkey) -> AbstractAsyncContextManager[Authenticator]:
    return authenticator_at(own_server.url, cache_seconds=0)


@needs_stores
@pytest.mark.parametrize("away", [nowhere, frozen])
async def test_without_valkey_postgres_is_asked(own_server, tmp_path, key, away):
    async with away(tmp_path, own_server) as authenticator:
        own_server.freeze()
        try:
            with lookups() as asked:
                assert (await authenticator.authenticate(bearer(SECRET))).tenant == "alice"
                assert (await refused(authenticator, bearer(OTHER))).status == 401
            assert len(asked) == 2
        finally:
            own_server.thaw()


@needs_stores
async def test_without_both_known_keys_go_on(own_server, tmp_path, key):
    async with authenticator_at(own_server.url, cache_seconds=0) as authenticator:
        await authenticator.authenticate(bearer(SECRET))
        own_server.kill()
        try:
            with postgres_at(tmp_path):
                assert (await authenticator.authenticate(bearer(SECRET))).tenant == "alice"
                assert (await refused(authenticator, bearer(OTHER))).status == 503
        finally:
            own_server.start()


# --- Peppers -------------------------------------------------------------------------------------------------


@needs_stores
async def test_peppers_rotate(valkey_url, alice, key, settings):
    old = settings.TOLLGATE_KEY_PEPPERS
    settings.TOLLGATE_KEY_PEPPERS = ["the-new-pepper", *old]
    _, newer = await run_query(create_key, tenant=alice, name="newer")
    async with authenticator_at(valkey_url, peppers=settings.TOLLGATE_KEY_PEPPERS) as both:
        assert (await both.authenticate(bearer(SECRET))).key_name == "laptops"
        assert (await both.authenticate(bearer(newer))).key_name == "newer"
    with lookups() as asked:
        async with authenticator_at(valkey_url, peppers=settings.TOLLGATE_KEY_PEPPERS) as second:
            assert (await second.authenticate(bearer(SECRET))).key_name == "laptops"
    assert asked == []
    async with authenticator_at(valkey_url, peppers=["the-new-pepper"]) as without_the_old:
        assert (await without_the_old.authenticate(bearer(newer))).key_name == "newer"
        assert (await refused(without_the_old, bearer(SECRET))).code == "invalid_api_key"


@needs_stores
async def test_a_key_of_the_old_pepper_can_be_revoked_while_peppers_rotate(valkey_url, key, settings):
    peppers = ["the-new-pepper", *settings.TOLLGATE_KEY_PEPPERS]
    async with authenticator_at(valkey_url, peppers=peppers, cache_seconds=0) as worker:
        await worker.authenticate(bearer(SECRET))
        await run_query(key.revoke)
        assert (await refused(worker, bearer(SECRET))).code == "revoked_api_key"
