"""The messages of a request: each in its own shape, and calls with their answers."""

from collections.abc import Iterator

from providers.simulator.ask import Json
from providers.simulator.chat_completions.tools import typed
from providers.simulator.history import Said, Speaker
from providers.simulator.openai_checks import (
    refuse,
    refuse_type,
    require,
    require_short,
    require_value,
)

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
PARTS = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "tool": ("text",),
    "developer": ("text",),
    "system": ("text",),
    "function": ("text",),
}
INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "refusal", "audio")
LONGEST_CALL_ID = 64


def check_messages(messages: object) -> None:
    """Refuse messages that are malformed, and calls without their answers."""
    if not isinstance(messages, list):
        refuse_type("messages", "an array of objects")
    if not messages:
        refuse("Invalid 'messages': empty array. Expected at least one message.", "messages", "empty_array")
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        require(isinstance(message, dict), where, "an object")
        require_value(message.get("role"), ROLES, f"{where}.role")
        _check_content(message, where)
        if message["role"] == "tool":
            _answer_call(message, open_calls, where)
            continue
        _refuse_open_calls(open_calls, where)
        open_calls = _made_calls(message, where)
    _refuse_open_calls(open_calls, f"messages[{len(messages) - 1}]")


def history(messages: list[Json]) -> Iterator[Said]:
    """Who said what; instructions are nobody's words."""
    speakers = {"assistant": Speaker.MODEL, "user": Speaker.USER, "tool": Speaker.TOOL, "function": Speaker.TOOL}
    for message in messages:
        if message["role"] in speakers:
            yield Said(speakers[message["role"]], " ".join(texts_of(message)))


def unsealed(messages: list[Json]) -> str:
    """How a model refuses that wants its reasoning back in a tool loop, as DeepSeek's do."""
    last_user = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=0)
    loop = [message for message in messages[last_user:] if message.get("tool_calls")]
    if all(message.get("reasoning_content") for message in loop):
        return ""
    return "The `reasoning_content` in the thinking mode must be passed back to the API."


def texts_of(message: Json) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif content is not None:
        yield from (part["text"] for part in content if part["type"] == "text")


def _check_content(message: Json, where: str) -> None:
    role, content = message["role"], message.get("content")
    if content is None:
        is_optional = role == "assistant" and any(message.get(field) for field in INSTEAD_OF_CONTENT)
        require(is_optional, f"{where}.content", "a string or an array of objects, but got null")
        return
    if isinstance(content, str):
        return
    is_list = isinstance(content, list) and content != []
    require(is_list, f"{where}.content", "a string or an array of objects")
    for index, part in enumerate(content):
        at = f"{where}.content[{index}]"
        require(isinstance(part, dict), at, "an object")
        require_value(part.get("type"), PARTS[role], f"{at}.type")
        if part["type"] == "text":
            require(isinstance(part.get("text"), str), f"{at}.text", "a string")


def _made_calls(message: Json, where: str) -> set[str]:
    calls = message.get("tool_calls")
    if calls is None or message["role"] != "assistant":
        return set()
    require(isinstance(calls, list), f"{where}.tool_calls", "an array of objects")
    if not calls:
        refuse(f"Invalid '{where}.tool_calls': empty array.", f"{where}.tool_calls", "empty_array")
    for index, call in enumerate(calls):
        _check_call(call, f"{where}.tool_calls[{index}]")
    return {call["id"] for call in calls}


def _check_call(call: Json, where: str) -> None:
    inner, at = typed(call, where)
    call_id = call.get("id")
    if not isinstance(call_id, str) or not call_id:
        refuse_type(f"{where}.id", "a string")
    require_short(call_id, LONGEST_CALL_ID, f"{where}.id")
    for field in ("name", "arguments" if call["type"] == "function" else "input"):
        require(isinstance(inner.get(field), str), f"{at}.{field}", "a string")


def _answer_call(message: Json, open_calls: set[str], where: str) -> None:
    call_id = message.get("tool_call_id")
    require(isinstance(call_id, str), f"{where}.tool_call_id", "a string")
    if call_id not in open_calls:
        text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
        refuse(f"Invalid parameter: {text}", f"{where}.role")
    open_calls.remove(str(call_id))


def _refuse_open_calls(open_calls: set[str], where: str) -> None:
    if open_calls:
        message = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(sorted(open_calls))
        )
        refuse(message, f"{where}.role")
