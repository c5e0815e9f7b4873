"""Anthropic Messages, as strict as the provider: https://docs.claude.com/en/api/messages

Two versions are spoken. 2026-10-21 refuses sampling parameters, and documents in an assistant turn.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

import orjson

from providers.simulator.ask import Ask, Json, Tool, count_words
from providers.simulator.behaviour import MARKER, Finish, Thinking, UsageShape
from providers.simulator.endpoint import Endpoint, json_object
from providers.simulator.envelopes import ANTHROPIC, ApiError
from providers.simulator.frames import Frame, Kind
from providers.simulator.requests import Request
from providers.simulator.turn import Call, Part, Text, Thought, Turn, Usage, signature

NEW_VERSION = "2026-10-21"
VERSIONS = ("2023-01-01", "2023-06-01", NEW_VERSION)
LARGEST_BODY_BYTES = 32 * 1024 * 1024
MOST_CACHE_BREAKPOINTS = 4
SMALLEST_THINKING_BUDGET = 1024
TOOL_ID = re.compile(r"^[a-zA-Z0-9_-]+$")
TOOL_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,128}$")
TOOL_CHANGES = {"tool_addition", "tool_removal"}
BLOCKS = {
    "user": {"text", "image", "document", "search_result", "tool_result", "container_upload", *TOOL_CHANGES},
    "assistant": {
        *("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "document"),
        *("mcp_tool_use", "mcp_tool_listing", "compaction", "fallback"),
    },
    "system": {"text", *TOOL_CHANGES},
}
RESULT_BLOCKS = {"text", "image", "document", "search_result", "tool_reference", "browser_state"}
SAMPLING = {"temperature": 1, "top_p": 1, "top_k": 10**6}
THINKING_TYPES = ("enabled", "adaptive", "disabled", "between_tools")
THINKING_BLOCKS = ("thinking", "redacted_thinking")
STOP_REASONS = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.REFUSAL: "refusal",
    Finish.CONTENT_FILTER: "refusal",
    Finish.NONE: None,
}
REFUSAL_DETAILS = {"type": "refusal", "category": "cyber", "explanation": "The simulator was told to refuse."}


# Reading.


def read(request: Request) -> Ask:
    """Check everything the provider checks; unknown fields are accepted."""
    body, version = _body(request)
    if "max_tokens" not in body:
        _refuse("max_tokens: Field required")
    _check_options(body)
    return _ask(body, version)


def read_count(request: Request) -> Ask:
    """The same, without `max_tokens` and without a stream."""
    body, version = _body(request)
    return _ask({**body, "stream": False, "max_tokens": None}, version)


def _body(request: Request) -> tuple[Json, str]:
    version = request.header(b"anthropic-version").decode("latin-1")
    if not version:
        _refuse("anthropic-version: header is required")
    if version not in VERSIONS:
        _refuse(f'anthropic-version: "{version}" is not a valid version')
    if len(request.body) > LARGEST_BODY_BYTES:
        raise ApiError(413)
    body = json_object(request)
    for field in ("model", "messages"):
        if field not in body:
            _refuse(f"{field}: Field required")
    _require(isinstance(body["model"], str) and body["model"] != "", "model: Input should be a valid string")
    _check_sampling(body, version)
    return body, version


def _ask(body: Json, version: str) -> Ask:
    tools = _declared_tools(body)
    system = _system_blocks(body.get("system"))
    turns = _turns(body["messages"])
    _check_turns(turns, version)
    _check_thinking(body, turns)
    _check_breakpoints(body, system, turns)
    texts = [*_texts(system), *(text for _, blocks in turns for text in _texts(blocks))]
    choice = body.get("tool_choice") or {}
    last_role, last_blocks = turns[-1]
    return Ask(
        model=body["model"],
        text=_marked_text(turns),
        input_tokens=count_words(texts),
        stream=body.get("stream") or False,
        max_tokens=body.get("max_tokens"),
        tools=_callable_tools(choice, tools),
        must_call=choice.get("type") in ("any", "tool"),
        parallel=choice.get("disable_parallel_tool_use") is not True,
        is_tool_result=last_role == "user" and any(block["type"] == "tool_result" for block in last_blocks),
        schema=_schema(body.get("output_config")),
    )


def _refuse(message: str) -> NoReturn:
    raise ApiError(400, message)


def _require(is_right: bool, message: str) -> None:
    if not is_right:
        raise ApiError(400, message)


def _require_tag(tag: object, allowed: Iterable[str], where: str) -> None:
    if not isinstance(tag, str) or tag not in allowed:
        expected = ", ".join(f"'{choice}'" for choice in sorted(allowed))
        found = f"Input tag '{tag}' found using 'type' does not match any of the expected tags"
        _refuse(f"{where}: {found}: {expected}")


def _check_options(body: Json) -> None:
    limit = body["max_tokens"]
    is_count = isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0
    _require(is_count, "max_tokens: Input should be a non-negative integer")
    _require(isinstance(body.get("stream"), bool | None), "stream: Input should be a valid boolean")
    stops = body.get("stop_sequences")
    is_list = isinstance(stops, list) and all(isinstance(stop, str) for stop in stops)
    _require(stops is None or is_list, "stop_sequences: Input should be a valid list of strings")
    for stop in stops or ():
        _require(stop.strip() != "", "stop_sequences: each stop sequence must contain non-whitespace")
    metadata = body.get("metadata")
    _require(metadata is None or isinstance(metadata, dict), "metadata: Input should be a valid dictionary")


def _check_sampling(body: Json, version: str) -> None:
    for field, highest in SAMPLING.items():
        value = body.get(field)
        if value is None:
            continue
        _require(version != NEW_VERSION, f"`{field}` is not supported with anthropic-version {NEW_VERSION}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        _require(is_number and 0 <= value <= highest, f"{field}: range: 0..{highest}")


def _declared_tools(body: Json) -> list[Json]:
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    _require(isinstance(tools, list), "tools: Input should be a valid list")
    for index, tool in enumerate(tools):
        _check_tool(tool, f"tools.{index}")
    names = [tool["name"] for tool in tools if isinstance(tool.get("name"), str)]
    _require(len(names) == len(set(names)), "tools: Tool names must be unique.")
    if choice is not None:
        _require(isinstance(choice, dict), "tool_choice: Input should be an object")
        _require_tag(choice.get("type"), ("auto", "any", "tool", "none"), "tool_choice")
        _require(bool(tools), "tool_choice: may only be specified while providing `tools`")
        is_known = choice["type"] != "tool" or choice.get("name") in names
        _require(is_known, f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")
    return list(tools)


def _check_tool(tool: object, where: str) -> None:
    if not isinstance(tool, dict):
        _refuse(f"{where}: Input should be an object")
    if not _is_custom(tool):
        return
    _require("name" in tool, f"{where}.custom.name: Field required")
    is_name = isinstance(tool["name"], str) and TOOL_NAME.match(tool["name"])
    _require(bool(is_name), f"{where}.custom.name: String should match pattern '{TOOL_NAME.pattern}'")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        _refuse(f"{where}.custom.input_schema: Field required")
    is_object = schema.get("type") == "object"
    _require(is_object, f"{where}.custom.input_schema.type: Input should be 'object'")


def _is_custom(tool: Json) -> bool:
    """Tools with a type of their own (`bash_20250124`) need no schema, and are never called here."""
    return tool.get("type") in (None, "custom")


def _callable_tools(choice: Json, declared: list[Json]) -> tuple[Tool, ...]:
    if choice.get("type") == "none":
        return ()
    custom = [tool for tool in declared if _is_custom(tool)]
    tools = tuple(Tool(name=tool["name"], schema=tool["input_schema"]) for tool in custom)
    if choice.get("type") == "tool":
        return tuple(tool for tool in tools if tool.name == choice["name"])
    return tools


def _schema(output_config: object) -> Json | None:
    wanted = output_config.get("format") if isinstance(output_config, dict) else None
    if not isinstance(wanted, dict):
        return None
    _require_tag(wanted.get("type"), ("json_schema",), "output_config.format")
    _require(isinstance(wanted.get("schema"), dict), "output_config.format.schema: Field required")
    schema: Json = wanted["schema"]
    return schema


def _system_blocks(system: object) -> list[Json]:
    if system is None or isinstance(system, str):
        return [{"type": "text", "text": system}] if system else []
    return _blocks(system, "system", {"text"})


def _turns(messages: object) -> list[tuple[str, list[Json]]]:
    """Messages as (role, blocks); the provider combines neighbours of the same role."""
    if not isinstance(messages, list):
        _refuse("messages: Input should be a valid list")
    _require(messages != [], "messages: at least one message is required")
    turns: list[tuple[str, list[Json]]] = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        _require(isinstance(message, dict), f"{where}: Input should be an object")
        role = message.get("role")
        if not isinstance(role, str) or role not in BLOCKS:
            _refuse(f"{where}.role: Input should be 'user', 'assistant' or 'system'")
        blocks = _message_blocks(message, where, is_last=index == len(messages) - 1)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    return turns


def _message_blocks(message: Json, where: str, *, is_last: bool) -> list[Json]:
    role, content = message["role"], message.get("content")
    _require(content is not None, f"{where}.content: Field required")
    if isinstance(content, str):
        is_prefill = is_last and role == "assistant"
        _require(content != "" or is_prefill, f"{where}: all messages must have non-empty content")
        is_trailing = is_prefill and content != content.rstrip()
        _require(not is_trailing, "messages: final assistant content cannot end with trailing whitespace")
        return [{"type": "text", "text": content}] if content else []
    _require(content != [], f"{where}: all messages must have non-empty content")
    return _blocks(content, f"{where}.content", BLOCKS[role])


def _blocks(content: object, where: str, allowed: set[str]) -> list[Json]:
    if not isinstance(content, list):
        _refuse(f"{where}: Input should be a valid list")
    for index, block in enumerate(content):
        at = f"{where}.{index}"
        _require(isinstance(block, dict), f"{at}: Input should be an object")
        tag = block.get("type")
        if not ("server_tool_use" in allowed and isinstance(tag, str) and _is_server_result(tag)):
            _require_tag(tag, allowed, at)
        if check := _CHECKS.get(str(tag)):
            check(block, at)
    return list(content)


def _check_text(block: Json, where: str) -> None:
    _require(isinstance(block.get("text"), str), f"{where}.text.text: Field required")
    _require(block["text"] != "", "messages: text content blocks must be non-empty")


def _check_tool_use(block: Json, where: str) -> None:
    call_id = block.get("id")
    is_id = isinstance(call_id, str) and TOOL_ID.match(call_id)
    _require(bool(is_id), f"{where}.tool_use.id: String should match pattern '{TOOL_ID.pattern}'")
    is_name = isinstance(block.get("name"), str) and 1 <= len(block["name"]) <= 200
    _require(is_name, f"{where}.tool_use.name: String should have at least 1 character")
    is_object = isinstance(block.get("input"), dict)
    _require(is_object, f"{where}.tool_use.input: Input should be a valid dictionary")


def _check_tool_result(block: Json, where: str) -> None:
    call_id = block.get("tool_use_id")
    is_id = isinstance(call_id, str) and TOOL_ID.match(call_id)
    _require(bool(is_id), f"{where}.tool_result.tool_use_id: String should match pattern '{TOOL_ID.pattern}'")
    content = block.get("content")
    if content is not None and not isinstance(content, str):
        _blocks(content, f"{where}.tool_result.content", RESULT_BLOCKS)


def _check_thought(block: Json, where: str) -> None:
    """A thought comes back exactly as it was signed, or not at all."""
    _require(isinstance(block.get("thinking"), str), f"{where}.thinking.thinking: Field required")
    is_ours = block.get("signature") == signature(block["thinking"])
    _require(is_ours, f"{where}: Invalid `signature` in `thinking` block")


def _check_redacted(block: Json, where: str) -> None:
    is_ours = str(block.get("data")).startswith(_redacted(""))
    _require(is_ours, f"{where}: Invalid `data` in `redacted_thinking` block")


_CHECKS: dict[str, Callable[[Json, str], None]] = {
    "text": _check_text,
    "tool_use": _check_tool_use,
    "tool_result": _check_tool_result,
    "thinking": _check_thought,
    "redacted_thinking": _check_redacted,
}


def _check_turns(turns: list[tuple[str, list[Json]]], version: str) -> None:
    if turns[0][0] != "user":
        _refuse(f'messages: first message must use the "user" role, not "{turns[0][0]}"')
    open_calls: list[str] = []
    for index, (role, blocks) in enumerate(turns):
        where = f"messages.{index}"
        _check_results(role, blocks, open_calls, where)
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        _require(len(open_calls) == len(set(open_calls)), "messages: `tool_use` ids must be unique")
        if role == "system":
            _check_system_turn(turns, index)
        if role == "assistant" and version == NEW_VERSION:
            has_document = any(block["type"] == "document" for block in blocks)
            _require(not has_document, f"{where}.content: `document` is not allowed in an assistant turn")
    _refuse_open_calls(open_calls, f"messages.{len(turns) - 1}")


def _check_results(role: str, blocks: list[Json], open_calls: list[str], where: str) -> None:
    """The results of a turn's calls open the next turn, all of them and no others."""
    answered: list[str] = []
    has_other = False
    for index, block in enumerate(blocks):
        if block["type"] != "tool_result":
            has_other = True
            continue
        call_id = block["tool_use_id"]
        if call_id not in open_calls or call_id in answered:
            _refuse(
                f"{where}.content.{index}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{call_id}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message."
            )
        if not has_other:
            answered.append(call_id)
    _refuse_open_calls([call_id for call_id in open_calls if call_id not in answered], where)


def _refuse_open_calls(open_calls: list[str], where: str) -> None:
    if open_calls:
        _refuse(
            f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(open_calls)}. Each `tool_use` block must have a corresponding `tool_result` block "
            "in the next message."
        )


def _check_system_turn(turns: list[tuple[str, list[Json]]], index: int) -> None:
    role, blocks = turns[index - 1]
    last = blocks[-1]["type"]
    has_cause = role == "user" or last == "server_tool_use" or _is_server_result(last)
    has_effect = index + 1 == len(turns) or turns[index + 1][0] == "assistant"
    message = "role 'system' must follow a user message, and be last or followed by an assistant message"
    _require(has_cause and has_effect, f"messages.{index}: {message}")


def _is_server_result(tag: str) -> bool:
    """Results of server tools are an open family: web_search_tool_result, code_execution_tool_result, …"""
    return tag.endswith("_tool_result")


def _check_thinking(body: Json, turns: list[tuple[str, list[Json]]]) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    _require(isinstance(thinking, dict), "thinking: Input should be an object")
    _require_tag(thinking.get("type"), THINKING_TYPES, "thinking")
    if thinking["type"] != "enabled":
        return
    budget, limit = thinking.get("budget_tokens"), body.get("max_tokens")
    if not isinstance(budget, int):
        _refuse("thinking.enabled.budget_tokens: Field required")
    if budget < SMALLEST_THINKING_BUDGET:
        _refuse(f"thinking.enabled.budget_tokens: Input should be at least {SMALLEST_THINKING_BUDGET}")
    _require(limit is None or limit > budget, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    is_forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
    _require(not is_forced, "Thinking may not be enabled when tool_choice forces tool use.")
    _check_thought_first(turns)


def _check_thought_first(turns: list[tuple[str, list[Json]]]) -> None:
    """With thinking on, a tool loop goes on only with the thought that began it."""
    for index, (role, blocks) in enumerate(turns):
        is_last_assistant = role == "assistant" and index >= len(turns) - 2
        if is_last_assistant and any(block["type"] == "tool_use" for block in blocks):
            found = blocks[0]["type"]
            message = f"Expected `thinking` or `redacted_thinking`, but found `{found}`."
            _require(found in THINKING_BLOCKS, f"messages.{index}.content.0.type: {message}")


def _check_breakpoints(body: Json, system: list[Json], turns: list[tuple[str, list[Json]]]) -> None:
    blocks = [*system, *(body.get("tools") or ()), *(block for _, blocks in turns for block in blocks)]
    found = sum(block.get("cache_control") is not None for block in blocks)
    message = f"A maximum of {MOST_CACHE_BREAKPOINTS} blocks with cache_control may be provided."
    _require(found <= MOST_CACHE_BREAKPOINTS, f"{message} Found {found}.")


def _texts(blocks: Iterable[Json]) -> Iterator[str]:
    """All text of the blocks, of tool results too, but not of thoughts."""
    for block in blocks:
        if block["type"] == "text":
            yield block["text"]
        elif block["type"] == "tool_result":
            content = block.get("content") or ()
            yield from [content] if isinstance(content, str) else _texts(content)


def _marked_text(turns: list[tuple[str, list[Json]]]) -> str:
    """The last thing the user said; a tool result counts only if a marker stands beside it."""
    for role, blocks in reversed(turns):
        if role != "user":
            continue
        text = " ".join(block["text"] for block in blocks if block["type"] == "text")
        if MARKER.search(text) or all(block["type"] != "tool_result" for block in blocks):
            return text
    return ""


# Writing.


def whole(ask: Ask, turn: Turn) -> bytes:
    message = _message(ask, turn)
    message["content"] = [_block(part) for part in turn.parts if not isinstance(part, Text) or part.pieces]
    message["stop_reason"] = STOP_REASONS[turn.finish]
    if message["stop_reason"] == "refusal":
        message["stop_details"] = REFUSAL_DETAILS
    if turn.usage is not None:
        message["usage"] = _usage(turn.usage)
    return orjson.dumps(message)


def whole_count(ask: Ask, turn: Turn) -> bytes:
    return orjson.dumps({"input_tokens": ask.input_tokens})


def frames(ask: Ask, turn: Turn) -> list[Frame]:
    message = _message(ask, turn)
    if turn.usage is not None:
        # Nothing was said yet: what the opening claims is replaced by the closing, never added to it.
        message["usage"] = _usage(turn.usage) | {"output_tokens": min(1, turn.usage.output)}
    spoken = [part for part in turn.parts if not isinstance(part, Text) or part.pieces]
    blocks = [_block_frames(index, part) for index, part in enumerate(spoken)]
    if blocks:
        blocks[0].insert(1, ANTHROPIC.keep_alive)
    return [
        _event("message_start", Kind.OPENING, message=message),
        *(frame for block in blocks for frame in block),
        *_closing(turn),
        _event("message_stop", Kind.TERMINAL),
    ]


def _event(name: str, kind: Kind, **fields: object) -> Frame:
    return Frame.event(kind, name.encode(), orjson.dumps({"type": name, **fields}))


def _block_frames(index: int, part: Part) -> list[Frame]:
    start = Kind.CONTENT if isinstance(part, Call) else Kind.OPENING
    return [
        _event("content_block_start", start, index=index, content_block=_opened(part)),
        *_deltas(index, part),
        _event("content_block_stop", Kind.OPENING, index=index),
    ]


def _deltas(index: int, part: Part) -> list[Frame]:
    match part:
        case Text(pieces=pieces):
            return _piece_frames(index, "text_delta", "text", pieces)
        case Call(fragments=fragments):
            opening = _delta(index, Kind.OPENING, type="input_json_delta", partial_json="")
            return [opening, *_piece_frames(index, "input_json_delta", "partial_json", fragments)]
        case Thought(kind=Thinking.REDACTED):
            return []
    thinking = _piece_frames(index, "thinking_delta", "thinking", part.pieces)
    if part.kind is Thinking.UNSIGNED:
        return thinking
    seal = _delta(index, Kind.OPENING, type="signature_delta", signature=signature("".join(part.pieces)))
    return [*thinking, seal]


def _piece_frames(index: int, kind: str, field: str, pieces: tuple[str, ...]) -> list[Frame]:
    """One delta a piece; equal pieces share their bytes."""
    made = {piece: _delta(index, Kind.CONTENT, **{"type": kind, field: piece}) for piece in dict.fromkeys(pieces)}
    return [made[piece] for piece in pieces]


def _delta(index: int, kind: Kind, **delta: object) -> Frame:
    return _event("content_block_delta", kind, index=index, delta=delta)


def _closing(turn: Turn) -> list[Frame]:
    delta: Json = {"stop_reason": STOP_REASONS[turn.finish], "stop_sequence": None}
    if delta["stop_reason"] == "refusal":
        delta["stop_details"] = REFUSAL_DETAILS
    fields: Json = {"delta": delta}
    if turn.usage is not None:
        fields["usage"] = _usage(turn.usage)
    closing = _event("message_delta", Kind.CLOSING, **fields)
    return [closing, closing] if turn.usage_shape is UsageShape.TWICE else [closing]


def _message(ask: Ask, turn: Turn) -> Json:
    return {
        "id": f"msg_sim_{turn.number:06d}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _opened(part: Part) -> Json:
    """A block as it starts: empty, except where it comes whole."""
    match part:
        case Text():
            return {"type": "text", "text": ""}
        case Call():
            return _block(part) | {"input": {}}
        case Thought(kind=Thinking.REDACTED):
            return _block(part)
    return {"type": "thinking", "thinking": "", "signature": ""}


def _block(part: Part) -> Json:
    match part:
        case Text(pieces=pieces):
            return {"type": "text", "text": "".join(pieces)}
        case Call(id=call_id, name=name):
            return {"type": "tool_use", "id": f"toolu_sim_{call_id}", "name": name, "input": _input(part)}
        case Thought(kind=Thinking.REDACTED, pieces=pieces):
            return {"type": "redacted_thinking", "data": _redacted("".join(pieces))}
    thinking = "".join(part.pieces)
    seal = "" if part.kind is Thinking.UNSIGNED else signature(thinking)
    return {"type": "thinking", "thinking": thinking, "signature": seal}


def _input(call: Call) -> object:
    """The arguments as an object; those of a call that was cut off are lost in a whole answer."""
    try:
        return orjson.loads("".join(call.fragments))
    except orjson.JSONDecodeError:
        return {}


def _redacted(thinking: str) -> str:
    return "simredacted" + signature(thinking) if thinking else "simredacted"


def _usage(usage: Usage) -> Json:
    """Input excludes what was read from and written to the cache."""
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "service_tier": "standard",
    }


MESSAGES = Endpoint(method="POST", envelope=ANTHROPIC, read=read, whole=whole, frames=frames)
COUNT_TOKENS = Endpoint(method="POST", envelope=ANTHROPIC, read=read_count, whole=whole_count)
