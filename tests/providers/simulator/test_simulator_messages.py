import anthropic
import pytest

WEATHER = {
    "name": "get_weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "when": {"type": "string", "format": "date"}},
    },
}
CLOCK = {"name": "get_time", "input_schema": {"type": "object"}}
INPUT = {"city": "a city", "when": "2026-01-31"}


def user(text):
    return [{"role": "user", "content": text}]


async def test_it_answers_the_sdk_whole(anthropic_client):
    message = await anthropic_client.messages.create(
        model="sim-fast", max_tokens=100, system="be brief", messages=user("one two three")
    )
    assert message.id == "msg_sim_000001"
    assert message.stop_reason == "end_turn"
    assert message.content[0].text.startswith("The simulator answers")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 12)


async def test_it_streams_to_the_sdk_what_it_answers_whole(anthropic_client):
    asked = {"model": "sim-thinking", "max_tokens": 100, "messages": user("one two [[text=echo chunks=5]]")}
    whole = await anthropic_client.messages.create(**asked)
    async with anthropic_client.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()
    assert [block.model_dump(exclude={"parsed_output"}) for block in streamed.content] == [
        block.model_dump() for block in whole.content
    ]
    assert streamed.content[1].text == "one two one two one"
    assert streamed.usage == whole.usage
    assert streamed.stop_reason == whole.stop_reason == "end_turn"


async def test_it_answers_beta_calls(anthropic_client, simulator):
    message = await anthropic_client.beta.messages.create(
        model="sim-fast",
        max_tokens=10,
        messages=user("hi"),
        betas=["some-beta-2026-01-01"],
        extra_query={"beta": "true"},
    )
    assert message.content[0].text
    assert (simulator.requests[-1].path, simulator.requests[-1].query) == ("/v1/messages", "beta=true")


async def test_it_sends_the_events_of_the_protocol_in_order(message):
    reply = await message("[[chunks=2 thinking=1]]", stream=True)
    names = [name for name, _ in reply.events()]
    assert names == [
        "message_start",
        *("content_block_start", "ping", *["content_block_delta"] * 7, "content_block_stop"),
        *("content_block_start", *["content_block_delta"] * 2, "content_block_stop"),
        "message_delta",
        "message_stop",
    ]
    assert [chunk["type"] for chunk in reply.chunks()] == names
    signed = reply.chunks()[9]["delta"]
    assert signed["type"] == "signature_delta"
    assert reply.headers["request-id"] == "req_sim_000001"
    assert reply.headers["anthropic-ratelimit-requests-remaining"] == "9999"


async def test_it_takes_back_only_thoughts_it_signed(anthropic_client):
    asked = {"model": "sim-thinking", "max_tokens": 100}
    messages = user("hello")
    first = await anthropic_client.messages.create(**asked, messages=messages)
    messages += [{"role": "assistant", "content": first.content}, *user("go on")]
    await anthropic_client.messages.create(**asked, messages=messages)
    forged = {"type": "thinking", "thinking": "hm", "signature": "Eq"}
    messages[1] = {"role": "assistant", "content": [forged, {"type": "text", "text": "x"}]}
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        await anthropic_client.messages.create(**asked, messages=messages)


async def test_it_thinks_redacted_or_unsigned(message):
    redacted = (await message("[[thinking=redacted]]")).json()["content"]
    assert [block["type"] for block in redacted] == ["redacted_thinking", "text"]
    again = [*user("hi"), {"role": "assistant", "content": redacted}, *user("go on")]
    assert (await message("", messages=again)).status == 200
    unsigned = await message("[[thinking=unsigned]]", stream=True)
    assert b"signature_delta" not in unsigned.body


async def test_it_calls_a_tool_with_input_that_fits_the_schema(anthropic_client):
    asked = {"model": "sim-tools", "max_tokens": 100, "messages": user("weather?"), "tools": [WEATHER, CLOCK]}
    message = await anthropic_client.messages.create(**asked)
    [block] = message.content
    assert (block.id, block.name, block.input) == ("toolu_sim_000001_0", "get_weather", INPUT)
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize(("kind", "count"), [("one", 1), ("split", 1), ("parallel", 2), ("interleaved", 2)])
async def test_it_streams_tool_calls_to_the_sdk(anthropic_client, kind, count):
    async with anthropic_client.messages.stream(
        model="sim-fast", max_tokens=100, messages=user(f"[[tools={kind}]]"), tools=[WEATHER, CLOCK]
    ) as stream:
        message = await stream.get_final_message()
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [("get_weather", INPUT), ("get_time", {})][:count]
    assert message.usage.output_tokens > 0


async def test_it_puts_text_between_interleaved_calls(message):
    content = (await message("[[tools=interleaved]]", tools=[WEATHER, CLOCK])).json()["content"]
    assert [block["type"] for block in content] == ["text", "tool_use", "text", "tool_use"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ({"type": "auto"}, []),
        ({"type": "none"}, []),
    ],
)
async def test_it_obeys_tool_choice(message, choice, names):
    reply = await message("hello", tools=[WEATHER, CLOCK], tool_choice=choice)
    assert [block["name"] for block in reply.json()["content"] if block["type"] == "tool_use"] == names


async def test_it_ends_an_agent_loop_with_text(anthropic_client):
    messages = user("weather? [[tools=parallel]]")
    turns = 0
    while True:
        turns += 1
        said = await anthropic_client.messages.create(
            model="sim-fast", max_tokens=100, messages=messages, tools=[WEATHER, CLOCK]
        )
        messages.append({"role": "assistant", "content": said.content})
        calls = [block for block in said.content if block.type == "tool_use"]
        if not calls:
            break
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
        messages.append({"role": "user", "content": [*results, {"type": "text", "text": "a reminder"}]})
    assert turns == 2
    assert said.stop_reason == "end_turn"


async def test_a_marker_lasts_through_a_tool_loop_and_no_longer(message):
    messages = [
        *user("[[text=marked]]"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "x", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]},
    ]
    assert (await message("", messages=messages)).json()["content"][0]["text"] == "marked"
    messages += [{"role": "assistant", "content": "marked"}, *user("next [[text=again]]")]
    assert (await message("", messages=messages)).json()["content"][0]["text"] == "again"
    messages += [{"role": "assistant", "content": "again"}, *user("next")]
    assert (await message("", messages=messages)).json()["content"][0]["text"].startswith("The simulator")


async def test_it_counts_tokens(anthropic_client):
    count = await anthropic_client.messages.count_tokens(model="sim-fast", messages=user("one two three"))
    assert count.input_tokens == 3


async def test_it_counts_the_text_of_tool_results_and_system(message):
    messages = [
        *user("one two"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "x", "input": {}}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "text", "text": "three four"}],
                }
            ],
        },
    ]
    reply = await message("", messages=messages, system=[{"type": "text", "text": "five"}])
    assert reply.json()["usage"]["input_tokens"] == 5


async def test_it_stops_at_max_tokens(message):
    whole = (await message("[[chunks=100]]", max_tokens=3)).json()
    assert (whole["stop_reason"], whole["usage"]["output_tokens"]) == ("max_tokens", 3)
    nothing = (await message("[[chunks=100]]", max_tokens=0)).json()
    assert (nothing["stop_reason"], nothing["content"]) == ("max_tokens", [])


async def test_it_answers_json_when_a_schema_is_given(message):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    reply = await message("json", output_config={"format": {"type": "json_schema", "schema": schema}})
    assert reply.json()["content"][0]["text"] == '{"ok":true}'


async def test_it_refuses_with_details(anthropic_client):
    async with anthropic_client.messages.stream(model="sim-refusal", max_tokens=100, messages=user("hello")) as stream:
        message = await stream.get_final_message()
    assert message.stop_reason == "refusal"
    assert message.stop_details.explanation == "The simulator was told to refuse."
    whole = await anthropic_client.messages.create(model="sim-refusal", max_tokens=100, messages=user("hello"))
    assert whole.stop_details == message.stop_details


async def test_a_call_that_ran_out_of_tokens_has_broken_json(message):
    reply = await message("[[tools=one finish=length]]", tools=[WEATHER], stream=True)
    pieces = [chunk["delta"].get("partial_json", "") for chunk in reply.chunks() if chunk.get("delta")]
    assert "".join(pieces).startswith('{"city"')
    assert not "".join(pieces).endswith("}")
    assert reply.chunks()[-2]["delta"]["stop_reason"] == "max_tokens"
    whole = await message("[[tools=one finish=length]]", tools=[WEATHER])
    assert whole.json()["content"][0]["input"] == {}


EIGHT_WORDS = "one two three four five six seven [[usage={}]]"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("reported", {"input_tokens": 8, "output_tokens": 12}),
        ("zero", {"input_tokens": 0, "output_tokens": 0}),
        ("negative", {"input_tokens": -8, "output_tokens": -12}),
        ("huge", {"input_tokens": 3_000_000_000, "output_tokens": 3_000_000_000}),
        ("cached", {"input_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}),
    ],
)
async def test_it_reports_usage_of_a_shape(message, shape, expected):
    whole = (await message(EIGHT_WORDS.format(shape))).json()["usage"]
    streamed = (await message(EIGHT_WORDS.format(shape), stream=True)).chunks()
    assert whole.items() >= expected.items()
    assert streamed[-2]["usage"] == whole
    assert streamed[0]["message"]["usage"]["input_tokens"] == whole["input_tokens"]


async def test_it_can_report_no_usage_or_twice(message):
    assert "usage" not in (await message("[[usage=none]]")).json()
    none = (await message("[[usage=none]]", stream=True)).chunks()
    assert "usage" not in none[0]["message"]
    assert "usage" not in none[-2]
    twice = (await message("[[usage=twice]]", stream=True)).chunks()
    assert [chunk["type"] for chunk in twice[-3:]] == ["message_delta", "message_delta", "message_stop"]


async def test_it_tells_the_sdk_about_an_error_in_the_stream(anthropic_client):
    with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
        async with anthropic_client.messages.stream(
            model="sim-fast", max_tokens=100, messages=user("[[error_event=2]]")
        ) as stream:
            await stream.until_done()


async def test_it_stops_for_a_reason_of_ones_choice(message):
    assert (await message("[[reason=pause_turn]]")).json()["stop_reason"] == "pause_turn"
    streamed = (await message("[[reason=pause_turn]]", stream=True)).chunks()
    assert streamed[-2]["delta"]["stop_reason"] == "pause_turn"
