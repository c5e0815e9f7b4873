import openai
import orjson
import pytest

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 3},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}
ARGUMENTS = {"city": "a city", "days": 3, "unit": "celsius"}


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_it_answers_the_sdk_whole(openai_client):
    completion = await openai_client.chat.completions.create(model="sim-fast", messages=user("one two three"))
    assert completion.id == "chatcmpl-sim-000001"
    assert completion.model == "sim-fast"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content == (
        "The simulator answers with a sentence of twelve words and then stops."
    )
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 12)


async def test_it_streams_to_the_sdk_what_it_answers_whole(openai_client):
    asked = {"model": "sim-fast", "messages": user("a b c [[text=echo chunks=7]]")}
    whole = await openai_client.chat.completions.create(**asked)
    stream = await openai_client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content == "a b c a b c a"
    assert chunks[-1].usage == whole.usage
    assert chunks[-1].choices == []
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


async def test_it_reports_usage_in_a_stream_only_when_asked(chat):
    reply = await chat("hello", stream=True)
    assert all("usage" not in chunk for chunk in reply.chunks())
    reply = await chat("hello", stream=True, stream_options={"include_usage": True})
    *others, last = reply.chunks()
    assert all(chunk["usage"] is None for chunk in others)
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 12)


async def test_it_opens_a_stream_with_the_role_and_ends_it_with_done(chat):
    reply = await chat("hello", stream=True)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.chunks()[0]["choices"][0]["delta"]["role"] == "assistant"
    assert reply.chunks()[-1]["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert reply.events()[-1] == (None, "[DONE]")
    assert reply.is_complete


async def test_it_calls_a_tool_with_arguments_that_fit_the_schema(openai_client):
    asked = {"model": "sim-tools", "messages": user("weather?"), "tools": [WEATHER, CLOCK]}
    completion = await openai_client.chat.completions.create(**asked)
    [call] = completion.choices[0].message.tool_calls
    assert (call.id, call.function.name) == ("call_sim_000001_0", "get_weather")
    assert orjson.loads(call.function.arguments) == ARGUMENTS
    assert completion.choices[0].finish_reason == "tool_calls"
    assert completion.choices[0].message.content is None


async def test_it_streams_tool_calls_to_the_sdk(openai_client):
    async with openai_client.chat.completions.stream(
        model="sim-fast", messages=user("weather? [[tools=parallel]]"), tools=[WEATHER, CLOCK]
    ) as stream:
        completion = await stream.get_final_completion()
    first, second = completion.choices[0].message.tool_calls
    assert (first.function.name, orjson.loads(first.function.arguments)) == ("get_weather", ARGUMENTS)
    assert (second.function.name, second.function.arguments) == ("get_time", "{}")
    assert first.id != second.id


async def test_it_splits_arguments_to_single_characters(chat):
    reply = await chat("[[tools=split]]", stream=True, tools=[WEATHER])
    deltas = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in reply.chunks()]
    opening, *fragments = [calls[0]["function"] for calls in deltas if calls]
    assert opening == {"name": "get_weather", "arguments": ""}
    assert all(len(fragment["arguments"]) == 1 for fragment in fragments)
    assert orjson.loads("".join(fragment["arguments"] for fragment in fragments)) == ARGUMENTS


async def test_it_interleaves_the_fragments_of_parallel_calls(chat):
    reply = await chat("[[tools=interleaved]]", stream=True, tools=[WEATHER])
    deltas = [chunk["choices"][0]["delta"] for chunk in reply.chunks()]
    indexes = [delta["tool_calls"][0]["index"] for delta in deltas if "tool_calls" in delta]
    assert indexes == [0, 1] * (len(indexes) // 2)
    assert any(delta.get("content") for delta in deltas)


async def test_it_speaks_before_it_calls_when_chunks_are_asked_for(chat):
    whole = (await chat("[[tools=one chunks=2]]", tools=[WEATHER])).json()["choices"][0]["message"]
    assert whole["content"] == "The simulator"
    assert len(whole["tool_calls"]) == 1


async def test_it_calls_the_tools_it_is_told_to_call(chat):
    reply = await chat("[[tools=one call=get_time]]", tools=[WEATHER, CLOCK])
    [call] = reply.json()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_time"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
        ("auto", []),
        ("none", []),
    ],
)
async def test_it_obeys_tool_choice(chat, choice, names):
    reply = await chat("hello", tools=[WEATHER, CLOCK], tool_choice=choice)
    calls = reply.json()["choices"][0]["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == names


async def test_it_makes_one_call_where_parallel_calls_are_switched_off(chat):
    reply = await chat("[[tools=parallel]]", tools=[WEATHER, CLOCK], parallel_tool_calls=False)
    assert len(reply.json()["choices"][0]["message"]["tool_calls"]) == 1


async def test_it_ends_an_agent_loop_with_text(openai_client):
    messages = user("weather? [[tools=parallel]]")
    turns = 0
    while True:
        turns += 1
        completion = await openai_client.chat.completions.create(
            model="sim-fast", messages=messages, tools=[WEATHER, CLOCK]
        )
        said = completion.choices[0].message
        messages.append(said.model_dump(exclude_none=True))
        if not said.tool_calls:
            break
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in said.tool_calls]
    assert turns == 2
    assert said.content.startswith("The simulator")


async def test_it_thinks_in_reasoning_content(chat):
    whole = (await chat("[[thinking=1 text=done]]")).json()
    assert whole["choices"][0]["message"]["reasoning_content"] == "Let me think about this first."
    assert whole["choices"][0]["message"]["content"] == "done"
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 6
    streamed = (await chat("[[thinking=1 text=done]]", stream=True)).chunks()
    deltas = [chunk["choices"][0]["delta"] for chunk in streamed]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Let me think about this first."


async def test_it_gives_every_choice_its_index(chat):
    whole = (await chat("[[chunks=2]]", n=2)).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert whole["usage"]["completion_tokens"] == 4
    streamed = (await chat("[[chunks=2]]", n=2, stream=True)).chunks()
    assert [chunk["choices"][0]["index"] for chunk in streamed] == [0, 1] * 4


async def test_it_stops_at_max_tokens(chat):
    whole = (await chat("[[chunks=100]]", max_tokens=3)).json()
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 3


async def test_it_answers_json_when_a_schema_is_given(openai_client):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {}}},
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}
    completion = await openai_client.chat.completions.create(
        model="sim-fast", messages=user("json"), response_format=response_format
    )
    assert orjson.loads(completion.choices[0].message.content) == {"name": "a name", "tags": [{}]}


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
    ],
)
async def test_it_finishes_as_told(chat, finish, reason):
    assert (await chat(f"[[finish={finish}]]")).json()["choices"][0]["finish_reason"] == reason
    assert (await chat(f"[[finish={finish}]]", stream=True)).chunks()[-1]["choices"][0]["finish_reason"] == reason


async def test_it_can_leave_the_finish_reason_out(chat):
    reply = await chat("[[finish=none]]", stream=True)
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in reply.chunks())
    assert reply.events()[-1] == (None, "[DONE]")


async def test_it_refuses_in_the_refusal_field(chat):
    whole = (await chat("[[finish=refusal text=no]]")).json()["choices"][0]["message"]
    assert (whole["content"], whole["refusal"]) == (None, "no")
    streamed = (await chat("[[finish=refusal text=no]]", stream=True)).chunks()
    assert streamed[1]["choices"][0]["delta"] == {"refusal": "no"}


async def test_it_cuts_the_arguments_of_a_call_that_ran_out_of_tokens(chat):
    whole = (await chat("[[tools=one finish=length]]", tools=[WEATHER])).json()["choices"][0]
    assert whole["finish_reason"] == "length"
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(whole["message"]["tool_calls"][0]["function"]["arguments"])


EIGHT_WORDS = "one two three four five six seven [[usage={}]]"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("reported", {"prompt_tokens": 8, "completion_tokens": 12, "total_tokens": 20}),
        ("zero", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        ("negative", {"prompt_tokens": -8, "completion_tokens": -12, "total_tokens": -20}),
        ("huge", {"prompt_tokens": 3_000_000_000, "completion_tokens": 3_000_000_000}),
        (
            "cached",
            {"prompt_tokens": 8, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}},
        ),
    ],
)
async def test_it_reports_usage_of_a_shape(chat, shape, expected):
    whole = (await chat(EIGHT_WORDS.format(shape))).json()["usage"]
    streamed = await chat(EIGHT_WORDS.format(shape), stream=True, stream_options={"include_usage": True})
    assert whole.items() >= expected.items()
    assert streamed.chunks()[-1]["usage"] == whole


async def test_it_can_report_no_usage(chat):
    assert "usage" not in (await chat("[[usage=none]]")).json()
    reply = await chat("[[usage=none]]", stream=True, stream_options={"include_usage": True})
    assert all(not chunk.get("usage") for chunk in reply.chunks())


async def test_it_can_report_usage_twice_or_beside_choices(chat):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    twice = [chunk for chunk in (await chat("[[usage=twice]]", **options)).chunks() if chunk["usage"]]
    assert [bool(chunk["choices"]) for chunk in twice] == [True, False]
    beside = [chunk for chunk in (await chat("[[usage=with_choices]]", **options)).chunks() if chunk["usage"]]
    assert [bool(chunk["choices"]) for chunk in beside] == [True]


async def test_it_tells_the_sdk_about_an_error_in_the_stream(openai_client):
    stream = await openai_client.chat.completions.create(
        model="sim-fast", messages=user("[[error_event=2]]"), stream=True
    )
    chunks = aiter(stream)
    assert [(await anext(chunks)).choices[0].delta.content for _ in range(3)] == ["", "The", " simulator"]
    with pytest.raises(openai.APIError, match="overloaded"):
        await anext(chunks)


async def test_it_answers_on_the_bare_path_too(send):
    body = {"model": "sim-fast", "messages": user("hello")}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-sim"}
    reply = await send("/chat/completions", body, headers)
    assert reply.status == 200
    assert reply.headers["x-request-id"] == "req_sim_000001"
    assert reply.headers["x-ratelimit-remaining-requests"] == "9999"


CODE = {"type": "custom", "custom": {"name": "exec", "format": {"type": "text"}}}


async def test_it_calls_a_free_text_tool(openai_client):
    asked = {"model": "sim-tools", "messages": user("run"), "tools": [CODE]}
    completion = await openai_client.chat.completions.create(**asked)
    [call] = completion.choices[0].message.tool_calls
    assert (call.type, call.custom.name, call.custom.input) == ("custom", "exec", "some input for exec")
    said = completion.choices[0].message.model_dump(exclude_none=True)
    result = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    again = {**asked, "messages": [*asked["messages"], said, result]}
    assert (await openai_client.chat.completions.create(**again)).choices[0].finish_reason == "stop"


async def test_it_streams_the_input_of_a_free_text_tool(chat):
    reply = await chat("[[tools=one]]", stream=True, tools=[CODE])
    deltas = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in reply.chunks()]
    opening, *fragments = [calls[0] for calls in deltas if calls]
    assert (opening["type"], opening["custom"]) == ("custom", {"name": "exec", "input": ""})
    assert "".join(fragment["custom"]["input"] for fragment in fragments) == "some input for exec"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "custom", "custom": {"name": "exec"}}, ["exec"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [CLOCK]}}, ["get_time"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [CLOCK]}}, []),
    ],
)
async def test_it_obeys_the_newer_tool_choices(chat, choice, names):
    reply = await chat("hello", tools=[WEATHER, CLOCK, CODE], tool_choice=choice)
    calls = reply.json()["choices"][0]["message"].get("tool_calls", [])
    assert [call[call["type"]]["name"] for call in calls] == names


async def test_it_finishes_for_a_reason_of_ones_choice(chat):
    assert (await chat("[[reason=eos_token]]")).json()["choices"][0]["finish_reason"] == "eos_token"
    assert (await chat("[[reason=abort]]", stream=True)).chunks()[-1]["choices"][0]["finish_reason"] == "abort"


async def test_a_users_words_beside_tool_results_end_no_tool_loop(chat):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    loop = [
        *user("time? [[tools=one]]"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    ]
    said = (await chat("", messages=[*loop, *user("a reminder")], tools=[CLOCK])).json()["choices"][0]
    assert said["finish_reason"] == "stop"
    said = (await chat("", messages=[*loop, *user("again [[tools=one]]")], tools=[CLOCK])).json()["choices"][0]
    assert said["finish_reason"] == "tool_calls"
