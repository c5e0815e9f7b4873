"""What is particular to Gemini's clients: the model in the path, the key in the query, streams as one array."""

import json

import httpx
import pytest

from tests.gateway.calls import mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

SENTENCE = "The simulator answers with a sentence of twelve words and then stops."
JSON = {"content-type": "application/json"}
UPSTREAMS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
versions = pytest.mark.parametrize("version", ["v1", "v1beta"])


def body(text: str = "hi") -> dict[str, object]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def text_of(chunks: list[dict]) -> str:  # type: ignore[type-arg]
    return "".join(
        part.get("text", "")
        for chunk in chunks
        for candidate in chunk.get("candidates", [])
        for part in candidate.get("content", {}).get("parts", [])
    )


@versions
@pytest.mark.parametrize("where", ["query", "x-goog-api-key", "bearer"])
def test_the_key_may_stand_where_gemini_takes_it(stack: Stack, keys: Keys, version: str, where: str) -> None:
    url, headers = f"{stack.url}/{version}/models/on-gemini:generateContent", dict(JSON)
    word = mark()
    if where == "query":
        url += f"?key={keys.alice}&x=1"
    else:
        name, value = ("authorization", f"Bearer {keys.alice}") if where == "bearer" else (where, keys.alice)
        headers[name] = value
    reply = httpx.post(url, json=body(word), headers=headers, timeout=30)
    assert text_of([reply.json()]) == SENTENCE
    sent = stack.upstream_request(word)
    assert keys.alice not in sent.query
    assert sent.header("x-goog-api-key") == "sim-credential"


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_without_alt_sse_a_stream_is_one_array(stack: Stack, keys: Keys, upstream: str) -> None:
    url = f"{stack.url}/v1beta/models/on-{upstream}:streamGenerateContent"
    reply = httpx.post(url, json=body(), headers={**JSON, "x-goog-api-key": keys.alice}, timeout=30)
    assert reply.headers["content-type"] == "application/json"
    chunks = json.loads(reply.content)
    assert len(chunks) > 3
    assert text_of(chunks) == SENTENCE


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_broken_stream_ends_with_an_error(stack: Stack, keys: Keys, upstream: str) -> None:
    url = f"{stack.url}/v1beta/models/on-{upstream}:streamGenerateContent?alt=sse"
    reply = httpx.post(url, json=body("[[cut=3]]"), headers={**JSON, "x-goog-api-key": keys.alice}, timeout=30)
    last = json.loads(reply.content.strip().split(b"\n")[-1].removeprefix(b"data: "))
    assert last["error"]["code"] >= 500
    assert b"finishReason" not in reply.content


def test_models_are_listed_in_geminis_shape(stack: Stack, keys: Keys) -> None:
    headers = {"x-goog-api-key": keys.alice}
    listed = httpx.get(f"{stack.url}/v1beta/models", headers=headers).json()["models"]
    assert {"models/on-gemini", "models/alice-only"} <= {model["name"] for model in listed}
    assert httpx.get(f"{stack.url}/v1/models", headers=headers).json()["models"] == listed
    assert httpx.get(f"{stack.url}/v1beta/models/on-gemini", headers=headers).json()["name"] == "models/on-gemini"


def test_charlie_does_not_see_alices_models(stack: Stack, keys: Keys) -> None:
    headers = {"x-goog-api-key": keys.charlie}
    assert b"alice-only" not in httpx.get(f"{stack.url}/v1beta/models", headers=headers).content
    url = f"{stack.url}/v1beta/models/alice-only:generateContent"
    assert httpx.post(url, json=body(), headers=headers, timeout=30).status_code == 404


@versions
@pytest.mark.parametrize("target", ["on-gemini", "on-gemini:predict", ":generateContent", "on-gemini:"])
def test_an_unknown_verb_is_refused_in_geminis_words(stack: Stack, keys: Keys, version: str, target: str) -> None:
    url = f"{stack.url}/{version}/models/{target}"
    reply = httpx.post(url, json=body(), headers={"x-goog-api-key": keys.alice})
    assert reply.status_code == 404
    assert reply.json()["error"]["status"] == "NOT_FOUND"


def test_a_wrong_key_is_refused_in_geminis_words(stack: Stack) -> None:
    url = f"{stack.url}/v1beta/models/on-gemini:generateContent?key=wrong"
    reply = httpx.post(url, json=body())
    assert (reply.status_code, reply.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("name", ["wild-with/slash", "wild-with:colon", "wild-with%25percent"])
def test_a_models_name_may_hold_what_paths_are_made_of(stack: Stack, keys: Keys, name: str) -> None:
    url = f"{stack.url}/v1beta/models/{name}:generateContent"
    reply = httpx.post(url, json=body(), headers={"x-goog-api-key": keys.alice}, timeout=30)
    assert reply.status_code == 200, reply.text
