"""Chat Completions, as strict as the provider: https://platform.openai.com/docs/api-reference/chat"""

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import NoReturn

import orjson

from providers.simulator.ask import Ask, Json, Tool, count_words
from providers.simulator.behaviour import Finish, Thinking, UsageShape
from providers.simulator.endpoint import Endpoint, json_object
from providers.simulator.envelopes import OPENAI, ApiError
from providers.simulator.frames import Frame, Kind
from providers.simulator.requests import Request
from providers.simulator.turn import Call, Text, Thought, Turn, Usage

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
PARTS = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "tool": ("text",),
    "developer": ("text",),
    "system": ("text",),
    "function": ("text",),
}
TOOL_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "refusal", "audio")
LONGEST_CALL_ID = 64
MOST_TOKENS = 10**9
INTEGERS = {
    "n": (1, 128),
    "max_tokens": (1, MOST_TOKENS),
    "max_completion_tokens": (1, MOST_TOKENS),
    "top_logprobs": (0, 20),
}
NUMBERS = {"temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
FINISH_REASONS = {
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.REFUSAL: "stop",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.NONE: None,
}
DONE = Frame.data(Kind.TERMINAL, b"[DONE]")


# Reading.


def read(request: Request) -> Ask:
    """Check everything the provider checks; unknown fields are accepted, as it does."""
    body = json_object(request)
    for field in ("model", "messages"):
        if field not in body:
            _refuse(f"Missing required parameter: '{field}'.", field, "missing_required_parameter")
    _require(isinstance(body["model"], str) and body["model"] != "", "model", "a model name")
    _check_options(body)
    tools = _declared_tools(body)
    messages: list[Json] = body["messages"]
    _check_messages(messages)
    include_usage = (body.get("stream_options") or {}).get("include_usage") or False
    return Ask(
        model=body["model"],
        text=_last_user_text(messages),
        input_tokens=count_words(text for message in messages for text in _texts(message)),
        stream=body.get("stream") or False,
        include_usage=include_usage,
        choices=body.get("n") or 1,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        tools=_callable_tools(body, tools),
        must_call=body.get("tool_choice") not in (None, "auto", "none"),
        parallel=body.get("parallel_tool_calls") is not False,
        is_tool_result=messages[-1]["role"] in ("tool", "function"),
        schema=_schema(body.get("response_format")),
    )


def _require(is_right: bool, param: str, expected: str) -> None:
    if not is_right:
        _refuse_type(param, expected)


def _require_value(value: object, allowed: tuple[str, ...], param: str) -> None:
    if value not in allowed:
        supported = ", ".join(repr(choice) for choice in allowed)
        message = f"Invalid value: {value!r}. Supported values are: {supported}."
        _refuse(message, param, "invalid_value")


def _refuse(message: str, param: str, code: str | None = None) -> NoReturn:
    raise ApiError(400, message, param=param, code=code)


def _refuse_type(param: str, expected: str) -> NoReturn:
    _refuse(f"Invalid type for '{param}': expected {expected}.", param, "invalid_type")


def _check_options(body: Json) -> None:
    _check_numbers(body)
    _require(isinstance(body.get("stream"), bool | None), "stream", "a boolean")
    options = body.get("stream_options")
    if options is not None:
        _require(isinstance(options, dict), "stream_options", "an object")
        if not body.get("stream"):
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            _refuse(message, "stream_options")
    stop = body.get("stop")
    is_list = isinstance(stop, list) and len(stop) <= 4 and all(isinstance(entry, str) for entry in stop)
    _require(stop is None or isinstance(stop, str) or is_list, "stop", "a string or at most 4 strings")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        _refuse(message, "max_tokens")
    if body.get("response_format") is not None:
        _check_format(body["response_format"], "response_format")


def _check_format(wanted: object, where: str) -> None:
    if not isinstance(wanted, dict):
        _refuse_type(where, "an object")
    _require_value(wanted.get("type"), ("text", "json_object", "json_schema"), f"{where}.type")
    if wanted["type"] == "json_schema":
        _require(isinstance(wanted.get("json_schema"), dict), f"{where}.json_schema", "an object")


def _check_numbers(body: Json) -> None:
    for limits, kinds, noun in ((INTEGERS, int, "an integer"), (NUMBERS, int | float, "a number")):
        for field in limits.keys() & body.keys():
            value = body[field]
            if value is None:
                continue
            _require(isinstance(value, kinds) and not isinstance(value, bool), field, noun)
            low, high = limits[field]
            if not low <= value <= high:
                message = f"Invalid '{field}': expected {low} to {high}, but got {value} instead."
                _refuse(message, field, "integer_out_of_range")


def _declared_tools(body: Json) -> list[Json]:
    tools = body.get("tools")
    if tools is None:
        for field in ("tool_choice", "parallel_tool_calls"):
            if body.get(field) is not None and body[field] != "none":
                _refuse(f"'{field}' is only allowed when 'tools' are specified.", field)
        return []
    _require(isinstance(tools, list), "tools", "an array of objects")
    if not tools:
        _refuse("Invalid 'tools': empty array. Expected at least one tool.", "tools", "empty_array")
    for index, tool in enumerate(tools):
        _check_tool(tool, f"tools[{index}]")
    return list(tools)


def _check_tool(tool: object, where: str) -> None:
    inner, at = _typed(tool, where)
    name, schema = inner.get("name"), inner.get("parameters")
    if not isinstance(name, str) or not TOOL_NAME.match(name):
        message = f"Invalid '{at}.name': string does not match pattern. Expected '{TOOL_NAME.pattern}'."
        _refuse(message, f"{at}.name", "invalid_value")
    _require(schema is None or isinstance(schema, dict), f"{where}.function.parameters", "an object")
    if schema and schema.get("type") != "object":
        message = f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"'."
        _refuse(message, f"{where}.function.parameters", "invalid_function_parameters")


def _typed(given: object, where: str) -> tuple[Json, str]:
    """What a tool or a call holds under the name of its type, and where."""
    if not isinstance(given, dict):
        _refuse_type(where, "an object")
    _require_value(given.get("type"), ("function", "custom"), f"{where}.type")
    inner, at = given.get(given["type"]), f"{where}.{given['type']}"
    if not isinstance(inner, dict):
        _refuse_type(at, "an object")
    return inner, at


def _callable_tools(body: Json, declared: list[Json]) -> tuple[Tool, ...]:
    """The functions that `tool_choice` leaves; free-text (custom) tools are accepted and never called."""
    functions = [tool["function"] for tool in declared if tool["type"] == "function"]
    tools = tuple(Tool(name=each["name"], schema=each.get("parameters") or {}) for each in functions)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return _chosen_tools(choice, tools)
    if choice is not None:
        _require_value(choice, ("none", "auto", "required"), "tool_choice")
    return () if choice == "none" else tools


def _chosen_tools(choice: Json, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    _require_value(choice.get("type"), ("function", "custom", "allowed_tools"), "tool_choice.type")
    if choice["type"] != "function":
        return tools
    _require(isinstance(choice.get("function"), dict), "tool_choice.function", "an object")
    name = choice["function"].get("name")
    chosen = tuple(tool for tool in tools if tool.name == name)
    if not chosen:
        _refuse(f"Tool choice 'function' with name '{name}' not found in 'tools' parameter.", "tool_choice")
    return chosen


def _schema(response_format: Json | None) -> Json | None:
    match (response_format or {}).get("type"):
        case "json_schema":
            schema = (response_format or {})["json_schema"].get("schema")
            return schema if isinstance(schema, dict) else {}
        case "json_object":
            return {"type": "object", "properties": {"answer": {"type": "string"}}}
    return None


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list):
        _refuse_type("messages", "an array of objects")
    if not messages:
        _refuse("Invalid 'messages': empty array. Expected at least one message.", "messages", "empty_array")
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        _require(isinstance(message, dict), where, "an object")
        _require_value(message.get("role"), ROLES, f"{where}.role")
        _check_content(message, where)
        if message["role"] == "tool":
            _answer_call(message, open_calls, where)
            continue
        _refuse_open_calls(open_calls, where)
        open_calls = _made_calls(message, where)
    _refuse_open_calls(open_calls, f"messages[{len(messages) - 1}]")


def _check_content(message: Json, where: str) -> None:
    role, content = message["role"], message.get("content")
    if content is None:
        is_optional = role == "assistant" and any(message.get(field) for field in INSTEAD_OF_CONTENT)
        _require(is_optional, f"{where}.content", "a string or an array of objects, but got null")
        return
    if isinstance(content, str):
        return
    is_list = isinstance(content, list) and content != []
    _require(is_list, f"{where}.content", "a string or an array of objects")
    for index, part in enumerate(content):
        at = f"{where}.content[{index}]"
        _require(isinstance(part, dict), at, "an object")
        _require_value(part.get("type"), PARTS[role], f"{at}.type")
        if part["type"] == "text":
            _require(isinstance(part.get("text"), str), f"{at}.text", "a string")


def _made_calls(message: Json, where: str) -> set[str]:
    calls = message.get("tool_calls")
    if calls is None or message["role"] != "assistant":
        return set()
    _require(isinstance(calls, list), f"{where}.tool_calls", "an array of objects")
    if not calls:
        _refuse(f"Invalid '{where}.tool_calls': empty array.", f"{where}.tool_calls", "empty_array")
    for index, call in enumerate(calls):
        _check_call(call, f"{where}.tool_calls[{index}]")
    return {call["id"] for call in calls}


def _check_call(call: Json, where: str) -> None:
    inner, at = _typed(call, where)
    call_id = call.get("id")
    if not isinstance(call_id, str) or not call_id:
        _refuse_type(f"{where}.id", "a string")
    if len(call_id) > LONGEST_CALL_ID:
        message = f"Invalid '{where}.id': string too long. Expected at most {LONGEST_CALL_ID} characters."
        _refuse(message, f"{where}.id", "string_above_max_length")
    for field in ("name", "arguments" if call["type"] == "function" else "input"):
        _require(isinstance(inner.get(field), str), f"{at}.{field}", "a string")


def _answer_call(message: Json, open_calls: set[str], where: str) -> None:
    call_id = message.get("tool_call_id")
    _require(isinstance(call_id, str), f"{where}.tool_call_id", "a string")
    if call_id not in open_calls:
        text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
        _refuse(f"Invalid parameter: {text}", f"{where}.role")
    open_calls.remove(str(call_id))


def _refuse_open_calls(open_calls: set[str], where: str) -> None:
    if open_calls:
        message = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(sorted(open_calls))
        )
        _refuse(message, f"{where}.role")


def _texts(message: Json) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif content is not None:
        yield from (part["text"] for part in content if part["type"] == "text")


def _last_user_text(messages: list[Json]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return " ".join(_texts(message))
    return ""


# Writing.


def whole(ask: Ask, turn: Turn) -> bytes:
    choice = {"message": _message(turn), "logprobs": None, "finish_reason": FINISH_REASONS[turn.finish]}
    body: Json = {
        "id": _id(turn),
        "object": "chat.completion",
        "created": turn.created,
        "model": ask.model,
        "choices": [{"index": index, **choice} for index in range(ask.choices)],
        "service_tier": "default",
        "system_fingerprint": "fp_sim",
    }
    if turn.usage is not None:
        body["usage"] = _usage(turn.usage)
    return orjson.dumps(body)


def frames(ask: Ask, turn: Turn) -> list[Frame]:
    writer = _Writer(ask, turn)
    return [
        *writer.frames({"role": "assistant", "content": "", "refusal": None}, Kind.OPENING),
        *_content(writer, turn),
        *_closing(writer, ask, turn),
        DONE,
    ]


class _Writer:
    """Chunks of one answer: the same id, time and model in each, one for every choice."""

    def __init__(self, ask: Ask, turn: Turn) -> None:
        head = {
            "id": _id(turn),
            "object": "chat.completion.chunk",
            "created": turn.created,
            "model": ask.model,
            "service_tier": "default",
            "system_fingerprint": "fp_sim",
        }
        self._head = orjson.dumps(head)[:-1] + b',"choices":'
        self._tail = b',"usage":null}' if ask.include_usage else b"}"
        self._choices = range(ask.choices)

    def frames(self, delta: Json, kind: Kind = Kind.CONTENT) -> list[Frame]:
        return self._written(delta, None, self._tail, kind)

    def finish(self, reason: str, usage: Json | None) -> list[Frame]:
        tail = self._tail if usage is None else b',"usage":' + orjson.dumps(usage) + b"}"
        return self._written({}, reason, tail, Kind.CLOSING)

    def usage(self, usage: Json) -> Frame:
        return Frame.data(Kind.CLOSING, self._head + b'[],"usage":' + orjson.dumps(usage) + b"}")

    def pieces(self, field: str, pieces: tuple[str, ...]) -> list[Frame]:
        """One chunk a piece; equal pieces share their bytes."""
        made = {piece: self.frames({field: piece}) for piece in dict.fromkeys(pieces)}
        return [frame for piece in pieces for frame in made[piece]]

    def _written(self, delta: Json, finish_reason: str | None, tail: bytes, kind: Kind) -> list[Frame]:
        rest = {"delta": delta, "logprobs": None, "finish_reason": finish_reason}
        written = [orjson.dumps([{"index": index, **rest}]) for index in self._choices]
        return [Frame.data(kind, self._head + choice + tail) for choice in written]


def _content(writer: _Writer, turn: Turn) -> list[Frame]:
    text_field = "refusal" if turn.finish is Finish.REFUSAL else "content"
    content: list[Frame] = []
    for part in turn.parts:
        match part:
            case Thought(kind=kind, pieces=pieces) if kind is not Thinking.REDACTED:
                content += writer.pieces("reasoning_content", pieces)
            case Text(pieces=pieces):
                content += writer.pieces(text_field, pieces)
    for delta in _call_deltas(turn):
        content += writer.frames({"tool_calls": [delta]})
    return content


def _call_deltas(turn: Turn) -> Iterator[Json]:
    deltas = [list(_deltas(index, call)) for index, call in enumerate(turn.calls)]
    if not turn.is_interleaved:
        yield from (delta for call in deltas for delta in call)
        return
    for row in zip_longest(*deltas):
        yield from (delta for delta in row if delta is not None)


def _deltas(index: int, call: Call) -> Iterator[Json]:
    yield {"index": index, **_call(call, arguments="")}
    for fragment in call.fragments:
        yield {"index": index, "function": {"arguments": fragment}}


def _closing(writer: _Writer, ask: Ask, turn: Turn) -> Iterator[Frame]:
    usage = _usage(turn.usage) if turn.usage is not None and ask.include_usage else None
    reason = FINISH_REASONS[turn.finish]
    if reason is not None:
        with_choices = turn.usage_shape in (UsageShape.TWICE, UsageShape.WITH_CHOICES)
        yield from writer.finish(reason, usage if with_choices else None)
    if usage is not None and turn.usage_shape is not UsageShape.WITH_CHOICES:
        yield writer.usage(usage)


def _message(turn: Turn) -> Json:
    text = turn.text or (None if turn.calls else "")
    is_refusal = turn.finish is Finish.REFUSAL
    message: Json = {
        "role": "assistant",
        "content": None if is_refusal else text,
        "refusal": text if is_refusal else None,
        "annotations": [],
    }
    for part in turn.parts:
        if isinstance(part, Thought) and part.kind is not Thinking.REDACTED:
            message["reasoning_content"] = "".join(part.pieces)
    if turn.calls:
        message["tool_calls"] = [_call(call, arguments="".join(call.fragments)) for call in turn.calls]
    return message


def _call(call: Call, *, arguments: str) -> Json:
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_sim_{call.id}", "type": "function", "function": function}


def _id(turn: Turn) -> str:
    return f"chatcmpl-sim-{turn.number:06d}"


def _usage(usage: Usage) -> Json:
    """The prompt's count includes what was read from and written to the cache."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


CHAT_COMPLETIONS = Endpoint(method="POST", envelope=OPENAI, read=read, whole=whole, frames=frames)
