"""Logs and metrics of several workers."""

import re
import time

import httpx

from gateway_site.infra.kept import FRESH_SECONDS
from gateway_site.infra.tallies import FLUSH_SECONDS
from tests.gateway.conftest import Keys
from tests.gateway.console import every_worker
from tests.gateway.stack import Stack, wait_for

# What a worker tells is a second old at most; other workers' counts come a moment later.
SEEN_SECONDS = FRESH_SECONDS + 2 * FLUSH_SECONDS
BODY = {"model": "chat", "messages": [{"role": "user", "content": "count me"}]}


def test_it_counts_the_requests_of_all_workers_whichever_is_asked(stack: Stack, keys: Keys) -> None:
    labels = '{alias="chat",deployment="sim-chat",outcome="served"}'
    time.sleep(SEEN_SECONDS)
    before = _metric(stack, "llm_requests_total" + labels)
    with every_worker(stack) as workers:
        for worker in workers:
            for _ in range(5):
                worker.post("/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {keys.alice}"})
        expected = before + 5 * len(workers)
        for worker in workers:
            told = lambda: _value(worker.get("/metrics").text, "llm_requests_total" + labels)  # noqa: B023, E731
            wait_for(lambda: told() == expected, f"{expected} requests")  # noqa: B023


def test_it_counts_tokens_refusals_and_failures(stack: Stack, keys: Keys) -> None:
    names = (
        'llm_tokens_used_total{deployment="sim-chat",kind="output"}',
        'http_requests_total{path="v1/chat/completions",status="401"}',
        'auth_failures_total{code="invalid_api_key"}',
    )
    time.sleep(SEEN_SECONDS)
    before = [_metric(stack, name) for name in names]
    reply = stack.post("/v1/chat/completions", keys.alice, BODY)
    stack.post("/v1/chat/completions", "tg_wrong", BODY)
    used = reply.json()["usage"]["completion_tokens"]
    expected = [old + more for old, more in zip(before, [used, 1, 1], strict=True)]
    wait_for(lambda: [_metric(stack, name) for name in names] == expected, f"{expected}")


def test_an_unknown_path_makes_no_label_of_its_own(stack: Stack) -> None:
    httpx.get(f"{stack.url}/v1/some/scanner/path")
    assert "scanner" not in httpx.get(f"{stack.url}/metrics").text


def test_it_writes_one_access_line_per_request_with_its_ids_and_no_secret(stack: Stack, keys: Keys) -> None:
    reply = stack.post("/v1/chat/completions", keys.alice, BODY, x_correlation_id="order-4711")
    request_id = reply.headers["x-request-id"]
    wait_for(lambda: stack.access_lines(request_id), "the access line")
    (line,) = stack.access_lines(request_id)
    assert line["correlation_id"] == reply.headers["x-correlation-id"] == "order-4711"
    assert (line["tenant"], line["alias"], line["deployment"]) == ("alice", "chat", "sim-chat")
    assert (line["status"], line["outcome"], line["stream"], line["attempts"]) == (200, "served", False, 1)
    assert keys.alice not in stack.log()


def test_the_ledger_says_the_same_as_the_answer(stack: Stack, keys: Keys) -> None:
    reply = stack.post("/v1/chat/completions", keys.alice, BODY)
    record = stack.record(reply.headers["x-request-id"])
    usage = reply.json()["usage"]
    assert (record["input_tokens"], record["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert f"{record['cost']:.9f}" == reply.headers["x-tollgate-cost"]
    assert (record["project"], record["dialect"], record["cost_status"]) == ("research", "openai_chat", "exact")


def test_rollups_hold_what_the_records_hold(stack: Stack, keys: Keys) -> None:
    for _ in range(5):
        reply = stack.post("/v1/chat/completions", keys.alice, BODY)
    stack.record(reply.headers["x-request-id"])
    of_records = "SELECT count(*), sum(cost), sum(output_tokens) FROM tenants_usagerecord"
    of_rollups = "SELECT sum(requests), sum(cost), sum(output_tokens) FROM tenants_usage{}"
    for period in ("hour", "day"):
        wait_for(lambda: stack.query(of_records) == stack.query(of_rollups.format(period)), "equal sums")  # noqa: B023


def _metric(stack: Stack, name: str) -> float:
    return _value(httpx.get(f"{stack.url}/metrics").text, name)


def _value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
