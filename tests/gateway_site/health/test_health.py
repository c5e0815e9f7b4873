"""The gateway's state over HTTP: of one worker with real stores that come and go. No key is needed, and no tenant named."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import get_ident
from time import time
from typing import Any

import httpx
import pytest
import redis
from django.conf import settings
from prometheus_client import Metric

from gateway_site.asgi import is_data_plane
from gateway_site.data_plane import PUBLIC_PATHS, DataPlaneHandler
from gateway_site.health.collector import HEARTBEAT_KEY, HealthCollector
from gateway_site.infra import kept, telemetry
from gateway_site.infra.logging import AccessLog
from gateway_site.infra.postgres import PostgresWatch
from gateway_site.infra.tallies import Count
from gateway_site.infra.threads import run_query
from gateway_site.tasks import HEARTBEAT_KEY as BEATS_KEY
from routing.runtime import Runtime
from routing.services import publish
from routing.snapshot_store import NUMBER_KEY
from tenants.limits.scripts import USAGE_STREAM
from tenants.models import Tenant
from tenants.services import create_key
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually, own_valkey
from tests.gateway_site.infra.postgres_away import postgres_at, silent_postgres
from tests.routing.catalogue import CREDENTIAL, make_catalogue
from tests.routing.runtimes import runtime_at

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENTS = ("/health", "/metrics/health", "/metrics/summary", "/metrics/export")


rate_limit_exceeded = Count(telemetry.rate_limit_exceeded)


class Worker:
    """A worker's data plane, without a socket."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        handler = DataPlaneHandler(runtime, access_log=AccessLog("text"), max_body_bytes=1024, body_timeout=1)
        transport = httpx.ASGITransport(app=handler)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://gateway")

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def document(self, path: str = "/health") -> dict[str, Any]:
        return dict((await self.get(path)).json())


@asynccontextmanager
async def worker_at(state_dir: Path, url: str | None = None) -> AsyncIterator[Worker]:
    async with runtime_at(state_dir, url) as runtime:
        yield Worker(runtime)


@pytest.fixture
def client(stores: tuple[str, str]) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
        yield client


@pytest.fixture
def beating(client: redis.Redis) -> None:
    client.set(HEARTBEAT_KEY, f"{time():.0f}")


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnValkey]:
    with own_valkey(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture
def published(client: redis.Redis) -> None:
    make_catalogue()
    publish()


def test_the_heartbeat_is_looked_for_where_celery_leaves_it():
    assert HEARTBEAT_KEY == BEATS_KEY


@pytest.mark.parametrize("path", sorted(PUBLIC_PATHS - {"/"}))
def test_the_data_plane_answers_them(path: str):
    assert is_data_plane(path, "GET")


@pytest.mark.usefixtures("published", "beating")
async def test_all_is_well(tmp_path: Path):
    async with worker_at(tmp_path) as worker:
        await eventually(lambda: worker.runtime.postgres.state == "up")
        document = await worker.document()
        assert document["issues"] == []
        assert (document["status"], document["scope"], document["workers"]) == ("ok", "all workers", 1)
        assert {name for name, part in document["components"].items() if part["state"] != "up"} == set()
        assert document["components"]["snapshot"] == {"state": "up", "revision": 1, "published": 1}
        ready = await worker.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")


@pytest.mark.usefixtures("published", "beating")
async def test_the_documents_name_no_tenant_no_key_and_no_secret(tmp_path: Path):
    key, secret = await run_query(_make_key)
    async with worker_at(tmp_path) as worker:
        for path in DOCUMENTS:
            reply = await worker.get(path)
            assert reply.status_code == 200
            for word in ("globex", key, secret, CREDENTIAL, settings.TOLLGATE_SECRETS_KEYS[0]):
                assert word not in reply.text, path


def _make_key() -> tuple[str, str]:
    key, secret = create_key(tenant=Tenant.objects.create(slug="globex", name="Globex"), name="globex-ci")
    return key.prefix, secret


@pytest.mark.usefixtures("published", "beating")
async def test_it_answers_for_all_workers(tmp_path: Path):
    async with worker_at(tmp_path) as worker:
        await eventually(lambda: worker.runtime.peers == 1)
        _other_worker(worker.runtime)
        document = await worker.document("/metrics/summary")
        assert (document["workers"], document["active_streams"]) == (2, 3)
        exported = await worker.document("/metrics/export")
        assert {each["worker"] for each in exported["workers"]} == {worker.runtime.worker, "elsewhere-1"}


def _other_worker(runtime: Runtime) -> None:
    """Another worker's report, as it lies in Valkey."""
    report = {
        "worker": "elsewhere-1",
        "host": "elsewhere",
        "pid": 1,
        "version": runtime.report().version,
        "started_at": time() - 60,
        "at": time(),
        "revision": 1,
        "active_streams": 3,
    }
    with redis.Redis.from_url(settings.VALKEY_URL) as client:
        client.set("tollgate:worker:elsewhere-1", json.dumps(report))
        client.zadd("tollgate:workers", {"elsewhere-1": time()})


@pytest.mark.usefixtures("published")
async def test_celery_and_a_ledger_that_lag_are_told(tmp_path: Path, client: redis.Redis):
    client.xadd(USAGE_STREAM, {"event": "{}"}, id=f"{int((time() - 90) * 1000)}-0")
    async with worker_at(tmp_path) as worker:
        document = await worker.document()
        assert {issue["code"] for issue in document["issues"]} == {"celery_silent", "ledger_lags"}
        assert document["status"] == "degraded"
        assert document["components"]["usage"]["waiting_events"] == 1
        assert document["components"]["usage"]["lag_seconds"] >= 90


@pytest.mark.usefixtures("published", "beating")
async def test_a_worker_is_not_late_with_a_revision_that_is_news_to_everybody(tmp_path: Path, client: redis.Redis):
    async with worker_at(tmp_path) as worker:
        await worker.document()
        client.set(NUMBER_KEY, 9)
        collector = HealthCollector(worker.runtime)
        known = await collector.facts()
        assert known.published == 9
        assert known.published_since == pytest.approx(time(), abs=2)
        assert (await worker.document())["issues"] == []


@pytest.mark.usefixtures("published", "beating")
async def test_why_a_breaker_is_open_is_told(tmp_path: Path):
    async with worker_at(tmp_path) as worker:
        board, now = worker.runtime.health, time()
        entry = board.of("openai-large", "openai")
        for _ in range(entry.breaker.settings.failures):
            board.record(entry, now, is_ok=False, reason="status 503", is_trial=False)
        await asyncio.sleep(0.2)  # told in the background
        document = await worker.document()
        (issue,) = document["issues"]
        assert issue["code"] == "breaker_open"
        assert "status 503" in issue["message"]
        (provider,) = (await worker.document("/metrics/export"))["breakers"]
        assert (provider["provider"], provider["state"]) == ("openai", "open")


@pytest.mark.usefixtures("published", "beating")
async def test_however_many_ask_valkey_is_asked_once(tmp_path: Path):
    async with worker_at(tmp_path) as worker:
        collector = HealthCollector(worker.runtime)
        found = await asyncio.gather(*(collector.facts() for _ in range(50)))
        assert len({id(known) for known in found}) == 1
        assert await collector.facts() is found[0]


class Scrapes:
    """Notes in which thread the metrics are collected, and how often."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> list[Metric]:
        self.threads.append(get_ident())
        return []


@pytest.fixture
def scrapes() -> Iterator[Scrapes]:
    found = Scrapes()
    telemetry.REGISTRY.register(found)
    yield found
    telemetry.REGISTRY.unregister(found)


@pytest.mark.usefixtures("published", "beating")
@pytest.mark.parametrize("path", ["/metrics", "/metrics/export"])
async def test_however_many_ask_the_metrics_are_written_once_and_beside_the_event_loop(
    tmp_path: Path, scrapes: Scrapes, path: str, monkeypatch: pytest.MonkeyPatch
):
    async with worker_at(tmp_path) as worker:
        replies = await asyncio.gather(*(worker.get(path) for _ in range(20)))
        assert {reply.content for reply in replies} == {(await worker.get(path)).content}
        assert len(scrapes.threads) == 1
        assert get_ident() not in scrapes.threads
        monkeypatch.setattr(kept, "FRESH_SECONDS", 0.0)
        await asyncio.sleep(1.0)
        await worker.get(path)
        assert len(scrapes.threads) == 2


@pytest.mark.usefixtures("published", "beating")
async def test_a_worker_tells_what_it_has_counted_by_then(tmp_path: Path):
    async with worker_at(tmp_path) as worker:
        rate_limit_exceeded.add("told_at_once", amount=3)
        assert 'rate_limit_exceeded_total{code="told_at_once"} 3.0' in (await worker.get("/metrics")).text
        rate_limit_exceeded.add("told_in_json", amount=4)
        assert "told_in_json" in (await worker.get("/metrics/export")).text


@pytest.mark.usefixtures("published", "beating")
async def test_with_a_token_only_who_has_it_sees_more_than_that_it_works(tmp_path: Path, settings):
    settings.METRICS_TOKEN = "let-me-in"
    tokens = {"charlie": "Bearer no", "nobody": "", "a_key": "let-me-in", "too_much": "Bearer let-me-in-too"}
    async with worker_at(tmp_path) as worker:
        for path in ("/metrics", "/metrics/health", "/metrics/summary", "/metrics/export"):
            for sent in tokens.values():
                reply = await worker.get(path, authorization=sent)
                assert (reply.status_code, reply.headers["x-tollgate-error"]) == (401, "metrics_token_required")
                assert reply.headers["www-authenticate"].startswith("Bearer")
            assert (await worker.get(path, authorization="bearer let-me-in")).status_code == 200
        for path in ("/healthz", "/ready"):
            assert (await worker.get(path)).status_code == 200
        for sent in tokens.values():
            document = (await worker.get("/health", authorization=sent)).json()
            assert document.keys() == {"status", "version", "uptime_seconds", "components"}
            assert document["status"] == "ok"
            assert {tuple(part) for part in document["components"].values()} == {("state",)}
        whole = (await worker.get("/health", authorization="Bearer let-me-in")).json()
        assert {"issues", "recommendations", "metrics"} < whole.keys()


async def test_without_valkey_it_answers_for_itself_at_once(tmp_path: Path, own_server: OwnValkey):
    async with worker_at(tmp_path, own_server.url) as worker:
        own_server.kill()
        await eventually(lambda: not worker.runtime.valkey.is_connected)
        reply = await worker.get("/health")
        document = reply.json()
        assert (reply.status_code, document["status"]) == (200, "degraded")
        assert document["scope"] == f"worker {worker.runtime.worker} alone, for Valkey is away"
        assert "valkey_away" in {issue["code"] for issue in document["issues"]}
        ready = await worker.get("/ready")
        assert (ready.status_code, ready.json()["away"]) == (200, ["valkey"])


async def test_a_worker_without_configuration_is_taken_out_of_service(tmp_path: Path, own_server: OwnValkey):
    own_server.kill()
    with postgres_at(tmp_path):
        async with worker_at(tmp_path, own_server.url) as worker:
            for path in ("/health", "/ready"):
                reply = await worker.get(path)
                assert (reply.status_code, reply.json()["status"]) == (503, "down")


async def test_postgres_is_watched(tmp_path: Path):
    watch = PostgresWatch()
    assert (watch.state, watch.is_down) == ("unknown", False)
    await watch.check()
    assert watch.state == "up"
    with postgres_at(tmp_path):
        await watch.check()
        assert watch.is_down
    await watch.check()
    assert watch.state == "up"
    await watch.aclose()


async def test_a_postgres_that_says_nothing_is_down_after_a_second(tmp_path: Path):
    watch = PostgresWatch()
    async with silent_postgres(tmp_path):
        began = time()
        await watch.check()
        await watch.check()  # the first question still hangs, and is not asked twice
        assert watch.is_down
        assert time() - began < 4
    await watch.aclose()
