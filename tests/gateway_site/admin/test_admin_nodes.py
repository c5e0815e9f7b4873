"""The page of nodes: which worker runs what, how it does, and what to do about those that lag. Charlie sees none."""

from __future__ import annotations

from datetime import timedelta
from time import time
from typing import Any

import msgspec
import pytest
import redis
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from routing.models import ConfigRevision, Route
from routing.report import REPORT_KEY, WORKERS_KEY, WorkerReport
from routing.services import publish
from tests.gateway_site.infra.own_valkey import OwnValkey
from tests.routing.catalogue import make_catalogue

pytestmark = pytest.mark.django_db(transaction=True)

NODES = "/admin/nodes/"


def report(valkey: redis.Redis, host: str, pid: int, **facts: Any) -> None:
    known: dict[str, Any] = {"version": "1.2", "started_at": time() - 60, "at": time(), "revision": 1} | facts
    told = WorkerReport(worker=f"{host}-{pid}", host=host, pid=pid, **known)
    valkey.set(REPORT_KEY + told.worker, msgspec.json.encode(told), ex=10)
    valkey.zadd(WORKERS_KEY, {told.worker: time()})


def shown(console: Any) -> str:
    response = console.get(NODES)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_it_shows_every_worker_by_node(console, valkey):
    make_catalogue()
    publish()
    components = {"valkey": "up", "postgres": "up", "spool": "empty"}
    report(valkey, "east", 11, active_requests=3, active_streams=2, components=components)
    report(valkey, "east", 12, components=components)
    report(valkey, "west", 21, components=components, requests_total=1234, requests_failed=5)
    text = shown(console)
    for part in (
        "2 workers, 3 requests in flight",
        "3 requests, 2 of them streams",
        "1,234 requests, 5 failed",
        "nothing waits",
    ):
        assert part in text, part
    assert text.index("east") < text.index("west")
    assert "needs a look" not in text


def test_a_worker_that_lags_says_what_to_do(console, valkey):
    make_catalogue()
    publish()
    publish_another()
    report(valkey, "east", 11, revision=1)
    text = shown(console)
    assert "Lags" in text
    assert any(f"1, {seconds} s behind" in text for seconds in range(60, 70))
    assert "It should have loaded the newest revision" in text


def publish_another() -> None:
    Route.objects.update(retries=5)
    publish()
    ConfigRevision.objects.filter(number=2).update(published_at=timezone.now() - timedelta(seconds=60))


def test_a_worker_that_misses_reports_is_marked(console, valkey):
    report(valkey, "east", 11, at=time() - 8)
    text = shown(console)
    assert any(f"Silent for {seconds} s" in text for seconds in range(8, 18))
    assert "event loop may be blocked" in text


def test_a_worker_that_is_gone_is_named(console, valkey):
    valkey.zadd(WORKERS_KEY, {"east-11": time() - 20})
    text = shown(console)
    assert "Fell silent" in text
    assert "east-11" in text


@pytest.mark.parametrize(
    ("component", "words"), [("valkey", "its share of the limits"), ("postgres", "refused with 503")]
)
def test_a_store_that_is_away_says_what_follows(console, valkey, component, words):
    report(valkey, "east", 11, components={component: "down"})
    text = shown(console)
    assert f"{component} down" in text
    assert words in text


def test_nobody_has_reported(console, valkey):
    assert "No worker has reported" in shown(console)


def test_it_is_answered_without_valkey(console, settings, tmp_path):
    settings.VALKEY_URL = OwnValkey(tmp_path).url  # which was never started
    assert "Valkey cannot be reached" in shown(console)


def test_it_is_cheap(console, valkey):
    for pid in range(40):
        report(valkey, "east", pid)
    shown(console)
    with CaptureQueriesContext(connection) as queries:
        shown(console)
    assert len(queries) <= 8


def test_it_is_for_operators(valkey, charlie):
    assert charlie.get(NODES).status_code == 403
