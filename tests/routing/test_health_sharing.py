"""Workers share what they decide of deployments' health: two boards over one Valkey, with and without it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from time import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.utils import timezone

from gateway_site.infra import tallies, telemetry
from gateway_site.infra.threads import run_query
from gateway_site.infra.valkey import HotValkey, StoreUnavailable, subscribe
from providers.health_feed import CHANNEL, EVENTS_STREAM, PROBES_KEY, STATES_KEY, Note, encode
from providers.models import Deployment, Provider
from routing import health_events
from routing.health import DeploymentHealth, HealthBoard
from routing.health_sharing import SCRIPTS, SLOT_KEY, TALLY_SECONDS, HealthSharing
from routing.models import HealthEvent
from routing.tasks import drain_health_events, purge_health_events
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.routing.runtimes import runtime_at

SETTINGS = {"enabled": True, "failures": 4, "window": 60.0, "open_for": 60.0, "half_open_successes": 2}
QUIET_SECONDS = 0.3


@dataclass(kw_only=True)
class Worker:
    """A worker's board and what carries it."""

    board: HealthBoard
    sharing: HealthSharing
    valkey: HotValkey
    is_listening: bool = False

    @property
    def gpt(self) -> DeploymentHealth:
        return self.board.of("gpt", "openai")

    def fail(self, times: int = 1, *, is_trial: bool = False) -> None:
        for _ in range(times):
            self.board.record(self.gpt, time(), is_ok=False, reason="status 500", is_trial=is_trial)

    def serve(self, times: int = 1, *, is_trial: bool = False) -> None:
        for _ in range(times):
            self.board.record(self.gpt, time(), is_ok=True, is_trial=is_trial)

    def is_state(self, state: str) -> Callable[[], bool]:
        return lambda: self.gpt.breaker.state == state


@asynccontextmanager
async def worker_at(url: str, name: str, **changes: Any) -> AsyncIterator[Worker]:
    """A worker as the runtime has it: it listens, and tells its tallies."""
    board = HealthBoard(name)
    board.of("gpt", "openai").configure(SETTINGS | changes, {"enabled": True, "max": 300.0})
    valkey = HotValkey(url, scripts=SCRIPTS)
    worker = Worker(board=board, sharing=HealthSharing(board, valkey, name), valkey=valkey)
    await valkey.open()
    tasks = [asyncio.create_task(work) for work in (listen(worker, url), tell_tallies(worker))]
    try:
        yield worker
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await valkey.aclose()


async def listen(worker: Worker, url: str) -> None:
    while True:
        with suppress(StoreUnavailable):
            async with aclosing(subscribe(url, CHANNEL)) as messages:
                async for message in messages:
                    if message is None:
                        await worker.sharing.catch_up()
                        worker.is_listening = True
                    else:
                        worker.sharing.hear(message[1])
        worker.is_listening = False
        await asyncio.sleep(0.05)


async def tell_tallies(worker: Worker) -> None:
    while True:
        with suppress(StoreUnavailable):
            await worker.sharing.tell_tallies()
        await asyncio.sleep(TALLY_SECONDS)


@pytest.fixture
async def pair(stores: tuple[str, str], client: redis.Redis) -> AsyncIterator[tuple[Worker, Worker]]:
    async with worker_at(stores[1], "alice") as first, worker_at(stores[1], "bob") as second:
        await eventually(lambda: first.is_listening and second.is_listening)
        yield first, second


def told(client: redis.Redis) -> list[tuple[str, str]]:
    """The events on their way into the database: kind and worker."""
    notes = [json.loads(fields[b"event"]) for _, fields in client.xrange(EVENTS_STREAM)]  # type: ignore[union-attr]
    return [(note["kind"], note["worker"]) for note in notes]


# --- Changes -------------------------------------------------------------------------------------------------


async def test_what_one_worker_decides_the_other_takes_over(pair, client, caplog):
    first, second = pair
    first.fail(4)
    assert first.gpt.breaker.state == "open"
    await eventually(second.is_state("open"))
    assert second.gpt.breaker.open_until == first.gpt.breaker.open_until
    assert told(client) == [("breaker_opened", "alice")]
    [line] = [record.msg for record in caplog.records if "breaker_opened" in str(record.msg)]
    assert {"old": "closed", "new": "open", "reason": "status 500", "worker": "alice"}.items() <= line.items()


@pytest.fixture
async def hasty(stores: tuple[str, str], client: redis.Redis) -> AsyncIterator[tuple[Worker, Worker]]:
    """Two whose breakers are open for a moment only; the first one's is."""
    async with (
        worker_at(stores[1], "alice", open_for=0.1) as first,
        worker_at(stores[1], "bob", open_for=0.1) as second,
    ):
        await eventually(lambda: first.is_listening and second.is_listening)
        first.fail(4)
        await eventually(second.is_state("open"))
        await eventually(lambda: time() > first.gpt.breaker.open_until)
        yield first, second


async def test_a_breaker_that_closes_closes_for_all(hasty, client):
    first, second = hasty
    assert second.board.take_slot(second.gpt, time())
    await eventually(first.is_state("half_open"))
    second.serve(2, is_trial=True)
    await eventually(first.is_state("closed"))
    assert told(client) == [("breaker_opened", "alice"), ("breaker_half_open", "bob"), ("breaker_closed", "bob")]


async def test_a_cooldown_holds_for_all(pair, client):
    first, second = pair
    first.board.cool_down(first.gpt, time(), seconds=30, reason="429, asked for 30 s")
    await eventually(lambda: second.gpt.cooldown_until == first.gpt.cooldown_until)
    assert second.gpt.cooldown_reason == "429, asked for 30 s"
    first.board.cool_down(first.gpt, time(), seconds=60, reason="429, asked for 60 s")
    await eventually(lambda: second.gpt.cooldown_until == first.gpt.cooldown_until)
    assert told(client) == [("cooled_down", "alice")]  # that it takes longer is no further event


async def test_of_two_that_decide_the_same_at_once_one_is_heard(pair, client):
    first, second = pair
    first.fail(4)
    second.fail(4)
    await eventually(lambda: told(client))
    await eventually(lambda: second.gpt.breaker.open_until == first.gpt.breaker.open_until)
    await asyncio.sleep(QUIET_SECONDS)
    assert len(told(client)) == 1


async def test_who_is_late_with_half_open_hears_that_it_has_closed(hasty, client):
    first, second = hasty
    first.board.take_slot(first.gpt, time())
    first.serve(2, is_trial=True)
    await eventually(second.is_state("closed"))
    second.gpt.breaker.adopt("open", time(), open_until=time() - 1)  # as if it had heard of none of it
    second.board.take_slot(second.gpt, time())
    assert second.gpt.breaker.state == "half_open"
    await eventually(second.is_state("closed"))
    await asyncio.sleep(QUIET_SECONDS)
    assert first.gpt.breaker.state == "closed"


async def test_a_trial_that_fails_opens_it_again_for_all(hasty, client):
    first, second = hasty
    second.board.take_slot(second.gpt, time())
    second.fail(is_trial=True)
    await eventually(lambda: first.gpt.breaker.open_until == second.gpt.breaker.open_until)
    assert [kind for kind, _ in told(client)] == ["breaker_opened", "breaker_half_open", "breaker_opened"]


async def test_a_worker_that_starts_adopts_what_holds(pair, client, stores):
    first, _ = pair
    first.fail(4)
    first.board.cool_down(first.gpt, time(), seconds=30, reason="429")
    client.hset(PROBES_KEY, mapping={"gpt": "unreachable"})
    await eventually(lambda: client.hlen(STATES_KEY) == 2)
    async with worker_at(stores[1], "alice") as third:  # by the name of the one that decided it, as in a container
        await eventually(third.is_state("open"))
        await eventually(lambda: third.gpt.cooldown_until > time() and third.gpt.probe == "unreachable")


async def test_an_open_breaker_whose_time_is_over_may_be_tried_by_a_worker_that_starts(client, stores):
    async with worker_at(stores[1], "alice", open_for=0.05) as first:
        await eventually(lambda: first.is_listening)
        first.fail(4)
        await eventually(lambda: client.hlen(STATES_KEY) == 1)
    await asyncio.sleep(0.05)
    async with worker_at(stores[1], "bob") as second:
        await eventually(second.is_state("open"))
        assert second.board.take_slot(second.gpt, time())
        assert second.gpt.breaker.state == "half_open"


async def test_a_breaker_that_is_switched_off_opens_for_nobody_elses_sake(pair, stores):
    first, _ = pair
    async with worker_at(stores[1], "charlie", enabled=False) as third:
        await eventually(lambda: third.is_listening)
        first.fail(4)
        await asyncio.sleep(QUIET_SECONDS)
        assert third.gpt.breaker.state == "closed"


async def test_what_probes_found_is_known_at_once(pair, client):
    client.publish(CHANNEL, json.dumps({"probes": {"gpt": "rejected", "unknown": "ok"}, "worker": "probes"}))
    await eventually(lambda: all(worker.gpt.probe == "rejected" for worker in pair))


@pytest.mark.parametrize("text", ["", "[]", "{}", "\0", '{"change": {}}', '{"change": 1}', '{"tallies": [1]}', "null"])
async def test_nonsense_on_the_channel_is_passed_over(pair, client, text):
    client.publish(CHANNEL, text)
    client.hset(STATES_KEY, "gpt/breaker", text or "x")
    await pair[0].sharing.catch_up()
    pair[0].fail(4)
    client.delete(STATES_KEY)
    assert pair[0].gpt.breaker.state == "open"


# --- Clocks that differ --------------------------------------------------------------------------------------

AHEAD_SECONDS = 3600.0


async def test_a_worker_whose_clock_is_ahead_rests_nobody_for_longer_than_is_configured(pair):
    first, second = pair
    for _ in range(4):
        first.board.record(first.gpt, time() + AHEAD_SECONDS, is_ok=False, reason="status 500", is_trial=False)
    first.board.cool_down(first.gpt, time() + AHEAD_SECONDS, seconds=10, reason="429")
    await eventually(lambda: second.gpt.breaker.state == "open" and second.gpt.cooldown_until)
    assert second.gpt.breaker.open_until <= time() + SETTINGS["open_for"]
    assert second.gpt.cooldown_until <= time() + second.gpt.cooldown_max


async def test_news_of_a_worker_whose_clock_is_right_come_through_after_those_of_one_that_is_ahead(pair, client):
    first, second = pair
    later = time() + AHEAD_SECONDS
    first.gpt.breaker.adopt("half_open", later)
    for _ in range(2):
        first.board.record(first.gpt, later, is_ok=True, is_trial=True)
    await eventually(lambda: client.hexists(STATES_KEY, "gpt/breaker"))
    second.fail(4)
    await eventually(first.is_state("open"))
    held = json.loads(client.hget(STATES_KEY, "gpt/breaker") or "")  # type: ignore[arg-type]
    assert (held["new"], held["worker"]) == ("open", "bob")


# --- Tallies -------------------------------------------------------------------------------------------------


async def test_failures_of_all_workers_count_together(pair, client):
    first, second = pair
    first.fail(2)
    second.fail(2)
    await eventually(lambda: all(worker.gpt.breaker.state == "open" for worker in pair))
    await eventually(lambda: told(client))
    await asyncio.sleep(QUIET_SECONDS)  # both have found it: the other is not heard
    assert [kind for kind, _ in told(client)] == ["breaker_opened"]


async def test_healthy_traffic_says_nothing(pair, client):
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(CHANNEL)
    listener.get_message(timeout=1)
    pair[0].serve(100)
    assert await asyncio.to_thread(lambda: listener.get_message(timeout=QUIET_SECONDS)) is None
    pair[0].fail()
    pair[0].serve()
    message = await asyncio.to_thread(lambda: listener.get_message(timeout=2))
    listener.close()
    [tally] = json.loads(message["data"])["tallies"]
    assert tally == {"deployment": "gpt", "ok": 1, "failed": 1, "is_trial": False}


# --- The half-open slot --------------------------------------------------------------------------------------


async def test_one_worker_has_the_slot_and_only_it_gives_it_back(pair, client):
    first, second = pair
    assert await first.sharing.claim_slot("gpt")
    assert not await second.sharing.claim_slot("gpt")
    assert await second.sharing.claim_slot("another")
    await second.sharing.give_back("gpt")
    assert not await second.sharing.claim_slot("gpt")
    await first.sharing.give_back("gpt")
    assert await second.sharing.claim_slot("gpt")
    assert 0 < client.pttl(SLOT_KEY.format("gpt")) <= 30_000  # whoever is killed keeps it no longer


# --- Without Valkey ------------------------------------------------------------------------------------------


async def test_without_valkey_everybody_goes_by_what_it_sees(own_server: OwnValkey):
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(worker_at(own_server.url, name)) for name in ("alice", "bob")]
        await eventually(lambda: first.is_listening and second.is_listening)
        own_server.kill()
        try:
            await eventually(lambda: not first.valkey.is_connected)
            first.fail(4)
            first.board.cool_down(first.gpt, time(), seconds=30, reason="429")
            assert (first.gpt.breaker.state, second.gpt.breaker.state) == ("open", "closed")
            assert await first.sharing.claim_slot("gpt")
            assert await second.sharing.claim_slot("gpt")
            await first.sharing.give_back("gpt")
        finally:
            own_server.start()
        # What was decided meanwhile is told when it is back.
        await eventually(second.is_state("open"), within=10)
        await eventually(lambda: second.gpt.cooldown_until > time())
        with redis.Redis.from_url(own_server.url) as client:
            assert told(client) == [("breaker_opened", "alice"), ("cooled_down", "alice")]


# --- Metrics -------------------------------------------------------------------------------------------------


async def test_the_state_is_a_metric_and_changes_are_counted(pair):
    def value(name: str, **labels: str) -> float:
        return telemetry.REGISTRY.get_sample_value(name, {"deployment": "gpt", **labels}) or 0

    first, _ = pair
    tallies.flush()
    before = value("health_events_total", kind="breaker_opened")
    first.fail(4)
    assert value("deployment_breaker_state") == 2
    tallies.flush()
    assert value("health_events_total", kind="breaker_opened") == before + 1
    first.sharing.hear(json.dumps({"probes": {"gpt": "unreachable"}}))
    first.sharing.measure()
    assert value("deployment_probe_failing") == 1
    first.board.keep_only([])
    first.sharing.measure()
    assert value("deployment_breaker_state") == value("deployment_probe_failing") == 0


async def test_a_breaker_that_may_be_tried_is_half_open_to_the_metric(hasty):
    first, _ = hasty
    first.sharing.measure()
    assert telemetry.REGISTRY.get_sample_value("deployment_breaker_state", {"deployment": "gpt"}) == 1


# --- A worker as it runs -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_a_running_worker_hears_of_others_and_shares_the_slot(client, stores, tmp_path):
    async with runtime_at(tmp_path, stores[1]) as runtime:
        entry = runtime.health.of("gpt", "openai")
        entry.configure({**SETTINGS, "open_for": 0.2}, {})
        await eventually(lambda: client.pubsub_numsub(CHANNEL)[0][1] == 1)
        async with worker_at(stores[1], "bob", open_for=0.2) as other:
            other.fail(4)
            await eventually(lambda: entry.breaker.state == "open")
            await eventually(lambda: time() > entry.breaker.open_until)
            deployment: Any = SimpleNamespace(health=entry)
            assert await other.sharing.claim_slot("gpt")
            assert not await runtime.take_slot(deployment)
            await other.sharing.give_back("gpt")
            assert await runtime.take_slot(deployment)
            runtime.give_back_slot(deployment)
            await eventually(lambda: not client.exists(SLOT_KEY.format("gpt")))


# --- Into the database ---------------------------------------------------------------------------------------


def note(**changes: Any) -> bytes:
    given = {"deployment": "gpt", "provider": "openai", "kind": "breaker_opened", "old": "closed", "new": "open"}
    return encode(Note(**{**given, "at": time(), "reason": "status 500", "worker": "alice", **changes}))


@pytest.mark.django_db(transaction=True)
async def test_events_are_stored_once_with_their_reasons(pair, client):
    pair[0].fail(4)
    await eventually(lambda: client.xlen(EVENTS_STREAM) == 1)
    [(stream_id, fields)] = client.xrange(EVENTS_STREAM)  # type: ignore[misc]
    await run_query(drain_health_events)
    client.xadd(EVENTS_STREAM, fields, id=stream_id.decode().replace("-", "-1"))  # something newer
    stored = await run_query(lambda: list(HealthEvent.objects.all()))
    assert [(event.kind, event.deployment, event.provider, event.reason, event.worker) for event in stored] == [
        ("breaker_opened", "gpt", "openai", "status 500", "alice")
    ]
    assert stored[0].until is not None
    assert stored[0].stream_id == stream_id.decode()


@pytest.mark.django_db(transaction=True)
def test_a_drain_that_was_broken_off_stores_nothing_twice(client):
    stream_id = client.xadd(EVENTS_STREAM, {"event": note()})
    entries: Any = client.xrange(EVENTS_STREAM)
    HealthEvent.objects.bulk_create(health_events._rows(entries))  # stored, and killed before it was taken out
    drain_health_events()
    assert [event.stream_id for event in HealthEvent.objects.all()] == [stream_id.decode()]  # type: ignore[union-attr]
    assert client.xlen(EVENTS_STREAM) == 0


@pytest.mark.django_db(transaction=True)
def test_an_event_that_nobody_can_read_keeps_no_other_from_being_stored(client, caplog):
    client.xadd(EVENTS_STREAM, {"event": "nonsense"})
    client.xadd(EVENTS_STREAM, {"other": "field"})
    client.xadd(EVENTS_STREAM, {"event": note(reason="x" * 600, old="y" * 40)})
    drain_health_events()
    assert [len(event.reason) for event in HealthEvent.objects.all()] == [500]
    assert caplog.text.count("health_event_unreadable") == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("bad", [{"at": 1e300}, {"at": -1e300}, {"at": 1e12}, {"until": 1e300}], ids=str)
def test_an_event_of_no_time_keeps_no_other_from_being_stored(client, caplog, bad):
    client.xadd(EVENTS_STREAM, {"event": note(**bad)})
    client.xadd(EVENTS_STREAM, {"event": b"\xff"})
    client.xadd(EVENTS_STREAM, {"event": note(deployment="g\0pt", worker="bob\0")})
    drain_health_events()
    assert [(event.deployment, event.worker) for event in HealthEvent.objects.all()] == [("gpt", "bob")]
    assert client.xlen(EVENTS_STREAM) == 0
    assert caplog.text.count("health_event_unreadable") == 2


@pytest.mark.django_db(transaction=True)
def test_old_events_go_and_so_does_what_is_held_of_deployments_that_are_gone(client):
    provider = Provider.objects.create(slug="openai", adapter="openai")
    Deployment.objects.create(slug="gpt", provider=provider, model="gpt-5")
    client.hset(STATES_KEY, mapping={"gpt/breaker": note(), "gone/breaker": note(), "gone/cooldown": note()})
    for days in (1, 29, 31):
        HealthEvent.objects.create(at=timezone.now() - timedelta(days=days), kind="breaker_opened", deployment="gpt")
    purge_health_events()
    assert HealthEvent.objects.count() == 2
    assert client.hkeys(STATES_KEY) == [b"gpt/breaker"]


@pytest.mark.django_db(transaction=True)
def test_without_valkey_the_drain_waits(settings, caplog):
    settings.VALKEY_URL = "redis://127.0.0.1:1/0"
    drain_health_events()
    assert "health_events_not_drained" in caplog.text


async def test_a_breaker_that_one_ahead_opened_can_be_closed_by_one_that_is_right(own_server):
    async with worker_at(own_server.url, "ahead", open_for=0.3) as a, worker_at(own_server.url, "r", open_for=0.3) as b:
        await eventually(lambda: a.is_listening and b.is_listening)
        for _ in range(4):
            a.board.record(a.gpt, time() + AHEAD_SECONDS, is_ok=False, reason="500", is_trial=False)
        await eventually(b.is_state("open"))
        await asyncio.sleep(0.35)
        assert b.board.take_slot(b.gpt, time())
        await asyncio.sleep(0.1)
        b.serve(2, is_trial=True)
        assert b.gpt.breaker.state == "closed"
        await asyncio.sleep(0.1)
        await b.sharing.catch_up()
        assert b.gpt.breaker.state == "closed"


async def test_a_cooldown_by_one_that_is_ahead_does_not_grow_with_every_catch_up(own_server):
    async with worker_at(own_server.url, "ahead") as a, worker_at(own_server.url, "right") as b:
        await eventually(lambda: a.is_listening and b.is_listening)
        b.gpt.cooldown_max = 0.3
        a.board.cool_down(a.gpt, time() + AHEAD_SECONDS, seconds=10, reason="429")
        await eventually(lambda: b.gpt.cooldown_until)
        first = b.gpt.cooldown_until
        await asyncio.sleep(0.15)
        await b.sharing.catch_up()
        assert b.gpt.cooldown_until == first
