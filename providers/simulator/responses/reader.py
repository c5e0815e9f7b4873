"""Reads a request for a response, and refuses what the provider refuses."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from providers.simulator.ask import Ask, Json, Tool, count_words
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
from providers.simulator.responses.items import Conversation, history, texts, unsealed
from providers.simulator.responses.kept import Kept
from providers.simulator.responses.tools import check_unique, choose, must_call, read_tools

SMALLEST_LIMIT = 16
INTEGERS = {"top_logprobs": (0, 20), "max_tool_calls": (1, MOST_TOKENS)}
NUMBERS = {"temperature": (0, 2), "top_p": (0, 1)}
FLAGS = ("stream", "store", "background", "parallel_tool_calls")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SUMMARIES = ("auto", "concise", "detailed")
INCLUDES = (
    *("reasoning.encrypted_content", "message.output_text.logprobs", "message.input_image.image_url"),
    *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources"),
    *("code_interpreter_call.outputs", "computer_call_output.output.image_url", "image_generation_call.results"),
)
# Fields of other endpoints and other vendors. Fields that nobody knows are let through: they may be newer than we are.
FOREIGN = {
    *("messages", "n", "stop", "seed", "max_tokens", "max_completion_tokens", "response_format", "reasoning_effort"),
    *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "functions", "function_call", "modalities"),
    *("audio", "prediction", "verbosity", "web_search_options", "system", "stop_sequences", "thinking", "top_k"),
    *("output_config", "cache_control", "contents", "generationConfig", "systemInstruction", "toolConfig"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesAsk(Ask):
    items: list[Json]  # all of the conversation, also what earlier responses hold
    is_stored: bool
    echo: bytes  # the fields that a response repeats, without braces


def reader(kept: Kept) -> Callable[[Request], ResponsesAsk]:
    """Reads requests for a response."""

    def read(request: Request) -> ResponsesAsk:
        body = json_object(request)
        require_fields(body, ("model",))
        return _ask(body, kept)

    return read


def count_reader(kept: Kept) -> Callable[[Request], ResponsesAsk]:
    """Reads requests for a count, which have no stream and are not kept."""

    def read(request: Request) -> ResponsesAsk:
        body = json_object(request)
        return _ask({**body, "model": body.get("model") or "sim-fast", "stream": False, "store": False}, kept)

    return read


def _ask(body: Json, kept: Kept) -> ResponsesAsk:
    require(isinstance(body["model"], str) and body["model"] != "", "model", "a model name")
    _check_options(body)
    previous = body.get("previous_response_id")
    conversation = _conversation(body, kept)
    declared = _declared(body, conversation)
    story = tell(history(conversation.items))
    instructions = body.get("instructions") or ""
    counted = [instructions, *(text for item in conversation.items for text in texts(item))]
    return ResponsesAsk(
        model=body["model"],
        text=story.text,
        input_tokens=count_words(counted),
        stream=body.get("stream") or False,
        max_tokens=body.get("max_output_tokens"),
        tools=choose(body.get("tool_choice"), declared),
        must_call=must_call(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        is_tool_result=story.is_tool_result,
        task=story.task,
        results=story.results,
        schema=_schema((body.get("text") or {}).get("format")),
        seals=conversation.seals,
        unsealed=unsealed(conversation.items),
        is_volatile=previous is not None or conversation.has_looked_up,
        items=conversation.items,
        is_stored=body.get("store") is not False,
        echo=_echo(body),
    )


def _conversation(body: Json, kept: Kept) -> Conversation:
    conversation = Conversation(model=body["model"], find=kept.find)
    previous = body.get("previous_response_id")
    if previous is not None:
        require(isinstance(previous, str), "previous_response_id", "a string")
        conversation.keep(kept.conversation(previous))
    given = body.get("input")
    if given is None and previous is None and body.get("prompt") is None:
        message = 'One of "input" or "previous_response_id" or "prompt" or "conversation" must be provided.'
        refuse(message, "input", "missing_required_parameter")
    if given is not None:
        conversation.read(given)
    conversation.close()
    return conversation


def _declared(body: Json, conversation: Conversation) -> tuple[Tool, ...]:
    tools = body.get("tools")
    declared = [*(read_tools(tools, "tools") if tools is not None else ()), *conversation.tools]
    check_unique(declared)
    return tuple(declared)


def _check_options(body: Json) -> None:
    for name in body.keys() & FOREIGN:
        refuse(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    check_numbers(body, INTEGERS, NUMBERS)
    _check_limit(body.get("max_output_tokens"))
    for name in FLAGS:
        require(isinstance(body.get(name), bool | None), name, "a boolean")
    instructions = body.get("instructions")
    require(isinstance(instructions, str | None), "instructions", "a string")
    if body.get("stream_options") is not None and not body.get("stream"):
        refuse("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if body.get("conversation") is not None and body.get("previous_response_id") is not None:
        refuse("Mutually exclusive parameters: 'conversation' and 'previous_response_id'.", "conversation")
    if body.get("truncation") is not None:
        require_value(body["truncation"], ("auto", "disabled"), "truncation")
    _check_include(body.get("include"))
    _check_reasoning(body.get("reasoning"))
    _check_text(body.get("text"))
    _check_metadata(body.get("metadata"))


def _check_limit(limit: object) -> None:
    if limit is None:
        return
    if not isinstance(limit, int) or isinstance(limit, bool):
        refuse_type("max_output_tokens", "an integer")
    if limit < SMALLEST_LIMIT:
        expected = f"Expected a value >= {SMALLEST_LIMIT}, but got {limit} instead."
        message = f"Invalid 'max_output_tokens': integer below minimum value. {expected}"
        refuse(message, "max_output_tokens", "integer_below_min_value")


def _check_include(include: object) -> None:
    if include is None:
        return
    if not isinstance(include, list):
        refuse_type("include", "an array of strings")
    for index, name in enumerate(include):
        require_value(name, INCLUDES, f"include[{index}]")


def _check_reasoning(reasoning: object) -> None:
    if reasoning is None:
        return
    if not isinstance(reasoning, dict):
        refuse_type("reasoning", "an object")
    for name, allowed in (("effort", EFFORTS), ("summary", SUMMARIES)):
        if reasoning.get(name) is not None:
            require_value(reasoning[name], allowed, f"reasoning.{name}")


def _check_text(text: object) -> None:
    if text is None:
        return
    if not isinstance(text, dict):
        refuse_type("text", "an object")
    if text.get("verbosity") is not None:
        require_value(text["verbosity"], ("low", "medium", "high"), "text.verbosity")
    wanted = text.get("format")
    if wanted is None:
        return
    if not isinstance(wanted, dict):
        refuse_type("text.format", "an object")
    require_value(wanted.get("type"), ("text", "json_object", "json_schema"), "text.format.type")
    if wanted["type"] == "json_schema":
        _check_schema(wanted)


def _check_schema(wanted: Json) -> None:
    for name in ("name", "schema"):
        if name not in wanted:
            at = f"text.format.{name}"
            refuse(f"Missing required parameter: '{at}'.", at, "missing_required_parameter")
    require(isinstance(wanted["schema"], dict), "text.format.schema", "an object")
    if wanted.get("strict") is True:
        what = f"response_format '{wanted['name']}'"
        check_strict_schema(wanted["schema"], "text.format.schema", what, "invalid_json_schema")


def _check_metadata(metadata: object) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        refuse_type("metadata", "an object")
    if len(metadata) > 16:
        message = f"Invalid 'metadata': too many properties. Expected at most 16, but got {len(metadata)} instead."
        refuse(message, "metadata", "object_above_max_properties")
    for name, value in metadata.items():
        require(isinstance(value, str), f"metadata.{name}", "a string")


def _schema(wanted: Json | None) -> Json | None:
    match (wanted or {}).get("type"):
        case "json_schema":
            schema: Json = (wanted or {})["schema"]
            return schema
        case "json_object":
            return {"type": "object", "properties": {"answer": {"type": "string"}}}
    return None


def _echo(body: Json) -> bytes:
    """The request's fields as every response repeats them."""
    reasoning, text = body.get("reasoning") or {}, body.get("text") or {}
    echoed = {
        "background": False,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": body["model"],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
        "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity") or "medium"},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
        "truncation": body.get("truncation") or "disabled",
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }
    return orjson.dumps(echoed)[1:-1]
