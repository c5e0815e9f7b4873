"""Reads a request for a message, and refuses what the provider refuses.

Two versions are spoken. 2026-10-21 refuses sampling parameters, documents in an assistant turn, and citations in a
user's.
"""

from providers.simulator.ask import Ask, Json, count_words
from providers.simulator.endpoint import json_object
from providers.simulator.envelopes import ApiError
from providers.simulator.history import tell
from providers.simulator.messages.blocks import THINKING_BLOCKS, system_blocks, texts_of
from providers.simulator.messages.checks import refuse, require, require_tag
from providers.simulator.messages.gates import Gates, gates
from providers.simulator.messages.tools import callable_tools, declared_tools, wanted_schema
from providers.simulator.messages.turns import NEW_VERSION, check_seals, check_turns, history, read_turns, unsealed
from providers.simulator.requests import Request

VERSIONS = ("2023-01-01", "2023-06-01", NEW_VERSION)
LARGEST_BODY_BYTES = 32 * 1024 * 1024
MOST_CACHE_BREAKPOINTS = 4
SMALLEST_THINKING_BUDGET = 1024
LOWEST_TOP_P = 0.99  # where a model takes no other
SAMPLING = {"temperature": 1, "top_p": 1, "top_k": 10**6}
THINKING_TYPES = ("enabled", "adaptive", "disabled", "between_tools")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
HIGH_EFFORTS = ("xhigh", "max")
# Fields of other vendors. Fields that nobody knows are let through: they may be newer than we are.
FOREIGN = {
    *("n", "stop", "seed", "response_format", "max_completion_tokens", "presence_penalty", "frequency_penalty"),
    *("logit_bias", "logprobs", "top_logprobs", "reasoning_effort", "stream_options", "parallel_tool_calls"),
    *("input", "instructions", "text", "reasoning", "contents", "generationConfig", "systemInstruction"),
}


def read(request: Request) -> Ask:
    """Check everything the provider checks; unknown fields are accepted."""
    body, version = _body(request)
    if "max_tokens" not in body:
        refuse("max_tokens: Field required")
    _check_options(body)
    return _ask(body, version)


def read_count(request: Request) -> Ask:
    """The same, without `max_tokens` and without a stream."""
    body, version = _body(request)
    return _ask({**body, "stream": False, "max_tokens": None}, version)


def _body(request: Request) -> tuple[Json, str]:
    version = request.header(b"anthropic-version").decode("latin-1")
    if not version:
        refuse("anthropic-version: header is required")
    if version not in VERSIONS:
        refuse(f'anthropic-version: "{version}" is not a valid version')
    if len(request.body) > LARGEST_BODY_BYTES:
        raise ApiError(413)
    body = json_object(request)
    for field in ("model", "messages"):
        if field not in body:
            refuse(f"{field}: Field required")
    require(isinstance(body["model"], str) and body["model"] != "", "model: Input should be a valid string")
    for field in body.keys() & FOREIGN:
        refuse(f"{field}: Extra inputs are not permitted")
    _check_sampling(body, version, gates(body["model"]))
    return body, version


def _ask(body: Json, version: str) -> Ask:
    model, limits = body["model"], gates(body["model"])
    tools = declared_tools(body)
    system = system_blocks(body.get("system"))
    turns = read_turns(body["messages"])
    check_turns(turns, version)
    _check_gates(body, turns, limits)
    _check_thinking(body, turns)
    _check_breakpoints(body, system, turns)
    seals = check_seals(body["messages"], model)
    texts = [*texts_of(system), *(text for _, blocks in turns for text in texts_of(blocks))]
    choice = body.get("tool_choice") or {}
    story = tell(history(turns))
    return Ask(
        model=model,
        text=story.text,
        input_tokens=count_words(texts),
        stream=body.get("stream") or False,
        max_tokens=body.get("max_tokens"),
        tools=callable_tools(choice, tools),
        must_call=choice.get("type") in ("any", "tool"),
        parallel=choice.get("disable_parallel_tool_use") is not True,
        is_tool_result=story.is_tool_result,
        task=story.task,
        results=story.results,
        schema=wanted_schema(body.get("output_config")),
        seals=seals,
        unsealed=unsealed(turns),
    )


def _check_options(body: Json) -> None:
    limit = body["max_tokens"]
    is_count = isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0
    require(is_count, "max_tokens: Input should be a non-negative integer")
    require(isinstance(body.get("stream"), bool | None), "stream: Input should be a valid boolean")
    stops = body.get("stop_sequences")
    is_list = isinstance(stops, list) and all(isinstance(stop, str) for stop in stops)
    require(stops is None or is_list, "stop_sequences: Input should be a valid list of strings")
    for stop in stops or ():
        require(stop.strip() != "", "stop_sequences: each stop sequence must contain non-whitespace")
    metadata = body.get("metadata")
    require(metadata is None or isinstance(metadata, dict), "metadata: Input should be a valid dictionary")


def _check_sampling(body: Json, version: str, limits: Gates) -> None:
    for field, highest in SAMPLING.items():
        value = body.get(field)
        if value is None:
            continue
        require(version != NEW_VERSION, f"`{field}` is not supported with anthropic-version {NEW_VERSION}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        require(is_number and 0 <= value <= highest, f"{field}: range: 0..{highest}")
        is_default = (field == "temperature" and value == 1) or (field == "top_p" and value >= LOWEST_TOP_P)
        require(limits.sampling or is_default, f"`{field}` is not supported for this model.")


def _check_gates(body: Json, turns: list[tuple[str, list[Json]]], limits: Gates) -> None:
    """Refuse what the model's name says it refuses."""
    is_forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
    require(limits.forced_tools or not is_forced, "tool_choice: forced tool use is not supported on this model.")
    roles = [role for role, _ in turns]
    require(limits.system_turns or "system" not in roles, "role 'system' is not supported on this model")
    message = "This model does not support assistant message prefill. The conversation must end with a user message."
    require(limits.prefill or roles[-1] != "assistant", message)
    thinking = body.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    for name, is_taken in (("enabled", limits.thinking_enabled), ("disabled", limits.thinking_disabled)):
        require(is_taken or kind != name, f'"thinking.type.{name}" is not supported for this model.')
    config = body.get("output_config")
    require(config is None or isinstance(config, dict), "output_config: Input should be an object")
    effort = (config or {}).get("effort")
    if effort is not None:
        require(effort in EFFORTS, f"output_config.effort: Input should be one of {', '.join(EFFORTS)}")
    is_high = kind == "disabled" and effort in HIGH_EFFORTS
    message = f"output_config.effort: '{effort}' is not supported for this model while thinking is disabled."
    require(limits.high_effort_without_thinking or not is_high, message)


def _check_thinking(body: Json, turns: list[tuple[str, list[Json]]]) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    require(isinstance(thinking, dict), "thinking: Input should be an object")
    require_tag(thinking.get("type"), THINKING_TYPES, "thinking")
    if thinking["type"] != "enabled":
        return
    budget, limit = thinking.get("budget_tokens"), body.get("max_tokens")
    if not isinstance(budget, int):
        refuse("thinking.enabled.budget_tokens: Field required")
    if budget < SMALLEST_THINKING_BUDGET:
        refuse(f"thinking.enabled.budget_tokens: Input should be at least {SMALLEST_THINKING_BUDGET}")
    require(limit is None or limit > budget, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    is_forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
    require(not is_forced, "Thinking may not be enabled when tool_choice forces tool use.")
    _check_thought_first(turns)


def _check_thought_first(turns: list[tuple[str, list[Json]]]) -> None:
    """With thinking on, a tool loop goes on only with the thought that began it."""
    for index, (role, blocks) in enumerate(turns):
        is_last_assistant = role == "assistant" and index >= len(turns) - 2
        if is_last_assistant and any(block["type"] == "tool_use" for block in blocks):
            found = blocks[0]["type"]
            message = f"Expected `thinking` or `redacted_thinking`, but found `{found}`."
            require(found in THINKING_BLOCKS, f"messages.{index}.content.0.type: {message}")


def _check_breakpoints(body: Json, system: list[Json], turns: list[tuple[str, list[Json]]]) -> None:
    blocks = [*system, *(body.get("tools") or ()), *(block for _, blocks in turns for block in blocks)]
    found = sum(block.get("cache_control") is not None for block in blocks)
    message = f"A maximum of {MOST_CACHE_BREAKPOINTS} blocks with cache_control may be provided."
    require(found <= MOST_CACHE_BREAKPOINTS, f"{message} Found {found}.")
