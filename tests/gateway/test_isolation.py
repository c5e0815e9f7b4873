"""Alice owns, charlie is an outsider: nothing of hers is to be seen or used with his key."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from tests.gateway.calls import BOTH, CHAT, MESSAGES, Dialect, bearer
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

both_dialects = pytest.mark.parametrize("dialect", BOTH, ids=lambda dialect: dialect.name)
IN_ANTHROPICS_SHAPE = {"anthropic-version": "2023-06-01"}
HERS = "alice-only"


def models(stack: Stack, key: str, **headers: str) -> list[str]:
    """Return the names that a key is told."""
    reply = httpx.get(f"{stack.url}/v1/models", headers={**bearer(key), **headers})
    assert reply.status_code == 200
    return [model["id"] for model in reply.json()["data"]]


@both_dialects
def test_charlie_cannot_call_alices_model(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.charlie, dialect.body(model=HERS))
    unknown = stack.post(dialect.path, keys.charlie, dialect.body(model="no-such-m"))
    assert reply.status_code == unknown.status_code == 404
    ours, theirs = dialect.refusal(reply.content), dialect.refusal(unknown.content)
    assert ours.message.replace(HERS, "no-such-m") == theirs.message
    assert ours.message.count(HERS) == 1  # the one that he sent


def test_alice_can(stack: Stack, keys: Keys) -> None:
    reply = stack.post(CHAT.path, keys.alice, CHAT.body(model=HERS))
    assert reply.status_code == 200
    assert stack.record(reply.headers["x-request-id"])["alias"] == HERS


def test_charlie_is_not_told_of_alices_model(stack: Stack, keys: Keys) -> None:
    assert HERS in models(stack, keys.alice)
    assert HERS in models(stack, keys.alice, **IN_ANTHROPICS_SHAPE)
    assert HERS not in models(stack, keys.charlie)
    assert HERS not in models(stack, keys.charlie, **IN_ANTHROPICS_SHAPE)
    assert models(stack, keys.charlie) == [name for name in models(stack, keys.alice) if name != HERS]


@pytest.mark.parametrize("headers", [{}, IN_ANTHROPICS_SHAPE], ids=["openai", "anthropic"])
def test_charlie_cannot_look_at_alices_model(stack: Stack, keys: Keys, headers: dict[str, str]) -> None:
    url = f"{stack.url}/v1/models/{HERS}"
    assert httpx.get(url, headers={**bearer(keys.alice), **headers}).status_code == 200
    assert httpx.get(url, headers={**bearer(keys.charlie), **headers}).status_code == 404


def test_a_narrow_key_sees_only_what_it_may_use(stack: Stack, keys: Keys) -> None:
    assert models(stack, keys.narrow) == ["chat"]
    assert httpx.get(f"{stack.url}/v1/models/both", headers=bearer(keys.narrow)).status_code == 404


@both_dialects
def test_no_error_names_anybody_else(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    wrong: list[dict[str, Any]] = [
        dialect.body(model="nothing"),
        dialect.body(model=dialect.other_alias),
        dialect.body(model="embed"),
        dialect.body(model="off"),
        dialect.body(model="dead"),
        dialect.body(messages=1),
        dialect.body("[[status=401]]"),
        dialect.body("[[status=500]]"),
        dialect.stream("[[cut=1]]"),
    ]
    for body in wrong:
        reply = stack.post(dialect.path, keys.charlie, body)
        seen = (reply.text + str(reply.headers)).lower()
        leaks = [
            word for word in ("alice", "narrow", "research", "sim-credential", keys.charlie.lower()) if word in seen
        ]
        assert not leaks, (body, reply.text)


def test_charlies_requests_are_charlies(stack: Stack, keys: Keys) -> None:
    ours = stack.post(CHAT.path, keys.alice, CHAT.body(user="same-user")).headers["x-request-id"]
    theirs = stack.post(CHAT.path, keys.charlie, CHAT.body(user="same-user")).headers["x-request-id"]
    tenants = dict(stack.query("SELECT slug, id FROM tenants_tenant"))
    records = [stack.record(request_id) for request_id in (ours, theirs)]
    assert [record["tenant_id"] for record in records] == [tenants["alice"], tenants["charlie"]]
    assert [record["project"] for record in records] == ["research", ""]


def test_alices_limits_are_not_charlies(stack: Stack, keys: Keys) -> None:
    assert stack.post(CHAT.path, keys.alice, CHAT.body()).headers["x-ratelimit-limit-requests"] == "1000000"
    assert "x-ratelimit-limit-requests" not in stack.post(CHAT.path, keys.charlie, CHAT.body()).headers


@pytest.mark.parametrize("name", ["alice", "narrow", "charlie"])
def test_every_model_that_is_listed_is_served(stack: Stack, keys: Keys, name: str) -> None:
    key = getattr(keys, name)
    listed = models(stack, key)
    assert listed
    with httpx.Client(base_url=stack.url, headers=bearer(key), timeout=30) as client:
        for model in listed:
            calls = {dialect.path: dialect.body(model=model) for dialect in BOTH}
            calls["/v1/embeddings"] = {"model": model, "input": "hi"}
            statuses = {client.post(path, json=body).status_code for path, body in calls.items()}
            expected = {"off": {503}, "dead": {502}}.get(model, {200})
            assert statuses & expected, (model, statuses)
            assert not statuses & {401, 403, 404}, (model, statuses)


def test_what_is_not_listed_is_not_served(stack: Stack, keys: Keys) -> None:
    everything = {row[0] for row in stack.query("SELECT name FROM routing_modelalias") if not row[0].endswith("*")}
    hidden = everything - set(models(stack, keys.charlie))
    assert HERS in hidden
    for model in hidden | {"sim-chat", "sim-fast", "sim", "sim-messages"}:
        for dialect in (CHAT, MESSAGES):
            assert stack.post(dialect.path, keys.charlie, dialect.body(model=model)).status_code == 404


async def test_everybody_gets_the_answer_to_what_they_asked(stack: Stack, keys: Keys) -> None:
    async def ask(client: httpx.AsyncClient, dialect: Dialect, key: str, word: str, is_stream: bool) -> bool:
        body = dialect.body(f"[[text=echo interval=0.002]] {word}", stream=is_stream, user=word)
        reply = await client.post(dialect.path, json=body, headers=bearer(key))
        return re.findall(r"word-\d+-end", reply.text) == [word]

    callers = [
        (dialect, key, is_stream) for dialect in BOTH for key in (keys.alice, keys.charlie) for is_stream in (0, 1)
    ]
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        asked = (
            ask(client, dialect, key, f"word-{number}-end", bool(is_stream))
            for number, (dialect, key, is_stream) in enumerate(callers * 25)
        )
        assert all(await asyncio.gather(*asked))
