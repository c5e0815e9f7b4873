"""What workers say of themselves, and who reads it: over a real Valkey that is killed and comes back."""

from collections.abc import AsyncIterator
from time import perf_counter, time

import msgspec
import pytest
import redis

from gateway_site.infra.valkey import HotValkey
from routing.health import HealthBoard
from routing.report import (
    REPORT,
    REPORT_KEY,
    REPORT_SECONDS,
    WORKERS_KEY,
    WorkerReport,
    describe_deployments,
    fetch_reports,
    publish_report,
    read_reports,
    withdraw_report,
)
from routing.services import publish
from tests.gateway_site.infra.own_valkey import eventually
from tests.routing.catalogue import make_catalogue
from tests.routing.runtimes import runtime_at


@pytest.fixture
async def valkey(stores: tuple[str, str]) -> AsyncIterator[HotValkey]:
    valkey = HotValkey(stores[1], scripts=(REPORT,))
    await valkey.open()
    yield valkey
    await valkey.aclose()


def report_of(worker: str, **facts: object) -> WorkerReport:
    host, _, pid = worker.partition("-")
    known = {"version": "1", "started_at": time() - 60, "at": time(), "revision": 3} | facts
    return WorkerReport(worker=worker, host=host, pid=int(pid), **known)


async def test_what_a_worker_says_is_read_by_others(valkey, client):
    told = report_of("a-1", connections=[{"provider": "openai", "open": 3}], components={"valkey": "up"})
    assert await publish_report(valkey, told) == 1
    assert await publish_report(valkey, report_of("a-2")) == 2
    assert [report.worker for report in await fetch_reports(valkey)] == ["a-1", "a-2"]
    assert read_reports(client) == await fetch_reports(valkey)
    assert read_reports(client)[0] == told


async def test_nobody_there_is_nobody(valkey, client):
    assert read_reports(client) == await fetch_reports(valkey) == []


async def test_a_worker_is_counted_once_however_often_it_reports(valkey):
    assert [await publish_report(valkey, report_of("a-1")) for _ in range(3)] == [1, 1, 1]


async def test_one_that_stops_takes_its_report_away(valkey, client):
    await publish_report(valkey, report_of("a-1"))
    await publish_report(valkey, report_of("a-2"))
    await withdraw_report(valkey, "a-1")
    assert [report.worker for report in read_reports(client)] == ["a-2"]
    assert await publish_report(valkey, report_of("a-2")) == 1


async def test_one_that_was_killed_is_forgotten(valkey, client):
    await publish_report(valkey, report_of("a-1"))
    assert 0 < client.ttl(REPORT_KEY + "a-1") <= REPORT_SECONDS
    client.delete(REPORT_KEY + "a-1")  # as after ten seconds
    assert read_reports(client) == await fetch_reports(valkey) == []
    client.zadd(WORKERS_KEY, {"a-1": time() - REPORT_SECONDS - 1})
    assert await publish_report(valkey, report_of("a-2")) == 1
    assert client.zrange(WORKERS_KEY, 0, -1) == [b"a-2"]


async def test_reports_of_other_versions_are_read_as_far_as_they_can_be(valkey, client):
    await publish_report(valkey, report_of("a-1"))
    newer = msgspec.to_builtins(report_of("a-2")) | {"moods": ["good"]}
    for worker, text in (("a-2", msgspec.json.encode(newer)), ("a-3", b'{"worker": 5}'), ("a-4", b"nonsense")):
        client.set(REPORT_KEY + worker, text)
        client.zadd(WORKERS_KEY, {worker: time()})
    assert [report.worker for report in read_reports(client)] == ["a-1", "a-2"]


def test_a_deployment_says_its_four_states_side_by_side(make_deployment):
    board, now = HealthBoard("a-1"), 1_000_000.0
    off, ill = make_deployment("off", is_enabled=False), make_deployment("ill")
    health = board.of("ill", "p")
    board.cool_down(health, now, seconds=20, reason="429")
    health.probe = "unreachable"
    for _ in range(health.breaker.settings.failures):
        board.record(health, now, is_ok=False, reason="503", is_trial=False)
    first, second = describe_deployments([off, ill], board, now + 1)
    assert (first["is_enabled"], first["breaker"], first["cooldown_until"]) == (False, "closed", None)
    assert (second["is_enabled"], second["breaker"], second["probe"]) == (True, "open", "unreachable")
    assert (second["cooldown_until"], second["cooldown_reason"]) == (now + 20, "429")
    assert second["failures"] == health.breaker.settings.failures
    (later,) = describe_deployments([ill], board, now + 21)
    assert (later["cooldown_until"], later["cooldown_reason"]) == (None, "")


def test_a_report_is_cheap(make_deployment):
    """At most a millisecond for a hundred deployments: the best of several tries, for the machine has other work."""
    board, lives = HealthBoard("a-1"), [make_deployment(f"d-{number}") for number in range(100)]

    def seconds() -> float:
        began = perf_counter()
        msgspec.json.encode(report_of("a-1", deployments=describe_deployments(lives, board, 1.0)))
        return perf_counter() - began

    assert min(seconds() for _ in range(20)) < 0.002


# --- Workers -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_workers_report_themselves_and_know_how_many_they_are(client, tmp_path):
    async with runtime_at(tmp_path / "a", worker="a-1") as first:
        await eventually(lambda: read_reports(client))
        async with runtime_at(tmp_path / "b", worker="b-2") as second:
            await eventually(lambda: first.peers == second.peers == 2)
            assert [report.worker for report in await fetch_reports(first.valkey)] == ["a-1", "b-2"]
        await eventually(lambda: first.peers == 1)
        (report,) = read_reports(client)
        assert (report.worker, report.components["valkey"], report.components["spool"]) == ("a-1", "up", "empty")
    assert read_reports(client) == []


@pytest.mark.django_db(transaction=True)
async def test_a_report_says_which_revision_runs(client, tmp_path):
    async with runtime_at(tmp_path / "a", worker="a-1"):
        from gateway_site.infra.threads import run_query

        def change() -> int:
            make_catalogue()
            return publish().number

        number = await run_query(change)
        await eventually(lambda: [report.revision for report in read_reports(client)] == [number])


@pytest.mark.django_db(transaction=True)
async def test_it_reports_again_when_valkey_was_killed_and_keeps_what_it_knew(own_server, tmp_path):
    one, other = (runtime_at(tmp_path / name, own_server.url, worker=name) for name in ("a-1", "b-2"))
    async with one as first, other:
        await eventually(lambda: first.peers == 2)
        own_server.kill()
        await eventually(lambda: not first.valkey.is_connected)
        assert first.peers == 2
        assert first.report().components["valkey"] == "down"
        own_server.start()
        with redis.Redis.from_url(own_server.url) as client:
            await eventually(lambda: len(read_reports(client)) == 2, within=10)
