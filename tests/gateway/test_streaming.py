"""Streams: nothing before the first content, everything after it, and an honest end whatever happens."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.gateway.calls import BOTH, CHAT, MESSAGES, Dialect, Wire, bearer, events, mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack, wait_for

both_dialects = pytest.mark.parametrize("dialect", BOTH, ids=lambda dialect: dialect.name)

WORDS = ["The", " simulator", " answers"]


def open_stream(stack: Stack, key: str, dialect: Dialect, text: str, **fields: Any) -> Wire:
    """Ask for a stream on a connection of its own and return it at once."""
    wire = Wire(stack.url, receive_buffer=8192)
    body = json.dumps(dialect.stream(text, **fields)).encode()
    wire.request(dialect.path, body, *(f"{name}: {value}" for name, value in bearer(key).items()))
    return wire


def said(stream: bytes) -> list[str]:
    """Return the pieces of text in a stream of either dialect."""
    pieces = []
    for event in events(stream):
        data = json.loads(event.data) if event.data != "[DONE]" else {}
        delta = data.get("delta") or next((choice["delta"] for choice in data.get("choices", [])), {})
        text = delta.get("text") or delta.get("content")
        if text:
            pieces.append(text)
    return pieces


def tokens_and_cost(stack: Stack, request_id: str) -> "Bill":
    """Return what was billed for a request, the money as it is stored."""
    stack.record(request_id)
    sql = "SELECT input_tokens, output_tokens, cost, cost_status FROM tenants_usagerecord WHERE request_id = %s"
    tokens, output, cost, status = stack.query(sql, request_id)[0]
    return tokens, output, cost, status


# Before the first content.


@both_dialects
def test_nothing_is_sent_before_the_first_content(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    began = time.monotonic()
    with open_stream(stack, keys.alice, dialect, "[[first=0.5 pings=3]]") as wire:
        status, _ = wire.read_head()
        first = time.monotonic() - began
        assert status == 200
        assert said(next(wire.chunks()))[0] == WORDS[0]
    assert 0.45 < first < 2.9


@both_dialects
def test_the_first_packet_holds_the_first_content(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    with open_stream(stack, keys.alice, dialect, "[[first=0.1 interval=0.9 chunks=3]]") as wire:
        wire.read_head()
        began = time.monotonic()
        chunks = wire.chunks()
        assert said(next(chunks)) == WORDS[:1]
        assert time.monotonic() - began < 0.8
        assert said(b"".join(chunks)) == WORDS[1:]


@both_dialects
def test_what_is_relayed_is_not_held_back(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    arrivals = []
    with open_stream(stack, keys.alice, dialect, "[[interval=0.3 chunks=10]]") as wire:
        wire.read_head()
        for chunk in wire.chunks():
            arrivals += [time.monotonic()] * len(said(chunk))
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert len(arrivals) == 10
    assert sorted(gaps)[4] > 0.15, gaps


@both_dialects
def test_an_error_as_the_first_event_is_a_real_http_error(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.stream("[[error_event=0]]"))
    assert reply.status_code == 502
    assert reply.headers["content-type"] == "application/json"
    assert "overloaded" in dialect.refusal(reply.content).message.lower()


@both_dialects
@pytest.mark.parametrize("fault", ["cut=0", "reset=0", "truncate=0", "malformed=0", "drop=1"])
def test_a_stream_that_breaks_before_its_first_content_is_a_real_http_error(
    stack: Stack, keys: Keys, dialect: Dialect, fault: str
) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.stream(f"[[{fault}]]"))
    assert reply.status_code == 502
    assert reply.headers["x-tollgate-error"] == "upstream_failed"
    assert dialect.refusal(reply.content).type in {"server_error", "api_error"}


def test_it_falls_back_before_the_first_token(stack: Stack, keys: Keys) -> None:
    reply = stack.post(CHAT.path, keys.alice, CHAT.stream(model="dead-first"))
    assert reply.status_code == 200
    assert reply.headers["x-tollgate-attempts"] == "2"
    assert reply.headers["x-tollgate-deployment"] == "sim-chat"
    assert reply.content.endswith(CHAT.end)
    attempts = stack.record(reply.headers["x-request-id"])["attempts"]
    assert [(attempt["deployment"], attempt["result"]) for attempt in attempts] == [
        ("unreachable", "unreachable"),
        ("sim-chat", "streaming"),
    ]


@pytest.mark.parametrize("fault", ["status=500", "status=429", "drop=1", "cut=0"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_it_tries_again_where_nothing_was_sent_yet(stack: Stack, keys: Keys, fault: str, is_stream: bool) -> None:
    text = f"[[fail=1 fail_id={mark()} {fault}]]"
    reply = stack.post(CHAT.path, keys.alice, CHAT.body(text, model="chat-with-retry", stream=is_stream))
    assert reply.status_code == 200, reply.text
    # A kept connection that is closed without a byte may have been closed before: there the request was never seen.
    assert reply.headers["x-tollgate-attempts"] in ({"1", "2"} if fault == "drop=1" else {"2"})


def test_it_does_not_try_again_what_would_fail_again(stack: Stack, keys: Keys) -> None:
    text = f"[[fail=1 fail_id={mark()} status=400]]"
    reply = stack.post(CHAT.path, keys.alice, CHAT.body(text, model="chat-with-retry"))
    assert (reply.status_code, reply.headers["x-tollgate-attempts"]) == (400, "1")


async def test_a_silent_upstream_is_a_timeout_and_is_not_asked_again(stack: Stack, keys: Keys) -> None:
    silent = ["[[first=10]]", "[[first=10 pings=50]]", "[[hang=1]]", "[[head=10]]", "[[stall=0]]"]
    asked = [(CHAT, "chat-with-retry", text) for text in silent] + [
        (MESSAGES, "messages-only", text) for text in silent
    ]
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=stack.url, headers=bearer(keys.alice), timeout=10) as client:
        replies = await asyncio.gather(
            *(client.post(dialect.path, json=dialect.stream(text, model=model)) for dialect, model, text in asked)
        )
    assert 2.9 < time.monotonic() - began < 4.5
    for (dialect, _, _), reply in zip(asked, replies, strict=True):
        assert reply.status_code == 504
        assert reply.headers["x-tollgate-error"] == "upstream_timeout"
        assert dialect.refusal(reply.content).type in {"server_error", "timeout_error"}


# In the middle.


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A stream that broke, and its record."""

    stream: bytes
    record: dict[str, Any]


FAULTS = {
    "cut": "upstream_cut",
    "reset": "upstream_cut",
    "stall": "upstream_timeout",
    "truncate": "upstream_failed",
    "malformed": "upstream_failed",
    "error_event": "upstream_failed",
}
SPELLINGS = {"lf": "", "crlf": "crlf=1"}


@pytest.fixture(scope="module")
def broken(stack: Stack, keys: Keys) -> dict[tuple[str, str, str], Broken]:
    """All streams that break, broken at the same time."""

    async def ask(client: httpx.AsyncClient, dialect: Dialect, fault: str, spelling: str) -> httpx.Response:
        text = f"[[{fault}=3 interval=0.01 {SPELLINGS[spelling]}]]"
        return await client.post(dialect.path, json=dialect.stream(text))

    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=stack.url, headers=bearer(keys.alice), timeout=10) as client:
            return await asyncio.gather(*(ask(client, *case) for case in cases))

    cases = [(dialect, fault, spelling) for dialect in BOTH for fault in FAULTS for spelling in SPELLINGS]
    replies = asyncio.run(ask_all())
    return {
        (dialect.name, fault, spelling): Broken(
            stream=reply.content, record=stack.record(reply.headers["x-request-id"])
        )
        for (dialect, fault, spelling), reply in zip(cases, replies, strict=True)
    }


@both_dialects
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("fault", "code"), FAULTS.items())
def test_a_stream_that_breaks_ends_in_an_error_event_and_an_estimated_bill(
    broken: dict[tuple[str, str, str], Broken], dialect: Dialect, fault: str, code: str, spelling: str
) -> None:
    seen = broken[dialect.name, fault, spelling]
    error = dialect.error_in(seen.stream)
    assert said(seen.stream) == WORDS
    assert b"[DONE]" not in seen.stream
    assert b"message_stop" not in seen.stream
    assert error["retryable"] is True
    assert error["severity"] == "error"
    assert error["message"]
    assert (seen.record["outcome"], seen.record["error_code"]) == ("cut", code)
    assert seen.record["cost_status"] == "estimated"
    assert seen.record["input_tokens"] > 0
    assert 3 <= seen.record["output_tokens"] <= 10
    assert seen.record["cost"] > 0


@both_dialects
def test_a_stream_without_its_last_word_is_whole_when_it_gave_a_reason_to_end(
    stack: Stack, keys: Keys, dialect: Dialect
) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.stream("[[no_done=1]]"))
    assert reply.content.endswith(dialect.end)
    record = stack.record(reply.headers["x-request-id"])
    assert (record["outcome"], record["output_tokens"], record["cost_status"]) == ("served", 12, "exact")


@both_dialects
def test_a_broken_stream_gives_its_upstreams_connection_up(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    name = mark()
    with open_stream(stack, keys.alice, dialect, f"[[stall=1]] {name}") as wire:
        dialect.error_in(wire.read_answer()[2])
    wait_for(lambda: stack.upstream_request(name).outcome == "disconnected", "the disconnect", seconds=5)


# Clients that leave.


@both_dialects
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_the_upstream_hears_that_a_client_left_before_the_first_token(
    stack: Stack, keys: Keys, dialect: Dialect, is_stream: bool
) -> None:
    name = mark()
    before = stack.counters()["disconnects"]
    user = {"safety_identifier": name} if dialect is CHAT else {"metadata": {"user_id": name}}
    with open_stream(stack, keys.alice, dialect, "[[first=2.5]]", stream=is_stream, **user):
        wait_for(lambda: any(name.encode() in row.body for row in stack.upstream_requests(5)), "the request")
    wait_for(lambda: stack.upstream_request(name).outcome == "disconnected", "the disconnect", seconds=5)
    assert stack.counters()["disconnects"] > before
    record = wait_for(lambda: record_of(stack, name), "the usage record")
    assert (record["outcome"], record["status"], record["cost_status"]) == ("client_gone", 499, "estimated")
    assert record["cost"] > 0  # the upstream had begun to work on it
    (line,) = stack.access_lines(record["request_id"].replace("-", ""))
    assert (line["status"], line["outcome"]) == (499, "client_gone")


def record_of(stack: Stack, end_user: str) -> dict[str, Any] | None:
    """Return the newest record of an end user."""
    rows = stack.query("SELECT to_jsonb(r) FROM tenants_usagerecord r WHERE end_user = %s", end_user)
    return rows[0][0] if rows else None


@both_dialects
def test_the_upstream_hears_that_a_client_left_in_the_middle(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    name = mark()
    with open_stream(stack, keys.alice, dialect, f"[[interval=0.05 chunks=100]] {name}") as wire:
        _, headers = wire.read_head()
        seen = b""
        for chunk in wire.chunks():
            seen += chunk
            if len(said(seen)) >= 8:
                break
    wait_for(lambda: stack.upstream_request(name).outcome == "disconnected", "the disconnect", seconds=5)
    record = stack.record(headers["x-request-id"])
    assert (record["outcome"], record["cost_status"]) == ("client_gone", "estimated")
    assert 8 <= record["output_tokens"] <= 90
    price_in, price_out = (1, 2) if dialect is CHAT else (3, 15)
    expected = (record["input_tokens"] * price_in + record["output_tokens"] * price_out) / 1_000_000
    assert record["cost"] == pytest.approx(expected)


def test_a_hundred_clients_that_leave_at_once_are_all_noticed(stack: Stack, keys: Keys) -> None:
    name = mark()
    with ExitStack() as clients:
        for dialect in BOTH * 50:
            clients.enter_context(open_stream(stack, keys.alice, dialect, f"[[interval=0.05 chunks=600]] {name}"))
        wait_for(lambda: len(outcomes(stack, name)) == 100, "the requests")
    wait_for(lambda: set(outcomes(stack, name)) == {"disconnected"}, "all disconnects", seconds=10)


def outcomes(stack: Stack, name: str) -> list[str]:
    """Return the outcomes of the upstream requests that hold a mark."""
    return [row.outcome for row in stack.upstream_requests(250) if name.encode() in row.body]


# To the end.


@both_dialects
def test_a_slow_reader_gets_everything(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    word = "x" * 2000
    with open_stream(stack, keys.alice, dialect, f"[[text={word} chunks=3000]]") as wire:
        _, headers = wire.read_head()
        chunks = wire.chunks()
        seen = [next(chunks)]
        time.sleep(1.5)  # longer than the upstream may be silent: it is not the upstream that is slow
        seen += chunks
    stream = b"".join(seen)
    assert len(stream) > 6_000_000
    assert len(said(stream)) == 3000
    assert stream.endswith(dialect.end)
    cost = Decimal("0.006002") if dialect is CHAT else Decimal("0.045006")
    assert tokens_and_cost(stack, headers["x-request-id"]) == (2, 3000, cost, "exact")


# Bills.

type Bill = tuple[int, int, Decimal, str]

TEXTS = {
    "plain": "one two three",
    "cached": "[[usage=cached]] " + "word " * 39,
    "thinking": "[[thinking=1]] hm",
    "crlf": "[[crlf=1]] hm",
    "twice": "[[usage=twice]] hm",
    "none": "[[usage=none]]",
    "zero": "[[usage=zero]]",
    "negative": "[[usage=negative]]",
    "huge": "[[usage=huge]]",
}


@pytest.fixture(scope="module")
def bills(stack: Stack, keys: Keys) -> dict[tuple[str, str], tuple[Bill, Bill]]:
    """What each text cost in each dialect, streamed and whole."""

    def ask(dialect: Dialect, text: str, is_stream: bool) -> str:
        reply = stack.post(dialect.path, keys.alice, dialect.body(text, stream=is_stream))
        return reply.headers["x-request-id"]

    asked = {
        (dialect.name, name): (ask(dialect, text, True), ask(dialect, text, False))
        for dialect in BOTH
        for name, text in TEXTS.items()
    }
    return {
        case: (tokens_and_cost(stack, streamed), tokens_and_cost(stack, whole))
        for case, (streamed, whole) in asked.items()
    }


@both_dialects
@pytest.mark.parametrize("name", ["plain", "cached", "thinking", "crlf", "twice"])
def test_streamed_and_whole_cost_the_same_to_the_last_digit(
    bills: dict[tuple[str, str], tuple[Bill, Bill]], dialect: Dialect, name: str
) -> None:
    streamed, whole = bills[dialect.name, name]
    assert streamed == whole
    assert whole[2] > 0
    assert whole[3] == "exact"


@both_dialects
@pytest.mark.parametrize("name", ["none", "huge", "negative"])
def test_an_answer_without_a_usage_that_can_be_true_is_estimated(
    bills: dict[tuple[str, str], tuple[Bill, Bill]], dialect: Dialect, name: str
) -> None:
    for tokens, output, cost, status in bills[dialect.name, name]:
        assert 0 < tokens < 100
        assert 12 <= output < 200
        assert 0 < cost < Decimal("0.01")
        assert status == "estimated"


@both_dialects
def test_what_is_reported_as_nothing_costs_nothing(
    bills: dict[tuple[str, str], tuple[Bill, Bill]], dialect: Dialect
) -> None:
    assert [bill[:3] for bill in bills[dialect.name, "zero"]] == [(0, 0, Decimal(0))] * 2


@both_dialects
def test_a_whole_answer_to_a_request_for_a_stream_becomes_one(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.body("[[json_for_stream=1]]", stream=True))
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.content.endswith(dialect.end)
    assert b"twelve" in reply.content
    assert tokens_and_cost(stack, reply.headers["x-request-id"])[2] > 0


@both_dialects
def test_a_stream_for_a_request_for_a_whole_answer_becomes_one(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.body("[[stream_for_json=1]]"))
    assert reply.headers["content-type"] == "application/json"
    assert "The simulator answers with a sentence of twelve words and then stops." in json.dumps(reply.json())
    assert tokens_and_cost(stack, reply.headers["x-request-id"])[2] > 0


@both_dialects
def test_a_stream_without_a_content_type_is_a_stream(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.body("[[no_type=1 chunks=3]]", stream=True))
    assert reply.status_code == 200
    assert b"The" in reply.content


def test_a_whole_answer_says_what_it_cost(stack: Stack, keys: Keys) -> None:
    reply = stack.post(MESSAGES.path, keys.alice, MESSAGES.body("one two three"))
    billed = tokens_and_cost(stack, reply.headers["x-request-id"])
    assert billed == (3, 12, Decimal(reply.headers["x-tollgate-cost"]), "exact")
    assert billed[2] == Decimal(3 * 3 + 12 * 15) / 1_000_000


@pytest.fixture
async def client(stack: Stack, keys: Keys) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.url, headers=bearer(keys.alice), timeout=20) as client:
        yield client


async def test_whoever_got_the_last_frame_is_in_the_ledger(stack: Stack, client: httpx.AsyncClient) -> None:
    asked = [(dialect, n) for dialect in BOTH for n in range(100)]
    replies = await asyncio.gather(
        *(
            client.post(dialect.path, json=dialect.stream(f"[[interval=0.01 chunks={n % 7 + 1}]]"))
            for dialect, n in asked
        )
    )
    for (dialect, _), reply in zip(asked, replies, strict=True):
        assert reply.content.endswith(dialect.end)
    ids = [reply.headers["x-request-id"] for reply in replies]
    sql = "SELECT count(*), sum(output_tokens) FROM tenants_usagerecord WHERE request_id = ANY(%s::uuid[])"
    expected = sum(n % 7 + 1 for _, n in asked)
    await asyncio.to_thread(wait_for, lambda: stack.query(sql, ids) == [(200, expected)] or None, "200 records")
