"""The conversation: turns in an order that can have happened, calls with their results, and thoughts that are ours."""

from collections.abc import Iterator

from providers.simulator.ask import Json
from providers.simulator.history import Said, Speaker
from providers.simulator.messages.blocks import (
    BLOCKS,
    THINKING_BLOCKS,
    is_cited,
    is_server_result,
    message_blocks,
    texts_of,
)
from providers.simulator.messages.checks import refuse, require
from providers.simulator.seals import is_ours

DIALECT = "anthropic_messages"
NEW_VERSION = "2026-10-21"


def read_turns(messages: object) -> list[tuple[str, list[Json]]]:
    """Messages as (role, blocks); the provider combines neighbours of the same role."""
    if not isinstance(messages, list):
        refuse("messages: Input should be a valid list")
    require(messages != [], "messages: at least one message is required")
    turns: list[tuple[str, list[Json]]] = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        require(isinstance(message, dict), f"{where}: Input should be an object")
        role = message.get("role")
        if not isinstance(role, str) or role not in BLOCKS:
            refuse(f"{where}.role: Input should be 'user', 'assistant' or 'system'")
        blocks = message_blocks(message, where, is_last=index == len(messages) - 1)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    return turns


def check_turns(turns: list[tuple[str, list[Json]]], version: str) -> None:
    """Refuse turns out of order, and calls without their results."""
    if turns[0][0] != "user":
        refuse(f'messages: first message must use the "user" role, not "{turns[0][0]}"')
    open_calls: list[str] = []
    for index, (role, blocks) in enumerate(turns):
        where = f"messages.{index}"
        _check_results(role, blocks, open_calls, where)
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        require(len(open_calls) == len(set(open_calls)), "messages: `tool_use` ids must be unique")
        if role == "system":
            _check_system_turn(turns, index)
        if role == "assistant" and version == NEW_VERSION:
            has_document = any(block["type"] == "document" for block in blocks)
            require(not has_document, f"{where}.content: `document` is not allowed in an assistant turn")
        if role == "user" and version == NEW_VERSION:
            message = f"{where}.content: `citations` are not allowed in a user turn"
            require(not any(is_cited(block) for block in blocks), message)
    _refuse_open_calls(open_calls, f"messages.{len(turns) - 1}")


def check_seals(messages: list[Json], model: str) -> int:
    """Refuse thoughts that are not exactly as they were signed, or were another model's; return how many there are."""
    found = 0
    for index, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else ()
        for position, block in enumerate(blocks):
            if block["type"] not in THINKING_BLOCKS:
                continue
            field = "signature" if block["type"] == "thinking" else "data"
            is_right = is_ours(block.get(field), DIALECT, model, block.get("thinking", ""))
            where = f"messages.{index}.content.{position}"
            require(is_right, f"{where}: Invalid `{field}` in `{block['type']}` block")
            found += 1
    return found


def unsealed(turns: list[tuple[str, list[Json]]]) -> str:
    """How a model refuses a tool loop that goes on without the thoughts that began it."""
    refusal = ""
    for index, (role, blocks) in enumerate(turns):
        kinds = [block["type"] for block in blocks]
        if role == "user" and "tool_result" not in kinds:
            refusal = ""
        elif role == "assistant" and "tool_use" in kinds and kinds[0] not in THINKING_BLOCKS:
            expected = f"Expected `thinking` or `redacted_thinking`, but found `{kinds[0]}`."
            refusal = refusal or f"messages.{index}.content.0.type: {expected}"
    return refusal


def history(turns: list[tuple[str, list[Json]]]) -> Iterator[Said]:
    """Who said what; system turns are nobody's words."""
    for role, blocks in turns:
        if role == "assistant":
            yield Said(Speaker.MODEL, "")
        if role != "user":
            continue
        results = [block for block in blocks if block["type"] == "tool_result"]
        for result in results:
            yield Said(Speaker.TOOL, "\n".join(texts_of([result])))
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        if texts or not results:
            yield Said(Speaker.USER, " ".join(texts))


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
            refuse(
                f"{where}.content.{index}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{call_id}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message."
            )
        if not has_other:
            answered.append(call_id)
    _refuse_open_calls([call_id for call_id in open_calls if call_id not in answered], where)


def _refuse_open_calls(open_calls: list[str], where: str) -> None:
    if open_calls:
        refuse(
            f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(open_calls)}. Each `tool_use` block must have a corresponding `tool_result` block "
            "in the next message."
        )


def _check_system_turn(turns: list[tuple[str, list[Json]]], index: int) -> None:
    role, blocks = turns[index - 1]
    last = blocks[-1]["type"]
    has_cause = role == "user" or last == "server_tool_use" or is_server_result(last)
    has_effect = index + 1 == len(turns) or turns[index + 1][0] == "assistant"
    message = "role 'system' must follow a user message, and be last or followed by an assistant message"
    require(has_cause and has_effect, f"messages.{index}: {message}")
