import pytest

USER = {"role": "user", "content": "hello"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
CODE_CALL = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "exec", "input": "1"}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
NESTED = {"type": "function", "function": {"name": "f"}}
OPEN_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
STRICT = {"type": "json_schema", "name": "x", "schema": OPEN_SCHEMA, "strict": True}


def item(**fields):
    return {"input": [USER, fields]}


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"model": ""}, "model", "model name"),
        ({"input": 5}, "input", "a string or an array"),
        ({"input": ["hi"]}, "input[0]", "an object"),
        (item(type="video"), "input[1].type", "Supported values are"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "Supported values"),
        ({"input": [{"role": "user"}]}, "input[0].content", "array"),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            "input[0].content[0].type",
            "input_text",
        ),
        (
            {"input": [USER, {**MESSAGE, "content": [{"type": "input_text", "text": "x"}]}]},
            "input[1].content[0].type",
            "output_text",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]", "image_url"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0].image_url",
            "URL",
        ),
        ({"input": [USER, {**MESSAGE, "id": "item_1"}]}, "input[1].id", "begins with 'msg'"),
        ({"input": [USER, {**CALL, "id": "call_1"}, OUTPUT]}, "input[1].id", "Expected an ID that begins with 'fc'"),
        ({"input": [USER, {**CODE_CALL, "id": "fc_1"}]}, "input[1].id", "begins with 'ctc'"),
        (
            {"input": [USER, {"type": "reasoning", "id": "msg_1", "summary": []}, MESSAGE]},
            "input[1].id",
            "begins with 'rs'",
        ),
        ({"input": [USER, MESSAGE, MESSAGE]}, "input", "Duplicate item found with id msg_1"),
        ({"input": [USER, {**CALL, "call_id": "x" * 65}, OUTPUT]}, "input[1].call_id", "maximum length 64"),
        ({"input": [USER, {**CALL, "arguments": {}}, OUTPUT]}, "input[1].arguments", "a string"),
        ({"input": [USER, {"type": "function_call", "name": "f", "arguments": ""}]}, "input[1].call_id", "Missing"),
        ({"input": [USER, OUTPUT]}, "input", "No tool call found for function call output with call_id call_1."),
        ({"input": [USER, CALL]}, "input", "No tool output found for function call call_1."),
        ({"input": [USER, CALL, OUTPUT, OUTPUT]}, "input", "No tool call found"),
        ({"input": [USER, CODE_CALL]}, "input", "No tool output found for custom tool call call_2."),
        (
            {"input": [USER, CODE_CALL, {**OUTPUT, "call_id": "call_2"}]},
            "input",
            "No tool call found for function call output",
        ),
        ({"input": [USER, CALL, {**OUTPUT, "output": {"a": 1}}]}, "input[2].output", "array"),
        (item(type="reasoning", summary=[]), "input[1].id", "Missing"),
        (item(type="reasoning", id="rs_1"), "input[1].summary", "Missing"),
        (item(type="additional_tools", role="user", tools=[]), "input[1].role", "developer"),
        (item(type="additional_tools", role="developer", tools=[NESTED]), "input[1].tools[0].name", "Missing"),
        ({"tools": [NESTED]}, "tools[0].name", "Missing required parameter"),
        ({"tools": [{"type": "function", "name": "no spaces"}]}, "tools[0].name", "pattern"),
        ({"tools": [{**TOOL, "parameters": {"type": "string"}}]}, "tools[0].parameters", "object"),
        (
            {"tools": [{**TOOL, "parameters": OPEN_SCHEMA, "strict": True}]},
            "tools[0].parameters",
            "additionalProperties",
        ),
        ({"tools": [TOOL, TOOL]}, "tools", "unique"),
        ({"tools": [{"type": "browser"}]}, "tools[0].type", "Supported values"),
        (
            {"tools": [{"type": "namespace", "name": "n", "description": "", "tools": [{"type": "shell"}]}]},
            "tools[0].tools[0].type",
            "function",
        ),
        (
            {"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "ebnf"}}]},
            "tools[0].format.syntax",
            "lark",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice", "not found"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", "not found"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice", "Supported values"),
        ({"max_output_tokens": 5}, "max_output_tokens", "Expected a value >= 16, but got 5"),
        ({"temperature": 3}, "temperature", "expected 0 to 2"),
        ({"stream": "yes"}, "stream", "boolean"),
        ({"stream_options": {}}, "stream_options", "only allowed"),
        ({"instructions": ["x"]}, "instructions", "a string"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "xhigh"),
        ({"reasoning": {"summary": True}}, "reasoning.summary", "concise"),
        ({"include": ["everything"]}, "include[0]", "reasoning.encrypted_content"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "json_schema"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "Missing"),
        ({"text": {"format": STRICT}}, "text.format.schema", "additionalProperties"),
        ({"metadata": {"a": 1}}, "metadata.a", "a string"),
        ({"conversation": "c", "previous_response_id": "r"}, "conversation", "Mutually exclusive"),
        ({"messages": []}, "messages", "Unknown parameter: 'messages'."),
        ({"max_tokens": 5}, "max_tokens", "Unknown parameter"),
        ({"stop": ["x"]}, "stop", "Unknown parameter"),
    ],
)
async def test_it_refuses_a_malformed_response_request(respond, fields, param, message):
    given = fields.pop("input", "hello") if "input" in fields else "hello"
    reply = await respond(given, **fields)
    assert reply.status == 400
    error = reply.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert message in error["message"]


async def test_it_refuses_reasoning_that_nothing_follows(respond):
    reasoning = (await respond("hi", model="sim-thinking")).json()["output"][0]
    for history in ([USER, reasoning], [USER, reasoning, USER]):
        reply = await respond(history, model="sim-thinking")
        assert reply.status == 400
        assert (
            "of type 'reasoning' was provided without its required following item" in reply.json()["error"]["message"]
        )


@pytest.mark.parametrize("kind", ["item_reference", "reasoning"])
async def test_it_finds_no_items_that_it_did_not_keep(respond, kind):
    reply = await respond([{"type": kind, "id": "rs_1", "summary": []}, MESSAGE, USER])
    assert reply.status == 404
    assert "Items are not persisted when `store` is set to false." in reply.json()["error"]["message"]


async def test_it_needs_some_input(send, respond):
    reply = await respond(None)
    assert (reply.status, reply.json()["error"]["code"]) == (400, "missing_required_parameter")


async def test_it_accepts_what_it_does_not_know(respond):
    assert (await respond("hello", future_field={"a": 1}, client_metadata={"a": "b"})).status == 200


async def test_it_accepts_a_whole_history(respond):
    history = [
        {"type": "message", "role": "developer", "content": "be brief"},
        {**USER, "id": "msg_0", "status": "completed"},
        {**MESSAGE, "phase": "commentary"},
        CALL,
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_3", "action": {"type": "exec", "command": ["ls"]}},
        {**OUTPUT, "id": "fco_1", "output": [{"type": "input_text", "text": "1"}]},
        {**OUTPUT, "call_id": "call_3"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        CODE_CALL,
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "1"},
        {"role": "assistant", "content": "so"},
        USER,
    ]
    assert (await respond(history)).status == 200
