"""A model that nobody mapped goes to a provider that lists it, for tenants who may: curious may, charlie may not."""

import httpx
import pytest

from tests.gateway.calls import BOTH, CHAT, JSON, Dialect, bearer
from tests.gateway.conftest import Keys
from tests.gateway.console import every_worker
from tests.gateway.stack import Stack, wait_for

LISTED, ALSO_LISTED, MAPPED = "sim-thinking", "sim-cached", "sim-tools"
both_dialects = pytest.mark.parametrize("dialect", BOTH, ids=lambda dialect: dialect.name)


@pytest.fixture(scope="module", autouse=True)
def catalogue(stack: Stack, keys: Keys) -> None:
    """The simulator's models, as every worker knows them."""
    said = stack.manage("fetch_catalogues")
    assert "sim-anthropic" in said.stdout
    assert "nowhere" in said.stderr
    with every_worker(stack) as clients:
        for client in clients:
            wait_for(
                lambda client=client: LISTED in client.get("/v1/models", headers=bearer(keys.curious)).text,
                "the catalogue",
            )


def names(stack: Stack, key: str) -> list[set[str]]:
    """Return which models a key is told of, in each of the three shapes."""
    shapes = (
        httpx.get(f"{stack.url}/v1/models", headers=bearer(key)).json()["data"],
        httpx.get(f"{stack.url}/v1/models", headers={**bearer(key), "anthropic-version": "2023-06-01"}).json()["data"],
    )
    gemini = httpx.get(f"{stack.url}/v1beta/models", headers={**JSON, "x-goog-api-key": key}).json()["models"]
    return [
        *({model["id"] for model in shape} for shape in shapes),
        {model["name"].removeprefix("models/") for model in gemini},
    ]


@both_dialects
def test_it_is_served_by_a_provider_that_lists_it(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.curious, dialect.body(model=LISTED))
    assert reply.status_code == 200
    provider = reply.headers["x-tollgate-provider"]
    [(listed,)] = stack.query("SELECT catalogue FROM providers_provider WHERE slug = %s", provider)
    assert LISTED in listed
    assert reply.headers["x-tollgate-deployment"] == f"{provider}/{LISTED}"
    assert (reply.headers["x-tollgate-model"], reply.headers["x-tollgate-route"]) == (LISTED, LISTED)

    record = stack.record(reply.headers["x-request-id"])
    assert (record["provider"], record["deployment"]) == (provider, f"{provider}/{LISTED}")
    assert (record["alias"], record["model"], record["cost_status"]) == (LISTED, LISTED, "unpriced")
    assert record["output_tokens"] > 0


@both_dialects
def test_it_is_streamed(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.curious, dialect.stream(model=LISTED))
    assert reply.status_code == 200
    assert reply.content.endswith(dialect.end)


def test_it_is_listed_in_every_shape_beside_the_aliases(stack: Stack, keys: Keys) -> None:
    for shape in names(stack, keys.curious):
        assert {LISTED, ALSO_LISTED, MAPPED, "chat"} <= shape
    reply = httpx.get(f"{stack.url}/v1/models/{LISTED}", headers=bearer(keys.curious))
    assert (reply.status_code, reply.json()["id"]) == (200, LISTED)


def test_an_alias_of_the_same_name_comes_first(stack: Stack, keys: Keys) -> None:
    reply = stack.post(CHAT.path, keys.curious, CHAT.body(model=MAPPED))
    assert reply.status_code == 200
    assert (reply.headers["x-tollgate-route"], reply.headers["x-tollgate-deployment"]) == ("mapped", "sim-chat")


@both_dialects
def test_a_key_that_names_its_models_may_use_no_others(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    assert stack.post(dialect.path, keys.picky, dialect.body(model=LISTED)).status_code == 200
    reply = stack.post(dialect.path, keys.picky, dialect.body(model=ALSO_LISTED))
    assert reply.status_code == 403
    assert reply.headers["x-tollgate-error"] == "model_not_allowed"
    assert names(stack, keys.picky) == [{"chat", LISTED}] * 3


def test_a_model_that_nobody_lists_is_not_there(stack: Stack, keys: Keys) -> None:
    assert stack.post(CHAT.path, keys.curious, CHAT.body(model="sim-of-tomorrow")).status_code == 404


@both_dialects
def test_charlie_can_neither_use_nor_see_it(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.charlie, dialect.body(model=LISTED))
    unknown = stack.post(dialect.path, keys.charlie, dialect.body(model="sim-of-tomorrow"))
    assert reply.status_code == unknown.status_code == 404
    assert dialect.refusal(reply.content).message == dialect.refusal(unknown.content).message.replace(
        "sim-of-tomorrow", LISTED
    )
    for shape in names(stack, keys.charlie):
        assert not {LISTED, ALSO_LISTED} & shape
        assert MAPPED in shape  # an alias for everybody
    assert httpx.get(f"{stack.url}/v1/models/{LISTED}", headers=bearer(keys.charlie)).status_code == 404
