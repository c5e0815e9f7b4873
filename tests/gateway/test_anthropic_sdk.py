"""The official anthropic SDK against the gateway: its base URL is all that a program changes."""

import base64
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

import anthropic
import pytest

from tests.gateway.calls import mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

SENTENCE = "The simulator answers with a sentence of twelve words and then stops."
SENTENCE_BEGINS = ["The", " simulator", " answers"]
THOUGHT = "Let me think about this first."
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {"name": "get_weather", "input_schema": PLACE}
TIME: Any = {"name": "get_time", "input_schema": PLACE}


@pytest.fixture(scope="module")
def client(stack: Stack, keys: Keys) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=stack.url, api_key=keys.alice, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(stack: Stack, keys: Keys) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=stack.url, api_key=keys.alice, max_retries=0) as client:
        yield client


def request(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {
        "model": "messages-only",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }


def test_it_answers(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(**request("one two three"))
    (block,) = answer.content
    assert block.text == SENTENCE
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 12)


async def test_it_answers_the_asynchronous_client(async_client: anthropic.AsyncAnthropic) -> None:
    answer = await async_client.messages.create(**request("[[text=echo]] one two"))
    assert answer.content[0].text == "one two"  # type: ignore[union-attr]


def test_it_streams_every_event(client: anthropic.Anthropic) -> None:
    with client.messages.create(**request(), stream=True) as stream:
        kinds = [event.type for event in stream]
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 12,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_it_streams_to_the_asynchronous_client(async_client: anthropic.AsyncAnthropic) -> None:
    stream = await async_client.messages.create(**request("[[chunks=40 interval=0.005]]"), stream=True)
    kinds = [event.type async for event in stream]
    assert kinds.count("content_block_delta") == 40
    assert kinds[-1] == "message_stop"


def test_the_stream_helper_puts_an_answer_together(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**request("one two")) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert text == SENTENCE
    assert answer.content[0].text == SENTENCE  # type: ignore[union-attr]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 12)


async def test_the_asynchronous_stream_helper_puts_an_answer_together(
    async_client: anthropic.AsyncAnthropic,
) -> None:
    async with async_client.messages.stream(**request()) as stream:
        answer = await stream.get_final_message()
    assert answer.content[0].text == SENTENCE  # type: ignore[union-attr]


def test_a_forced_tool_is_called(client: anthropic.Anthropic) -> None:
    choice = {"type": "tool", "name": "get_time"}
    answer = client.messages.create(**request(tools=[WEATHER, TIME], tool_choice=choice))
    (call,) = answer.content
    assert (call.type, call.name, set(call.input)) == ("tool_use", "get_time", {"city"})
    assert answer.stop_reason == "tool_use"


@pytest.mark.parametrize("shape", ["parallel", "split", "interleaved"])
def test_streamed_tool_calls_are_those_of_the_whole_answer(client: anthropic.Anthropic, shape: str) -> None:
    asked = request(f"[[tools={shape}]]", tools=[WEATHER, TIME])
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    calls = [(block.name, block.input) for block in whole.content if block.type == "tool_use"]
    assert len(calls) == (1 if shape == "split" else 2)
    assert [(block.name, block.input) for block in streamed.content if block.type == "tool_use"] == calls
    assert [block.type for block in streamed.content] == [block.type for block in whole.content]
    assert streamed.usage.output_tokens == whole.usage.output_tokens


def test_a_tool_result_goes_back(client: anthropic.Anthropic) -> None:
    asked = request("[[tools=parallel]] Warsaw and Gdansk?", tools=[WEATHER, TIME])
    first = client.messages.create(**asked)
    calls = [block.id for block in first.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call, "content": "sunny"} for call in calls]
    turns = [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    answer = client.messages.create(**{**asked, "messages": [*asked["messages"], *turns]})
    assert len(results) == 2
    assert answer.content[0].text == SENTENCE  # type: ignore[union-attr]


def test_a_thought_goes_back_with_its_signature_byte_for_byte(stack: Stack, client: anthropic.Anthropic) -> None:
    name = mark()
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = request("[[thinking=1 tools=one]]", tools=[WEATHER], thinking=thinking)
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    thought, call = streamed.content
    assert thought == whole.content[0]
    assert thought.type == "thinking"
    assert call.type == "tool_use"
    assert thought.thinking == THOUGHT
    assert base64.b64decode(thought.signature).startswith(b"sim")
    # The simulator takes a thought back only with the signature that it gave.
    result = {"type": "tool_result", "tool_use_id": call.id, "content": name}
    turns = [{"role": "assistant", "content": streamed.content}, {"role": "user", "content": [result]}]
    client.messages.create(**{**asked, "messages": [*asked["messages"], *turns]})
    assert f'"signature":"{thought.signature}"'.encode() in stack.upstream_request(name).body


def test_a_thought_whose_signature_was_changed_is_refused_by_the_upstream(client: anthropic.Anthropic) -> None:
    forged = {"type": "thinking", "thinking": THOUGHT, "signature": "sim-forged"}
    turns = [{"role": "assistant", "content": [forged]}, {"role": "user", "content": "go on"}]
    asked = request()
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        client.messages.create(**{**asked, "messages": [*asked["messages"], *turns]})


def test_a_redacted_thought_arrives(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**request("[[thinking=redacted]]"))
    with client.messages.stream(**request("[[thinking=redacted]]")) as stream:
        streamed = stream.get_final_message()
    assert whole.content[0].type == "redacted_thinking"
    assert whole.content[0] == streamed.content[0]


def test_cached_tokens_are_counted_apart(stack: Stack, client: anthropic.Anthropic) -> None:
    text = "[[usage=cached]] " + "word " * 39
    reply = client.messages.with_raw_response.create(**request(text))
    usage = reply.parse().usage
    record = stack.record(reply.headers["x-request-id"])
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (10, 20, 10)
    assert (record["input_tokens"], record["cache_read_tokens"], record["cache_write_5m_tokens"]) == (10, 20, 10)


def test_fields_that_nobody_knows_reach_the_upstream(stack: Stack, client: anthropic.Anthropic) -> None:
    name = mark()
    extra = {"context_management": {"edits": [{"type": name}]}, "output_config": {"effort": "high", "of_tomorrow": 1}}
    client.messages.create(**request(), extra_body=extra)
    assert json.loads(stack.upstream_request(name).body) == {**request(), "model": "sim-fast", **extra}


def test_a_beta_call_keeps_its_query_and_its_flags(stack: Stack, client: anthropic.Anthropic) -> None:
    name = mark()
    flags: Any = ["thinking-binding-controls-2026-08-01", "of-tomorrow-2027-01-01"]
    answer = client.beta.messages.create(**request(name), betas=flags, extra_query={"beta": "true"})
    seen = stack.upstream_request(name)
    assert answer.content[0].text == SENTENCE  # type: ignore[union-attr]
    assert (seen.path, seen.query) == ("/v1/messages", "beta=true")
    assert seen.header("anthropic-beta") == ",".join(flags)
    with client.beta.messages.stream(**request(), betas=flags) as stream:
        assert stream.get_final_message().usage.output_tokens == 12


def test_the_sdks_version_of_the_api_reaches_the_upstream(stack: Stack, client: anthropic.Anthropic) -> None:
    name = mark()
    client.messages.create(**request(name))
    assert stack.upstream_request(name).header("anthropic-version") == "2026-10-21"
    with pytest.raises(anthropic.BadRequestError, match="`temperature` is not supported"):
        client.messages.create(**request(), extra_body={"temperature": 1})


def test_a_key_in_the_other_header_works_too(stack: Stack, keys: Keys) -> None:
    headers: Any = {"x-api-key": keys.alice, "authorization": anthropic.Omit()}
    with anthropic.Anthropic(base_url=stack.url, api_key="unused", default_headers=headers) as client:
        seen = client.messages.with_raw_response.create(**request())
        sent = seen.http_request.headers
        assert (sent.get("authorization"), sent.get("x-api-key")) == (None, keys.alice)
        assert seen.parse().content[0].text == SENTENCE  # type: ignore[union-attr]
        assert client.models.list().data


def test_of_two_keys_the_bearer_counts(stack: Stack, keys: Keys) -> None:
    headers = {"x-api-key": "not-a-key-of-ours"}
    with anthropic.Anthropic(base_url=stack.url, auth_token=keys.alice, default_headers=headers) as client:
        assert client.messages.create(**request()).content[0].text == SENTENCE  # type: ignore[union-attr]


def test_models_are_listed_and_described(client: anthropic.Anthropic) -> None:
    page = client.models.list()
    names = [model.id for model in page]
    assert {"messages-only", "both", "alice-only"} <= set(names)
    assert (page.first_id, page.last_id, page.has_more) == (names[0], names[-1], False)
    assert all(model.type == "model" and model.display_name for model in page)
    assert client.models.retrieve("alice-only").id == "alice-only"


def test_the_request_id_is_the_gateways(stack: Stack, client: anthropic.Anthropic) -> None:
    answer = client.messages.create(**request())
    assert answer._request_id is not None
    assert stack.record(answer._request_id)["alias"] == "messages-only"


def raised(client: anthropic.Anthropic, kind: type[anthropic.APIStatusError], **fields: Any) -> Any:
    """Return the error that a call raises, whole or streamed alike; fails when it is not of this class."""
    with pytest.raises(kind) as streamed:
        client.messages.create(**request(**fields), stream=True)
    with pytest.raises(kind) as whole:
        client.messages.create(**request(**fields))
    assert type(whole.value) is type(streamed.value) is kind
    bodies: list[Any] = [whole.value.body, streamed.value.body]
    assert bodies[0]["error"] == bodies[1]["error"]
    assert bodies[0]["type"] == "error"
    return whole.value


def test_a_wrong_key_is_an_authentication_error(client: anthropic.Anthropic) -> None:
    error = raised(client.with_options(api_key="tg_" + "x" * 40), anthropic.AuthenticationError)
    assert (error.status_code, error.body["error"]["type"]) == (401, "authentication_error")
    assert error.request_id == error.body["request_id"] == error.response.headers["request-id"]


def test_an_unknown_model_is_a_not_found_error(client: anthropic.Anthropic) -> None:
    error = raised(client, anthropic.NotFoundError, model="no-such-model")
    assert error.body["error"]["type"] == "not_found_error"


def test_a_model_that_a_key_may_not_use_is_a_permission_error(client: anthropic.Anthropic, keys: Keys) -> None:
    error = raised(client.with_options(api_key=keys.narrow), anthropic.PermissionDeniedError)
    assert error.body["error"]["type"] == "permission_error"


def test_a_wrong_field_is_a_bad_request_error(client: anthropic.Anthropic) -> None:
    error = raised(client, anthropic.BadRequestError, messages="hi")
    assert error.body["error"]["type"] == "invalid_request_error"
    assert "'messages'" in error.body["error"]["message"]


def test_an_upstreams_refusal_is_the_error_that_it_would_be_without_a_gateway(client: anthropic.Anthropic) -> None:
    error = raised(client, anthropic.BadRequestError, text="[[status=400 code=context_length_exceeded]]")
    assert error.body["error"]["message"] == "prompt is too long: 200001 tokens > 200000 maximum"
    assert "x-tollgate-error" not in error.response.headers


def test_an_upstreams_rate_limit_says_when_to_come_again(client: anthropic.Anthropic) -> None:
    error = raised(client, anthropic.RateLimitError, text="[[status=429 retry_after=7 should_retry=true]]")
    assert error.body["error"]["type"] == "rate_limit_error"
    assert (error.response.headers["retry-after"], error.response.headers["x-should-retry"]) == ("7", "true")


def test_an_overloaded_upstream_is_an_overloaded_error(client: anthropic.Anthropic) -> None:
    error = raised(client, anthropic.OverloadedError, text="[[status=529]]")
    assert (error.status_code, error.body["error"]["type"]) == (529, "overloaded_error")


def test_the_sdks_own_retry_waits_as_long_as_the_upstream_says(client: anthropic.Anthropic) -> None:
    text = f"[[fail=1 fail_id={mark()} status=529 retry_after_ms=20]]"
    answer = client.with_options(max_retries=1).messages.create(**request(text))
    assert answer.content[0].text == SENTENCE  # type: ignore[union-attr]


@pytest.mark.parametrize("fault", ["cut=3", "stall=3", "malformed=3", "truncate=3", "error_event=3"])
def test_a_broken_stream_raises(client: anthropic.Anthropic, fault: str) -> None:
    stream = client.messages.create(**request(f"[[{fault}]]"), stream=True)
    seen: list[Any] = []
    with stream, pytest.raises(anthropic.APIStatusError) as raised:
        collect(stream, seen)
    assert [event.delta.text for event in seen if event.type == "content_block_delta"] == SENTENCE_BEGINS
    body: Any = raised.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] in {"api_error", "timeout_error"}


def collect(stream: Iterable[Any], seen: list[Any]) -> None:
    for event in stream:
        seen.append(event)


async def test_a_broken_stream_raises_in_the_asynchronous_client(async_client: anthropic.AsyncAnthropic) -> None:
    stream = await async_client.messages.create(**request("[[cut=3]]"), stream=True)
    seen: list[Any] = []
    with pytest.raises(anthropic.APIStatusError):
        await collect_async(stream, seen)
    assert [event.delta.text for event in seen if event.type == "content_block_delta"] == SENTENCE_BEGINS
    assert "message_stop" not in {event.type for event in seen}


async def collect_async(stream: AsyncIterable[Any], seen: list[Any]) -> None:
    async for event in stream:
        seen.append(event)


def test_the_stream_helper_raises_when_the_stream_breaks(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**request("[[cut=3]]")) as stream, pytest.raises(anthropic.APIStatusError):
        stream.get_final_message()
