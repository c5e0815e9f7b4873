"""What a worker tells, and how it is woken and asked to stop a request."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gateway_site.infra.valkey import HotValkey
from providers.canonical.inbound import Facts, Operation
from providers.canonical.usage import Usage
from routing import live
from routing.exchange import AttemptRecord, Exchange
from routing.flights import Flights, can_stop, error_owner, phase_of
from routing.health import HealthBoard
from routing.live import MOST_FLIGHTS, LiveTelling, Teller
from tenants.principal import Principal

CHAT = Operation(name="chat", dialect="openai_chat", kind="chat", path="/chat/completions")
ALICE, CHARLIE = 1, 2


def exchange(tenant_id: int = ALICE, *, is_stream: bool = True, **changes: Any) -> Exchange:
    """A request that is being served."""
    made = Exchange("POST", "/v1/chat/completions", [])
    made.principal = Principal(
        key_id=1, key_name="ci", key_prefix="tg_abc", tenant_id=tenant_id, tenant=f"t{tenant_id}"
    )
    made.operation = CHAT
    made.facts = Facts(model="smart", is_stream=is_stream, size=10)
    made.plan = SimpleNamespace()  # type: ignore[assignment]
    for name, value in changes.items():
        setattr(made, name, value)
    return made


async def begun(flights: Flights, *exchanges: Exchange) -> None:
    for each in exchanges:
        flights.begin(each)


# --- Counting -----------------------------------------------------------------------------------------------


async def test_nothing_is_counted_while_nobody_watches():
    flights, asked = Flights(), exchange()
    flights.begin(asked)
    flights.end(asked)
    assert (flights.tasks, flights.counts) == ({}, None)


async def test_tokens_of_streams_count_as_they_come_and_once():
    flights, asked = Flights(), exchange()
    flights.watch(True)
    flights.begin(asked)
    asked.frames = 30
    assert flights.take_counts()[ALICE].output == 30
    asked.frames = 50
    assert flights.take_counts()[ALICE].output == 20
    asked.usage, asked.status, asked.outcome = Usage(input=7, output=64), 200, "served"
    flights.end(asked)
    counts = flights.take_counts()[ALICE]
    assert (counts.requests, counts.input, counts.output) == (1, 7, 14)


async def test_probes_are_not_counted():
    flights, asked = Flights(), exchange(is_logged=False)
    flights.watch(True)
    flights.begin(asked)
    flights.end(asked)
    assert flights.take_counts() == {}


@pytest.mark.parametrize(
    ("status", "outcome", "code", "owner"),
    [
        (200, "served", "", ""),
        (400, "", "invalid_request", "client"),
        (429, "", "rate_limited", "client"),
        (400, "rejected", "upstream_rejected", "client"),
        (429, "upstream_failed", "upstream_saturated", "gateway"),
        (502, "upstream_failed", "upstream_failed", "upstream"),
        (200, "cut", "upstream_cut", "upstream"),
        (200, "cut", "request_stopped", "gateway"),
        (500, "gateway_failed", "internal_error", "gateway"),
        (503, "", "store_unavailable", "gateway"),
        (503, "shutdown", "", "gateway"),
        (499, "client_gone", "", ""),
    ],
)
def test_an_error_is_whose_it_is(status, outcome, code, owner):
    asked = exchange(status=status, outcome=outcome, error_code=code, deployment=SimpleNamespace())
    assert error_owner(asked) == owner


# --- Phases -------------------------------------------------------------------------------------------------


def test_a_request_is_in_one_phase_after_the_other():
    asked = exchange()
    assert phase_of(asked) == "arriving"
    attempt = AttemptRecord(deployment="gpt")
    asked.attempts.append(attempt)
    asked.queued = 1
    assert phase_of(asked) == "queued"
    asked.queued = 0
    assert phase_of(asked) == "connecting"
    attempt.status = 200
    assert phase_of(asked) == "waiting"
    asked.frames = 1
    assert phase_of(asked) == "streaming"
    asked.outcome = "served"
    assert phase_of(asked) == "ending"


def test_after_a_failed_attempt_the_next_one_is_waited_for():
    asked = exchange(attempts=[AttemptRecord(deployment="gpt", status=500, verdict="retry")])
    assert phase_of(asked) == "retrying"


def test_what_is_settled_or_free_cannot_be_stopped():
    assert can_stop(exchange())
    assert not can_stop(exchange(outcome="served"))
    assert not can_stop(exchange(plan=None))
    assert not can_stop(exchange(operation=replace(CHAT, is_free=True)))


# --- Telling ------------------------------------------------------------------------------------------------


def teller(flights: Flights, board: HealthBoard | None = None) -> Teller:
    return Teller("w1", flights, (board or HealthBoard()).all, lambda: 7)


async def test_a_worker_tells_of_the_oldest_and_the_newest_and_counts_the_rest():
    flights = Flights()
    flights.watch(True)
    many = [exchange(ALICE if number % 2 else CHARLIE) for number in range(MOST_FLIGHTS + 50)]
    await begun(flights, *many)
    told = teller(flights).tell()
    ids = [each.request_id for each in told.flights]
    assert len(ids) == MOST_FLIGHTS
    assert (ids[0], ids[-1]) == (many[0].request_id, many[-1].request_id)
    assert told.in_flight == {ALICE: 125, CHARLIE: 125}


async def test_a_telling_survives_its_journey():
    flights, board = Flights(), HealthBoard()
    flights.watch(True)
    await begun(flights, exchange(frames=4))
    health = board.of("gpt", "acme")
    talks = teller(flights, board)
    health.failures, health.active = 2, 1
    told = talks.tell()
    assert live.decode_telling(live.encode(told)) == told
    assert told.intervals[-1].deployments == {"gpt": (0, 2)}
    assert told.conditions[0].active == 1


async def test_deployments_at_rest_are_not_told():
    board = HealthBoard()
    board.of("gpt", "acme")
    assert teller(Flights(), board).tell().conditions == []


# --- Woken, and asked to stop -------------------------------------------------------------------------------


@pytest.fixture
async def hot(stores):
    valkey = HotValkey(stores[1])
    await valkey.open()
    await valkey.call(b"FLUSHDB")
    yield valkey
    await valkey.aclose()


def telling_of(hot: HotValkey, flights: Flights) -> LiveTelling:
    return LiveTelling(hot, "w1", flights, HealthBoard().all, lambda: 7)


async def until(found: Any) -> Any:
    """Wait for something to be there."""
    async with asyncio.timeout(10):
        while not (result := await found()):
            await asyncio.sleep(0.02)
    return result


async def test_a_worker_tells_while_somebody_watches_and_no_longer(hot):
    flights = Flights()
    told = telling_of(hot, flights)
    await hot.call(b"SET", live.WATCHED_KEY, 1)
    told.hear("watched")
    blob = await until(lambda: hot.call(b"GET", live.TELLING_KEY + "w1"))
    assert live.decode_telling(blob).worker == "w1"
    assert flights.counts is not None
    await hot.call(b"DEL", live.WATCHED_KEY)
    await until(lambda: _is(flights.counts is None))
    await told.aclose()


async def _is(claim: bool) -> bool:
    return claim


async def sleeper() -> None:
    await asyncio.sleep(60)


async def said(hot, question):
    """What a worker has answered."""
    return await until(lambda: hot.call(b"LPOP", live.STOPPED_KEY + question))


async def test_a_request_is_stopped_for_its_tenant_and_for_operators(hot):
    flights, asked = Flights(), exchange()
    task = asyncio.create_task(sleeper())
    flights.tasks[asked] = task
    told = telling_of(hot, flights)
    told.hear(live.stop_message(asked.request_id, CHARLIE, "charlies"))
    assert not asked.is_stopped
    told.hear(live.stop_message(asked.request_id, ALICE, "alices"))
    assert asked.is_stopped
    assert await said(hot, "charlies") == live.NOT_MINE
    assert live.decode_stopped(await said(hot, "alices")).tenant == "t1"
    with pytest.raises(asyncio.CancelledError):
        await task
    await told.aclose()


async def test_an_operator_may_stop_anybodys(hot):
    flights, asked = Flights(), exchange(CHARLIE)
    task = flights.tasks[asked] = asyncio.create_task(sleeper())
    telling_of(hot, flights).hear(live.stop_message(asked.request_id, None, "anybodys"))
    assert asked.is_stopped
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_worker_says_at_once_that_it_has_no_such_request(hot):
    telling_of(hot, Flights()).hear(live.stop_message("0" * 32, None, "nothing"))
    assert await said(hot, "nothing") == live.NOT_MINE


async def test_a_stop_that_another_version_asks_for_is_left_to_it(hot):
    flights, asked = Flights(), exchange()
    flights.tasks[asked] = None
    telling_of(hot, flights).hear(f"{live.STOP} {asked.request_id} *")
    assert not asked.is_stopped
