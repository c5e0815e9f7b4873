"""A key gets a new secret: for a while both work, then one does; it stays the same key throughout."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.core.exceptions import ValidationError
from django.utils import timezone

from gateway_site.infra.threads import run_query
from tenants.auth import PRINCIPAL_KEY
from tenants.models import ApiKey, Budget, RateLimit, Tenant
from tenants.services import create_key, give_secret, has_secret, rotate_key
from tests.tenants.auth.authenticators import (
    authenticator_at,
    bearer,
    costing_neither_store,
    lookups,
    refused,
    refused_within,
)

OLD = "tg_" + "a" * 40
NEW = "tg_" + "b" * 40
NEWEST = "tg_" + "c" * 40

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key(alice: Tenant) -> ApiKey:
    return create_key(tenant=alice, name="laptops", secret=OLD)[0]


@pytest.fixture
def of_charlie(charlie: Tenant) -> ApiKey:
    return create_key(tenant=charlie, name="laptops", secret="tg_" + "z" * 40)[0]


def soon(**span: float) -> Any:
    return timezone.now() + timedelta(**span)


async def rotate(key: ApiKey, secret: str = NEW, **facts: Any) -> ApiKey:
    return (await run_query(rotate_key, key=key, secret=secret, **facts))[0]


# --- What is stored ------------------------------------------------------------------------------------------


def test_it_makes_a_secret_and_keeps_neither(key):
    rotated, secret = rotate_key(key=key, until=soon(hours=1))
    assert rotated.pk == key.pk
    assert has_secret(rotated, secret)
    assert not has_secret(rotated, OLD)
    assert (rotated.previous_hint, rotated.hint) == ("tg_aaaa…aaaa", f"{secret[:7]}…{secret[-4:]}")
    row = ApiKey.objects.values().get()
    assert not any(secret in str(value) or OLD in str(value) for value in row.values())


def test_a_revoked_key_is_not_rotated(key):
    key.revoke()
    with pytest.raises(ValidationError):
        rotate_key(key=key)


def test_a_secret_that_is_or_was_in_use_is_refused(key, of_charlie):
    rotate_key(key=key, secret=NEW, until=soon(hours=1))
    for secret in (OLD, NEW):
        with pytest.raises(ValidationError):
            rotate_key(key=of_charlie, secret=secret)
        with pytest.raises(ValidationError):
            create_key(tenant=of_charlie.tenant, name="another", secret=secret)
    with pytest.raises(ValidationError):
        rotate_key(key=key, secret="too short")


def test_a_declared_secret_takes_the_old_one_back(key):
    rotated, _ = rotate_key(key=key, secret=NEW, until=soon(hours=1))
    give_secret(rotated, OLD)
    rotated.save()
    rotated.refresh_from_db()
    assert has_secret(rotated, OLD)
    assert (rotated.previous_digest, rotated.previous_hint, rotated.is_overlapping) == (None, "", False)


# --- Who is let in -------------------------------------------------------------------------------------------


async def test_both_secrets_work_in_the_overlap_as_one_key(worker, alice, key):
    await run_query(RateLimit.objects.create, tenant=alice, api_key=key, kind="requests", amount=60, per="minute")
    await run_query(Budget.objects.create, tenant=alice, api_key=key, amount=5)
    await rotate(key, until=soon(hours=1))
    old, new = await worker.authenticate(bearer(OLD)), await worker.authenticate(bearer(NEW))
    assert old.key_id == new.key_id == key.pk
    assert (old.rules, old.budgets) == (new.rules, new.budgets)
    assert len(old.rules) == len(old.budgets) == 1
    assert (old.key_prefix, new.key_prefix) == ("tg_aaaa", "tg_bbbb")


async def test_at_once_means_at_once(runtimes, key):
    first, second = runtimes
    for runtime in (first, second):
        await runtime.authenticator.authenticate(bearer(OLD))
    await rotate(key)
    for runtime in (first, second):
        await refused_within(runtime.authenticator, OLD, "expired_api_key")
        assert (await runtime.authenticator.authenticate(bearer(NEW))).key_id == key.pk


async def test_the_old_secret_ends_at_its_time_although_worker_and_valkey_remember_it(
    worker, key, valkey_url, monkeypatch
):
    await rotate(key, until=soon(hours=1))
    await worker.authenticate(bearer(OLD))
    async with authenticator_at(valkey_url) as second:
        with lookups() as asked:
            await second.authenticate(bearer(OLD))  # from Valkey
            monkeypatch.setattr("tenants.auth.time", lambda: time.time() + 3601)
            for authenticator in (worker, second):
                assert (await refused(authenticator, bearer(OLD))).code == "expired_api_key"
        assert asked == []
        error = await refused(second, bearer(OLD))
        assert error.message == "API key tg_aaaa… was replaced by a new secret."
        assert (await second.authenticate(bearer(NEW))).expires_at is None


async def test_a_cached_key_hears_of_the_overlap(runtimes, key, monkeypatch):
    runtime, _ = runtimes
    await runtime.authenticator.authenticate(bearer(OLD))
    await rotate(key, until=soon(hours=1))
    assert (await runtime.authenticator.authenticate(bearer(OLD))).key_id == key.pk
    monkeypatch.setattr("tenants.auth.time", lambda: time.time() + 3601)
    await refused_within(runtime.authenticator, OLD, "expired_api_key", within=10)


async def test_an_overlap_outlives_no_expiry(worker, key):
    key.expires_at = soon(seconds=0.5)
    await run_query(key.save)
    await rotate(key, until=soon(hours=1))
    for secret in (OLD, NEW):
        await refused_within(worker, secret, "expired_api_key", within=2)


async def test_an_overlap_is_ended_before_its_time(runtimes, key):
    runtime, _ = runtimes
    rotated = await rotate(key, until=soon(hours=1))
    await runtime.authenticator.authenticate(bearer(OLD))
    await run_query(rotated.end_overlap)
    await refused_within(runtime.authenticator, OLD, "expired_api_key")
    assert (await runtime.authenticator.authenticate(bearer(NEW))).key_id == key.pk


async def test_revoking_stops_both_at_once(runtimes, key):
    rotated = await rotate(key, until=soon(hours=1))
    for runtime in runtimes:
        for secret in (OLD, NEW):
            await runtime.authenticator.authenticate(bearer(secret))
    await run_query(rotated.revoke)
    for runtime in runtimes:
        for secret in (OLD, NEW):
            await refused_within(runtime.authenticator, secret, "revoked_api_key")


async def test_suspending_the_tenant_stops_both(runtimes, alice, key):
    runtime, _ = runtimes
    await rotate(key, until=soon(hours=1))
    for secret in (OLD, NEW):
        await runtime.authenticator.authenticate(bearer(secret))
    await run_query(alice.suspend)
    for secret in (OLD, NEW):
        await refused_within(runtime.authenticator, secret, "tenant_suspended")


async def test_a_second_rotation_leaves_the_first_secret_to_nobody(runtimes, key):
    runtime, _ = runtimes
    await rotate(key, until=soon(hours=1))
    await runtime.authenticator.authenticate(bearer(OLD))
    await rotate(key, NEWEST, until=soon(hours=1))
    await refused_within(runtime.authenticator, OLD, "invalid_api_key")
    for secret in (NEW, NEWEST):
        assert (await runtime.authenticator.authenticate(bearer(secret))).key_id == key.pk


async def test_deleting_the_key_stops_both(runtimes, key):
    runtime, _ = runtimes
    rotated = await rotate(key, until=soon(hours=1))
    for secret in (OLD, NEW):
        await runtime.authenticator.authenticate(bearer(secret))
    await run_query(rotated.delete)
    for secret in (OLD, NEW):
        await refused_within(runtime.authenticator, secret, "invalid_api_key")


# --- Charlie -------------------------------------------------------------------------------------------------


async def test_charlies_secret_never_finds_alices_key(worker, key, of_charlie):
    await rotate(key, until=soon(hours=1))
    await rotate(of_charlie, NEWEST, until=soon(hours=1))
    owners = {OLD: "alice", NEW: "alice", "tg_" + "z" * 40: "charlie", NEWEST: "charlie"}
    for _ in range(2):
        assert {secret: (await worker.authenticate(bearer(secret))).tenant for secret in owners} == owners


async def test_what_happens_to_alice_leaves_charlies_overlap_alone(runtimes, key, of_charlie):
    runtime, _ = runtimes
    await rotate(of_charlie, NEWEST, until=soon(hours=1))
    rotated = await rotate(key, until=soon(hours=1))
    await run_query(rotated.revoke)
    await refused_within(runtime.authenticator, NEW, "revoked_api_key")
    for secret in ("tg_" + "z" * 40, NEWEST):
        assert (await runtime.authenticator.authenticate(bearer(secret))).tenant == "charlie"


# --- Caches --------------------------------------------------------------------------------------------------


async def test_an_old_secret_that_is_cached_costs_neither_store_anything(worker, key, valkey_url):
    await rotate(key, until=soon(hours=1))
    first = await worker.authenticate(bearer(OLD))
    with costing_neither_store(valkey_url):
        for _ in range(50):
            assert await worker.authenticate(bearer(OLD)) is first


async def test_valkey_keeps_no_entry_of_the_old_secret_that_has_no_end(worker, key, valkey_url):
    await worker.authenticate(bearer(OLD))
    with redis.Redis.from_url(valkey_url) as client:
        assert client.exists(PRINCIPAL_KEY + key.digest)
        rotated = await rotate(key, until=soon(hours=1))
        assert rotated.previous_digest == key.digest
        assert not client.exists(PRINCIPAL_KEY + key.digest)


async def test_a_key_of_the_old_pepper_is_rotated_to_the_new_one(valkey_url, key, settings):
    settings.TOLLGATE_KEY_PEPPERS = ["the-new-pepper", *settings.TOLLGATE_KEY_PEPPERS]
    rotated = await rotate(key, until=soon(hours=1))
    assert rotated.pepper_id != rotated.previous_pepper_id == key.pepper_id
    async with authenticator_at(valkey_url, peppers=settings.TOLLGATE_KEY_PEPPERS) as both:
        for secret in (OLD, NEW):
            assert (await both.authenticate(bearer(secret))).key_id == key.pk
