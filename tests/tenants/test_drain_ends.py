"""A drain ends although usage keeps coming: counting and proving wait for its lock."""

from collections.abc import Iterator
from itertools import count
from threading import Event, Thread
from time import time

import pytest
import redis

from tenants.ledger import drain, drain_lock
from tenants.limits.scripts import USAGE_STREAM
from tenants.models import Tenant, UsageRecord
from tenants.usage_event import UsageEvent, encode

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE_SECONDS = 20.0


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        yield client


@pytest.fixture
def busy(client: redis.Redis, alice: Tenant, charlie: Tenant) -> Iterator[Thread]:
    """Alice and charlie ask again and again, more often than a batch can be written."""
    is_over, is_busy = Event(), Event()
    owners = [tenant.pk for tenant in (alice, charlie)]

    def ask() -> None:
        for number in count(1):
            event = UsageEvent(
                request_id=f"{number:032x}",
                started_at=time(),
                tenant_id=owners[number % 2],
                api_key_id=1,
                dialect="openai_chat",
                alias="smart",
                status=200,
                outcome="served",
                cost_status="exact",
                latency_ms=1,
            )
            client.xadd(USAGE_STREAM, {"event": encode(event)})
            is_busy.set()
            if is_over.wait(0.001):
                return

    thread = Thread(target=ask, daemon=True)
    thread.start()
    assert is_busy.wait(5)
    yield thread
    is_over.set()
    thread.join()


def test_it_ends_while_more_keeps_coming(client, busy):
    done: list[int] = []
    began = time()
    for _ in range(3):
        done.append(drain(client).records)
        with drain_lock() as is_ours:
            assert is_ours
    assert busy.is_alive()
    assert time() - began < PATIENCE_SECONDS
    assert UsageRecord.objects.count() == sum(done) > 0
