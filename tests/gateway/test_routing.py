"""Where requests go by what they say and need, what is told of it, and second targets that are asked in time."""

import json
import time
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tenants.keys import generate
from tests.gateway.calls import CHAT, bearer, mark
from tests.gateway.conftest import Keys
from tests.gateway.console import every_worker
from tests.gateway.stack import ROOT, Stack, wait_for

ENOUGH = 10  # answers, to know what is late


@dataclass(frozen=True, slots=True)
class Routed:
    """The keys of a tenant whose routes are tested."""

    tracing: str
    plain: str


@pytest.fixture(scope="module")
def routed(stack: Stack) -> Routed:
    keys = Routed(generate(), generate())
    stack.manage(
        "apply",
        str(ROOT / "tests/gateway/routing.yaml"),
        SIMULATOR_URL=stack.simulator_url,
        TRACING_KEY=keys.tracing,
        PLAIN_KEY=keys.plain,
    )
    with every_worker(stack) as workers:
        for worker in workers:
            wait_for(lambda: post(worker, keys.plain, "either").status_code == 200 or None, "the routes")  # noqa: B023
    return keys


def post(
    client: httpx.Client, key: str, model: str, text: str = "hi", headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    body = CHAT.body(text, model=model, **fields)
    return client.post(CHAT.path, json=body, headers={**bearer(key), **(headers or {})})


def ask(stack: Stack, key: str, model: str, text: str = "hi", **headers: str) -> httpx.Response:
    return stack.post(CHAT.path, key, CHAT.body(text, model=model), **headers)


def deployment(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return reply.headers["x-tollgate-deployment"].removeprefix("routing-")


# --- Wishes and conditions ------------------------------------------------------------------------------------


def test_a_region_or_a_tag_can_be_asked_for(stack: Stack, routed: Routed) -> None:
    assert deployment(ask(stack, routed.plain, "either")) == "eu"
    assert deployment(ask(stack, routed.plain, "either", x_tollgate_region="us")) == "us"
    assert deployment(ask(stack, routed.plain, "either", x_tollgate_tag="fast")) == "eu"


def test_a_region_that_nobody_serves_is_a_clear_error(stack: Stack, routed: Routed) -> None:
    reply = ask(stack, routed.plain, "either", x_tollgate_region="mars")
    refusal = CHAT.refusal(reply.content)
    assert (reply.status_code, refusal.code, refusal.param) == (400, "no_target_fits", "model")
    assert "region" in refusal.message


def test_a_header_opens_a_target(stack: Stack, routed: Routed) -> None:
    assert deployment(ask(stack, routed.plain, "for-team", x_team="science")) == "eu"
    assert deployment(ask(stack, routed.plain, "for-team", x_team="sales")) == "us"


def test_a_percentage_of_end_users_is_the_same_people_on_every_worker(stack: Stack, routed: Routed) -> None:
    seen: list[list[str]] = []
    with every_worker(stack) as workers:
        for worker in workers:
            replies = [post(worker, routed.plain, "for-some", safety_identifier=f"u{number}") for number in range(40)]
            seen.append([deployment(reply) for reply in replies])
    assert all(row == seen[0] for row in seen)
    assert 5 <= seen[0].count("eu") <= 30


def test_a_target_for_tools_serves_only_requests_with_tools(stack: Stack, routed: Routed) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    with httpx.Client(base_url=stack.url) as client:
        assert deployment(post(client, routed.plain, "for-tools", tools=tools)) == "eu"
        reply = post(client, routed.plain, "for-tools")
    assert CHAT.refusal(reply.content).code == "no_target_fits"


@pytest.mark.parametrize(
    ("header", "value"),
    [("x-tollgate-timeout", "soon"), ("x-tollgate-timeout", "-1"), ("x-tollgate-priority", "urgent")],
)
def test_a_header_that_means_nothing_is_refused_by_name(stack: Stack, routed: Routed, header: str, value: str) -> None:
    reply = ask(stack, routed.plain, "either", **{header: value})
    refusal = CHAT.refusal(reply.content)
    assert (reply.status_code, refusal.param) == (400, header)
    assert header in refusal.message


def test_a_clients_own_deadline_ends_a_request(stack: Stack, routed: Routed) -> None:
    began = time.monotonic()
    reply = ask(stack, routed.plain, "either", "[[head=10]]", x_tollgate_timeout="0.7")
    assert 0.6 < time.monotonic() - began < 2.0
    assert (reply.status_code, CHAT.refusal(reply.content).code) == (504, "upstream_timeout")


# --- The trace ------------------------------------------------------------------------------------------------


def test_who_may_see_it_is_told_how_the_route_was_decided(stack: Stack, routed: Routed) -> None:
    reply = ask(stack, routed.tracing, "either", x_tollgate_region="us", x_tollgate_trace="1")
    trace = json.loads(reply.headers["x-tollgate-trace"])
    assert (trace["route"], trace["strategy"]) == ("routed/either", "weighted")
    reasons = {row["deployment"]: row["reason"] for row in trace["candidates"]}
    assert reasons == {"routing-us": None, "routing-eu": "region"}
    (attempt,) = trace["attempts"]
    assert (attempt["deployment"], attempt["result"], attempt["verdict"]) == ("routing-us", "answered", "deliver")
    assert stack.record(reply.headers["x-request-id"])["trace"] == trace


def test_who_may_not_is_not(stack: Stack, routed: Routed, keys: Keys) -> None:
    for key, model in ((routed.plain, "either"), (keys.charlie, "chat")):
        reply = ask(stack, key, model, x_tollgate_trace="1")
        assert reply.status_code == 200
        assert "x-tollgate-trace" not in reply.headers
        assert stack.record(reply.headers["x-request-id"])["trace"] is None


def test_charlie_reaches_no_route_of_another_tenant(stack: Stack, routed: Routed, keys: Keys) -> None:
    reply = ask(stack, keys.charlie, "either")
    assert (reply.status_code, CHAT.refusal(reply.content).code) == (404, "model_not_found")


def test_more_than_one_attempt_is_traced_without_being_asked_for(stack: Stack, routed: Routed) -> None:
    reply = ask(stack, routed.plain, "either", f"[[fail=1 fail_id={mark()} status=500]]")
    assert deployment(reply) == "us"
    assert "x-tollgate-trace" not in reply.headers
    trace = stack.record(reply.headers["x-request-id"])["trace"]
    told = [(attempt["deployment"], attempt["result"], attempt["verdict"]) for attempt in trace["attempts"]]
    assert told == [("routing-eu", "status_500", "retry"), ("routing-us", "answered", "deliver")]


# --- Hedging --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_the_next_target_is_asked_when_the_first_is_late(stack: Stack, routed: Routed, is_stream: bool) -> None:
    with every_worker(stack) as workers:
        for worker in workers:
            for _ in range(ENOUGH):
                assert deployment(post(worker, routed.plain, "hedged", stream=is_stream)) == "eu"
        name = mark()
        began = time.monotonic()
        reply = post(workers[0], routed.plain, "hedged", f"[[fail=1 fail_id={name} hang=1]]", stream=is_stream)
        assert deployment(reply) == "us"
        assert time.monotonic() - began < 3  # far below any time-out
    if is_stream:
        assert reply.content.endswith(CHAT.end)
    wait_for(
        lambda: (
            {row.outcome for row in stack.upstream_requests() if name.encode() in row.body}
            == {"disconnected", "finished"}
            or None
        ),
        "that the slow one was let go",
        seconds=2,
    )
    record = stack.record(reply.headers["x-request-id"])
    assert [(row["deployment"], row["result"]) for row in record["attempts"]] == [
        ("routing-eu", "hedged_away"),
        ("routing-us", "streaming" if is_stream else "answered"),
    ]
    assert record["deployment"] == "routing-us"


def test_nobody_is_asked_twice_while_the_first_is_in_time(stack: Stack, routed: Routed) -> None:
    with every_worker(stack) as workers:
        for worker in workers:
            for _ in range(ENOUGH):
                post(worker, routed.plain, "hedged", "[[head=0.05]]")
        name = mark()
        reply = post(workers[0], routed.plain, "hedged", f"quick {name}")
    assert deployment(reply) == "eu"
    assert len([row for row in stack.upstream_requests() if name.encode() in row.body]) == 1
