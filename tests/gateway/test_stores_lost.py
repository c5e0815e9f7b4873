"""A whole installation loses a process or a store under load, by SIGKILL: cached keys go on, and the ledger loses nothing.

The same with half a minute for each is `python -m benchmarks.outages`.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from benchmarks import outages
from benchmarks.outages import Installation, Outage, Outcome
from tenants.keys import generate
from tests.environment import STATE_DIR
from tests.gateway.stack import wait_for

SECONDS = 4.0
RATE = 50.0  # requests a second: a quarter of what the command asks, for one worker on a busy machine
KEYS = {name: generate() for name in ("ALICE", "STRICT", "CHARLIE")}
TENANTS = """
tenants:
  - slug: alice
    models: [bench-chat]
    limits: [{requests: 20, per: hour}]
    api_keys: [{name: alice, secret: "${ALICE}"}]
  - slug: strict
    models: [bench-chat]
    without_valkey: refuse
    limits: [{requests: 1000, per: hour}]
    api_keys: [{name: strict, secret: "${STRICT}"}]
  - slug: charlie
    models: [bench-messages]
    limits: [{requests: 1000, per: hour}]
    api_keys: [{name: charlie, secret: "${CHARLIE}"}]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = STATE_DIR / "outages"
    folder.mkdir(parents=True)
    tenants = tmp_path_factory.mktemp("declared") / "tenants.yaml"
    tenants.write_text(TENANTS)
    with outages.installation(folder) as installed:
        installed.apply(tenants, **KEYS)
        yield installed


@pytest.fixture(autouse=True)
def _whole(installed: Installation) -> Iterator[None]:
    """Every test finds two workers that have both stores, and leaves them."""
    yield
    wait_for(lambda: _is_whole(installed), "both workers, both stores", seconds=120)


def _is_whole(installed: Installation) -> bool:
    if len(installed.children("serve")) != 2:
        return False
    return all(ready(installed) == (200, "ready") for _ in range(6))


def ready(installed: Installation) -> tuple[int, str]:
    reply = httpx.get(f"{installed.url}/ready", verify=False, timeout=10)
    return reply.status_code, reply.json()["status"]


def ask(installed: Installation, key: str, model: str = "bench-chat") -> httpx.Response:
    """Send one request over a connection of its own."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{installed.url}/v1/chat/completions", json=body, headers=headers, verify=False, timeout=15)


async def suffer(installed: Installation, outage: Outage) -> Outcome:
    """Let it happen; requests go on, and all that was answered is in the ledger once."""
    outcome = await outages.suffer(installed, outage, rate=RATE)
    assert outcome.requests > RATE * outage.seconds
    assert outcome.success >= 0.999, outcome.failures
    assert (outcome.lost, outcome.doubled, outcome.is_summed_up) == (0, 0, True)
    return outcome


# --- Killed, and dead for a while ----------------------------------------------------------------------------


async def test_it_goes_on_without_one_of_its_workers(installed):
    outcome = await suffer(installed, outages.one_worker(SECONDS))
    assert outcome.cut_with_worker <= 32  # what was under way at that moment


async def test_it_goes_on_without_valkey(installed):
    await suffer(installed, outages.valkey(SECONDS))


async def test_it_goes_on_without_postgres(installed):
    await suffer(installed, outages.postgres(SECONDS))


async def test_it_goes_on_without_celery(installed):
    await suffer(installed, outages.celery(SECONDS))


async def test_it_goes_on_without_both_stores(installed):
    await suffer(installed, outages.both(SECONDS))


# --- Frozen: connections are accepted, and nobody answers -----------------------------------------------------


async def test_a_frozen_valkey_does_not_slow_every_request(installed):
    outcome = await suffer(installed, outages.valkey_frozen(SECONDS))
    assert outcome.p50_ms < 400  # a worker that asked it for each would need 500


async def test_a_frozen_postgres_does_not_slow_every_request(installed):
    outcome = await suffer(installed, outages.postgres_frozen(SECONDS))
    assert outcome.p50_ms < 400


# --- What tenants see meanwhile -------------------------------------------------------------------------------


def test_without_valkey_limits_are_shared_out_and_a_strict_tenant_is_refused(installed):
    assert ask(installed, KEYS["STRICT"]).status_code == 200
    with outages.killed(installed.valkey):
        wait_for(lambda: ready(installed) == (200, "degraded"), "a worker that knows")
        statuses = [ask(installed, KEYS["ALICE"]) for _ in range(40)]
        admitted = sum(each.status_code == 200 for each in statuses)
        refused = next(each for each in statuses if each.status_code == 429)
        strict = ask(installed, KEYS["STRICT"])
    assert 1 <= admitted <= 20
    assert refused.json()["error"]["code"] == "rate_limited"
    assert "20 requests per hour of tenant 'alice'" in refused.json()["error"]["message"]
    assert refused.headers["x-ratelimit-limit-requests"] == "20"
    assert strict.status_code == 503
    assert strict.json()["error"]["code"] == "limits_unavailable"
    assert strict.headers["retry-after"] == "2"
    wait_for(lambda: ask(installed, KEYS["STRICT"]).status_code == 200, "the strict tenant's return")


def test_charlie_is_refused_and_an_unknown_key_is_not_told_that_it_is_wrong(installed):
    assert ask(installed, KEYS["CHARLIE"]).status_code == 403  # the model is not his
    with outages.killed(installed.valkey, installed.postgres):
        wait_for(lambda: ready(installed) == (200, "degraded"), "a worker that knows")
        reply = ask(installed, generate())
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store_unavailable")
        assert ask(installed, KEYS["CHARLIE"]).status_code in {403, 503}  # 503 of a worker that never saw his key
    assert ask(installed, generate()).status_code == 401


# --- Starting without stores ----------------------------------------------------------------------------------


def test_workers_that_start_without_stores_serve_the_copy_from_disk(installed):
    before = installed.children("serve")
    with outages.killed(installed.valkey, installed.postgres):
        with outages.kept_dead(lambda: [pid for pid in installed.children("serve") if pid in before], 2):
            wait_for(lambda: not set(before) & set(installed.children("serve")), "their death")
        wait_for(lambda: _answers(installed), "their replacements", seconds=120)
        assert httpx.get(f"{installed.url}/ready", verify=False).json()["revision"] > 0
        reply = ask(installed, installed.key)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store_unavailable")
    wait_for(lambda: ask(installed, installed.key).status_code == 200, "the key's return", seconds=60)


def _answers(installed: Installation) -> bool:
    try:
        return ready(installed) == (200, "degraded") and len(installed.children("serve")) == 2
    except httpx.HTTPError:
        return False


def test_up_starts_without_stores_and_prepares_the_database_when_they_are_back(installed):
    installed.stop()
    with outages.killed(installed.valkey, installed.postgres):
        installed.start()
        assert ready(installed) == (200, "degraded")
        assert "A store is away" in installed.output()
        assert "the database is prepared" not in installed.output()
    wait_for(lambda: "the database is prepared" in installed.output(), "the preparation", seconds=120)
    wait_for(lambda: ask(installed, installed.key).status_code == 200, "the key's return", seconds=60)
    wait_for(lambda: not installed.children("gateway_site.node.preparation"), "its end")
    request_id = ask(installed, installed.key).headers["x-request-id"]
    recorded = "SELECT 1 FROM tenants_usagerecord WHERE request_id = %s"
    wait_for(lambda: installed.query(recorded, request_id), "Celery's return", seconds=120)
