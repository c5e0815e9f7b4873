"""Conversations that a client leaves to the server: continued, read and deleted by their own tenant only."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.gateway.calls import bearer, mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

SENTENCE = "The simulator answers with a sentence of twelve words and then stops."
UPSTREAMS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
upstreams = pytest.mark.parametrize("upstream", UPSTREAMS)


def sdk(stack: Stack, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def alice(stack: Stack, keys: Keys) -> Iterator[openai.OpenAI]:
    with sdk(stack, keys.alice) as client:
        yield client


@pytest.fixture(scope="module")
def charlie(stack: Stack, keys: Keys) -> Iterator[openai.OpenAI]:
    with sdk(stack, keys.charlie) as client:
        yield client


@upstreams
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_a_conversation_goes_on_from_a_stored_response(
    stack: Stack, alice: openai.OpenAI, upstream: str, is_stream: bool
) -> None:
    first_word, second_word = mark(), mark()
    model = f"on-{upstream}"
    if is_stream:
        with alice.responses.stream(model=model, input=first_word) as events:
            first = events.get_final_response()
    else:
        first = alice.responses.create(model=model, input=first_word)  # type: ignore[assignment]
    second = alice.responses.create(model=model, input=second_word, previous_response_id=first.id)
    assert second.output_text == SENTENCE
    assert second.previous_response_id == first.id
    sent = stack.upstream_request(second_word).body
    if upstream == "openai_responses":
        assert first.id.encode() in sent  # the upstream keeps it
    else:
        assert sent.index(first_word.encode()) < sent.index(SENTENCE.encode()) < sent.index(second_word.encode())


def test_tool_calls_go_on_from_a_stored_response(alice: openai.OpenAI) -> None:
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    first = alice.responses.create(model="on-gemini", input="go [[tools=one thinking=1]]", tools=[tool])  # type: ignore[list-item]
    (call,) = [item for item in first.output if item.type == "function_call"]
    second = alice.responses.create(
        model="on-gemini",
        previous_response_id=first.id,
        tools=[tool],  # type: ignore[list-item]
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}],
    )
    assert second.output_text == SENTENCE


@upstreams
def test_a_stored_response_is_read_and_deleted(alice: openai.OpenAI, upstream: str) -> None:
    created = alice.responses.create(model=f"on-{upstream}", input="hi")
    assert alice.responses.retrieve(created.id).output_text == SENTENCE
    alice.responses.delete(created.id)
    with pytest.raises(openai.NotFoundError):
        alice.responses.retrieve(created.id)
    with pytest.raises(openai.BadRequestError, match=created.id) as caught:
        alice.responses.create(model=f"on-{upstream}", input="hi", previous_response_id=created.id)
    assert caught.value.code == "previous_response_not_found"


def test_the_input_of_a_stored_response_is_listed(alice: openai.OpenAI) -> None:
    word = mark()
    created = alice.responses.create(model="on-openai_chat", input=word)
    (item,) = alice.responses.input_items.list(created.id).data
    assert item.content[0].text == word  # type: ignore[union-attr]


@upstreams
def test_charlie_finds_nothing_of_alices(alice: openai.OpenAI, charlie: openai.OpenAI, upstream: str) -> None:
    created = alice.responses.create(model=f"on-{upstream}", input="secret")
    for attempt in (charlie.responses.retrieve, charlie.responses.delete, charlie.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            attempt(created.id)
    with pytest.raises(openai.BadRequestError) as caught:
        charlie.responses.create(model=f"on-{upstream}", input="hi", previous_response_id=created.id)
    assert caught.value.code == "previous_response_not_found"
    assert alice.responses.retrieve(created.id).id == created.id


@upstreams
def test_what_is_not_stored_is_not_there(stack: Stack, alice: openai.OpenAI, upstream: str) -> None:
    created = alice.responses.create(model=f"on-{upstream}", input="hi", store=False)
    with pytest.raises(openai.NotFoundError):
        alice.responses.retrieve(created.id)
    assert stack.query("SELECT count(*) FROM routing_storedresponse WHERE response_id = %s", created.id) == [(0,)]


def test_a_stored_body_is_encrypted(stack: Stack, alice: openai.OpenAI) -> None:
    word = mark()
    created = alice.responses.create(model="on-openai_chat", input=word)
    ((body,),) = stack.query("SELECT body FROM routing_storedresponse WHERE response_id = %s", created.id)
    assert len(bytes(body)) > 100
    assert word.encode() not in bytes(body)


def test_a_tenant_that_stores_nothing_is_told_so(stack: Stack, keys: Keys) -> None:
    with sdk(stack, keys.purist) as purist:
        for fields, param in (({"store": True}, "store"), ({"previous_response_id": "resp_1"}, "previous_response_id")):
            with pytest.raises(openai.BadRequestError, match="stores no responses") as caught:
                purist.responses.create(model="on-openai_responses", input="hi", **fields)  # type: ignore[arg-type]
            assert (caught.value.code, caught.value.param) == ("storing_forbidden", param)
        word = mark()
        created = purist.responses.create(model="on-openai_responses", input=word)
        assert b'"store":false' in stack.upstream_request(word).body
        with pytest.raises(openai.NotFoundError):
            purist.responses.retrieve(created.id)


@pytest.mark.parametrize("wrong", [7, ["resp_1"], {"id": "resp_1"}, True])
def test_a_wrong_previous_response_is_named(stack: Stack, keys: Keys, wrong: object) -> None:
    body = {"model": "on-gemini", "input": "hi", "previous_response_id": wrong}
    reply = httpx.post(f"{stack.url}/v1/responses", json=body, headers=bearer(keys.alice))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "previous_response_id")
