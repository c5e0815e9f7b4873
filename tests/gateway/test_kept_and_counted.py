"""Ids, names and queries that callers choose, through the whole stack: none reaches what is not theirs, or goes unbilled."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.calls import bearer, mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

SENTENCE = "The simulator answers with a sentence of twelve words and then stops."
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def alice(stack: Stack, keys: Keys) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=keys.alice, max_retries=0) as client:
        yield client


def count(stack: Stack, key: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{stack.url}/v1/responses/input_tokens", json=fields, headers=bearer(key), timeout=30)


def contents(text: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


# Stored responses.


@pytest.mark.parametrize("upstream", ["openai_chat", "anthropic_messages", "gemini"])
def test_a_stream_that_its_upstream_answered_whole_can_be_continued(
    stack: Stack, alice: openai.OpenAI, upstream: str
) -> None:
    with alice.responses.stream(model=f"on-{upstream}", input="hi [[json_for_stream=1]]") as events:
        first = events.get_final_response()
    word = mark()
    alice.responses.create(model=f"on-{upstream}", input=word, previous_response_id=first.id)
    assert SENTENCE.encode() in stack.upstream_request(word).body


@pytest.mark.parametrize("model", ["on-openai_responses", "on-openai_chat"])
def test_charlie_cannot_count_what_alice_has_stored(stack: Stack, keys: Keys, alice: openai.OpenAI, model: str) -> None:
    stored = alice.responses.create(model=model, input="one two three")
    refused = count(stack, keys.charlie, model=model, input="hi", previous_response_id=stored.id)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "previous_response_not_found")
    counted = count(stack, keys.alice, model=model, input="hi", previous_response_id=stored.id)
    assert counted.status_code == 200, counted.text
    if model == "on-openai_chat":
        assert counted.json()["input_tokens"] > count(stack, keys.alice, model=model, input="hi").json()["input_tokens"]


def test_the_next_page_of_a_list_is_asked_of_whoever_keeps_it(stack: Stack, keys: Keys, alice: openai.OpenAI) -> None:
    stored = alice.responses.create(model="on-openai_responses", input=mark())
    path = f"/v1/responses/{stored.id}/input_items"
    query = "?after=item%201&limit=1&key=x&stream=true"
    httpx.get(stack.url + path + query, headers=bearer(keys.alice), timeout=30)
    (sent,) = [request for request in stack.upstream_requests() if request.path == path]
    assert sent.query == "after=item+1&limit=1"


@pytest.mark.parametrize("fields", [{"background": True}, {"conversation": "conv_1"}])
def test_what_the_gateway_does_not_keep_is_not_asked_for(stack: Stack, keys: Keys, fields: dict[str, Any]) -> None:
    body = {"model": "on-openai_responses", "input": mark(), **fields}
    reply = httpx.post(f"{stack.url}/v1/responses", json=body, headers=bearer(keys.alice), timeout=30)
    assert (reply.status_code, reply.headers["x-tollgate-error"]) == (400, "not_kept")
    assert not any(body["input"].encode() in request.body for request in stack.upstream_requests())


# Gemini's paths and queries.


@pytest.mark.parametrize("name", ["wild-%00", "wild-%1bx", "wild-" + "x" * 300], ids=["nul", "escape", "long"])
def test_a_models_name_in_the_path_must_fit_the_ledger(stack: Stack, keys: Keys, name: str) -> None:
    """A record that PostgreSQL refuses is a request that nobody pays for."""
    url = f"{stack.url}/v1beta/models/{name}:generateContent"
    reply = httpx.post(url, json=contents("hi"), headers={**JSON, "x-goog-api-key": keys.alice}, timeout=30)
    assert (reply.status_code, reply.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_a_key_goes_up_under_no_spelling_of_its_name(stack: Stack, keys: Keys) -> None:
    word = mark()
    url = f"{stack.url}/v1beta/models/on-gemini:generateContent?%6Bey={keys.alice}&k%65y={keys.alice}&x=1"
    reply = httpx.post(url, json=contents(word), headers=JSON, timeout=30)
    assert reply.status_code == 200, reply.text
    sent = stack.upstream_request(word)
    assert (sent.query, keys.alice in str(sent.headers)) == ("x=1", False)


@pytest.mark.parametrize("upstream", ["openai_chat", "gemini"])
def test_a_stream_that_its_upstream_answered_whole_is_one_array_too(stack: Stack, keys: Keys, upstream: str) -> None:
    url = f"{stack.url}/v1beta/models/on-{upstream}:streamGenerateContent"
    headers = {**JSON, "x-goog-api-key": keys.alice}
    reply = httpx.post(url, json=contents("hi [[json_for_stream=1]]"), headers=headers, timeout=30)
    assert reply.headers["content-type"] == "application/json"
    parts = [part for chunk in json.loads(reply.content) for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(part.get("text", "") for part in parts) == SENTENCE
