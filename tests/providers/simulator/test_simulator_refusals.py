import httpx
import openai
import pytest
from simulator_client import CHAT_HEADERS, MESSAGES_HEADERS

from providers.simulator import Simulator

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
USER = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "1"}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}
TEXT = {"type": "text", "text": "hello"}
CUSTOM = {"name": "f", "input_schema": {"type": "object"}}


def chat_messages(*messages):
    return {"messages": list(messages)}


def without(body, name):
    return {key: value for key, value in body.items() if key != name}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        (chat_messages({"role": "robot", "content": "x"}), "messages[0].role"),
        (chat_messages({"content": "x"}), "messages[0].role"),
        (chat_messages({"role": "user"}), "messages[0].content"),
        (chat_messages({"role": "user", "content": []}), "messages[0].content"),
        (chat_messages({"role": "user", "content": [{"type": "video"}]}), "messages[0].content[0].type"),
        (chat_messages({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
        (chat_messages({"role": "tool", "tool_call_id": "x", "content": "1"}), "messages[0].role"),
        (chat_messages(USER, CALLED, USER), "messages[2].role"),
        (chat_messages(USER, CALLED), "messages[1].role"),
        (chat_messages(USER, CALLED, RESULT, RESULT), "messages[3].role"),
        (chat_messages(USER, {"role": "assistant", "tool_calls": []}), "messages[1].content"),
        (
            chat_messages(USER, {"role": "assistant", "content": "", "tool_calls": [{**CALL, "id": "x" * 65}]}),
            "messages[1].tool_calls[0].id",
        ),
        (
            chat_messages(
                USER,
                {**CALLED, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {"a": 1}}}]},
                RESULT,
            ),
            "messages[1].tool_calls[0].function.arguments",
        ),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": OPEN}}},
            "response_format",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": OPEN, "strict": True}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        ({"instructions": "be brief"}, None),
        ({"contents": []}, None),
    ],
)
async def test_it_refuses_a_malformed_chat_completion(chat, fields, param):
    reply = await chat("hello", **fields)
    assert reply.status == 400
    error = reply.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


@pytest.mark.parametrize("missing", ["model", "messages"])
async def test_it_refuses_a_chat_completion_that_lacks_a_field(send, missing):
    body = without({"model": "sim-fast", "messages": [USER]}, missing)
    error = (await send(CHAT, body, CHAT_HEADERS)).json()["error"]
    assert (error["param"], error["code"]) == (missing, "missing_required_parameter")


async def test_it_accepts_what_it_does_not_know(chat, message):
    assert (await chat("hello", future_field={"a": 1}, store=True, temperature=0)).status == 200
    assert (await message("hello", future_field={"a": 1}, temperature=0)).status == 200


async def test_it_accepts_a_whole_tool_exchange(chat, message):
    assert (await chat("", messages=[USER, CALLED, RESULT, USER])).status == 200
    exchange = [
        USER,
        {"role": "assistant", "content": [TEXT, TOOL_USE]},
        {"role": "user", "content": [TOOL_RESULT]},
        {"role": "user", "content": "and?"},
    ]
    assert (await message("", messages=exchange)).status == 200


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


CACHED = {**TEXT, "cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("fields", "message_part"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 'first message must use the "user" role'),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
        ({"messages": [user()]}, "non-empty content"),
        ({"messages": [user({"type": "text", "text": ""})]}, "text content blocks must be non-empty"),
        ({"messages": [user({"type": "video"})]}, "messages.0.content.0: Input tag 'video'"),
        ({"messages": [user({"type": ["text"]})]}, "messages.0.content.0: Input tag"),
        (
            {"messages": [USER, assistant(TOOL_USE), USER]},
            "without `tool_result` blocks immediately after: toolu_1",
        ),
        ({"messages": [USER, assistant(TOOL_USE)]}, "without `tool_result` blocks immediately after"),
        ({"messages": [USER, assistant(TOOL_USE), user(TEXT, TOOL_RESULT)]}, "immediately after: toolu_1"),
        (
            {"messages": [user(TOOL_RESULT)]},
            "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1",
        ),
        (
            {"messages": [USER, assistant(TOOL_USE), user(TOOL_RESULT, TOOL_RESULT)]},
            "messages.2.content.1: unexpected `tool_use_id`",
        ),
        ({"messages": [USER, assistant(TOOL_USE, TOOL_USE), user(TOOL_RESULT)]}, "ids must be unique"),
        ({"messages": [USER, assistant({**TOOL_USE, "id": "call.1"}), USER]}, "^[a-zA-Z0-9_-]+$"),
        ({"messages": [USER, assistant({**TOOL_USE, "input": "{}"}), USER]}, "tool_use.input"),
        ({"messages": [USER, {"role": "assistant", "content": "so "}]}, "trailing whitespace"),
        ({"messages": [USER, {"role": "system", "content": "x"}, USER]}, "role 'system' must follow"),
        (
            {"messages": [USER, assistant({"type": "redacted_thinking", "data": "x"}), USER]},
            "redacted_thinking",
        ),
        ({"messages": [user(*[CACHED] * 5)]}, "maximum of 4 blocks with cache_control"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stream": 1}, "stream"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [" "]}, "stop_sequences"),
        ({"metadata": "x"}, "metadata"),
        ({"temperature": 1.5}, "temperature"),
        ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema"),
        ({"tools": [{**CUSTOM, "name": "no spaces"}]}, "tools.0.custom.name"),
        ({"tools": [CUSTOM, CUSTOM]}, "unique"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice"),
        ({"tools": [CUSTOM], "tool_choice": {"type": "tool", "name": "g"}}, "not found"),
        ({"tools": [CUSTOM], "tool_choice": "auto"}, "tool_choice"),
        ({"thinking": {"type": "on"}}, "thinking"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "at least 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "greater than `thinking.budget_tokens`"),
        (
            {
                "thinking": {"type": "enabled", "budget_tokens": 1024},
                "messages": [USER, assistant(TOOL_USE), user(TOOL_RESULT)],
            },
            "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
        ),
        (
            {
                "thinking": {"type": "enabled", "budget_tokens": 1024},
                "tools": [CUSTOM],
                "tool_choice": {"type": "any"},
            },
            "forces tool use",
        ),
    ],
)
async def test_it_refuses_a_malformed_message(message, fields, message_part):
    reply = await message("hello", **fields)
    assert reply.status == 400
    body = reply.json()
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert message_part in body["error"]["message"]
    assert body["request_id"] == reply.headers["request-id"]


@pytest.mark.parametrize("missing", ["model", "messages", "max_tokens"])
async def test_it_refuses_a_message_that_lacks_a_field(send, missing):
    body = without({"model": "sim-fast", "messages": [USER], "max_tokens": 5}, missing)
    reply = await send(MESSAGES, body, MESSAGES_HEADERS)
    assert reply.json()["error"]["message"] == f"{missing}: Field required"


@pytest.mark.parametrize("version", [None, "2020-01-01"])
async def test_it_refuses_a_missing_or_unknown_version(message, version):
    headers = without(MESSAGES_HEADERS, "anthropic-version") | ({"anthropic-version": version} if version else {})
    reply = await message("hello", headers=headers)
    assert (reply.status, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "anthropic-version" in reply.json()["error"]["message"]


@pytest.mark.parametrize("field", ["temperature", "top_p", "top_k"])
async def test_the_new_version_refuses_sampling_parameters(send, field):
    headers = {**MESSAGES_HEADERS, "anthropic-version": "2026-10-21"}
    body = {"model": "sim-fast", "max_tokens": 10, "messages": [USER], field: 1}
    for path in (MESSAGES, f"{MESSAGES}/count_tokens"):
        assert (await send(path, body, headers)).status == 400
        assert (await send(path, body, MESSAGES_HEADERS)).status == 200


async def test_the_new_version_refuses_documents_in_an_assistant_turn(message):
    messages = [USER, assistant({"type": "document", "source": {}}), USER]
    assert (await message("", messages=messages)).status == 200
    headers = {**MESSAGES_HEADERS, "anthropic-version": "2026-10-21"}
    assert (await message("", messages=messages, headers=headers)).status == 400


async def test_it_accepts_a_system_message_after_a_user_message(message):
    messages = [USER, {"role": "system", "content": "be brief"}]
    assert (await message("", messages=messages)).status == 200


@pytest.mark.parametrize(("path", "headers"), [(CHAT, CHAT_HEADERS), (MESSAGES, MESSAGES_HEADERS)])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"hello"', b"\xff"])
async def test_it_refuses_a_body_which_is_no_json_object(send, path, headers, body):
    assert (await send(path, body, headers)).status == 400


@pytest.mark.parametrize(("path", "headers"), [(CHAT, CHAT_HEADERS), (MESSAGES, MESSAGES_HEADERS)])
@pytest.mark.parametrize("content_type", [None, "text/plain"])
async def test_it_refuses_a_wrong_content_type(send, path, headers, content_type):
    body = {"model": "sim-fast", "max_tokens": 5, "messages": [USER]}
    changed = without(headers, "Content-Type") | ({"Content-Type": content_type} if content_type else {})
    assert (await send(path, body, changed)).status == 400
    with_charset = {**headers, "Content-Type": "application/json; charset=utf-8"}
    assert (await send(path, body, with_charset)).status == 200


@pytest.mark.parametrize(
    "credentials", [{}, {"Authorization": "Bearer "}, {"Authorization": "Basic abc"}, {"x-api-key": ""}]
)
async def test_it_refuses_missing_credentials_in_the_dialect_of_the_path(chat, message, credentials):
    headers = {**without(CHAT_HEADERS, "Authorization"), **credentials}
    reply = await chat("hello", headers=headers)
    assert (reply.status, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    headers = {**without(MESSAGES_HEADERS, "x-api-key"), **credentials}
    reply = await message("hello", headers=headers)
    assert (reply.status, reply.json()["error"]["type"]) == (401, "authentication_error")


async def test_it_accepts_either_kind_of_credentials(chat, message):
    bearer, api_key = {"Authorization": "Bearer x"}, {"x-api-key": "x"}
    for credentials in (bearer, api_key):
        assert (await chat("hello", headers={"Content-Type": "application/json", **credentials})).status == 200
        headers = {**without(MESSAGES_HEADERS, "x-api-key"), **credentials}
        assert (await message("hello", headers=headers)).status == 200


async def test_it_accepts_only_its_key_when_it_has_one():
    async with Simulator(port=0, key="sk-right") as simulator:
        for key, is_right in (("sk-right", True), ("sk-wrong", False)):
            async with openai.AsyncOpenAI(base_url=simulator.url, api_key=key, max_retries=0) as client:
                if is_right:
                    assert await client.models.list()
                else:
                    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
                        await client.models.list()


async def test_it_answers_unknown_paths_in_the_callers_dialect(send):
    reply = await send("/v1/nothing", {}, CHAT_HEADERS)
    assert (reply.status, reply.json()["error"]["type"]) == (404, "invalid_request_error")
    reply = await send("/v1/nothing", {}, MESSAGES_HEADERS)
    assert (reply.status, reply.json()["error"]["type"]) == (404, "not_found_error")


async def test_it_answers_head_without_a_body(simulator):
    async with httpx.AsyncClient(base_url=simulator.url, headers=CHAT_HEADERS) as client:
        assert (await client.head("/")).status_code == 404
        assert (await client.get("/v1/models")).status_code == 200
    assert simulator.counters.connections == 1


async def test_it_refuses_a_wrong_method(send):
    reply = await send(CHAT, b"", CHAT_HEADERS, method="GET")
    assert (reply.status, reply.json()["error"]["code"]) == (405, "method_not_supported")


async def test_it_knows_no_presets_but_its_own(chat, message):
    reply = await chat("hello", model="sim-unknown")
    assert (reply.status, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert (await message("hello", model="sim-unknown")).json()["error"]["type"] == "not_found_error"
    assert (await chat("hello", model="any-other-name")).status == 200


async def test_it_explains_a_marker_that_means_nothing(chat):
    reply = await chat("[[chunk=5]]")
    assert reply.status == 400
    assert "unknown key 'chunk'" in reply.json()["error"]["message"]


OLD, NEWER, NEWEST = "claude-sonnet-4-5-20250929", "claude-opus-5", "claude-sonnet-5-5"
FORCED = {"tools": [CUSTOM], "tool_choice": {"type": "any"}}
PREFILL = {"messages": [USER, {"role": "assistant", "content": "so"}]}
SYSTEM_TURN = {"messages": [USER, {"role": "system", "content": "be brief"}]}
DISABLED = {"thinking": {"type": "disabled"}}
ENABLED = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
HIGH = {**DISABLED, "output_config": {"effort": "max"}}


@pytest.mark.parametrize(
    ("model", "fields", "message_part"),
    [
        (NEWEST, FORCED, "forced tool use is not supported"),
        (NEWEST, {"tools": [CUSTOM], "tool_choice": {"type": "tool", "name": "f"}}, "forced tool use"),
        ("claude-fable-5-1", FORCED, "forced tool use"),
        (NEWEST, ENABLED, "thinking.type.enabled"),
        ("claude-haiku-5-5", ENABLED, "thinking.type.enabled"),
        ("claude-fable-5", DISABLED, "thinking.type.disabled"),
        (NEWEST, DISABLED, "thinking.type.disabled"),
        (NEWER, HIGH, "while thinking is disabled"),
        (NEWER, {"temperature": 0.5}, "`temperature`"),
        (NEWER, {"top_p": 0.9}, "`top_p`"),
        ("claude-opus-4-7", {"top_k": 5}, "`top_k`"),
        (NEWER, PREFILL, "prefill"),
        ("claude-opus-4.6", PREFILL, "prefill"),
        (OLD, SYSTEM_TURN, "role 'system' is not supported on this model"),
        (OLD, {"output_config": {"effort": "huge"}}, "effort"),
        (OLD, {"stop": ["x"]}, "stop: Extra inputs are not permitted"),
        (OLD, {"max_completion_tokens": 5}, "Extra inputs are not permitted"),
    ],
)
async def test_it_refuses_what_a_claude_model_refuses(message, model, fields, message_part):
    reply = await message("hello", model=model, **fields)
    assert reply.status == 400
    assert message_part in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (NEWER, FORCED),
        ("claude-fable-5", FORCED),
        (NEWER, {"temperature": 1, "top_p": 1}),
        (NEWER, SYSTEM_TURN),
        (NEWER, {**DISABLED, "output_config": {"effort": "high"}}),
        (OLD, {"temperature": 0.5, "top_k": 5}),
        (OLD, ENABLED),
        (OLD, PREFILL),
        ("sim-fast", {**FORCED, "temperature": 0.5}),
    ],
)
async def test_it_accepts_what_a_claude_model_accepts(message, model, fields):
    assert (await message("hello", model=model, **fields)).status == 200


async def test_the_new_version_refuses_citations_of_a_user(message):
    cited = {**TEXT, "citations": [{"type": "char_location"}]}
    result = {"type": "search_result", "source": "x", "title": "x", "content": [cited]}
    headers = {**MESSAGES_HEADERS, "anthropic-version": "2026-10-21"}
    for block in (cited, result):
        assert (await message("", messages=[user(block)])).status == 200
        assert (await message("", messages=[user(block)], headers=headers)).status == 400
