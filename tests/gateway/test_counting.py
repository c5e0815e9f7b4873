"""Counts of tokens in each dialect: by the upstream where it can, by an estimate where it cannot; never billed."""

from typing import Any

import httpx
import pytest

from tests.gateway.calls import bearer
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

TEXT = "one two three four five"
COUNTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "anthropic_messages": (
        "/v1/messages/count_tokens",
        {"messages": [{"role": "user", "content": TEXT}]},
        "input_tokens",
    ),
    "openai_responses": ("/v1/responses/input_tokens", {"input": TEXT}, "input_tokens"),
    "gemini": (
        "/v1beta/models/MODEL:countTokens",
        {"contents": [{"role": "user", "parts": [{"text": TEXT}]}]},
        "totalTokens",
    ),
}
UPSTREAMS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")


def count(stack: Stack, key: str, client: str, model: str) -> httpx.Response:
    path, body, _ = COUNTS[client]
    content = body if "MODEL" in path else {"model": model, **body}
    return httpx.post(stack.url + path.replace("MODEL", model), json=content, headers=bearer(key), timeout=30)


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("client", COUNTS)
def test_tokens_are_counted(stack: Stack, keys: Keys, client: str, upstream: str) -> None:
    reply = count(stack, keys.alice, client, f"on-{upstream}")
    assert reply.status_code == 200, reply.text
    tokens = reply.json()[COUNTS[client][2]]
    if upstream == "openai_chat":
        assert reply.headers["x-tollgate-count"] == "estimated"
        assert 5 <= tokens <= 15
    else:
        assert reply.headers["x-tollgate-count"] == "upstream"
        assert tokens == 5
    record = stack.record(reply.headers["x-request-id"])
    assert (record["input_tokens"], record["cost"], record["cost_status"]) == (None, 0, "exact")


@pytest.mark.parametrize("client", COUNTS)
def test_a_count_of_an_upstream_that_is_away_is_an_estimate(stack: Stack, keys: Keys, client: str) -> None:
    reply = count(stack, keys.alice, client, "dead")
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-tollgate-count"] == "estimated"


@pytest.mark.parametrize("client", COUNTS)
def test_charlie_cannot_count_with_alices_models(stack: Stack, keys: Keys, client: str) -> None:
    assert count(stack, keys.charlie, client, "alice-only").status_code == 404


@pytest.mark.parametrize("client", COUNTS)
def test_a_wrong_body_is_refused_by_name(stack: Stack, keys: Keys, client: str) -> None:
    path, _, _ = COUNTS[client]
    field = {"anthropic_messages": "messages", "openai_responses": "input", "gemini": "contents"}[client]
    body = {"model": "on-openai_chat", field: 7}
    reply = httpx.post(
        stack.url + path.replace("MODEL", "on-openai_chat"), json=body, headers=bearer(keys.alice), timeout=30
    )
    assert reply.status_code == 400
    assert field in reply.text
