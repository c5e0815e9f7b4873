"""A request on its way through its attempts: whose fault a failure is, two targets at once, and clients that leave."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from time import time
from typing import Any

import pytest

from providers.dialects.openai_chat.wire import CHAT
from providers.transport import UpstreamBroken, UpstreamUnreachable
from routing import call
from routing.health import FEWEST_LATENCIES
from routing.policy.fair_queue import NORMAL
from tenants.errors import GatewayError, UpstreamFailed, UpstreamTimeout
from tests.routing.planes import (
    ANSWERS,
    ASKED,
    EVENTS,
    JSON,
    FakeUpstream,
    Plane,
    chunk,
    in_line,
    refusal,
    stream,
    whole,
)

STREAMED = {**ASKED, "stream": True}
SOON = 0.04  # seconds
SILENCE = 60.0
SENSITIVE = {"breaker": {"failures": 1}}  # a provider whose breaker opens with the first failure
BODIES = [pytest.param(ASKED, id="whole"), pytest.param(STREAMED, id="streamed")]


def within(seconds: float) -> tuple[bytes, bytes]:
    """The header by which a client says how long it waits."""
    return b"x-tollgate-timeout", b"%g" % seconds


def silent(body: dict[str, Any]) -> FakeUpstream:
    """An upstream that takes the request and says nothing."""
    return FakeUpstream(200, EVENTS if body.get("stream") else JSON, SILENCE)


def late(status: int, message: str, *, after: float = SOON) -> FakeUpstream:
    """An error that takes a while to come."""
    body = json.dumps({"error": {"message": message, "code": "odd"}}).encode()
    return FakeUpstream(status, JSON, after, body)


async def finish(plane: Plane, body: dict[str, Any]) -> bytes:
    """Ask, and read the answer to its end."""
    if body.get("stream"):
        return await plane.read(CHAT, body)
    content: bytes = (await plane.ask(CHAT, body)).content
    return content


def results(plane: Plane) -> list[tuple[str, str]]:
    return [(attempt.deployment, attempt.result) for attempt in plane.exchange.attempts]


@pytest.fixture
def make_plane(make_route) -> Callable[..., Plane]:
    return partial(in_line, make_route)


# --- Whose fault a silence is --------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES)
async def test_a_clients_own_short_deadline_says_nothing_of_the_deployment(make_plane, body):
    plane = make_plane({"a": [silent(body)]}, provider=SENSITIVE)
    with pytest.raises(UpstreamTimeout):
        await plane.ask(CHAT, body, within(0.6))
    assert (plane.health("a").breaker.state, plane.health("a").failures) == ("closed", 0)


@pytest.mark.parametrize(
    ("body", "time_out"),
    [
        pytest.param(ASKED, "total_timeout", id="whole"),
        pytest.param(STREAMED, "first_token_timeout", id="streamed"),
    ],
)
async def test_the_routes_own_time_out_is_the_deployments_fault(make_plane, monkeypatch, body, time_out: str):
    plane = make_plane({"a": [silent(body)]}, provider=SENSITIVE, **{time_out: 0.06})
    # What passes before it is asked does not shorten its time: the clock of its call stands still.
    monkeypatch.setattr(call, "monotonic", lambda: plane.exchange.started)
    monkeypatch.setattr(call, "time", lambda: plane.exchange.started_at)
    with pytest.raises(UpstreamTimeout):
        await plane.ask(CHAT, body)
    assert plane.health("a").breaker.state == "open"


async def test_what_earlier_attempts_left_of_the_time_is_not_the_next_deployments_fault(make_plane):
    answers = {"a": [late(500, "Away.", after=0.6)], "b": [silent(ASKED)]}
    plane = make_plane(answers, provider=SENSITIVE, total_timeout=1.3)
    with pytest.raises(UpstreamTimeout):
        await plane.ask(CHAT, ASKED)
    assert [plane.health(slug).breaker.state for slug in "ab"] == ["open", "closed"]


@pytest.mark.parametrize(("own", "routes"), [(0.6, None), (None, 0.6)], ids=["the client's", "the route's"])
async def test_a_stream_that_is_longer_than_it_may_be_is_not_the_deployments_fault(make_plane, own, routes):
    pieces = [piece for _ in range(40) for piece in (0.05, chunk("word "))]
    plane = make_plane({"a": [stream(*pieces)]}, provider=SENSITIVE, total_timeout=routes)
    content = await plane.read(CHAT, ASKED, *([within(own)] if own else []))
    assert b'"upstream_timeout"' in content
    assert (plane.health("a").breaker.state, plane.health("a").failures) == ("closed", 0)
    assert (plane.active, plane.record.outcome) == (0, "cut")


async def test_a_stream_that_stalls_in_the_middle_is_the_deployments_fault(make_plane):
    plane = make_plane({"a": [stream(SILENCE)]}, provider=SENSITIVE, between_tokens_timeout=0.05)
    assert b'"upstream_timeout"' in await plane.read(CHAT, ASKED)
    assert (plane.health("a").breaker.state, plane.active) == ("open", 0)


# --- Two at once ---------------------------------------------------------------------------------------------


@pytest.fixture
def make_hedged(make_plane, monkeypatch) -> Callable[..., Plane]:
    """Make a plane whose route hedges, and whose first deployment has always answered at once."""
    monkeypatch.setattr(call, "SHORTEST_HEDGE_SECONDS", 0.01)

    def make(answers: dict[str, list[Any]], **fields: Any) -> Plane:
        plane = make_plane(answers, hedge=True, **fields)
        for _ in range(FEWEST_LATENCIES):
            plane.health("a").first_token.add(0.001)
            plane.health("a").whole.add(0.001)
        return plane

    return make


def answer_to(body: dict[str, Any]) -> FakeUpstream:
    return stream(0.0, chunk("there.")) if body.get("stream") else whole("openai_chat")


async def let_go_of(plane: Plane) -> bool:
    """Whether nothing is held any more, a moment later, and the request was settled once."""
    for _ in range(5):
        await asyncio.sleep(0)
    places = [plane.gate(slug).in_use for slug in plane.transport.answers]
    slots = [plane.health(slug).breaker.is_slot_free for slug in plane.transport.answers]
    is_settled = (plane.admission.held, len(plane.admission.events)) == (0, 1)
    return plane.active == 0 and not any(places) and all(slots) and is_settled


@pytest.mark.parametrize("body", BODIES)
async def test_the_faster_of_two_answers_survives_and_the_other_is_let_go(make_hedged, body):
    slow = silent(body)
    plane = make_hedged({"a": [slow], "b": [answer_to(body)]}, provider={"limits": {"max_concurrency": 1}})
    assert b"there." in await finish(plane, body)
    assert results(plane) == [("a", "hedged_away"), ("b", "streaming" if body.get("stream") else "answered")]
    assert (slow.finished, plane.record.deployment, plane.record.output_tokens) == ([False], "b", 3)
    assert await let_go_of(plane)


@pytest.mark.parametrize("body", BODIES)
async def test_the_first_may_still_be_the_faster(make_hedged, body):
    first = stream(before=SOON) if body.get("stream") else whole("openai_chat")
    first.pieces.insert(0, SOON)
    plane = make_hedged({"a": [first], "b": [silent(body)]}, provider={"limits": {"max_concurrency": 1}})
    assert b"Hello" in await finish(plane, body)
    assert (plane.record.deployment, results(plane)[1]) == ("a", ("b", "hedged_away"))
    assert await let_go_of(plane)


@pytest.mark.parametrize("body", BODIES)
async def test_a_client_that_leaves_at_any_moment_of_two_attempts_leaves_nothing_behind(make_hedged, body):
    for ticks in range(60):
        upstreams = [silent(body), answer_to(body)]
        upstreams[1].head_after = 0.0
        answers = {"a": upstreams[:1], "b": upstreams[1:]}
        plane = make_hedged(answers, provider={"limits": {"max_concurrency": 1}})
        asking = asyncio.create_task(finish(plane, body))
        while plane.transport.asked != ["a", "b"]:
            await asyncio.sleep(0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        was_done = asking.done()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await let_go_of(plane), ticks
        opened = upstreams if results(plane)[1][1] == "streaming" else upstreams[:1]
        assert [len(upstream.finished) for upstream in opened] == [1] * len(opened), ticks
        if was_done:
            break
    assert was_done


@pytest.mark.parametrize("is_half_open", [False, True], ids=["closed", "half-open"])
@pytest.mark.parametrize("body", BODIES)
async def test_a_client_that_leaves_at_any_moment_of_a_fallback_leaves_nothing_behind(make_plane, body, is_half_open):
    for ticks in range(80):
        upstreams = [late(500, "Away.", after=0.0), answer_to(body)]
        for upstream in upstreams:
            upstream.head_after = 0.0
        limits = {"limits": {"max_concurrency": 1, "tokens_per_minute": 100_000}}
        plane = make_plane({"a": upstreams[:1], "b": upstreams[1:]}, provider=limits)
        for slug in "ab" if is_half_open else "":
            plane.health(slug).breaker.adopt("open", time() - 100, open_until=time() - 1)
        asking = asyncio.create_task(finish(plane, body))
        await asyncio.sleep(0)  # what has not begun has nothing to settle
        for _ in range(ticks):
            await asyncio.sleep(0)
        was_done = asking.done()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await let_go_of(plane), ticks
        if was_done:
            break
    assert was_done


async def test_one_that_refuses_the_request_ends_both(make_hedged):
    plane = make_hedged({"a": [silent(ASKED)], "b": [refusal(400, "Too long.")]})
    answer = await plane.ask(CHAT, ASKED)
    assert (answer.status_code, results(plane)) == (400, [("a", "hedged_away"), ("b", "status_400")])
    plane = make_hedged({"a": [late(400, "Too long.")], "b": [silent(ASKED)]})
    answer = await plane.ask(CHAT, ASKED)
    assert (answer.status_code, results(plane)) == (400, [("a", "status_400"), ("b", "hedged_away")])
    assert (plane.active, plane.record.outcome) == (0, "rejected")


async def test_when_both_fail_the_client_gets_the_error_of_the_first(make_hedged):
    plane = make_hedged({"a": [late(500, "First.")], "b": [refusal(500, "Second.")]})
    answer = await plane.ask(CHAT, ASKED)
    assert (answer.status_code, b"First." in answer.content) == (500, True)
    assert results(plane) == [("a", "status_500"), ("b", "status_500")]
    assert (plane.active, plane.record.deployment) == (0, "a")


async def test_after_two_that_failed_the_third_is_asked(make_hedged):
    plane = make_hedged({"a": [late(500, "First.")], "b": [refusal(500)], "c": [whole("openai_chat")]})
    answer = await plane.ask(CHAT, ASKED)
    assert (answer.status_code, plane.transport.asked) == (200, ["a", "b", "c"])
    assert [attempt.number for attempt in plane.exchange.attempts] == [1, 2, 3]
    assert dict(answer.pairs)[b"x-tollgate-attempts"] == b"3"


async def test_a_target_that_has_become_slow_is_known_to_be_and_not_hedged_for_ever(make_hedged):
    times = 6
    answers = {"a": [stream(before=0.03) for _ in range(times)], "b": [stream() for _ in range(times)]}
    plane = make_hedged(answers)
    for _ in range(times):
        await plane.read(CHAT, ASKED)
    assert 1 <= plane.transport.asked.count("b") < times
    assert plane.health("a").first_token.p95() < 1


async def test_the_retry_budget_bounds_how_many_are_asked_twice(make_hedged):
    plane = make_hedged({"a": [stream(before=SOON)], "b": []})
    while plane.health("a").retry_budget.withdraw(time()):
        pass
    await plane.read(CHAT, ASKED)
    assert plane.transport.asked == ["a"]


# --- Clients that leave --------------------------------------------------------------------------------------


async def test_for_a_client_that_has_left_nobody_else_is_asked(make_plane):
    """Its route drains: its upstream is read on for the usage of what it works on, and for nothing else."""
    answers = {"a": [FakeUpstream(200, JSON, SOON, UpstreamBroken("reset"))], "b": [whole("openai_chat")]}
    plane = make_plane(answers, on_disconnect="drain")
    asking = asyncio.create_task(plane.ask(CHAT, ASKED))
    while not plane.transport.sent:
        await asyncio.sleep(0)
    plane.exchange.is_client_gone = True
    with pytest.raises(UpstreamFailed):
        await asking
    assert plane.transport.asked == ["a"]
    assert (plane.active, plane.admission.held) == (0, 0)


async def leave(plane: Plane, body: dict[str, Any] = ASKED) -> None:
    """Ask, and go away a moment later."""
    asking = asyncio.create_task(plane.ask(CHAT, body))
    await asyncio.sleep(SOON)
    assert not asking.done()
    plane.exchange.is_client_gone = True
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("failure", [UpstreamUnreachable("refused"), refusal(503)], ids=["unreachable", "refused"])
async def test_who_leaves_during_a_pause_pays_nothing(make_plane, failure):
    plane = make_plane({"a": [failure], "b": []})
    plane.health("b").cooldown_until = time() + 3
    await leave(plane)
    assert plane.transport.asked == ["a"]
    record = plane.record
    assert (record.outcome, record.input_tokens, record.output_tokens) == ("client_gone", None, None)
    assert (record.cost, record.cost_status) == (0, "exact")


async def test_who_leaves_in_the_queue_before_a_provider_pays_nothing(make_plane):
    plane = make_plane({"a": []}, provider={"limits": {"max_concurrency": 1}, "queue_wait": 30.0})
    await plane.gate("a").enter(tenant="alice", priority=NORMAL, tokens=1, wait=0)
    await leave(plane)
    assert (plane.record.outcome, plane.record.input_tokens, plane.transport.asked) == ("client_gone", None, [])


async def test_who_leaves_while_an_upstream_works_on_its_request_pays_for_that(make_plane):
    plane = make_plane({"a": [silent(ASKED)]})
    await leave(plane)
    assert plane.record.outcome == "client_gone"
    assert plane.record.input_tokens > 0


# --- Times to wait -------------------------------------------------------------------------------------------


async def test_a_time_to_wait_that_does_not_fit_the_time_left_is_left_to_the_next_target(make_plane):
    busy = FakeUpstream(503, (*JSON, (b"retry-after", b"1.5")), b'{"error":{"message":"Busy.","code":"x"}}')
    plane = make_plane({"a": [busy], "b": [whole("openai_chat")]}, retries=1)
    answer = await plane.ask(CHAT, ASKED, within(1))
    assert (answer.status_code, plane.transport.asked) == (200, ["a", "b"])


# --- Odd answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [600, 999])
@pytest.mark.parametrize("body", BODIES)
async def test_a_status_that_is_none_is_a_failure_of_the_upstream(make_plane, body, status: int):
    plane = make_plane({"a": [FakeUpstream(status, JSON, json.dumps(ANSWERS["openai_chat"]).encode())]})
    with pytest.raises(GatewayError) as caught:
        await plane.ask(CHAT, body)
    assert (caught.value.status, caught.value.code) == (502, "upstream_failed")
    assert (results(plane), plane.record.outcome) == ([("a", "not_an_answer")], "upstream_failed")


@pytest.mark.parametrize("value", [b"a\x01b", b"a\r\nx-evil: 1", b"\xff", b"a\x7f"])
@pytest.mark.parametrize("status", [200, 400])
async def test_an_open_header_that_cannot_be_sent_on_is_left_out(make_plane, status: int, value: bytes):
    content = whole("openai_chat").pieces if status == 200 else refusal(status).pieces
    plane = make_plane({"a": [FakeUpstream(status, (*JSON, (b"openai-x", value), (b"openai-y", b"fine")), *content)]})
    answer = await plane.ask(CHAT, ASKED)
    assert answer.status_code == status
    assert b"openai-x" not in dict(answer.pairs)
    assert dict(answer.pairs)[b"openai-y"] == b"fine"


async def test_a_loser_that_was_still_in_the_queue_is_no_slow_answer(make_hedged):
    plane = make_hedged(
        {"a": [], "b": [whole("openai_chat")]}, provider={"limits": {"max_concurrency": 1}, "queue_wait": 30.0}
    )
    await plane.gate("a").enter(tenant="alice", priority=NORMAL, tokens=1, wait=0)
    held = await plane.gate("b").enter(tenant="alice", priority=NORMAL, tokens=1, wait=0)
    asyncio.get_running_loop().call_later(0.005, plane.gate("b").leave, held)  # both saturated: the order stays
    await plane.ask(CHAT, ASKED)
    assert plane.health("a").whole.p95() < 1


async def test_on_a_route_that_hedges_who_leaves_pays_as_on_any_other(make_hedged):
    plane = make_hedged({"a": [silent(ASKED)], "b": [silent(ASKED)]})
    await leave(plane)
    assert plane.record.input_tokens


@pytest.mark.parametrize("status", [0, 42, 99])
async def test_a_status_below_100_is_none(make_plane, status):
    plane = make_plane({"a": [FakeUpstream(status, JSON, *whole("openai_chat").pieces)]})
    with pytest.raises(UpstreamFailed) as caught:
        await plane.ask(CHAT, ASKED)
    assert caught.value.code == "upstream_failed"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, ((b"content-type", b"application/json;\x01x"),)),
        (400, ((b"content-type", b"application/json"), (b"retry-after", b"1\x01"))),
        (429, ((b"content-type", b"application/json"), (b"retry-after-ms", b"1\x01"))),
    ],
)
async def test_content_type_and_retry_headers_are_as_clean_as_open_ones(make_plane, status, headers):
    content = whole("openai_chat").pieces if status == 200 else refusal(status).pieces
    plane = make_plane({"a": [FakeUpstream(status, headers, *content)]})
    answer = await plane.ask(CHAT, ASKED)
    assert all(value.isascii() and value.decode().isprintable() for _, value in answer.pairs)
