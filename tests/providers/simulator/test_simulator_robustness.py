"""Whatever stands in a body, the answer is an answer: every value of a request is replaced by every kind of value."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest

from providers.simulator.counters import Counters
from providers.simulator.outages import Outages
from providers.simulator.provider import Provider
from providers.simulator.requests import Request

WRONG = (None, True, 5, -1.5, "", "x", [], {}, [None], [[]], [{}], {"type": "x"}, {"x": 1}, ["x"])
HEADERS = [
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer x"),
    (b"x-goog-api-key", b"x"),
    (b"anthropic-version", b"2026-10-21"),
]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "integer"}}},
}
CLOSED = {**SCHEMA, "additionalProperties": False, "required": ["a", "b"]}

CHAT = {
    "model": "sim-agent",
    "messages": [
        {"role": "developer", "content": "be brief"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "[[chunks=2]]"}, {"type": "image_url", "image_url": {"url": "x"}}],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "1"}]},
        {"role": "user", "content": "go on"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": CLOSED, "strict": True}},
        {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "custom", "custom": {"name": "g"}}]},
    },
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": CLOSED, "strict": True}},
    "max_completion_tokens": 5,
    "temperature": 1,
    "stop": ["x"],
    "n": 1,
    "stream": True,
    "stream_options": {"include_usage": True},
}
RESPONSES = {
    "model": "sim-agent",
    "instructions": "be brief",
    "input": [
        {
            "type": "additional_tools",
            "role": "developer",
            "tools": [
                {"type": "custom", "name": "h", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "[[tools=one]]"},
                {"type": "input_image", "image_url": "https://x"},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "1"}]},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "h", "input": "x", "namespace": "n"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "1"},
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "c3", "action": {"type": "exec", "command": ["ls"]}},
        {"type": "local_shell_call_output", "id": "lsh_1", "output": "x"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "x"}],
            "phase": "commentary",
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "x"}],
            "encrypted_content": None,
        },
        {"type": "message", "role": "assistant", "content": "x"},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": CLOSED, "strict": True},
        {"type": "namespace", "name": "n", "description": "", "tools": [{"type": "function", "name": "g"}]},
        {"type": "shell"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": CLOSED, "strict": True}, "verbosity": "low"},
    "include": ["reasoning.encrypted_content"],
    "metadata": {"a": "b"},
    "max_output_tokens": 16,
    "store": True,
    "stream": True,
}
MESSAGES = {
    "model": "sim-agent",
    "max_tokens": 5000,
    "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "[[tools=one]]"},
                {"type": "image", "source": {"type": "url", "url": "x"}},
            ],
        },
        {"role": "system", "content": "x"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "x"}, {"type": "tool_use", "id": "t1", "name": "f", "input": {}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "1"}]},
                {"type": "search_result", "source": "x", "title": "x", "content": [{"type": "text", "text": "x"}]},
            ],
        },
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA}, {"type": "bash_20250124", "name": "bash"}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "stop_sequences": ["x"],
    "metadata": {"user_id": "x"},
    "stream": True,
}
GEMINI = {
    "systemInstruction": {"parts": [{"text": "be brief"}]},
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "[[tools=one]]"}, {"inlineData": {"mimeType": "image/png", "data": "eA=="}}],
        },
        {
            "role": "model",
            "parts": [{"text": "hm", "thought": True}, {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}}],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "1",
                        "name": "f",
                        "response": {"output": "1"},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": "eA=="}}],
                    }
                }
            ],
        },
        {"role": "model", "parts": [{"text": "x", "thoughtSignature": "skip_thought_signature_validator"}]},
        {"role": "user", "parts": [{"fileData": {"fileUri": "x", "mimeType": "x"}}]},
    ],
    "tools": [
        {
            "functionDeclarations": [
                {"name": "f", "parameters": {**SCHEMA, "anyOf": [SCHEMA], "required": ["a"]}},
                {"name": "g", "parametersJsonSchema": SCHEMA},
            ]
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "temperature": 1,
        "stopSequences": ["x"],
        "responseMimeType": "application/json",
        "responseSchema": SCHEMA,
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
    },
}
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1beta/models/sim-agent:streamGenerateContent?alt=sse": GEMINI,
}


def answer(provider: Provider, path: str, body: object) -> bytes:
    request = Request(method="POST", target=path.encode(), headers=HEADERS, body=orjson.dumps(body))
    return provider.answer(request).packets[0].data


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def replaced(body: Any, path: tuple[Any, ...], value: object) -> Any:
    changed = deepcopy(body)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return changed


@pytest.mark.parametrize("path", BODIES)
def test_it_answers_whatever_stands_in_a_body(path):
    provider = Provider(key=None, counters=Counters(), outages=Outages())
    statuses = set()
    for place in places(BODIES[path]):
        for value in WRONG:
            head = answer(provider, path, replaced(BODIES[path], place, value))
            statuses.add(int(head.split(b" ", 2)[1]))
    assert statuses <= {200, 400, 404}
    assert {200, 400} <= statuses


@pytest.mark.parametrize("path", BODIES)
def test_the_body_that_is_bent_is_a_good_one(path):
    body = BODIES[path]
    if body is RESPONSES:
        # Its reasoning was never kept: what refuses it is behind everything else.
        body = {**body, "input": [item for item in body["input"] if item.get("type") != "reasoning"]}
    assert answer(Provider(key=None, counters=Counters(), outages=Outages()), path, body).startswith(b"HTTP/1.1 200 OK")
