"""What alert rules learn of the deployment itself, from a real Valkey: nothing where nobody says anything."""

from __future__ import annotations

from collections.abc import Iterator
from time import time
from typing import Any

import msgspec
import pytest
import redis

from gateway_site.health.alert_gauges import read_gauges
from routing.report import REPORT_KEY, WORKERS_KEY, WorkerReport
from routing.snapshot_store import NUMBER_KEY
from tenants.alerting import Gauges
from tenants.limits.scripts import USAGE_STREAM


@pytest.fixture
def client(stores: tuple[str, str], settings: Any) -> Iterator[redis.Redis]:
    settings.VALKEY_URL = stores[1]
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
        yield client
        client.flushall()


def say(client: redis.Redis, worker: str, revision: int, **deployment: Any) -> None:
    row = {"deployment": "gpt", "provider": "openai", "breaker": "closed", "breaker_changed_at": 1.0} | deployment
    report = WorkerReport(
        worker=worker,
        host="h",
        pid=1,
        version="0",
        started_at=0.0,
        at=time(),
        revision=revision,
        deployments=[row],
    )
    client.zadd(WORKERS_KEY, {worker: time() + 60})
    client.set(REPORT_KEY + worker, msgspec.json.encode(report))


def test_it_counts_what_workers_say(client: redis.Redis):
    client.set(NUMBER_KEY, 7)
    say(client, "a", 7, breaker="open", breaker_changed_at=2.0, probe="unreachable")
    say(client, "b", 6)
    say(client, "c", 7, deployment="claude", provider="anthropic", probe="cannot_probe")
    assert read_gauges() == Gauges(
        open_breakers=[("openai", "gpt")], failing_probes=[("openai", "gpt")], ledger_lag=0.0, lagging_workers=1
    )


def test_it_sees_how_long_usage_waits(client: redis.Redis):
    client.xadd(USAGE_STREAM, {"event": "x"}, id=f"{int((time() - 90) * 1000)}-0")  # type: ignore[arg-type]
    found = read_gauges()
    assert found.ledger_lag is not None
    assert 89 < found.ledger_lag < 120
    assert found.open_breakers is found.failing_probes is found.lagging_workers is None


def test_without_valkey_nothing_is_known(settings: Any):
    settings.VALKEY_URL = "redis://127.0.0.1:9/0"
    assert read_gauges() == Gauges()
