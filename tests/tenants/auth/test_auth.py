"""From a credential to a principal, as both caches and Postgres know it, while peppers rotate."""

import asyncio
import hashlib
import time
from datetime import timedelta

import pytest
import redis
from django.conf import settings
from django.utils import timezone

from gateway_site.infra.threads import run_query
from tenants import keys
from tenants.auth import PRINCIPAL_KEY, credential
from tenants.errors import Forbidden, Unauthenticated
from tenants.models import ApiKey, Project, RateLimit
from tenants.services import create_key
from tests.gateway_site.infra.own_valkey import OwnValkey
from tests.tenants.auth.authenticators import (
    OTHER,
    SECRET,
    authenticator_at,
    bearer,
    costing_neither_store,
    lookups,
    refused,
    refused_within,
)

needs_stores = pytest.mark.django_db(transaction=True)


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
async def test_a_key_expires_while_it_is_cached(worker, alice, monkeypatch):
    expires_at = timezone.now() + timedelta(hours=1)
    _, secret = await run_query(create_key, tenant=alice, name="short", expires_at=expires_at)
    await worker.authenticate(bearer(secret))
    monkeypatch.setattr("tenants.auth.time", lambda: time.time() + 3601)
    with lookups() as asked:
        error = await refused(worker, bearer(secret))
    assert asked == []
    assert (error.status, error.code) == (401, "expired_api_key")


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
    with costing_neither_store(valkey_url):
        for _ in range(50):
            assert await worker.authenticate(bearer(SECRET)) is first


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
