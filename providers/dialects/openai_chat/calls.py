"""Tool calls: in a message of the history, in an answer, and the deprecated `function_call`."""

from typing import Any

from providers.canonical.identifiers import make_call_id
from providers.canonical.parts import ToolCall
from providers.canonical.seals import Seal, SealBox
from providers.dialects.nodes import Node, as_object, missing, optional_object, optional_word, path_of, text
from providers.dialects.openai_chat.forms import CallForm, add_kept, flat, form, keep
from providers.dialects.openai_chat.weights import CALL
from providers.dialects.openai_chat.wire import EXTRA_CONTENT, NAME, SEAL_OF_CALL
from providers.dialects.openai_chat.writing import Writing
from providers.wire.json import write_json

_KNOWN = frozenset({"id", "type", "function.name", "function.arguments", "custom.name", "custom.input"})


def read_call(value: Any, at: str, seals: SealBox) -> ToolCall:
    """Read one of a message's tool_calls."""
    node = as_object(value, at)
    what = optional_word(node, "type", at, ("function", "custom"))
    kind = what or ("custom" if "custom" in node else "function")
    called = optional_object(node, kind, at)
    if called is None:
        raise missing(path_of(at, kind))
    if kind == "custom":
        arguments, spelled = text(called, "input", path_of(at, kind)), None
    else:
        arguments, spelled = arguments_text(called.get("arguments")), called.get("arguments")
    how = CallForm(arguments=None if spelled == arguments else spelled, has_type="type" in node)
    return ToolCall(
        id=text(node, "id", at),
        name=text(called, "name", path_of(at, kind)),
        arguments=arguments,
        kind="custom" if kind == "custom" else "function",
        seal=_read_seal(node, seals),
        at=at,
        native=keep(_flat_call(node, kind), _KNOWN, CALL, how),
    )


def read_legacy_call(message: Node, at: str, ordinal: int) -> ToolCall | None:
    """Read a message's function_call; its id is made up from its place: the same each time the history is sent."""
    called = optional_object(message, "function_call", at)
    if called is None:
        return None
    place = path_of(at, "function_call")
    name, raw = text(called, "name", place), called.get("arguments")
    arguments = arguments_text(raw)
    how = CallForm(is_legacy=True, arguments=None if raw == arguments else raw)
    return ToolCall(
        id=make_call_id("", ordinal, name),
        name=name,
        arguments=arguments,
        at=place,
        native=keep(called, frozenset({"name", "arguments"}), CALL, how),
    )


def arguments_text(value: Any) -> str:
    """Return arguments as JSON text: some servers send an object, or nothing at all for no arguments."""
    if isinstance(value, str):
        return value if value.strip() else "{}"
    return "{}" if value is None else write_json(value).decode()


def thought_signature(node: Node) -> str:
    """Return the thought signature of a call, or of a message, in Gemini's compatible format; empty when there is none."""
    value: Any = node
    for name in SEAL_OF_CALL.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def with_thought_signature(signature: str) -> Node:
    """Return the field in which a thought signature stands."""
    return {EXTRA_CONTENT: {"google": {"thought_signature": signature}}}


def _read_seal(node: Node, seals: SealBox) -> Seal | None:
    signature = thought_signature(node)
    return seals.open(signature, NAME) if signature else None


def _flat_call(node: Node, kind: str) -> Node:
    """Return a call's fields side by side; what stands beside the signature is of no use without it."""
    called = flat(node, kind)
    return {name: value for name, value in called.items() if name != EXTRA_CONTENT or not thought_signature(node)}


def write_call(call: ToolCall, writing: Writing) -> Node:
    """Return a call of a message's tool_calls; a custom tool's is a function's where the tool has become one."""
    name, arguments, kind = writing.tools.wire(call.name, call.namespace), call.arguments, call.kind
    if kind == "custom" and not writing.is_own:
        kind, arguments = "function", writing.tools.as_arguments(arguments)
    if name != call.name:
        writing.losses.cosmetic(f"{call.at}.name", "the upstream knows this tool by another name")
    spelled = form(call.native, CallForm)
    content = "input" if kind == "custom" else "arguments"
    text = (arguments or "{}") if kind == "function" else arguments
    node: Node = {"id": writing.call_id(call.id), "type": kind, kind: {"name": name, content: text}}
    if not spelled.has_type:
        del node["type"]
    if spelled.arguments is not None:
        node[kind][content] = spelled.arguments
    if call.seal is not None:
        if writing.takes_seal(call.seal):
            node |= with_thought_signature(call.seal.payload)
        else:
            writing.lose_seal(call.at)
    add_kept(node, call.native, inner=kind)
    return node


def write_legacy_call(call: ToolCall) -> Node:
    """Return a message's function_call."""
    spelled = form(call.native, CallForm).arguments
    node: Node = {"name": call.name, "arguments": call.arguments if spelled is None else spelled}
    add_kept(node, call.native)
    return node
