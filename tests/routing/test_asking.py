"""What a request holds at the gates before a deployment, and what it is charged there, however its attempt ends."""

import asyncio
import json
from collections.abc import Callable
from time import time
from typing import Any

import pytest

from providers.dialects.openai_chat.wire import CHAT
from providers.transport import UpstreamUnreachable
from routing.asking import MOST_OUTPUT_TOKENS
from routing.gate import Gate, GateStatistics
from routing.policy.fair_queue import NORMAL
from tenants.errors import ProviderSaturated, UpstreamFailed
from tests.routing.planes import ANSWERS, ASKED, JSON, FakeUpstream, Plane, in_line, refusal, stream, whole

ESTIMATE = 525  # of ASKED, more or less: 500 of it is the usual output
SILENT = {name: value for name, value in ANSWERS["openai_chat"].items() if name != "usage"}
HEADROOM = (
    (b"x-ratelimit-remaining-requests", b"9"),
    (b"x-ratelimit-reset-requests", b"60s"),
    (b"x-ratelimit-remaining-tokens", b"5000"),
    (b"x-ratelimit-reset-tokens", b"60s"),
)


@pytest.fixture
def make_plane(make_route) -> Callable[..., Plane]:
    """Make a plane with one deployment, whose provider has limits, and whose vendor has said what is left."""

    def make(*answers: Any, provider: dict[str, Any] | None = None, **limits: int) -> Plane:
        fields = {"slug": "one", "queue_wait": 0.05, "limits": limits, **(provider or {})}
        route = make_route({"one": {"provider": fields}}, retries=0)
        plane = Plane(route, {"one": list(answers)}, tenant="charlie")
        (target,) = route.targets
        plane.runtime.gates.learn("one", target.deployment.provider, HEADROOM, time())
        return plane

    return make


def gates_of(plane: Plane) -> tuple[Gate, Gate]:
    """Return the provider's gate and the deployment's."""
    gates, (target,) = plane.runtime.gates, plane.runtime.snapshot.resolve("alias", 1).targets
    return gates.of(target.deployment.provider), gates.learned("one")


def learned(plane: Plane) -> GateStatistics:
    return gates_of(plane)[1].statistics()


async def has_room(gate: Gate, tokens: int) -> bool:
    """Return whether a request would go at once; gives its place back."""
    try:
        gate.refund(await gate.enter(tenant="bob", priority=NORMAL, tokens=tokens, wait=0))
    except ProviderSaturated:
        return False
    return True


async def test_what_the_upstream_reports_is_charged_instead_of_the_estimate(make_plane):
    plane = make_plane(whole("openai_chat"), tokens_per_minute=1_000)
    await plane.ask(CHAT, ASKED)
    assert await has_room(gates_of(plane)[0], 990)
    assert [gate.in_use for gate in gates_of(plane)] == [0, 0]


async def test_the_estimate_stays_charged_when_nothing_is_reported(make_plane):
    plane = make_plane(FakeUpstream(200, JSON, json.dumps(SILENT).encode()), tokens_per_minute=1_000)
    await plane.ask(CHAT, ASKED)
    limits, headroom = gates_of(plane)
    assert not await has_room(limits, 1_000 - ESTIMATE + 50)
    assert await has_room(limits, 1_000 - ESTIMATE - 50)
    assert [limits.in_use, headroom.in_use] == [0, 0]
    assert learned(plane).requests_left == 8


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_a_refused_request_is_charged_nothing(make_plane, status: int):
    plane = make_plane(refusal(status), tokens_per_minute=1_000)
    await plane.ask(CHAT, ASKED)
    assert await has_room(gates_of(plane)[0], 1_000)
    assert gates_of(plane)[0].in_use == 0


@pytest.mark.parametrize(("most", "charged"), [(None, MOST_OUTPUT_TOKENS), (2_000, 2_000)])
async def test_what_a_client_allows_is_charged_no_further_than_the_model_can_write(
    make_route, monkeypatch, most, charged: int
):
    monkeypatch.setattr("routing.gate.monotonic", lambda: 1.0)  # nothing flows back: 15 ms would be the prompt's tokens
    answers = {"one": [FakeUpstream(200, JSON, json.dumps(SILENT).encode())]}
    limits = {"limits": {"tokens_per_minute": 100_000}}
    plane = in_line(make_route, answers, provider=limits, deployment={"max_output_tokens": most})
    await plane.ask(CHAT, {**ASKED, "max_tokens": 200_000_000})
    assert not await has_room(plane.gate("one"), 100_000 - charged)
    assert await has_room(plane.gate("one"), 100_000 - charged - 200)


@pytest.mark.parametrize("answer", [refusal(400), whole("openai_chat")], ids=["refused", "answered"])
async def test_a_client_that_allows_everything_shuts_nobody_out(make_route, answer: FakeUpstream):
    plane = in_line(make_route, {"one": [answer]}, provider={"limits": {"tokens_per_minute": 1_000_000}})
    await plane.ask(CHAT, {**ASKED, "max_tokens": 200_000_000})
    assert await has_room(plane.gate("one"), 999_000)


async def test_what_a_stream_reports_is_charged_instead_of_the_estimate(make_plane):
    plane = make_plane(stream(), tokens_per_minute=1_000)
    await plane.read(CHAT, {**ASKED, "stream_options": {"include_usage": True}})
    assert await has_room(gates_of(plane)[0], 990)
    assert [gate.in_use for gate in gates_of(plane)] == [0, 0]


async def test_a_request_that_reached_nobody_is_charged_nothing(make_plane):
    plane = make_plane(UpstreamUnreachable("refused"), tokens_per_minute=1_000, requests_per_second=1)
    with pytest.raises(UpstreamFailed):
        await plane.ask(CHAT, ASKED)
    assert await has_room(gates_of(plane)[0], 1_000)
    assert (learned(plane).requests_left, learned(plane).tokens_left) == (9, 5_000)


async def test_a_request_that_the_second_gate_refuses_leaves_the_first_as_it_was(make_plane):
    plane = make_plane(max_concurrency=1)
    held = await gates_of(plane)[0].enter(tenant="alice", priority=NORMAL, tokens=1, wait=0)
    with pytest.raises(ProviderSaturated):
        await plane.ask(CHAT, ASKED)
    assert plane.transport.asked == []
    assert [gate.in_use for gate in gates_of(plane)] == [1, 0]
    assert (learned(plane).requests_left, learned(plane).tokens_left) == (9, 5_000)
    gates_of(plane)[0].leave(held)


async def test_a_client_that_leaves_before_the_second_gate_leaves_the_first_as_it_was(make_plane):
    plane = make_plane(provider={"queue_wait": 30.0}, max_concurrency=1)
    await gates_of(plane)[0].enter(tenant="alice", priority=NORMAL, tokens=1, wait=0)
    asking = asyncio.create_task(plane.ask(CHAT, ASKED))
    await asyncio.sleep(0.05)
    assert [gate.in_use for gate in gates_of(plane)] == [1, 1]
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert [gate.in_use for gate in gates_of(plane)] == [1, 0]
    assert (learned(plane).requests_left, learned(plane).tokens_left) == (9, 5_000)
    assert plane.exchange.attempts[0].result == "cancelled"


async def test_a_refused_request_is_charged_nothing_at_the_deployments_gate_either(make_route):
    plane = in_line(make_route, {"one": [refusal(400)]}, provider={"queue_wait": 0.05})
    plane.runtime.gates.learn("one", plane.route.targets[0].deployment.provider, HEADROOM, time())
    await plane.ask(CHAT, {**ASKED, "max_tokens": 4_900})
    assert learned(plane).tokens_left == 5_000
