"""Reads a request for a chat completion, and refuses what the provider refuses."""

from providers.simulator.ask import Ask, Json, count_words
from providers.simulator.chat_completions.messages import check_messages, history, texts_of, unsealed
from providers.simulator.chat_completions.tools import callable_tools, declared_tools, must_call
from providers.simulator.endpoint import json_object
from providers.simulator.history import tell
from providers.simulator.openai_checks import (
    MOST_TOKENS,
    check_numbers,
    check_strict_schema,
    refuse,
    refuse_type,
    require,
    require_fields,
    require_value,
)
from providers.simulator.requests import Request

INTEGERS = {
    "n": (1, 128),
    "max_tokens": (1, MOST_TOKENS),
    "max_completion_tokens": (1, MOST_TOKENS),
    "top_logprobs": (0, 20),
}
NUMBERS = {"temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
# Fields of other endpoints and vendors; fields that nobody knows are let through.
FOREIGN = {
    *("input", "instructions", "max_output_tokens", "previous_response_id", "system", "stop_sequences"),
    *("contents", "generationConfig", "systemInstruction", "toolConfig", "output_config"),
}


def read(request: Request) -> Ask:
    """Check everything the provider checks; unknown fields are accepted, as it does."""
    body = json_object(request)
    require_fields(body, ("model", "messages"))
    for field in body.keys() & FOREIGN:
        refuse(f"Unrecognized request argument supplied: {field}", None)
    require(isinstance(body["model"], str) and body["model"] != "", "model", "a model name")
    _check_options(body)
    tools = declared_tools(body)
    messages: list[Json] = body["messages"]
    check_messages(messages)
    include_usage = (body.get("stream_options") or {}).get("include_usage") or False
    story = tell(history(messages))
    return Ask(
        model=body["model"],
        text=story.text,
        input_tokens=count_words(text for message in messages for text in texts_of(message)),
        stream=body.get("stream") or False,
        include_usage=include_usage,
        choices=body.get("n") or 1,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        tools=callable_tools(body, tools),
        must_call=must_call(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        is_tool_result=story.is_tool_result,
        task=story.task,
        results=story.results,
        schema=_schema(body.get("response_format")),
        unsealed=unsealed(messages),
    )


def _check_options(body: Json) -> None:
    check_numbers(body, INTEGERS, NUMBERS)
    require(isinstance(body.get("stream"), bool | None), "stream", "a boolean")
    options = body.get("stream_options")
    if options is not None:
        require(isinstance(options, dict), "stream_options", "an object")
        if not body.get("stream"):
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            refuse(message, "stream_options")
    stop = body.get("stop")
    is_list = isinstance(stop, list) and len(stop) <= 4 and all(isinstance(entry, str) for entry in stop)
    require(stop is None or isinstance(stop, str) or is_list, "stop", "a string or at most 4 strings")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        refuse(message, "max_tokens")
    if body.get("response_format") is not None:
        _check_format(body["response_format"], "response_format")


def _check_format(wanted: object, where: str) -> None:
    if not isinstance(wanted, dict):
        refuse_type(where, "an object")
    require_value(wanted.get("type"), ("text", "json_object", "json_schema"), f"{where}.type")
    if wanted["type"] == "json_schema":
        named = wanted.get("json_schema")
        if not isinstance(named, dict):
            refuse_type(f"{where}.json_schema", "an object")
        if named.get("strict") is True:
            what = f"response_format '{named.get('name')}'"
            check_strict_schema(named.get("schema"), where, what, "invalid_json_schema")


def _schema(response_format: Json | None) -> Json | None:
    match (response_format or {}).get("type"):
        case "json_schema":
            schema = (response_format or {})["json_schema"].get("schema")
            return schema if isinstance(schema, dict) else {}
        case "json_object":
            return {"type": "object", "properties": {"answer": {"type": "string"}}}
    return None
