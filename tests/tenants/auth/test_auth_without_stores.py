"""Keys while Postgres, Valkey or both are away or silent: who is known goes on, and nobody else gets in."""

import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from gateway_site.infra.threads import run_query
from tenants.auth import Authenticator
from tenants.errors import Unavailable
from tenants.services import create_key
from tests.gateway_site.infra.own_valkey import OwnValkey
from tests.gateway_site.infra.postgres_away import postgres_at, silent_postgres
from tests.tenants.auth.authenticators import (
    OTHER,
    SECRET,
    authenticator_at,
    bearer,
    flush,
    lookups,
    refused,
    refused_within,
)

needs_stores = pytest.mark.django_db(transaction=True)


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
        assert time.monotonic() - began < 4.5
        for _ in range(100):
            assert (await forgetful.authenticate(bearer(SECRET))).tenant == "alice"
        assert time.monotonic() - began < 20


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


@needs_stores
async def test_without_stores_charlies_key_is_not_alices(own_server, tmp_path, key, charlie):
    await run_query(create_key, tenant=charlie, name="charlies", secret=OTHER)
    async with authenticator_at(own_server.url, cache_seconds=0) as authenticator:
        for secret in (SECRET, OTHER):
            await authenticator.authenticate(bearer(secret))
        own_server.kill()
        try:
            with postgres_at(tmp_path):
                found = [(await authenticator.authenticate(bearer(secret))).tenant for secret in (SECRET, OTHER)]
        finally:
            own_server.start()
    assert found == ["alice", "charlie"]
