"""Reading a client's request."""

from typing import Any

import msgspec

from providers.canonical.inbound import Facts
from providers.canonical.losses import Native
from providers.canonical.request import EFFORTS, Effort, Reasoning, Request, ResponseFormat, Sampling
from providers.canonical.seals import SealBox
from providers.dialects.nodes import (
    Node,
    as_object,
    missing,
    optional_count,
    optional_flag,
    optional_number,
    optional_object,
    optional_text,
    path_of,
    read_body,
    wrong,
)
from providers.dialects.openai_chat.forms import BodyForm, Form, keep
from providers.dialects.openai_chat.messages_reader import Messages, read_messages
from providers.dialects.openai_chat.tools_reader import read_choice, read_functions, read_tools
from providers.dialects.openai_chat.weights import BODY, RESPONSE_FORMAT
from providers.dialects.openai_chat.wire import NAME, NAMES
from providers.wire.splice import Members

MAX_TOKENS_FIELDS = ("max_completion_tokens", "max_tokens")
END_USER_FIELDS = ("safety_identifier", "user")

_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_KNOWN = frozenset(
    {
        *("model", "messages", "tools", "tool_choice", "functions", "function_call", "parallel_tool_calls"),
        *(*MAX_TOKENS_FIELDS, *END_USER_FIELDS, *_NUMBERS, "top_k", "stop", "seed", "n", "logprobs", "top_logprobs"),
        *("reasoning_effort", "response_format", "verbosity", "prompt_cache_key", "service_tier", "metadata"),
        *("stream", "stream_options"),
    }
)


def read_request(members: Members, facts: Facts, seals: SealBox) -> Request:
    """Return what a client asks for; raises InvalidRequest naming the field that is wrong."""
    body = read_body(members)
    if body.get("messages") is None:
        raise missing("messages")
    messages = read_messages(body["messages"], seals)
    is_legacy = bool(body.get("functions")) and not body.get("tools")
    choice = "tool_choice" if body.get("tool_choice") is not None else "function_call"
    return Request(
        model=facts.model,
        system=messages.system,
        turns=messages.turns,
        tools=(*_listed(body, "tools", read_tools), *_listed(body, "functions", read_functions)),
        tool_choice=None if body.get(choice) is None else read_choice(body[choice], choice),
        parallel_tools=optional_flag(body, "parallel_tool_calls", ""),
        sampling=_read_sampling(body),
        reasoning=_read_reasoning(body),
        response_format=_read_response_format(body),
        verbosity=optional_text(body, "verbosity", ""),
        end_user=_first(body, END_USER_FIELDS, optional_text),
        cache_key=optional_text(body, "prompt_cache_key", ""),
        service_tier=optional_text(body, "service_tier", ""),
        metadata=_read_metadata(body),
        is_stream=facts.is_stream,
        wants_usage=facts.wants_usage,
        names=_names(body, choice),
        native=_native(body, messages, is_legacy=is_legacy),
    )


def _listed(body: Node, name: str, read: Any) -> tuple[Any, ...]:
    return () if body.get(name) is None else read(body[name])


def _first(body: Node, fields: tuple[str, ...], read: Any) -> Any:
    """Return the first of several fields that is there."""
    return next((value for name in fields if (value := read(body, name, "")) is not None), None)


def _names(body: Node, choice: str) -> dict[str, str]:
    """Return what the client calls its fields, of which some have two names."""
    names = {**NAMES, "tool_choice": choice} if body.get(choice) is not None else dict(NAMES)
    for field, spellings in (("sampling.max_output_tokens", MAX_TOKENS_FIELDS), ("end_user", END_USER_FIELDS)):
        names[field] = _used(body, spellings) or spellings[0]
    return names


def _read_sampling(body: Node) -> Sampling:
    return Sampling(
        max_output_tokens=_first(body, MAX_TOKENS_FIELDS, optional_count),
        top_k=_whole(body, "top_k"),
        stop=_read_stop(body.get("stop")),
        seed=_whole(body, "seed"),
        choices=optional_count(body, "n", ""),
        logprobs=optional_flag(body, "logprobs", ""),
        top_logprobs=optional_count(body, "top_logprobs", ""),
        **{name: optional_number(body, name, "") for name in _NUMBERS},
    )


def _whole(body: Node, name: str) -> int | None:
    """Return a whole number of either sign."""
    value = optional_number(body, name, "")
    if value is not None and not isinstance(value, int):
        raise wrong(name, "a whole number")
    return value


def _read_stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise wrong("stop", "a text or a list of texts")
    return tuple(stops)


def _read_reasoning(body: Node) -> Reasoning | None:
    effort = optional_text(body, "reasoning_effort", "")
    if effort is None:
        return None
    return Reasoning(effort=_effort(effort))


def _effort(word: str) -> Effort:
    for effort in EFFORTS:
        if word == effort:
            return effort
    raise wrong("reasoning_effort", "one of " + ", ".join(EFFORTS))


def _read_metadata(body: Node) -> dict[str, str] | None:
    metadata = optional_object(body, "metadata", "")
    for name, value in (metadata or {}).items():
        if not isinstance(value, str):
            raise wrong(path_of("metadata", name), "a text")
    return metadata


def _read_response_format(body: Node) -> ResponseFormat | None:
    value, at = body.get("response_format"), "response_format"
    if value is None:
        return None
    node = as_object(value, at)
    match node.get("type"):
        case "text":
            return ResponseFormat(kind="text", native=keep(node, frozenset({"type"}), RESPONSE_FORMAT, Form()))
        case "json_object":
            return ResponseFormat(kind="json_object", native=keep(node, frozenset({"type"}), RESPONSE_FORMAT, Form()))
        case "json_schema":
            return _read_schema(node, at)
    return None  # another server's own: kept with the request


def _read_schema(node: Node, at: str) -> ResponseFormat:
    place = path_of(at, "json_schema")
    held = as_object(node.get("json_schema"), place)
    known = frozenset({"type", *(f"json_schema.{name}" for name in ("name", "description", "schema", "strict"))})
    flattened = {name: value for name, value in node.items() if name != "json_schema"}
    flattened |= {f"json_schema.{name}": value for name, value in held.items()}
    spelled = {f"json_schema.{name}": "" for name in ("name", "description") if held.get(name) == ""}
    return ResponseFormat(
        kind="json_schema",
        name=optional_text(held, "name", place) or "",
        description=optional_text(held, "description", place) or "",
        schema=optional_object(held, "schema", place),
        is_strict=optional_flag(held, "strict", place),
        native=keep(flattened, known, RESPONSE_FORMAT, Form(spelled=spelled)),
    )


def _native(body: Node, messages: Messages, *, is_legacy: bool) -> Native:
    """Keep what only this format knows of a request, and how it was spelled."""
    known, spelled = _KNOWN, _said_twice(body)
    if body.get("modalities") == ["text"]:  # what it is without being said
        known, spelled = known | {"modalities"}, {**spelled, "modalities": ["text"]}
    if _read_response_format(body) is None:
        known = known - {"response_format"}
    form = BodyForm(
        spelled=spelled,
        max_tokens_field=_used(body, MAX_TOKENS_FIELDS),
        end_user_field=_used(body, END_USER_FIELDS),
        has_text_stop=isinstance(body.get("stop"), str),
        is_legacy=is_legacy,
        stream_options=optional_object(body, "stream_options", ""),
    )
    native = keep(body, known, BODY, form) or Native(origin=NAME)
    return msgspec.structs.replace(native, fields=(*native.fields, *messages.fields))


def _said_twice(body: Node) -> dict[str, Any]:
    """Return the members that say nothing, or nothing new."""
    said: dict[str, Any] = {name: [] for name in ("tools", "functions", "stop") if body.get(name) == []}
    for fields in (MAX_TOKENS_FIELDS, END_USER_FIELDS):
        used = _used(body, fields)
        said |= {name: body[name] for name in fields if name != used and body.get(name) is not None}
    return said | ({"stream": False} if body.get("stream") is False else {})


def _used(body: Node, fields: tuple[str, ...]) -> str:
    """Return which of several fields with one meaning counts; empty when none is there."""
    return next((name for name in fields if body.get(name) is not None), "")
