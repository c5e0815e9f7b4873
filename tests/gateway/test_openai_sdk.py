"""The official openai SDK against the gateway: its base URL is all that a program changes."""

import base64
import json
import math
import struct
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

import openai
import pytest

from tests.gateway.calls import mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

SENTENCE = "The simulator answers with a sentence of twelve words and then stops."
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": PLACE}}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": PLACE}}


@pytest.fixture(scope="module")
def client(stack: Stack, keys: Keys) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=keys.alice, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(stack: Stack, keys: Keys) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=keys.alice, max_retries=0) as client:
        yield client


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_it_answers(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="chat", messages=said("one two three"))
    assert answer.choices[0].message.content == SENTENCE
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 12)


async def test_it_answers_the_asynchronous_client(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(model="chat", messages=said("[[text=echo]] one two"))
    assert answer.choices[0].message.content == "one two"


def test_it_streams(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="chat", messages=said("hi"), stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SENTENCE
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_it_streams_to_the_asynchronous_client(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(
        model="chat", messages=said("[[chunks=40 interval=0.005]]"), stream=True
    )
    words = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices[0].delta.content]
    assert len(words) == 40


def test_the_stream_helper_puts_an_answer_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="chat", messages=said("hi")) as stream:
        heard = list(stream)
        answer = stream.get_final_completion()
    assert "".join(event.delta for event in heard if event.type == "content.delta") == SENTENCE
    assert heard[-1].type == "content.done"
    assert answer.choices[0].message.content == SENTENCE


async def test_the_asynchronous_stream_helper_puts_an_answer_together(async_client: openai.AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(model="chat", messages=said("hi")) as stream:
        heard = [event async for event in stream]
        answer = await stream.get_final_completion()
    assert "".join(event.delta for event in heard if event.type == "content.delta") == SENTENCE
    assert answer.choices[0].message.content == SENTENCE


def test_the_usage_chunk_reaches_who_asked_for_it(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    with client.chat.completions.create(
        model="chat", messages=said("one two"), stream=True, stream_options=options
    ) as stream:
        *chunks, last = list(stream)
    assert last.usage is not None
    assert (last.choices, last.usage.prompt_tokens, last.usage.completion_tokens) == ([], 2, 12)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}, {"stream_options": None}])
def test_the_usage_chunk_does_not_reach_who_did_not_ask(client: openai.OpenAI, options: dict[str, Any]) -> None:
    with client.chat.completions.create(model="chat", messages=said("hi"), stream=True, extra_body=options) as stream:
        chunks = list(stream)
    assert len(chunks) == 14
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)


def test_a_forced_tool_is_called(client: openai.OpenAI) -> None:
    choice: Any = {"type": "function", "function": {"name": "get_time"}}
    tools: Any = [WEATHER, TIME]
    answer = client.chat.completions.create(model="chat", messages=said("hi"), tools=tools, tool_choice=choice)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_time"
    assert set(json.loads(call.function.arguments)) == {"city"}
    assert answer.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("shape", ["parallel", "split", "interleaved"])
def test_streamed_tool_calls_are_those_of_the_whole_answer(client: openai.OpenAI, shape: str) -> None:
    request: dict[str, Any] = {
        "model": "chat",
        "messages": said(f"[[tools={shape}]]"),
        "tools": [{**WEATHER, "function": {**WEATHER["function"], "strict": False}}, TIME],  # type: ignore[dict-item]
    }
    whole = client.chat.completions.create(**request).choices[0].message.tool_calls or []
    with client.chat.completions.stream(**request) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls or []
    calls = [(call.function.name, call.function.arguments) for call in whole if call.type == "function"]
    assert len(calls) == (1 if shape == "split" else 2)
    assert [(call.function.name, call.function.arguments) for call in streamed] == calls


def test_a_tool_result_goes_back(client: openai.OpenAI) -> None:
    tools: Any = [WEATHER]
    asked = said("[[tools=parallel]] Warsaw and Gdansk?")
    first = client.chat.completions.create(model="chat", messages=asked, tools=tools).choices[0].message
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in first.tool_calls or []
    ]
    messages = [*asked, first.model_dump(exclude_none=True), *results]
    answer = client.chat.completions.create(model="chat", messages=messages, tools=tools)
    assert len(results) == 2
    assert answer.choices[0].message.content == SENTENCE


def test_a_schema_is_obeyed(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE}}
    answer = client.chat.completions.create(model="chat", messages=said("hi"), response_format=wanted)
    assert set(json.loads(answer.choices[0].message.content or "")) == {"city"}


def test_several_choices_stay_apart(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="chat", messages=said("hi"), n=3, stream=True) as stream:
        choices = [chunk.choices[0] for chunk in stream]
    for index in range(3):
        assert "".join(choice.delta.content or "" for choice in choices if choice.index == index) == SENTENCE


def test_fields_that_nobody_knows_reach_the_upstream(stack: Stack, client: openai.OpenAI) -> None:
    name = mark()
    extra = {"vendor_field": {"deep": [1, None, "ż"]}, "reasoning_effort": "xx-high", "name": name}
    client.chat.completions.create(model="chat", messages=said("hi"), extra_body=extra)
    assert json.loads(stack.upstream_request(name).body) == {"model": "sim-fast", "messages": said("hi"), **extra}


def test_reasoning_and_refusals_arrive(client: openai.OpenAI) -> None:
    thoughtful = client.chat.completions.create(model="chat", messages=said("[[thinking=1]]")).choices[0].message
    refusing = client.chat.completions.create(model="chat", messages=said("[[finish=refusal]]")).choices[0].message
    assert thoughtful.model_extra == {"reasoning_content": "Let me think about this first."}
    assert (refusing.content, refusing.refusal) == (None, SENTENCE)


def test_texts_become_vectors(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="embed", input=["a cat", "a dog"], dimensions=64)
    assert [len(entry.embedding) for entry in answer.data] == [64, 64]
    assert all(math.isclose(math.hypot(*entry.embedding), 1, rel_tol=1e-5) for entry in answer.data)
    assert answer.usage.prompt_tokens == 4


async def test_vectors_travel_as_the_sdk_asks(stack: Stack, async_client: openai.AsyncOpenAI) -> None:
    text = mark()
    decoded = await async_client.embeddings.create(model="embed", input=text)
    asked = json.loads(stack.upstream_request(text).body)
    packed = await async_client.embeddings.create(model="embed", input=text, encoding_format="base64")
    numbers = await async_client.embeddings.create(model="embed", input=text, encoding_format="float")
    packed_values: Any = packed.data[0].embedding
    assert asked["encoding_format"] == "base64"
    assert decoded.data[0].embedding == numbers.data[0].embedding
    assert list(struct.unpack("<1536f", base64.b64decode(packed_values))) == pytest.approx(numbers.data[0].embedding)


def test_models_are_listed_and_described(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {"chat", "both", "embed", "alice-only"} <= set(names)
    assert names == sorted(names)
    assert client.models.retrieve("alice-only").id == "alice-only"


def test_the_request_id_is_the_gateways(stack: Stack, client: openai.OpenAI) -> None:
    reply = client.chat.completions.with_raw_response.create(model="chat", messages=said("hi"))
    request_id = reply.headers["x-request-id"]
    assert reply.parse()._request_id == request_id
    assert stack.record(request_id)["alias"] == "chat"


def raised(client: openai.OpenAI, kind: type[openai.APIStatusError], text: str = "hi", **fields: Any) -> Any:
    """Return the error that a call raises, whole or streamed alike; fails when it is not of this class."""
    request: dict[str, Any] = {"model": "chat", "messages": said(text), **fields}
    with pytest.raises(kind) as streamed:
        client.chat.completions.create(**request, stream=True)
    with pytest.raises(kind) as whole:
        client.chat.completions.create(**request)
    assert type(whole.value) is type(streamed.value) is kind
    assert whole.value.body == streamed.value.body
    return whole.value


def test_a_wrong_key_is_an_authentication_error(client: openai.OpenAI) -> None:
    error = raised(client.with_options(api_key="tg_" + "x" * 40), openai.AuthenticationError)
    assert (error.status_code, error.code) == (401, "invalid_api_key")


def test_an_unknown_model_is_a_not_found_error(client: openai.OpenAI) -> None:
    error = raised(client, openai.NotFoundError, model="no-such-model")
    assert (error.code, error.param) == ("model_not_found", "model")


def test_a_model_that_a_key_may_not_use_is_a_permission_error(client: openai.OpenAI, keys: Keys) -> None:
    error = raised(client.with_options(api_key=keys.narrow), openai.PermissionDeniedError, model="both")
    assert (error.code, error.param) == ("model_not_allowed", "model")


def test_a_wrong_field_is_a_bad_request_error(client: openai.OpenAI) -> None:
    error = raised(client, openai.BadRequestError, messages="hi")
    assert error.param == "messages"


def test_an_upstreams_refusal_is_the_error_that_it_would_be_without_a_gateway(client: openai.OpenAI) -> None:
    error = raised(client, openai.BadRequestError, "[[status=400 code=context_length_exceeded]]")
    assert error.code == "context_length_exceeded"
    assert error.response.headers["x-tollgate-deployment"] == "sim-chat"
    assert "x-tollgate-error" not in error.response.headers


def test_an_upstreams_rate_limit_says_when_to_come_again(client: openai.OpenAI) -> None:
    error = raised(client, openai.RateLimitError, "[[status=429 retry_after=7]]")
    assert error.code == "rate_limit_exceeded"
    assert error.response.headers["retry-after"] == "7"


def test_an_unreachable_upstream_is_a_server_error(client: openai.OpenAI) -> None:
    error = raised(client, openai.InternalServerError, model="dead")
    assert (error.status_code, error.code) == (502, "upstream_unreachable")


def test_the_sdks_own_retry_waits_as_long_as_the_upstream_says(client: openai.OpenAI) -> None:
    text = f"[[fail=1 fail_id={mark()} status=429 retry_after_ms=20]]"
    answer = client.with_options(max_retries=1).chat.completions.create(model="chat", messages=said(text))
    assert answer.choices[0].message.content == SENTENCE


def words(chunks: list[openai.types.chat.ChatCompletionChunk]) -> list[str | None]:
    return [chunk.choices[0].delta.content for chunk in chunks]


@pytest.mark.parametrize("fault", ["cut=3", "stall=3", "malformed=3", "truncate=3", "error_event=3"])
def test_a_broken_stream_raises(client: openai.OpenAI, fault: str) -> None:
    stream = client.chat.completions.create(model="chat", messages=said(f"[[{fault}]]"), stream=True)
    seen: list[openai.types.chat.ChatCompletionChunk] = []
    with stream, pytest.raises(openai.APIError) as raised:
        collect(stream, seen)
    assert words(seen) == ["", "The", " simulator", " answers"]
    assert raised.value.type in {"server_error", "timeout_error"}


def collect[T](stream: Iterable[T], seen: list[T]) -> None:
    for chunk in stream:
        seen.append(chunk)


async def test_a_broken_stream_raises_in_the_asynchronous_client(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(model="chat", messages=said("[[cut=3]]"), stream=True)
    seen: list[openai.types.chat.ChatCompletionChunk] = []
    with pytest.raises(openai.APIError) as raised:
        await collect_async(stream, seen)
    assert words(seen) == ["", "The", " simulator", " answers"]
    assert raised.value.code == "upstream_cut"


async def collect_async[T](stream: AsyncIterable[T], seen: list[T]) -> None:
    async for chunk in stream:
        seen.append(chunk)


def test_the_stream_helper_raises_when_the_stream_breaks(client: openai.OpenAI) -> None:
    stream = client.chat.completions.stream(model="chat", messages=said("[[cut=3]]"))
    with stream as events, pytest.raises(openai.APIError):
        events.get_final_completion()
