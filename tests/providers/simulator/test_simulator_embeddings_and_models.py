import math

import anthropic
import openai
import pytest
from simulator_client import CHAT_HEADERS

from providers.simulator.behaviour import PRESETS


async def test_it_embeds_for_the_sdk_which_asks_for_base64(openai_client, simulator):
    reply = await openai_client.embeddings.create(model="sim-embedding", input=["one two", "three"])
    assert simulator.requests[-1].json()["encoding_format"] == "base64"
    assert [len(each.embedding) for each in reply.data] == [1536, 1536]
    assert reply.usage.prompt_tokens == 3
    assert math.isclose(sum(value * value for value in reply.data[0].embedding), 1, abs_tol=1e-5)


async def test_it_gives_the_same_vector_as_floats(openai_client):
    packed = await openai_client.embeddings.create(model="sim-embedding", input="one two", dimensions=64)
    floats = await openai_client.embeddings.create(
        model="sim-embedding", input="one two", dimensions=64, encoding_format="float"
    )
    assert packed.data[0].embedding == floats.data[0].embedding
    assert len(floats.data[0].embedding) == 64


async def test_texts_that_share_words_are_near_each_other(openai_client):
    texts = ["the red car is fast", "the red car is slow", "bananas grow in warm places"]
    reply = await openai_client.embeddings.create(model="sim-embedding", input=texts)
    car, other_car, fruit = (each.embedding for each in reply.data)
    assert sum(a * b for a, b in zip(car, other_car, strict=True)) > 0.7
    assert sum(a * b for a, b in zip(car, fruit, strict=True)) < 0.2


@pytest.mark.parametrize(("tokens", "count"), [([1, 2, 3], 1), ([[1, 2], [3]], 2)])
async def test_it_embeds_tokens(openai_client, tokens, count):
    reply = await openai_client.embeddings.create(model="sim-embedding", input=tokens)
    assert (len(reply.data), reply.usage.prompt_tokens) == (count, 3)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input": []},
        {"input": ""},
        {"input": ["a", 1]},
        {"input": ["a", [1]]},
        {"input": [[]]},
        {"input": {"text": "a"}},
        {"input": "a", "dimensions": 0},
        {"input": "a", "dimensions": "many"},
        {"input": "a", "encoding_format": "hex"},
        {"input": ["a"] * 2049},
    ],
)
async def test_it_refuses_to_embed(send, fields):
    reply = await send("/v1/embeddings", {"model": "sim-embedding", **fields}, CHAT_HEADERS)
    assert reply.status == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_an_input_can_hold_a_marker(openai_client):
    with pytest.raises(openai.RateLimitError):
        await openai_client.embeddings.create(model="sim-embedding", input="one [[status=429]]")
    reply = await openai_client.with_options().embeddings.with_raw_response.create(
        model="sim-embedding", input="one [[usage=none]]"
    )
    assert "usage" not in reply.http_response.json()


async def test_it_lists_its_presets_for_both_sdks(openai_client, anthropic_client):
    expected = [f"sim-{preset}" for preset in PRESETS]
    assert [model.id async for model in openai_client.models.list()] == expected
    assert [model.id async for model in anthropic_client.models.list()] == expected


async def test_it_shows_one_model_to_both_sdks(openai_client, anthropic_client):
    assert (await openai_client.models.retrieve("sim-down")).owned_by == "simulator"
    assert (await anthropic_client.models.retrieve("sim-down")).lifecycle == "active"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await openai_client.models.retrieve("sim-unknown")
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        await anthropic_client.models.retrieve("sim-unknown")
