import base64

import orjson
import pytest
from google.genai import errors, types
from simulator_client import GEMINI_HEADERS

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}}}
WEATHER = {"name": "get_weather", "parametersJsonSchema": SCHEMA}
CLOCK = {"name": "get_time"}
TOOLS = {"tools": [{"functionDeclarations": [WEATHER, CLOCK]}]}
ARGUMENTS = {"city": "a city", "unit": "celsius"}
SENTENCE = "The simulator answers with a sentence of twelve words and then stops."
THOUGHT = "Let me think about this first."
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)


def config(**fields):
    return types.GenerateContentConfig(automatic_function_calling=BY_HAND, **TOOLS, **fields)


def parts(answer):
    return answer["candidates"][0]["content"].get("parts", [])


def said(chunks, *, thought=False):
    return "".join(
        part.get("text", "") for chunk in chunks for part in parts(chunk) if part.get("thought", False) == thought
    )


async def test_it_answers_the_sdk_whole(gemini_client, simulator):
    answer = await gemini_client.models.generate_content(
        model="sim-fast", contents="one two three", config={"system_instruction": "be brief"}
    )
    assert answer.text == SENTENCE
    assert answer.candidates[0].finish_reason == "STOP"
    assert answer.model_version == "sim-fast"
    usage = answer.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (5, 12, 17)
    assert simulator.requests[-1].path == "/v1/models/sim-fast:generateContent"


async def test_it_streams_to_the_sdk_what_it_answers_whole(gemini_client):
    asked = {"model": "sim-thinking", "contents": "a b [[text=echo chunks=5]]"}
    whole = await gemini_client.models.generate_content(**asked)
    chunks = [chunk async for chunk in await gemini_client.models.generate_content_stream(**asked)]
    streamed = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    assert "".join(part.text for part in streamed if not part.thought) == whole.text == "a b a b a"
    assert "".join(part.text for part in streamed if part.thought) == THOUGHT
    assert chunks[-1].usage_metadata == whole.usage_metadata
    assert whole.usage_metadata.thoughts_token_count == 6
    assert chunks[-1].candidates[0].finish_reason == "STOP"
    assert len({(chunk.response_id, chunk.model_version) for chunk in chunks}) == 1


async def test_it_streams_events_with_crlf_and_no_names(send):
    body = {"contents": [{"parts": [{"text": "[[chunks=2]]"}]}]}
    reply = await send("/v1beta/models/sim-fast:streamGenerateContent?alt=sse", body, GEMINI_HEADERS)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.body.count(b"\r\n\r\n") == 3
    assert b"\n" not in reply.body.replace(b"\r\n", b"")
    assert [name for name, _ in reply.events()] == [None] * 3
    assert all("finishReason" not in chunk["candidates"][0] for chunk in reply.chunks()[:-1])
    assert reply.chunks()[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_it_streams_one_json_array_without_alt_sse(generate):
    reply = await generate("[[chunks=3 thinking=1]]", operation="streamGenerateContent")
    assert reply.headers["content-type"] == "application/json"
    chunks = reply.json()
    assert len(chunks) == 10
    assert said(chunks) == "The simulator answers"
    assert said(chunks, thought=True) == THOUGHT


async def test_an_sdk_waits_through_keep_alives(gemini_client):
    stream = await gemini_client.models.generate_content_stream(model="x", contents="[[first=0.03 pings=2]]")
    assert "".join([chunk.text async for chunk in stream]) == SENTENCE


@pytest.mark.parametrize("kind", ["one", "parallel", "split", "interleaved"])
async def test_it_calls_functions_of_the_request(gemini_client, kind):
    asked = {"model": "sim-fast", "contents": f"weather? [[tools={kind}]]", "config": config()}
    whole = await gemini_client.models.generate_content(**asked)
    calls = [(call.name, call.args) for call in whole.function_calls]
    assert calls == [("get_weather", ARGUMENTS), ("get_time", {})][: 1 if kind in ("one", "split") else 2]
    assert whole.candidates[0].finish_reason == "STOP"
    chunks = [chunk async for chunk in await gemini_client.models.generate_content_stream(**asked)]
    assert [(call.name, call.args) for chunk in chunks for call in chunk.function_calls or ()] == calls


@pytest.mark.parametrize(("model", "has_id"), [("gemini-3-pro", True), ("gemini-2.5-flash", False)])
async def test_calls_have_ids_with_newer_models(generate, model, has_id):
    [part] = parts((await generate("[[tools=one]]", model=model, **TOOLS)).json())
    assert ("id" in part["functionCall"]) == has_id
    assert ("thoughtSignature" in part) == has_id


@pytest.mark.parametrize(
    ("calling", "names"),
    [
        ({"mode": "ANY"}, ["get_weather"]),
        ({"mode": "ANY", "allowedFunctionNames": ["get_time"]}, ["get_time"]),
        ({"mode": "AUTO"}, []),
        ({"mode": "NONE"}, []),
    ],
)
async def test_it_obeys_the_tool_config(generate, calling, names):
    reply = await generate("hello", **TOOLS, toolConfig={"functionCallingConfig": calling})
    assert [part["functionCall"]["name"] for part in parts(reply.json()) if "functionCall" in part] == names


async def test_it_ends_an_agent_loop_with_text(gemini_client):
    contents = [types.Content(role="user", parts=[types.Part(text="weather? [[tools=parallel]]")])]
    turns = 0
    while True:
        turns += 1
        answer = await gemini_client.models.generate_content(model="sim-gemini-3", contents=contents, config=config())
        contents.append(answer.candidates[0].content)
        if not answer.function_calls:
            break
        results = [
            types.Part(
                function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "sunny"})
            )
            for call in answer.function_calls
        ]
        contents.append(types.Content(role="user", parts=results))
    assert (turns, answer.text) == (2, SENTENCE)


async def test_it_gives_every_candidate_its_index(generate):
    whole = (await generate("[[chunks=2]]", generationConfig={"candidateCount": 2})).json()
    assert [candidate["index"] for candidate in whole["candidates"]] == [0, 1]
    reply = await generate("[[chunks=2]]", operation="streamGenerateContent", generationConfig={"candidate_count": 2})
    assert all([candidate["index"] for candidate in chunk["candidates"]] == [0, 1] for chunk in reply.json())


async def test_it_stops_at_the_limit(generate):
    whole = (await generate("[[chunks=100]]", generationConfig={"maxOutputTokens": 3})).json()
    assert whole["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert whole["usageMetadata"]["candidatesTokenCount"] == 3


@pytest.mark.parametrize("field", ["responseSchema", "responseJsonSchema"])
async def test_it_answers_json_that_fits_the_schema(generate, field):
    properties = {"name": {"type": "STRING"}, "days": {"type": "INTEGER"}}
    schema = {"type": "OBJECT", "properties": properties} if field == "responseSchema" else lowered(properties)
    reply = await generate("x", generationConfig={"responseMimeType": "application/json", field: schema})
    assert orjson.loads(parts(reply.json())[0]["text"]) == {"name": "a name", "days": 1}


def lowered(properties):
    return {"type": "object", "properties": {name: {"type": each["type"].lower()} for name, each in properties.items()}}


async def test_it_answers_json_without_a_schema(generate):
    reply = await generate("x", generationConfig={"response_mime_type": "application/json"})
    assert orjson.loads(parts(reply.json())[0]["text"]) == {"answer": "a answer"}


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "STOP"),
        ("length", "MAX_TOKENS"),
        ("refusal", "SAFETY"),
        ("content_filter", "PROHIBITED_CONTENT"),
        ("none", None),
    ],
)
async def test_it_finishes_as_told(generate, finish, reason):
    assert (await generate(f"[[finish={finish}]]")).json()["candidates"][0].get("finishReason") == reason


@pytest.mark.parametrize(
    "reason",
    ["RECITATION", "LANGUAGE", "OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"],
)
async def test_it_finishes_for_any_reason(generate, gemini_client, reason):
    reply = await generate(f"[[reason={reason}]]", operation="streamGenerateContent")
    last = reply.json()[-1]["candidates"][0]
    assert (last["finishReason"], "finishMessage" in last) == (reason, "CALL" in reason)
    answer = await gemini_client.models.generate_content(model="sim-fast", contents=f"[[reason={reason}]]")
    assert answer.candidates[0].finish_reason == reason
    assert bool(answer.candidates[0].content.parts) == ("CALL" not in reason)


async def test_a_blocked_prompt_has_no_candidates(generate, gemini_client):
    answer = await gemini_client.models.generate_content(model="sim-fast", contents="[[block=SAFETY]]")
    assert answer.candidates is None
    assert answer.prompt_feedback.block_reason == "SAFETY"
    [chunk] = (await generate("[[block=OTHER]]", operation="streamGenerateContent")).json()
    assert (chunk["promptFeedback"]["blockReason"], "candidates" in chunk) == ("OTHER", False)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("zero", {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}),
        ("negative", {"promptTokenCount": -8, "candidatesTokenCount": -12}),
        ("cached", {"promptTokenCount": 8, "cachedContentTokenCount": 4, "candidatesTokenCount": 12}),
    ],
)
async def test_it_reports_usage_of_a_shape(generate, shape, expected):
    text = f"one two three four five six seven [[usage={shape}]]"
    whole = (await generate(text)).json()["usageMetadata"]
    assert whole.items() >= expected.items()
    assert (await generate(text, operation="streamGenerateContent")).json()[-1]["usageMetadata"] == whole


async def test_it_can_report_no_usage(generate):
    reply = await generate("[[usage=none]]", operation="streamGenerateContent")
    assert all("usageMetadata" not in chunk for chunk in reply.json())


async def test_it_tells_the_sdk_about_an_error_in_the_stream(gemini_client):
    stream = await gemini_client.models.generate_content_stream(model="x", contents="[[error_event=2 status=503]]")
    chunks = aiter(stream)
    assert [(await anext(chunks)).text for _ in range(2)] == ["The", " simulator"]
    with pytest.raises(errors.ServerError, match="overloaded"):
        await anext(chunks)


async def test_it_can_leave_the_last_chunk_out(generate):
    reply = await generate("[[no_done=1]]", operation="streamGenerateContent?alt=sse")
    assert "finishReason" not in reply.chunks()[-1]["candidates"][0]


async def test_it_takes_the_key_from_the_query_too(send):
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    reply = await send("/v1beta/models/x:generateContent?key=abc", body, {"Content-Type": "application/json"})
    assert reply.status == 200


async def test_it_takes_names_in_snake_case(generate):
    image = {"inline_data": {"mime_type": "image/png", "data": base64.b64encode(b"png").decode()}}
    contents = [{"role": "user", "parts": [{"text": "one two"}, image]}]
    reply = await generate(
        contents,
        system_instruction={"parts": [{"text": "three"}]},
        generation_config={
            "max_output_tokens": 5,
            "thinking_config": {"include_thoughts": True, "thinking_budget": -1},
        },
        tools=[{"function_declarations": [CLOCK]}],
        safety_settings=[],
    )
    assert reply.json()["usageMetadata"]["promptTokenCount"] == 3


async def test_it_counts_tokens(gemini_client, generate):
    count = await gemini_client.models.count_tokens(model="sim-fast", contents="one two three")
    assert count.total_tokens == 3
    whole = {
        "model": "models/x",
        "contents": [{"parts": [{"text": "one two"}]}],
        "systemInstruction": {"parts": [{"text": "x"}]},
    }
    reply = await generate(None, operation="countTokens", generateContentRequest=whole)
    assert reply.json()["totalTokens"] == 3


async def test_it_lists_its_presets(gemini_client, send):
    names = [model.name async for model in await gemini_client.models.list()]
    assert names[:2] == ["models/sim-fast", "models/sim-echo"]
    assert (await gemini_client.models.get(model="sim-fast")).input_token_limit == 200_000
    reply = await send("/v1beta/models", b"", {"x-goog-api-key": "x"}, method="GET")
    assert "generateContent" in reply.json()["models"][0]["supportedGenerationMethods"]
    with pytest.raises(errors.ClientError, match="is not found"):
        await gemini_client.models.get(model="sim-unknown")


async def test_a_models_name_may_hold_slashes_and_percents(generate):
    assert (await generate("hi", model="publishers%2Fx")).json()["modelVersion"] == "publishers/x"
