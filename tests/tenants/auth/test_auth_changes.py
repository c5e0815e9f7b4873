"""What is changed of a tenant, a key or a limit reaches every worker, soon, and nothing undoes it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
import redis
from django.db import connections, models, transaction

from gateway_site.infra.threads import run_query
from tenants import keys
from tenants.announcements import CHANNEL
from tenants.auth import PRINCIPAL_KEY
from tenants.models import ApiKey, Budget, Project, RateLimit, Tenant
from tenants.principal import Principal
from tenants.services import create_key, give_secret
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.routing.runtimes import runtime_at
from tests.tenants.auth.authenticators import (
    OTHER,
    SECRET,
    answered,
    authenticator_at,
    bearer,
    listeners,
    refused,
    refused_within,
)

needs_stores = pytest.mark.django_db(transaction=True)


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
    async with runtime_at(tmp_path, own_server.url) as runtime:
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
