import openai
import orjson
import pytest
from simulator_client import CHAT_HEADERS

PROPERTIES = {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}}
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": PROPERTIES}}
CLOCK = {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}}
ARGUMENTS = {"city": "a city", "unit": "celsius"}
CODE = {"type": "custom", "name": "exec", "description": "Runs code.", "format": {"type": "text"}}
SENTENCE = "The simulator answers with a sentence of twelve words and then stops."


def outputs(response, text="sunny"):
    calls = [item for item in response.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": text} for call in calls]


def kinds(reply):
    return [item["type"] for item in reply.json()["output"]]


async def test_it_answers_the_sdk_whole(openai_client):
    response = await openai_client.responses.create(model="sim-fast", input="one two three", instructions="be brief")
    assert (response.id, response.status, response.error) == ("resp_sim_000001", "completed", None)
    assert response.output_text == SENTENCE
    assert response.output[0].phase == "final_answer"
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (5, 12, 17)


@pytest.mark.parametrize("marker", ["chunks=7", "thinking=1", "finish=refusal", "tools=parallel", "tools=interleaved"])
async def test_it_streams_to_the_sdk_what_it_answers_whole(openai_client, marker):
    asked = {"model": "sim-fast", "input": f"a b [[{marker}]]", "tools": [WEATHER, CLOCK]}
    whole = await openai_client.responses.create(**asked)
    async with openai_client.responses.stream(**asked) as stream:
        streamed = await stream.get_final_response()
    hidden = {"id", "call_id", "encrypted_content", "parsed_arguments"}
    assert [item.model_dump(exclude=hidden, exclude_none=True) for item in whole.output] == [
        drop_parsed(item.model_dump(exclude=hidden, exclude_none=True)) for item in streamed.output
    ]
    assert (streamed.usage, streamed.status) == (whole.usage, whole.status)


def drop_parsed(item):
    for part in item.get("content") or ():
        part.pop("parsed", None)
    return item


async def test_it_sends_the_events_of_the_protocol_in_order(respond):
    reply = await respond("[[chunks=2 thinking=1]]", stream=True)
    names = [name for name, _ in reply.events()]
    assert names == [
        *("response.created", "response.in_progress", "response.output_item.added"),
        "response.reasoning_summary_part.added",
        *["response.reasoning_summary_text.delta"] * 6,
        *("response.reasoning_summary_text.done", "response.reasoning_summary_part.done"),
        *("response.output_item.done", "response.output_item.added", "response.content_part.added"),
        *["response.output_text.delta"] * 2,
        *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
        "response.completed",
    ]
    chunks = reply.chunks()
    assert [chunk["type"] for chunk in chunks] == names
    assert [chunk["sequence_number"] for chunk in chunks] == list(range(len(chunks)))
    assert chunks[0]["response"]["status"] == "in_progress"
    assert chunks[0]["response"]["output"] == []
    items = [chunk["item"] for chunk in chunks if chunk["type"] == "response.output_item.done"]
    assert chunks[-1]["response"]["output"] == items
    assert {chunk["item_id"] for chunk in chunks if "item_id" in chunk} == {item["id"] for item in items}


async def test_encrypted_content_is_whole_only_when_its_item_is_done(respond):
    chunks = (await respond("hi", model="sim-thinking", stream=True)).chunks()
    added, done = (
        chunk["item"]["encrypted_content"] for chunk in chunks if chunk.get("item", {}).get("summary") is not None
    )
    assert done.startswith(added)
    assert len(done) > len(added)


@pytest.mark.parametrize(
    "text",
    ["hi", [{"role": "user", "content": "hi"}], [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]],
)
async def test_it_takes_input_in_every_form(respond, text):
    assert (await respond(text, model="sim-echo")).json()["output"][0]["content"][0]["text"] == "hi"


async def test_it_calls_a_function_and_goes_on_with_its_output(openai_client):
    history = [{"role": "user", "content": "weather? [[tools=parallel]]"}]
    asked = {"model": "sim-fast", "tools": [WEATHER, CLOCK], "store": False}
    first = await openai_client.responses.create(input=history, **asked)
    weather, clock = first.output
    assert (weather.name, orjson.loads(weather.arguments), weather.id) == ("get_weather", ARGUMENTS, "fc_sim_000001_0")
    assert (clock.name, clock.arguments) == ("get_time", "{}")
    history += [item.model_dump(exclude_none=True) for item in first.output] + outputs(first)
    second = await openai_client.responses.create(input=history, **asked)
    assert second.output_text == SENTENCE


async def test_it_calls_a_free_text_tool(respond):
    reply = await respond("[[tools=one]]", tools=[CODE], stream=True)
    names = [name for name, _ in reply.events()]
    assert "response.custom_tool_call_input.delta" in names
    [item] = reply.chunks()[-1]["response"]["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "exec", "some input for exec")
    assert item["id"].startswith("ctc_")


async def test_it_calls_tools_in_a_namespace(respond):
    namespace = {"type": "namespace", "name": "functions", "description": "", "tools": [WEATHER, CODE]}
    added = {"type": "additional_tools", "role": "developer", "tools": [namespace]}
    reply = await respond([added, {"role": "user", "content": "[[tools=parallel]]"}])
    first, second = reply.json()["output"]
    assert (first["name"], first["namespace"]) == ("get_weather", "functions")
    assert (second["type"], second["name"], second["namespace"]) == ("custom_tool_call", "exec", "functions")


@pytest.mark.parametrize(
    ("tool", "kind", "prefix"),
    [
        ("local_shell", "local_shell_call", "lsh_"),
        ("shell", "shell_call", "sh_"),
        ("apply_patch", "apply_patch_call", "apc_"),
    ],
)
async def test_it_calls_the_vendors_own_tools(respond, tool, kind, prefix):
    reply = await respond("[[tools=one]]", tools=[{"type": tool}])
    [item] = reply.json()["output"]
    assert item["type"] == kind
    assert item["id"].startswith(prefix)
    assert item["call_id"]
    history = [{"role": "user", "content": "x"}, item, answer_to(item)]
    assert (await respond(history)).status == 200


def answer_to(item):
    match item["type"]:
        case "local_shell_call":
            return {"type": "local_shell_call_output", "id": item["id"], "output": "done"}
        case "apply_patch_call":
            return {"type": "apply_patch_call_output", "call_id": item["call_id"], "status": "completed", "output": ""}
    return {"type": "shell_call_output", "call_id": item["call_id"], "output": [{"stdout": "", "stderr": ""}]}


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["get_weather"]),
        ({"type": "function", "name": "get_time"}, ["get_time"]),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_time"}]},
            ["get_time"],
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get_time"}]}, [None]),
        ("auto", [None]),
        ("none", [None]),
    ],
)
async def test_it_obeys_tool_choice(respond, choice, names):
    reply = await respond("hello", tools=[WEATHER, CLOCK], tool_choice=choice)
    assert [item.get("name") for item in reply.json()["output"]] == names


async def test_it_makes_one_call_where_parallel_calls_are_switched_off(respond):
    reply = await respond("[[tools=parallel]]", tools=[WEATHER, CLOCK], parallel_tool_calls=False)
    assert kinds(reply) == ["function_call"]


async def test_it_answers_json_that_fits_the_schema(openai_client):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["name", "days"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "name": "thing", "schema": schema, "strict": True}
    response = await openai_client.responses.create(model="sim-fast", input="json", text={"format": wanted})
    assert orjson.loads(response.output_text) == {"name": "a name", "days": 1}


async def test_it_is_incomplete_at_the_limit(respond):
    whole = (await respond("[[chunks=100]]", max_output_tokens=16)).json()
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert whole["output"][0]["status"] == "incomplete"
    assert whole["usage"]["output_tokens"] == 16
    streamed = await respond("[[chunks=100]]", max_output_tokens=16, stream=True)
    assert streamed.events()[-1][0] == "response.incomplete"


async def test_it_is_incomplete_for_a_reason_of_ones_choice(respond):
    reply = await respond("[[reason=steered]]")
    assert reply.json()["incomplete_details"] == {"reason": "steered"}
    assert (await respond("[[finish=content_filter]]")).json()["incomplete_details"] == {"reason": "content_filter"}


async def test_it_leaves_a_call_unfinished_at_the_limit(respond):
    [item] = (await respond("[[tools=one finish=length]]", tools=[WEATHER])).json()["output"]
    assert item["status"] == "incomplete"
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(item["arguments"])


async def test_it_refuses_in_a_refusal_part(respond):
    whole = (await respond("[[finish=refusal text=no]]")).json()
    assert whole["status"] == "completed"
    assert whole["output"][0]["content"] == [{"type": "refusal", "refusal": "no"}]
    streamed = await respond("[[finish=refusal text=no]]", stream=True)
    assert "response.refusal.delta" in [name for name, _ in streamed.events()]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("zero", {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}),
        ("negative", {"input_tokens": -8, "output_tokens": -12}),
        ("huge", {"input_tokens": 3_000_000_000}),
        ("cached", {"input_tokens": 8, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}}),
    ],
)
async def test_it_reports_usage_of_a_shape(respond, shape, expected):
    text = f"one two three four five six seven [[usage={shape}]]"
    whole = (await respond(text)).json()["usage"]
    assert whole.items() >= expected.items()
    assert (await respond(text, stream=True)).chunks()[-1]["response"]["usage"] == whole


async def test_it_can_report_no_usage(respond):
    assert (await respond("[[usage=none]]")).json()["usage"] is None


async def test_an_error_in_the_stream_is_an_error_event(respond):
    reply = await respond("[[error_event=2]]", stream=True)
    *before, (name, data) = reply.events()
    error = orjson.loads(data)
    assert (name, error["type"], error["code"]) == ("error", "error", "overloaded")
    assert error["sequence_number"] == len(before)
    assert error.keys() == {"type", "code", "message", "param", "sequence_number"}


async def test_a_response_can_fail(respond):
    reply = await respond("[[failed=2 code=rate_limit_exceeded status=429]]", stream=True)
    name, data = reply.events()[-1]
    failed = orjson.loads(data)["response"]
    assert (name, failed["status"], failed["error"]["code"]) == ("response.failed", "failed", "rate_limit_exceeded")
    assert failed["id"] == reply.chunks()[0]["response"]["id"]
    whole = await respond("[[failed=0]]")
    assert (whole.status, whole.json()["status"], whole.json()["output"]) == (200, "failed", [])
    assert (await respond("[[finish=failed]]", stream=True)).events()[-1][0] == "response.failed"


async def test_it_fails_first_and_then_answers(respond):
    text = "[[fail=1 fail_id=r failed=1]]"
    assert [(await respond(text, stream=True)).events()[-1][0] for _ in range(2)] == [
        "response.failed",
        "response.completed",
    ]


async def test_it_can_leave_the_terminal_event_out(respond):
    reply = await respond("[[no_done=1]]", stream=True)
    assert reply.events()[-1][0] == "response.output_item.done"


async def test_it_fails_with_a_status_as_openai_does(respond):
    reply = await respond("[[status=429 code=insufficient_quota]]")
    assert (reply.status, reply.json()["error"]["code"]) == (429, "insufficient_quota")


# What it keeps.


async def test_it_goes_on_from_a_previous_response(openai_client):
    asked = {"model": "sim-thinking", "tools": [WEATHER]}
    first = await openai_client.responses.create(input="weather? [[tools=one]]", **asked)
    second = await openai_client.responses.create(previous_response_id=first.id, input=outputs(first), **asked)
    assert second.output_text == SENTENCE
    assert second.previous_response_id == first.id
    third = await openai_client.responses.create(previous_response_id=second.id, input="one [[text=echo]]", **asked)
    assert third.usage.input_tokens == 17


async def test_it_finds_items_that_it_kept(respond):
    first = (await respond("hi", model="sim-thinking")).json()
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    history = [{"role": "user", "content": "hi"}, *references, {"role": "user", "content": "go on"}]
    assert (await respond(history, model="sim-thinking")).status == 200
    bare = [{"type": "reasoning", "id": first["output"][0]["id"], "summary": []}, first["output"][1]]
    assert (await respond([*bare, {"role": "user", "content": "go on"}])).status == 200


async def test_it_shows_and_forgets_a_response(openai_client):
    created = await openai_client.responses.create(model="sim-fast", input="hi")
    shown = await openai_client.responses.retrieve(created.id)
    assert (shown.output_text, shown.status) == (SENTENCE, "completed")
    await openai_client.responses.delete(created.id)
    with pytest.raises(openai.NotFoundError) as refused:
        await openai_client.responses.retrieve(created.id)
    assert refused.value.code == "previous_response_not_found"


@pytest.mark.parametrize("store", [True, False])
async def test_it_goes_on_only_from_what_it_kept(openai_client, store):
    first = await openai_client.responses.create(model="sim-fast", input="hi", store=store)
    asked = {"model": "sim-fast", "input": "go on", "previous_response_id": first.id}
    if store:
        assert (await openai_client.responses.create(**asked)).status == "completed"
    else:
        with pytest.raises(openai.BadRequestError, match="not found") as refused:
            await openai_client.responses.create(**asked)
        assert refused.value.code == "previous_response_not_found"


async def test_it_forgets_the_oldest(simulator, respond):
    for _ in range(257):
        last = await respond("hi")
    assert (await respond("on", previous_response_id=last.json()["id"])).status == 200
    assert (await respond("on", previous_response_id="resp_sim_000001")).status == 400


async def test_it_counts_input_tokens(openai_client):
    count = await openai_client.responses.input_tokens.count(model="sim-fast", input="one two", instructions="three")
    assert count.input_tokens == 3


async def test_it_answers_on_the_bare_path_too(send):
    reply = await send("/responses", {"model": "sim-fast", "input": "hello"}, CHAT_HEADERS)
    assert (reply.status, reply.json()["object"]) == (200, "response")
