"""Writing messages: tool results directly after the calls, each a message of its own; then the user's words."""

from collections.abc import Iterable, Sequence

from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Turn
from providers.dialects.nodes import Node
from providers.dialects.openai_chat.calls import with_thought_signature, write_call, write_legacy_call
from providers.dialects.openai_chat.forms import CallForm, MessageForm, PartForm, add_kept, form
from providers.dialects.openai_chat.parts_reader import BREAKPOINT, cache_mark
from providers.dialects.openai_chat.parts_writer import write_part
from providers.dialects.openai_chat.reasoning import write_thinking
from providers.dialects.openai_chat.writing import Writing

ERROR_MARK = "Error: "
SEE_BELOW = "(see the attachment of {call_id} in the user's next message)"
ATTACHED = "Attachment of the result of {call_id}:"


def write_messages(writing: Writing) -> list[Node]:
    """Return all messages of a request."""
    messages = [*_instructions(writing)]
    for turn in writing.request.turns:
        writing.lose_native(turn.native, turn.at)
        match turn.role:
            case "system":
                messages += _later_instructions(turn, writing)
            case "user":
                messages += _user_turn(turn, writing)
            case "assistant":
                messages += _answer(turn, writing)
    _note_prefill(writing)
    return messages if writing.takes_system_turns or writing.is_own else _alternating(messages)


def _alternating(messages: Iterable[Node]) -> list[Node]:
    """Join what a user says in a row: templates that are strict about instructions are so about whose turn it is, too."""
    joined: list[Node] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"] == "user":
            content = [*_as_list(joined[-1]["content"]), *_as_list(message["content"])]
            joined[-1] = {**joined[-1], "content": content}
        else:
            joined.append(message)
    return joined


def _as_list(content: str | list[Node]) -> list[Node]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _note_prefill(writing: Writing) -> None:
    turns = writing.request.turns
    if turns and turns[-1].role == "assistant" and not writing.to.profile.takes_prefill:
        writing.losses.changes_answer(turns[-1].at, "this model does not go on with an answer that was begun for it")


# Instructions


def _instructions(writing: Writing) -> Iterable[Node]:
    """Yield the leading messages: as many as the client wrote, or one."""
    groups: list[list[Text | Foreign]] = []
    for part in writing.request.system:
        if not groups or (isinstance(part, Text) and form(part.native, MessageForm).opens):
            groups.append([])
        groups[-1].append(part)
    for parts in groups:
        yield from _instruction(parts, writing)


def _instruction(parts: Sequence[Text | Foreign], writing: Writing) -> Iterable[Node]:
    opening = parts[0].native if isinstance(parts[0], Text) else None
    spelled = form(opening, MessageForm)
    content = [node for part in parts if (node := write_part(part, writing)) is not None]
    if content:
        is_text = spelled.content == "text" if spelled.opens else True
        role = spelled.role or writing.to.profile.instructions_role
        yield {"role": role, "content": _content(content, is_text), **spelled.fields}


def _later_instructions(turn: Turn, writing: Writing) -> Iterable[Node]:
    """Write instructions in mid-conversation where they stand: moving them up would change what they mean."""
    spelled = form(turn.native, MessageForm)
    content = _parts(turn.parts, writing)
    if not writing.takes_system_turns:
        writing.losses.degrades(
            turn.at, "this model takes instructions at the start only: it gets these as the user's words"
        )
        content = [
            {"type": "text", "text": "<system-reminder>"},
            *content,
            {"type": "text", "text": "</system-reminder>"},
        ]
        return [{"role": "user", "content": content}]
    role = spelled.role or writing.to.profile.instructions_role
    return _message(role, content, turn, spelled)


# The user's side


def _user_turn(turn: Turn, writing: Writing) -> Iterable[Node]:
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    said = [part for part in turn.parts if not isinstance(part, ToolResult)]
    attached: list[Node] = []
    for result in results:
        yield _result(result, attached, writing)
    spelled = form(turn.native, MessageForm)
    content = [*attached, *_parts(said, writing)]
    if content or spelled.role:
        yield from _message("user", content, turn, spelled)


def _result(result: ToolResult, attached: list[Node], writing: Writing) -> Node:
    """Return a tool's result; what a tool message cannot hold goes to `attached`."""
    writing.lose_native(result.native, result.at)
    spelled = form(result.native, MessageForm)
    call_id = writing.call_id(result.call_id)
    content = _output(result, call_id, attached, writing)
    if result.is_error:
        _mark_error(content)
        writing.losses.cosmetic(
            f"{result.at}.is_error", "the upstream's format has no failed results: the text says so"
        )
    if result.cache is not None:
        _mark_last(content, result, writing)
    _note_custom(result, writing)
    node: Node = {"role": "tool", "tool_call_id": call_id, "content": _content(content, spelled.content == "text")}
    if spelled.role == "function":
        node = {"role": "function", "name": result.name, "content": node["content"]}
    elif spelled.has_name:
        node["name"] = result.name
    if spelled.content == "absent":
        del node["content"]
    add_kept(node, result.native)
    return node


def _output(result: ToolResult, call_id: str, attached: list[Node], writing: Writing) -> list[Node]:
    content: list[Node] = []
    for part in result.parts:
        node = write_part(part, writing)
        if node is None:
            continue
        if isinstance(part, Media) and node["type"] != "text" and not writing.is_own:
            writing.losses.degrades(
                part.at, "a tool's result holds only text here: it follows in a message of the user"
            )
            attached += [{"type": "text", "text": ATTACHED.format(call_id=call_id)}, node]
            node = {"type": "text", "text": SEE_BELOW.format(call_id=call_id)}
        content.append(node)
    return content


def _mark_error(content: list[Node]) -> None:
    """Say in words that a tool failed, for there is no field that does."""
    if content and content[0].get("type") == "text":
        content[0] = {**content[0], "text": ERROR_MARK + content[0]["text"]}
    else:
        content.insert(0, {"type": "text", "text": ERROR_MARK.strip()})


def _mark_last(content: list[Node], result: ToolResult, writing: Writing) -> None:
    """Move a result's cache mark to its last part, where the format has one."""
    if content and writing.takes_cache_breakpoints:
        content[-1].setdefault(BREAKPOINT, cache_mark(""))
    writing.lose_cache(result.at, "the mark is made at the end of the result's text")


def _note_custom(part: ToolCall | ToolResult, writing: Writing) -> None:
    if part.kind == "custom" and not writing.is_own:
        writing.losses.cosmetic(part.at, "the upstream knows this tool as a function")


# The assistant's side


def _answer(turn: Turn, writing: Writing) -> Iterable[Node]:
    spelled = form(turn.native, MessageForm)
    said = [part for part in turn.parts if isinstance(part, Text | Media | Foreign)]
    calls = [part for part in turn.parts if isinstance(part, ToolCall)]
    refusals = [part for part in said if isinstance(part, Text) and _is_refusal_field(part, said, writing)]
    content = _answer_content([part for part in said if part not in refusals], writing)
    node: Node = {"role": "assistant"}
    if content or not writing.is_own:
        node["content"] = _content(content, spelled.content == "text") if content else None
    elif spelled.content == "list":
        node["content"] = []
    if refusals:
        node["refusal"] = refusals[0].text
    _note_order(turn, writing)
    node |= write_thinking([part for part in turn.parts if isinstance(part, Thinking)], writing)
    node |= _calls(calls, writing)
    node |= _seal_of_text(said, writing)
    add_kept(node, turn.native)
    if node.get("content") is None and not writing.to.quirks.takes_null_content:
        node["content"] = ""
    if len(node) > 2 or node.get("content") is not None or writing.is_own:
        yield node


def _answer_content(parts: Sequence[Part], writing: Writing) -> list[Node]:
    """Write an answer's words; of files it holds none, unless a client of this very format put some there."""
    if writing.is_own:
        return _parts(parts, writing)
    for part in parts:
        if isinstance(part, Media):
            writing.losses.changes_answer(part.at, "the upstream's format has no files in earlier answers")
    return _parts([part for part in parts if not isinstance(part, Media)], writing)


def _is_refusal_field(part: Text, said: Sequence[Part], writing: Writing) -> bool:
    """Whether a refusal goes to the message's own field: where it came from, or when it is the only one."""
    if not part.is_refusal:
        return False
    if writing.is_own:
        return form(part.native, PartForm).field == "refusal"
    return sum(isinstance(each, Text) and each.is_refusal for each in said) == 1


def _calls(calls: Sequence[ToolCall], writing: Writing) -> Node:
    node: Node = {}
    for call in calls:
        writing.lose_native(call.native, call.at)
        _note_custom(call, writing)
        if call.cache is not None:
            writing.lose_cache(call.at)
        if form(call.native, CallForm).is_legacy:
            node["function_call"] = write_legacy_call(call)
        else:
            node.setdefault("tool_calls", []).append(write_call(call, writing))
    return node


def _seal_of_text(said: Sequence[Part], writing: Writing) -> Node:
    """Write the thought signature of the last text; there is no place for another."""
    node: Node = {}
    for part in said:
        if isinstance(part, Text) and part.seal is not None:
            if part is said[-1] and writing.takes_seal(part.seal):
                node = with_thought_signature(part.seal.payload)
            else:
                writing.lose_seal(part.at)
    return node


def _note_order(turn: Turn, writing: Writing) -> None:
    """Note what comes earlier than the client wrote it: here all words stand before all calls."""
    has_calls = False
    for part in turn.parts:
        if isinstance(part, ToolCall):
            has_calls = True
        elif has_calls and isinstance(part, Text | Foreign):
            writing.losses.cosmetic(part.at, "the upstream's format has an answer's words before its calls")


# Content


def _parts(parts: Iterable[Part], writing: Writing) -> list[Node]:
    return [
        node
        for part in parts
        if isinstance(part, Text | Media | Foreign) and (node := write_part(part, writing)) is not None
    ]


def _message(role: str, content: list[Node], turn: Turn, spelled: MessageForm) -> Iterable[Node]:
    node: Node = {"role": role, "content": _content(content, spelled.content == "text")}
    if spelled.content == "absent" and not content:
        del node["content"]
    add_kept(node, turn.native)
    yield node


def _content(parts: list[Node], is_text: bool) -> str | list[Node]:
    """Return one plain text as such, where that is how it is to be spelled, and everything else as a list."""
    if is_text and not parts:
        return ""
    is_plain = len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text"
    return parts[0]["text"] if is_text and is_plain else parts
