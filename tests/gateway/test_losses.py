"""What a translation loses: said in the answer, kept in the ledger, refused where it would change the answer."""

from typing import Any

import httpx
import pytest

from tests.gateway.calls import bearer, mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

SENTENCE = "The simulator answers with a sentence of twelve words and then stops."


def chat(stack: Stack, key: str, model: str, **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 99, **fields}
    return httpx.post(f"{stack.url}/v1/chat/completions", json=body, headers=bearer(key), timeout=30)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_loss_is_named_in_the_answer_and_kept_in_the_ledger(stack: Stack, keys: Keys, is_stream: bool) -> None:
    reply = chat(stack, keys.alice, "on-anthropic_messages", seed=7, stream=is_stream)
    assert reply.status_code == 200
    assert reply.headers["x-tollgate-losses"] == "seed;degrades"
    record = stack.record(reply.headers["x-request-id"])
    assert record["dialect"] == "openai_chat"
    assert record["dialect_upstream"] == "anthropic_messages"
    assert [(loss["path"], loss["weight"]) for loss in record["losses"]] == [("seed", "degrades")]


def test_what_gets_across_whole_loses_nothing(stack: Stack, keys: Keys) -> None:
    reply = chat(stack, keys.alice, "on-anthropic_messages")
    assert "x-tollgate-losses" not in reply.headers
    assert stack.record(reply.headers["x-request-id"])["losses"] == []


def test_what_passes_through_loses_nothing(stack: Stack, keys: Keys) -> None:
    reply = chat(stack, keys.alice, "on-openai_chat", seed=7)
    assert "x-tollgate-losses" not in reply.headers
    record = stack.record(reply.headers["x-request-id"])
    assert (record["dialect_upstream"], record["losses"]) == ("openai_chat", [])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}, "modalities"),
        ({"tools": [{"type": "of_tomorrow", "of_tomorrow": {}}]}, "tools[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "of_tomorrow"}]}]}, "messages[0].content[0]"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}],
                    }
                ]
            },
            "messages[0].content[0]",
        ),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name_before_anybody_is_asked(
    stack: Stack, keys: Keys, fields: dict[str, Any], param: str
) -> None:
    word = mark()
    reply = chat(stack, keys.alice, "on-anthropic_messages", user=word, **fields)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert reply.headers["x-tollgate-error"] == "not_translatable"
    assert error["param"].startswith(param)
    assert f"'{error['param']}'" in error["message"]
    assert not [request for request in stack.upstream_requests() if word.encode() in request.body]


def test_a_tenant_may_forbid_what_degrades(stack: Stack, keys: Keys) -> None:
    assert chat(stack, keys.careful, "on-anthropic_messages").status_code == 200
    reply = chat(stack, keys.careful, "on-anthropic_messages", seed=7)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "seed"
    assert "no translation that degrades" in reply.json()["error"]["message"]
    assert chat(stack, keys.careful, "on-openai_chat", seed=7).status_code == 200


def test_the_next_target_is_asked_in_its_own_dialect(stack: Stack, keys: Keys) -> None:
    body = {"model": "chat-then-gemini", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    reply = httpx.post(f"{stack.url}/v1/messages", json=body, headers=bearer(keys.alice), timeout=30)
    assert reply.json()["content"][0]["text"] == SENTENCE
    assert reply.headers["x-tollgate-deployment"] == "sim-gemini"
    record = stack.record(reply.headers["x-request-id"])
    assert record["dialect_upstream"] == "gemini"
    assert [attempt["deployment"] for attempt in record["attempts"]] == ["unreachable", "sim-gemini"]


def test_a_target_that_would_change_the_answer_is_passed_over(stack: Stack, keys: Keys) -> None:
    """Gemini comes first and cannot give two answers; the chat upstream can."""
    reply = chat(stack, keys.alice, "gemini-then-chat", n=2)
    assert reply.status_code == 200
    assert reply.headers["x-tollgate-deployment"] == "sim-chat"


def think(stack: Stack, key: str, model: str, text: str, *history: dict[str, Any]) -> httpx.Response:
    body = {
        "model": model,
        "max_tokens": 4096,
        "thinking": {"type": "adaptive"},
        "messages": [{"role": "user", "content": text}, *history],
    }
    return httpx.post(f"{stack.url}/v1/messages", json=body, headers=bearer(key), timeout=30)


def test_a_seal_goes_back_to_its_origin_and_to_nobody_else(stack: Stack, keys: Keys) -> None:
    first = think(stack, keys.alice, "on-openai_responses", "hi [[thinking=1]]").json()
    assert first["content"][0]["type"] == "thinking"
    packed = first["content"][0]["signature"]
    assert packed.startswith("TollgateSeal")
    history = ({"role": "assistant", "content": first["content"]}, {"role": "user", "content": "and then?"})
    sent = {}
    for upstream in ("openai_responses", "anthropic_messages", "gemini"):
        word = mark()
        reply = think(stack, keys.alice, f"on-{upstream}", word, *history)
        assert reply.status_code == 200, reply.text
        sent[upstream] = stack.upstream_request(word).body
        assert b"TollgateSeal" not in sent[upstream]
    assert b'"encrypted_content"' in sent["openai_responses"]
    for upstream in ("anthropic_messages", "gemini"):
        assert first["content"][0]["thinking"].encode() not in sent[upstream]  # never text from thinking


def test_charlie_cannot_use_alices_seals(stack: Stack, keys: Keys) -> None:
    first = think(stack, keys.alice, "on-openai_responses", "hi [[thinking=1]]").json()
    word = mark()
    history = ({"role": "assistant", "content": first["content"]}, {"role": "user", "content": "and then?"})
    reply = think(stack, keys.charlie, "on-openai_responses", word, *history)
    assert reply.status_code == 200, reply.text
    items = stack.upstream_request(word).body
    assert b'"encrypted_content":' not in items
    assert first["content"][0]["signature"].encode() not in items
