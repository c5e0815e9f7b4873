"""Stored responses: each within its tenant, encrypted, until its time is over."""

import asyncio
import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from gateway_site.infra.threads import run_query
from routing import stored_responses
from routing.models import StoredResponse
from routing.stored_responses import StoredValue, delete, load, purge, save
from routing.tasks import purge_stored_responses
from tenants.errors import Unavailable
from tenants.models import Tenant
from tests.gateway_site.infra.postgres_away import postgres_at, silent_postgres

pytestmark = pytest.mark.django_db(transaction=True)

BODY = json.dumps({"input": [{"role": "user", "content": "Über 🐈 " * 200}], "response": {"id": "resp_1"}}).encode()


@pytest.fixture
def alice() -> Tenant:
    return Tenant.objects.create(slug="alice")


@pytest.fixture
def charlie() -> Tenant:
    return Tenant.objects.create(slug="charlie")


async def store(tenant: Tenant, response_id: str = "resp_1", **facts: Any) -> None:
    given = {"deployment": "large", "dialect": "openai_chat", "body": BODY, "retention_days": 30}
    await save(tenant.pk, 7, response_id, **given | facts)


def expire() -> None:
    StoredResponse.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def only() -> StoredResponse:
    return StoredResponse.objects.get()


# --- Saving and loading --------------------------------------------------------------------------------------


async def test_a_response_comes_back_as_it_was_stored(alice):
    await store(alice)
    assert await load(alice.pk, "resp_1") == StoredValue(body=BODY, deployment="large", dialect="openai_chat")


async def test_of_a_response_that_its_upstream_keeps_only_the_place_is_known(alice):
    await store(alice, dialect="openai_responses", body=None)
    found = await load(alice.pk, "resp_1")
    assert found == StoredValue(body=None, deployment="large", dialect="openai_responses")
    assert found.is_native
    row = await run_query(only)
    assert (row.is_native, bytes(row.body)) == (True, b"")


async def test_an_empty_body_is_a_body(alice):
    await store(alice, body=b"")
    found = await load(alice.pk, "resp_1")
    assert found is not None
    assert (found.body, found.is_native) == (b"", False)


async def test_what_was_never_stored_is_not_there(alice):
    assert await load(alice.pk, "resp_1") is None
    assert await delete(alice.pk, "resp_1") is False


async def test_it_is_neither_readable_nor_large_in_the_database(alice):
    await store(alice)
    sealed = bytes((await run_query(only)).body)
    assert b"resp_1" not in sealed
    assert len(sealed) < len(BODY) / 2


async def test_it_expires_after_as_many_days_as_its_tenant_keeps_responses(alice):
    before = timezone.now()
    await store(alice, retention_days=7)
    lifetime = (await run_query(only)).expires_at - before
    assert timedelta(days=7) <= lifetime < timedelta(days=7, minutes=1)


async def test_storing_an_id_again_replaces_what_was_there(alice):
    await store(alice, body=b"first", retention_days=1)
    await store(alice, body=b"second", deployment="small", dialect="gemini", retention_days=3)
    found = await load(alice.pk, "resp_1")
    assert found == StoredValue(body=b"second", deployment="small", dialect="gemini")
    assert (await run_query(only)).expires_at > timezone.now() + timedelta(days=2)
    await store(alice, body=None)
    assert (await load(alice.pk, "resp_1")).is_native  # type: ignore[union-attr]


async def test_the_same_id_stored_many_times_at_once_is_one_response(alice):
    await asyncio.gather(*(store(alice, body=b"%d" % number) for number in range(12)))
    assert (await run_query(only)).response_id == "resp_1"


async def test_a_deleted_response_is_gone(alice):
    await store(alice)
    await store(alice, "resp_2")
    assert await delete(alice.pk, "resp_1") is True
    assert await delete(alice.pk, "resp_1") is False
    assert await load(alice.pk, "resp_1") is None
    assert await load(alice.pk, "resp_2") is not None


@pytest.mark.parametrize("wrong", ["", "a\0b", "a b", "ü", "\ud800", "x" * 256, "' OR 1=1 --", "resp_1\n"], ids=ascii)
async def test_what_cannot_be_an_id_is_not_there(alice, wrong):
    await store(alice, wrong)
    assert not await run_query(StoredResponse.objects.exists)
    assert await load(alice.pk, wrong) is None
    assert await delete(alice.pk, wrong) is False


# --- Tenants -------------------------------------------------------------------------------------------------


async def test_charlie_can_neither_read_nor_delete_alices_response(alice, charlie):
    await store(alice)
    assert await load(charlie.pk, "resp_1") is None
    assert await delete(charlie.pk, "resp_1") is False
    assert await load(alice.pk, "resp_1") is not None


async def test_charlie_cannot_overwrite_alices_response(alice, charlie):
    """Ids of upstreams are not ours: two of them may give the same one."""
    await store(alice, body=b"alice's")
    await store(charlie, body=b"charlie's", deployment="charlies-own")
    assert (await load(alice.pk, "resp_1")).body == b"alice's"  # type: ignore[union-attr]
    assert (await load(charlie.pk, "resp_1")).body == b"charlie's"  # type: ignore[union-attr]
    assert await delete(charlie.pk, "resp_1") is True
    assert await load(alice.pk, "resp_1") is not None


async def test_a_tenant_takes_its_responses_along(alice, charlie):
    await store(alice)
    await store(charlie)

    def delete_tenant() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            alice.delete()
        return [query["sql"] for query in queries]

    asked = await run_query(delete_tenant)
    assert not any("routing_storedresponse" in sql for sql in asked)  # not a body was read
    assert (await run_query(only)).tenant_id == charlie.pk


async def test_the_response_of_a_tenant_that_was_deleted_meanwhile_is_not_stored(alice):
    await run_query(Tenant.objects.all().delete)
    await store(alice)
    assert not await run_query(StoredResponse.objects.exists)


# --- Expiry --------------------------------------------------------------------------------------------------


async def test_an_expired_response_is_as_good_as_gone(alice):
    await store(alice)
    await run_query(expire)
    assert await load(alice.pk, "resp_1") is None
    assert await delete(alice.pk, "resp_1") is False


async def test_an_expired_id_can_be_stored_again(alice):
    await store(alice, body=b"old")
    await run_query(expire)
    await store(alice, body=b"new")
    assert (await load(alice.pk, "resp_1")).body == b"new"  # type: ignore[union-attr]


async def test_the_task_deletes_what_has_expired_and_nothing_else(alice, charlie):
    await store(alice, "old")
    await store(charlie, "old")
    await run_query(expire)
    await store(alice, "new")
    await run_query(purge_stored_responses)
    assert (await run_query(only)).response_id == "new"
    assert await run_query(purge) == 0


def test_many_are_deleted_a_batch_at_a_time_without_being_read(alice):
    past = timezone.now() - timedelta(days=1)
    StoredResponse.objects.bulk_create(
        StoredResponse(
            response_id=str(number), tenant=alice, api_key_id=1, is_native=False, body=b"x" * 100, expires_at=past
        )
        for number in range(25)
    )
    with CaptureQueriesContext(connection) as queries:
        assert purge(batch=10) == 25
    asked = [query["sql"] for query in queries]
    assert sum(sql.startswith("DELETE") for sql in asked) == 3
    assert not any('"body"' in sql for sql in asked)


async def test_what_is_stored_anew_while_it_is_to_be_deleted_stays(alice):
    await store(alice)
    await run_query(expire)

    def renew_slowly(is_held: threading.Event) -> None:
        with transaction.atomic():
            StoredResponse.objects.update(expires_at=timezone.now() + timedelta(days=1))
            is_held.set()
            while not _is_waited_for():
                time.sleep(0.01)

    is_held = threading.Event()
    renewal = asyncio.create_task(run_query(renew_slowly, is_held))
    await asyncio.to_thread(is_held.wait)
    assert await run_query(purge) == 0
    await renewal
    assert await load(alice.pk, "resp_1") is not None


def _is_waited_for() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0


# --- What is away, what is lost ------------------------------------------------------------------------------


async def test_without_postgres_it_is_503(alice, tmp_path):
    await store(alice)
    with postgres_at(tmp_path):
        for call in (store(alice), load(alice.pk, "resp_1"), delete(alice.pk, "resp_1")):
            with pytest.raises(Unavailable) as caught:
                await call
            assert (caught.value.status, caught.value.code) == (503, "store_unavailable")
            assert caught.value.headers == {"retry-after": "2"}
    assert await load(alice.pk, "resp_1") is not None


async def test_a_postgres_that_never_answers_is_not_waited_for_long(alice, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(stored_responses, "PATIENCE_SECONDS", 0.3)
    async with silent_postgres(tmp_path_factory.mktemp("pg")):
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await load(alice.pk, "resp_1")
        assert time.monotonic() - began < 2


async def test_a_response_whose_key_was_taken_away_is_as_good_as_gone(alice, settings):
    await store(alice)
    await store(alice, "native", body=None)
    settings.TOLLGATE_SECRETS_KEYS = [Fernet.generate_key().decode()]
    assert await load(alice.pk, "resp_1") is None
    assert await load(alice.pk, "native") is not None
    assert await delete(alice.pk, "resp_1") is True
