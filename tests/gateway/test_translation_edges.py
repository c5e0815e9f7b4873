"""What upstreams do to streams and answers, seen through a translation, in every direction.

Numbers are those of the list of edge cases that the dialects' own tests name, too.
"""

import gzip
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.gateway.calls import bearer, events, mark
from tests.gateway.clients import CLIENTS, Ask, Client, Refused, Seen
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack, wait_for

DIALECTS = tuple(CLIENTS)
SENTENCE = "The simulator answers with a sentence of twelve words and then stops."
PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini": "/v1beta/models/MODEL:streamGenerateContent?alt=sse",
}
ENDS = {
    "openai_chat": b"data: [DONE]",
    "openai_responses": b"event: response.completed",
    "anthropic_messages": b"event: message_stop",
    "gemini": b'"finishReason"',
}

DIRECTIONS = [(client, upstream) for client in DIALECTS for upstream in DIALECTS if client != upstream]
every_direction = pytest.mark.parametrize("direction", DIRECTIONS, ids="_on_".join)
every_upstream = pytest.mark.parametrize("upstream", DIALECTS)

type Direction = tuple[str, str]


@pytest.fixture(scope="module")
def clients(stack: Stack, keys: Keys) -> dict[str, Client]:
    return {name: client(stack.url, keys.alice) for name, client in CLIENTS.items()}


@pytest.fixture(params=["whole", "stream"])
def ask(request: pytest.FixtureRequest, clients: dict[str, Client]) -> Callable[[Direction, Ask], Seen | Refused]:
    is_stream = request.param == "stream"
    return lambda direction, ask: clients[direction[0]].ask(f"on-{direction[1]}", ask, stream=is_stream)


def post(stack: Stack, key: str, direction: Direction, text: str, **fields: Any) -> httpx.Response:
    """Ask for a stream, and return it whole."""
    client, upstream = direction
    message = {"role": "user", "content": text}
    body: dict[str, Any] = {
        "openai_chat": {"messages": [message], "stream": True},
        "openai_responses": {"input": text, "stream": True, "store": False},
        "anthropic_messages": {"messages": [message], "max_tokens": 4096, "stream": True},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    }[client]
    if client != "gemini":
        body["model"] = f"on-{upstream}"
    url = stack.url + PATHS[client].replace("MODEL", f"on-{upstream}")
    return httpx.post(url, json={**body, **fields}, headers=bearer(key), timeout=30)


def in_every_direction(ask: Callable[[Direction], httpx.Response]) -> dict[Direction, httpx.Response]:
    """Ask in all of them at once: most of their time is somebody's waiting."""
    with ThreadPoolExecutor(len(DIRECTIONS)) as pool:
        return dict(zip(DIRECTIONS, pool.map(ask, DIRECTIONS), strict=True))


def words(stream: bytes) -> str:
    """Return the text of a stream, whatever its dialect."""
    found = []
    for event in events(stream):
        if event.data == "[DONE]":
            continue
        value = json.loads(event.data)
        delta = value.get("delta")
        if isinstance(delta, str) and value.get("type") == "response.output_text.delta":
            found.append(delta)
        elif isinstance(delta, dict):
            found.append(delta.get("text", ""))
        for choice in value.get("choices", []):
            found.append(choice["delta"].get("content") or "")
        for candidate in value.get("candidates", []):
            found += [part.get("text", "") for part in candidate.get("content", {}).get("parts", [])]
    return "".join(found)


@pytest.mark.parametrize(
    ("number", "marks"),
    [
        (37, "split_utf8=1"),
        (38, "nospace=1"),
        (39, "crlf=1"),
        (39, "cr=1"),
        (39, "packet=1"),
        (40, "comments=1"),
        (41, "gzip=1"),
        (42, "json_for_stream=1"),
        (42, "no_type=1"),
    ],
)
def test_edges_37_38_39_40_41_42_the_wire_does_not_matter(stack: Stack, keys: Keys, number: int, marks: str) -> None:
    text = "zwölf Wörter 🙂 für jeden"
    replies = in_every_direction(lambda way: post(stack, keys.alice, way, f"[[text=echo {marks}]] {text}"))
    for direction, reply in replies.items():
        assert reply.status_code == 200, (direction, reply.text)
        assert words(reply.content).strip().endswith(text), direction
        assert ENDS[direction[0]] in reply.content, direction


@every_direction
def test_edge_42_a_stream_for_a_whole_answer(clients: dict[str, Client], direction: Direction) -> None:
    client, upstream = direction
    answer = clients[client].ask(f"on-{upstream}", Ask(text="hi [[stream_for_json=1]]"), stream=False)
    assert isinstance(answer, Seen)
    assert answer.text == SENTENCE


@every_direction
@pytest.mark.parametrize("marks", ["empty=1", "html=1", "drop=1"])
def test_edge_43_what_is_no_answer_is_an_error(
    ask: Callable[[Direction, Ask], Seen | Refused], direction: Direction, marks: str
) -> None:
    answer = ask(direction, Ask(text=f"hi [[{marks}]]"))
    assert isinstance(answer, Refused)
    assert answer.status in {500, 502, 503}


@every_direction
def test_edge_44_an_error_as_the_first_event_is_a_status(stack: Stack, keys: Keys, direction: Direction) -> None:
    reply = post(stack, keys.alice, direction, "[[error_event=0]]")
    assert reply.status_code >= 500
    assert reply.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("marks", ["cut=3", "reset=3", "stall=3", "malformed=3", "error_event=3", "truncate=3"])
def test_edges_10_22_35_45_a_broken_stream_ends_in_an_error_and_is_not_begun_again(
    stack: Stack, keys: Keys, marks: str
) -> None:
    said = {direction: mark() for direction in DIRECTIONS}
    replies = in_every_direction(lambda way: post(stack, keys.alice, way, f"{said[way]} [[chunks=8 {marks}]]"))
    requests = stack.upstream_requests(100)
    for direction, reply in replies.items():
        assert reply.status_code == 200, direction
        assert ENDS[direction[0]] not in reply.content, direction
        last = json.loads(events(reply.content)[-1].data)
        assert "error" in last or "error" in last.get("response", {}) or last.get("type") == "error", direction
        assert words(reply.content), direction
        assert sum(said[direction].encode() in request.body for request in requests) == 1, direction
        record = stack.record(reply.headers["x-request-id"])
        assert (record["outcome"], record["cost_status"]) == ("cut", "estimated"), direction


@every_direction
def test_edge_46_an_upstream_is_left_when_the_client_leaves(stack: Stack, keys: Keys, direction: Direction) -> None:
    client, upstream = direction
    word = mark()
    body = {"model": f"on-{upstream}", "stream": True, "max_tokens": 4096}
    text = f"{word} [[chunks=200 interval=0.05]]"
    fields = {"messages": [{"role": "user", "content": text}]}
    if client == "gemini":
        body, fields = {}, {"contents": [{"role": "user", "parts": [{"text": text}]}]}  # type: ignore[assignment]
    elif client == "openai_responses":
        body, fields = {"model": f"on-{upstream}", "stream": True, "store": False}, {"input": text}  # type: ignore[assignment]
    url = stack.url + PATHS[client].replace("MODEL", f"on-{upstream}")
    with httpx.stream("POST", url, json={**body, **fields}, headers=bearer(keys.alice), timeout=30) as reply:
        next(reply.iter_bytes())
        request_id = reply.headers["x-request-id"]
    wait_for(lambda: stack.upstream_request(word).outcome != "open", "that the upstream is left")
    assert stack.upstream_request(word).outcome == "disconnected"
    assert stack.record(request_id)["outcome"] == "client_gone"


@every_direction
def test_edge_47_chunks_arrive_as_they_come(stack: Stack, keys: Keys, direction: Direction) -> None:
    client, upstream = direction
    started = time.monotonic()
    url = stack.url + PATHS[client].replace("MODEL", f"on-{upstream}")
    text = "[[first=0.1 chunks=3 interval=0.6]]"
    body: dict[str, Any] = {
        "openai_chat": {"messages": [{"role": "user", "content": text}], "stream": True},
        "openai_responses": {"input": text, "stream": True, "store": False},
        "anthropic_messages": {"messages": [{"role": "user", "content": text}], "max_tokens": 4096, "stream": True},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    }[client]
    if client != "gemini":
        body["model"] = f"on-{upstream}"
    with httpx.stream("POST", url, json=body, headers=bearer(keys.alice), timeout=30) as reply:
        pieces = reply.iter_bytes()
        while b"The" not in next(pieces):
            pass
        first_after = time.monotonic() - started
        assert reply.headers["x-accel-buffering"] == "no"
        for _ in pieces:
            pass
    assert time.monotonic() - started - first_after > 0.5


@every_upstream
def test_edge_48_cached_tokens_are_counted_once(stack: Stack, keys: Keys, upstream: str) -> None:
    counts = set()
    for client in DIALECTS:
        reply = post(stack, keys.alice, (client, upstream), "[[usage=cached]] " + "word " * 39)
        record = stack.record(reply.headers["x-request-id"])
        counts.add(
            (
                record["input_tokens"],
                record["cache_read_tokens"],
                record["cache_write_5m_tokens"],
                record["output_tokens"],
                record["cost"],
            )
        )
    assert len(counts) == 1, counts


@every_direction
def test_edge_81_headers_of_one_vendor_do_not_reach_another(stack: Stack, keys: Keys, direction: Direction) -> None:
    word = mark()
    client, upstream = direction
    headers = {
        **bearer(keys.alice),
        "anthropic-beta": "a-2026-01-01",
        "openai-beta": "b",
        "x-stainless-lang": "python",
        "cookie": "secret",
        "x-claude-code-session-id": "s",
    }
    body: dict[str, Any] = {
        "openai_chat": {"messages": [{"role": "user", "content": word}]},
        "openai_responses": {"input": word, "store": False},
        "anthropic_messages": {"messages": [{"role": "user", "content": word}], "max_tokens": 4096},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": word}]}]},
    }[client]
    path = PATHS[client].replace("MODEL", f"on-{upstream}").replace("streamGenerateContent", "generateContent")
    if client != "gemini":
        body["model"] = f"on-{upstream}"
    assert httpx.post(stack.url + path, json=body, headers=headers, timeout=30).status_code == 200
    sent = {name.lower() for name, _ in stack.upstream_request(word).headers}
    assert not sent & {"anthropic-beta", "openai-beta", "x-stainless-lang", "cookie", "x-claude-code-session-id"}


def test_edge_41_a_compressed_request_is_read(stack: Stack, keys: Keys) -> None:
    body = gzip.compress(json.dumps({"model": "on-gemini", "input": "hi", "store": False}).encode())
    headers = {**bearer(keys.alice), "content-encoding": "gzip"}
    reply = httpx.post(f"{stack.url}/v1/responses", content=body, headers=headers, timeout=30)
    assert reply.status_code == 200, reply.text


def test_edge_82_a_header_that_is_no_ascii_breaks_nothing(stack: Stack, keys: Keys) -> None:
    headers = {**bearer(keys.alice), "x-correlation-id": "é".encode(), "anthropic-beta": "é".encode()}
    body = {"model": "on-gemini", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    assert httpx.post(f"{stack.url}/v1/messages", json=body, headers=headers, timeout=30).status_code == 200  # type: ignore[arg-type]


@every_upstream
def test_edge_83_count_tokens_is_there_for_every_upstream(stack: Stack, keys: Keys, upstream: str) -> None:
    body = {"model": f"on-{upstream}", "messages": [{"role": "user", "content": "one two three"}]}
    reply = httpx.post(f"{stack.url}/v1/messages/count_tokens", json=body, headers=bearer(keys.alice), timeout=30)
    assert reply.json()["input_tokens"] > 0


def test_edge_107_a_websocket_is_refused_at_once_so_that_clients_use_the_stream(stack: Stack, keys: Keys) -> None:
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    reply = httpx.get(f"{stack.url}/v1/responses", headers={**bearer(keys.alice), **upgrade}, timeout=5)
    assert 400 <= reply.status_code < 500
    assert post(stack, keys.alice, ("openai_responses", "gemini"), "hi").status_code == 200


def test_edge_109_the_list_of_models_does_not_redirect(stack: Stack, keys: Keys) -> None:
    headers = {**bearer(keys.alice), "anthropic-version": "2023-06-01"}
    started = time.monotonic()
    reply = httpx.get(f"{stack.url}/v1/models?limit=1000", headers=headers, follow_redirects=False)
    assert reply.status_code == 200
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("name", ["wild-x[1m]", "wild-vendor/model", "wild-a:b"])
def test_edge_110_a_models_name_may_have_suffixes_and_prefixes(stack: Stack, keys: Keys, name: str) -> None:
    body = {"model": name, "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    assert httpx.post(f"{stack.url}/v1/messages", json=body, headers=bearer(keys.alice), timeout=30).status_code == 200


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
def test_edge_111_both_ways_to_send_the_key(stack: Stack, keys: Keys, name: str) -> None:
    headers = {name: f"Bearer {keys.alice}" if name == "authorization" else keys.alice}
    body = {"model": "on-gemini", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    assert httpx.post(f"{stack.url}/v1/messages", json=body, headers=headers, timeout=30).status_code == 200


@every_direction
def test_edge_118_a_429_is_over_with_its_request(
    ask: Callable[[Direction, Ask], Seen | Refused], direction: Direction
) -> None:
    limited = ask(direction, Ask(text="hi [[status=429]]"))
    assert isinstance(limited, Refused)
    assert limited.status == 429
    assert isinstance(ask(direction, Ask(text="hi")), Seen)


@every_direction
def test_edge_119_a_long_line_is_no_limit(stack: Stack, keys: Keys, direction: Direction) -> None:
    word = "x" * 300_000
    reply = post(stack, keys.alice, direction, f"[[text=echo chunks=1]] {word}")
    assert word in words(reply.content)


@every_direction
def test_edge_120_the_client_is_told_the_name_that_it_asked_for(stack: Stack, keys: Keys, direction: Direction) -> None:
    reply = post(stack, keys.alice, direction, "hi")
    assert f"on-{direction[1]}".encode() in reply.content
    assert b"sim-fast" not in reply.content
    assert reply.headers["x-tollgate-model"] in {"sim-fast", "gemini-3-flash"}
