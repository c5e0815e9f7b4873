"""A target that is kept for what a request needs gets those requests and no others."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.gateway.calls import BOTH, CHAT, Dialect
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
URL = f"data:image/png;base64,{PIXEL}"
IMAGES: dict[str, dict[str, Any]] = {
    "openai_chat": {"type": "image_url", "image_url": {"url": URL}},
    "anthropic_messages": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
    },
}
both_dialects = pytest.mark.parametrize("dialect", BOTH, ids=lambda dialect: dialect.name)


def deployment(stack: Stack, key: str, dialect: Dialect, **fields: Any) -> str:
    reply = stack.post(dialect.path, key, dialect.body(model="seeing", **fields))
    assert reply.status_code == 200, reply.text
    return str(reply.headers["x-tollgate-deployment"])


@both_dialects
@pytest.mark.parametrize("person", ["alice", "charlie"])
def test_images_go_to_the_target_that_sees(stack: Stack, keys: Keys, dialect: Dialect, person: str) -> None:
    key, image = getattr(keys, person), IMAGES[dialect.name]
    seen = [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, image]}]
    told = [{"role": "user", "content": f"what is this? {image}"}]
    assert deployment(stack, key, dialect, messages=seen) == "sim-messages"
    assert deployment(stack, key, dialect, messages=told) == "sim-chat"


def test_a_target_may_want_several_things(stack: Stack, keys: Keys) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    assert deployment(stack, keys.alice, CHAT, tools=[tool]) == "sim-chat"
    assert deployment(stack, keys.alice, CHAT, reasoning_effort="low") == "sim-chat"
    assert deployment(stack, keys.alice, CHAT, tools=[tool], reasoning_effort="low") == "sim-gemini"


@pytest.fixture
def alice(stack: Stack, keys: Keys) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=keys.alice, max_retries=0) as client:
        yield client


def test_what_a_continued_conversation_holds_counts(stack: Stack, alice: openai.OpenAI) -> None:
    content = [{"type": "input_text", "text": "what is this?"}, {"type": "input_image", "image_url": URL}]
    first = alice.responses.create(model="seeing", input=[{"role": "user", "content": content}])  # type: ignore[list-item,misc]
    again = alice.responses.with_raw_response.create(model="seeing", input="and?", previous_response_id=first.id)
    assert again.headers["x-tollgate-deployment"] == "sim-messages"
    anew = alice.responses.with_raw_response.create(model="seeing", input="and?")
    assert anew.headers["x-tollgate-deployment"] == "sim-chat"
