"""A provider that takes no more, through the whole gateway: by its limits, or as its vendor says that nothing is left."""

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack, wait_for

WORKERS = 2
CONFIGURATION = """
providers:
  - slug: narrow
    adapter: openai_compatible
    base_url: ${SIMULATOR_URL}/v1
    credential: any
    allow_private_address: true
    breaker: {enabled: false}
    limits: {max_concurrency: 2}            # one at once in each of two workers
    queue: {size: 1, wait: 0.5}
  - slug: frugal
    adapter: openai_compatible
    base_url: ${VENDOR_URL}/v1
    credential: any
    allow_private_address: true
    breaker: {enabled: false}
    queue: {size: 5, wait: 0.1}
deployments:
  - {slug: narrow-chat, provider: narrow, model: sim-fast}
  - {slug: frugal-chat, provider: frugal, model: any}
  - {slug: frugal-other, provider: frugal, model: plenty}
routes:
  - {alias: narrow, targets: [{deployment: narrow-chat}]}
  - {alias: frugal, targets: [{deployment: frugal-chat}]}
  - {alias: frugal-other, targets: [{deployment: frugal-other}]}
  - {alias: frugal-or-not, targets: [{deployment: frugal-chat}, {deployment: sim-chat, priority: 1}]}
"""
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "any",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Vendor(BaseHTTPRequestHandler):
    """A vendor whose every answer says that nothing is left for a minute, but for one model."""

    protocol_version = "HTTP/1.1"
    asked = 0  # for what is used up

    def do_POST(self) -> None:
        model = json.loads(self.rfile.read(int(self.headers["content-length"])))["model"]
        type(self).asked += model == "any"
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-RateLimit-Limit-Requests", "2" if model == "any" else "1000")
        self.send_header("X-RateLimit-Remaining-Requests", "0" if model == "any" else "999")
        self.send_header("X-RateLimit-Reset-Requests", "1m0s")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def vendor() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Vendor) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def narrow(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with two narrow providers, as soon as its workers share their limits."""
    path: Path = tmp_path_factory.mktemp("narrow") / "narrow.yaml"
    path.write_text(CONFIGURATION)
    with vendor() as url:
        stack.manage("apply", str(path), SIMULATOR_URL=stack.simulator_url, VENDOR_URL=url)
        with console(stack) as operator:
            wait_for(lambda: len(gates(operator, "narrow")) == WORKERS, "the gates of all workers")
            wait_for(lambda: {gate["max_concurrency"] for gate in gates(operator, "narrow")} == {1}, "equal parts")
        yield stack


@contextmanager
def console(stack: Stack) -> Iterator[httpx.Client]:
    """A browser in which the operator has signed in."""
    with httpx.Client(base_url=stack.url, follow_redirects=True, timeout=30) as client:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/admin/login/").text)
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], "username": "admin", "password": stack.operator_password}
        client.post("/admin/login/", data=form, headers={"referer": f"{stack.url}/admin/login/"})
        yield client


def gates(operator: httpx.Client, provider: str) -> list[dict[str, Any]]:
    """What the workers say of a provider's queue."""
    workers = operator.get("/admin/queue", params={"format": "json"}).json()["workers"]
    return [gate for worker in workers for gate in worker["queues"] if gate["provider"] == provider]


def left(operator: httpx.Client, deployment: str) -> set[int]:
    """What the workers have heard is left for a deployment."""
    return {gate["requests_left"] for gate in gates(operator, "frugal") if gate["deployment"] == deployment}


def all_of(count: str, operator: httpx.Client) -> int:
    """Add up what the workers say of one provider."""
    return sum(gate[count] for gate in gates(operator, "narrow"))


def ask(
    stack: Stack, key: str, model: str, text: str = "hi", path: str = "/v1/chat/completions", **headers: str
) -> Any:
    body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
    return stack.post(path, key, body, **headers)


def test_it_lets_through_what_the_provider_takes_and_refuses_the_rest_with_its_place(narrow: Stack, keys: Keys) -> None:
    with ThreadPoolExecutor(12) as pool, console(narrow) as operator:
        asked = [
            pool.submit(ask, narrow, key, "narrow", "[[head=4]] hi")
            for key in (keys.alice, keys.charlie)
            for _ in range(6)
        ]
        replies = [each.result() for each in asked]
        served = [reply for reply in replies if reply.status_code == 200]
        refused = [reply for reply in replies if reply.status_code == 429]
        assert len(served) + len(refused) == len(replies)
        assert 1 <= len(served) <= WORKERS
        for reply in refused:
            assert reply.headers["x-tollgate-error"] == reply.json()["error"]["code"] == "upstream_saturated"
            assert "before this one" in reply.json()["error"]["message"]
            assert int(reply.headers["x-tollgate-queue-position"]) in {1, 2}
            assert int(reply.headers["retry-after"]) >= 1
            assert int(reply.headers["retry-after-ms"]) >= 1
        wait_for(lambda: all_of("refused", operator) >= len(refused), "refusals in the console")
        wait_for(lambda: all_of("in_use", operator) == 0, "free places")
        assert "narrow" in operator.get("/admin/queue").text
    metrics = httpx.get(f"{narrow.url}/metrics", verify=False).text
    assert 'upstream_saturated_total{provider="narrow",reason="' in metrics
    assert 'upstream_queue_depth{provider="narrow"} 0.0' in metrics


def test_a_client_s_stream_holds_its_place_until_it_ends(narrow: Stack, keys: Keys) -> None:
    body = {
        "model": "narrow",
        "stream": True,
        "messages": [{"role": "user", "content": "[[chunks=8 interval=0.5]] hi"}],
    }
    with ThreadPoolExecutor(8) as pool, console(narrow) as operator:
        replies = list(pool.map(lambda _: narrow.post("/v1/chat/completions", keys.alice, body), range(8)))
        assert 1 <= sum(reply.status_code == 200 for reply in replies) <= WORKERS
        for reply in replies:
            assert reply.status_code != 200 or reply.content.endswith(b"data: [DONE]\n\n")
        wait_for(lambda: all_of("in_use", operator) == 0, "free places")


def test_the_refusal_is_written_in_the_caller_s_dialect(narrow: Stack, keys: Keys) -> None:
    with ThreadPoolExecutor(8) as pool:
        call = lambda _: ask(narrow, keys.alice, "narrow", "[[head=1]] hi", "/v1/messages")  # noqa: E731
        refused = [reply for reply in pool.map(call, range(8)) if reply.status_code == 429]
    assert refused
    for reply in refused:
        assert reply.json()["error"]["type"] == "rate_limit_error"
        assert reply.headers["x-tollgate-error"] == "upstream_saturated"


def test_a_priority_that_is_none_is_refused_by_its_name(narrow: Stack, keys: Keys) -> None:
    reply = ask(narrow, keys.alice, "narrow", x_tollgate_priority="urgent")
    assert reply.status_code == 400
    assert "x-tollgate-priority" in reply.json()["error"]["message"]
    assert ask(narrow, keys.alice, "narrow", x_tollgate_priority="low").status_code == 200


def test_a_vendor_that_has_nothing_left_is_left_alone(narrow: Stack, keys: Keys) -> None:
    """Each worker learns from its own answers; a route with another target goes there, without waiting."""
    replies = [ask(narrow, keys.alice, "frugal") for _ in range(12)]
    assert {reply.status_code for reply in replies} == {200, 429}
    assert Vendor.asked == sum(reply.status_code == 200 for reply in replies) <= WORKERS
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert 30 < int(refused.headers["retry-after"]) <= 60
    started = time.monotonic()
    others = [ask(narrow, keys.alice, "frugal-or-not") for _ in range(6)]
    assert {reply.status_code for reply in others} == {200}
    assert {reply.headers["x-tollgate-deployment"] for reply in others[2:]} == {"sim-chat"}
    assert time.monotonic() - started < 10
    with console(narrow) as operator:
        wait_for(lambda: {0} == left(operator, "frugal-chat"), "the learned headroom")


def test_of_two_models_of_a_vendor_one_is_used_up_and_the_other_is_asked_at_once(narrow: Stack, keys: Keys) -> None:
    with console(narrow) as operator:
        for _ in range(12):
            ask(narrow, keys.charlie, "frugal")
        started = time.monotonic()
        replies = [ask(narrow, keys.charlie, "frugal-other") for _ in range(12)]
        assert {reply.status_code for reply in replies} == {200}
        assert time.monotonic() - started < 10
        assert ask(narrow, keys.charlie, "frugal").status_code == 429
        wait_for(lambda: {0} == left(operator, "frugal-chat"), "the headroom of one")
        assert left(operator, "frugal-other") == set()  # there is plenty, which nobody keeps account of
        assert "saturated: frugal-chat" in operator.get("/admin/queue").text
