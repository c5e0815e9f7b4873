import pytest
from google.genai import errors
from simulator_client import CHAT_HEADERS, GEMINI_HEADERS, gemini_client_of

from providers.simulator import Simulator

USER = {"role": "user", "parts": [{"text": "hello"}]}
CALL = {"functionCall": {"name": "f", "args": {}}}
OTHER_CALL = {"functionCall": {"name": "g", "args": {}}}
RESULT = {"functionResponse": {"name": "f", "response": {"output": "1"}}}
OTHER_RESULT = {"functionResponse": {"name": "g", "response": {"output": "1"}}}
FUNCTION = {"name": "f", "parametersJsonSchema": {"type": "object"}}


def model(*parts):
    return {"role": "model", "parts": list(parts)}


def user(*parts):
    return {"role": "user", "parts": list(parts)}


def function(**fields):
    return {"tools": [{"functionDeclarations": [{"name": "f", **fields}]}]}


def generation(**fields):
    return {"generationConfig": fields}


def calling(**fields):
    return {"tools": [{"functionDeclarations": [FUNCTION]}], "toolConfig": {"functionCallingConfig": fields}}


JSON_MODE = {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("contents", "fields", "message"),
    [
        ([], {}, "contents is not specified"),
        ([{"role": "assistant", "parts": [{"text": "x"}]}], {}, "Please use a valid role: user, model."),
        ([user()], {}, "contents.parts must not be empty"),
        ([user({})], {}, "must have one initialized field"),
        (
            [user({"text": "x", "inlineData": {"mimeType": "image/png", "data": "eA=="}})],
            {},
            "oneof field 'data' is already set",
        ),
        ([user({"text": "x", "cache_control": {}})], {}, "Unknown name \"cache_control\" at 'contents[0].parts[0]'"),
        ([user({"type": "text", "text": "x"})], {}, 'Unknown name "type"'),
        ([user({"text": 5})], {}, "Invalid value at 'contents[0].parts[0].text'"),
        ([user({"inlineData": {"mimeType": "image/png", "data": "%%%"}})], {}, "Base64 decoding failed"),
        (
            [user({"inlineData": {"mimeType": "application/zip", "data": "eA=="}})],
            {},
            "Unsupported MIME type: application/zip",
        ),
        (
            [user({"inlineData": {"mimeType": "image/png", "data": "data:image/png;base64,eA=="}})],
            {},
            "Base64 decoding failed",
        ),
        ([user({"fileData": {"mimeType": "image/png"}})], {}, "file_uri"),
        ([USER, model({"text": "so"})], {}, "end with a user turn"),
        ([user(CALL), USER], {}, "role 'model'"),
        ([model(CALL), user(RESULT)], {}, "function call turn comes immediately after a user turn"),
        ([USER, model({"text": "a"}), model(CALL), user(RESULT)], {}, "function call turn comes immediately after"),
        ([USER, model(CALL), USER], {}, "number of function response parts is equal"),
        ([USER, model(CALL, OTHER_CALL), user(RESULT)], {}, "number of function response parts is equal"),
        ([USER, model(CALL), user(RESULT, RESULT)], {}, "number of function response parts is equal"),
        ([USER, model(CALL, OTHER_CALL), user(OTHER_RESULT, RESULT)], {}, "in the order of their calls"),
        ([user(RESULT)], {}, "immediately after a function call turn"),
        ([USER, model({"functionCall": {"name": "f", "args": "{}"}}), user(RESULT)], {}, "google.protobuf.Struct"),
        ([USER, model(CALL), user({"functionResponse": {"name": "f", "response": "1"}})], {}, "google.protobuf.Struct"),
        ([USER, model({"functionCall": {"args": {}}}), user(RESULT)], {}, "Name cannot be empty"),
        ([USER], {"messages": []}, 'Unknown name "messages": Cannot find field.'),
        ([USER], generation(max_tokens=5), "Unknown name \"max_tokens\" at 'generation_config'"),
        ([USER], generation(temperature=3), "temperature must be in the range [0, 2]"),
        ([USER], generation(stopSequences=list("abcdef")), "at most 5"),
        ([USER], generation(candidateCount=9), "range [1, 8]"),
        (
            [USER],
            generation(thinkingConfig={"thinkingLevel": "HIGH", "thinkingBudget": 5}),
            "only one of thinking budget",
        ),
        ([USER], generation(thinkingConfig={"thinkingLevel": "HUGE"}), "thinking_level"),
        ([USER], generation(responseSchema={"type": "STRING"}), "only supported with response_mime_type"),
        ([USER], generation(**JSON_MODE, responseSchema={"type": "STRING"}, responseJsonSchema={}), "Only one of"),
        (
            [USER],
            generation(**JSON_MODE, responseSchema={"type": "string", "additionalProperties": False}),
            "additionalProperties",
        ),
        ([USER], generation(responseMimeType="text/html"), "response_mime_type"),
        ([USER], function(parameters={"type": "object", "$schema": "x"}), 'Unknown name "$schema"'),
        ([USER], function(parameters={"type": ["string", "null"]}), "type"),
        ([USER], function(parameters={"type": "OBJECT", "properties": {}}), "should be non-empty for OBJECT type"),
        (
            [USER],
            function(parameters={"type": "OBJECT", "properties": {"a": {"type": "ARRAY"}}}),
            "items: missing field",
        ),
        (
            [USER],
            function(parameters={"type": "OBJECT", "properties": {"a": {"type": "INTEGER", "enum": [1]}}}),
            "only allowed for STRING",
        ),
        ([USER], function(parameters={"type": "OBJECT", "required": ["b"]}), "property is not defined"),
        ([USER], function(parameters={"type": "OBJECT"}, parametersJsonSchema={}), "must not both be set"),
        ([USER], function(name="9lives"), "Invalid function name"),
        ([USER], function(input_schema={}), 'Unknown name "input_schema"'),
        ([USER], {"tools": [{"functionDeclarations": [FUNCTION, FUNCTION]}]}, "Duplicate function declaration"),
        ([USER], calling(mode="auto"), "mode"),
        ([USER], calling(mode="AUTO", allowedFunctionNames=["f"]), "only be set when function calling mode is ANY"),
        ([USER], calling(mode="ANY", allowedFunctionNames=["g"]), "not one of the declared"),
        ([USER], {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
        ([USER], {"systemInstruction": "be brief"}, "'system_instruction'"),
    ],
)
async def test_it_refuses_a_malformed_request_for_content(generate, contents, fields, message):
    reply = await generate(contents, **fields)
    assert reply.status == 400
    error = reply.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]


async def test_old_models_know_no_levels_and_no_json_beside_functions(generate):
    level = generation(thinkingConfig={"thinkingLevel": "LOW"})
    json_mode = {**function(), **generation(**JSON_MODE)}
    for fields in (level, json_mode):
        assert (await generate("x", model="gemini-2.5-pro", **fields)).status == 400
        assert (await generate("x", model="gemini-3-pro", **fields)).status == 200


async def test_it_refuses_callers_without_a_key(send):
    body = {"contents": [USER]}
    for headers in ({"Content-Type": "application/json"}, CHAT_HEADERS):
        reply = await send("/v1beta/models/x:generateContent", body, headers)
        assert (reply.status, reply.json()["error"]["status"]) == (403, "PERMISSION_DENIED")


async def test_it_refuses_a_wrong_key_as_an_invalid_argument():
    async with Simulator(port=0, key="right") as simulator:
        asked = {"model": "sim-fast", "contents": "hi"}
        async with gemini_client_of(simulator.url, "right") as client:
            await client.models.generate_content(**asked)
        async with gemini_client_of(simulator.url, "wrong") as client:
            with pytest.raises(errors.ClientError, match="API key not valid") as refused:
                await client.models.generate_content(**asked)
        assert refused.value.code == 400


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (529, "UNAVAILABLE"),
    ],
)
async def test_it_fails_with_a_status_as_google_does(generate, status, name):
    reply = await generate(f"[[status={status}]]")
    error = reply.json()["error"]
    assert (reply.status, error["code"], error["status"]) == (status, status, name)


async def test_it_says_when_to_come_back_in_the_body(generate):
    reply = await generate("[[status=429 retry_after=7]]")
    assert "retry-after" not in reply.headers
    [detail] = reply.json()["error"]["details"]
    assert detail == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}


async def test_it_names_the_field_that_it_cannot_find(generate):
    reply = await generate("hi", generationConfig={"foo": 1})
    [detail] = reply.json()["error"]["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert detail["fieldViolations"][0]["field"] == "generation_config"


async def test_it_answers_unknown_paths_and_presets_as_google_does(send, generate):
    reply = await send("/v1beta/nothing", {}, GEMINI_HEADERS)
    assert (reply.status, reply.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert (await generate("hi", model="sim-unknown")).json()["error"]["status"] == "NOT_FOUND"
    assert (await generate("hi", operation="embedEverything")).json()["error"]["status"] == "NOT_FOUND"
