"""Reading a request."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from providers.canonical.inbound import Facts
from providers.canonical.losses import Native, NativeField
from providers.canonical.parts import Text
from providers.canonical.request import EFFORTS, Reasoning, Request, ResponseFormat, Sampling
from providers.canonical.seals import SealBox
from providers.dialects.nodes import (
    Node,
    as_object,
    optional_count,
    optional_flag,
    optional_list,
    optional_number,
    optional_object,
    optional_text,
    optional_word,
    read_body,
    text,
    wrong,
)
from providers.dialects.openai_responses.facts import KEPT_ELSEWHERE
from providers.dialects.openai_responses.item_reader import ItemReader
from providers.dialects.openai_responses.settings import settings
from providers.dialects.openai_responses.spelling import BodyForm, Form, Spelling, keep, loose_fields
from providers.dialects.openai_responses.tool_reader import ToolReader, read_tool_choice
from providers.dialects.openai_responses.weights import BODY, DEFAULTS, REASONING, SEEN_TO
from providers.dialects.openai_responses.wire import ENCRYPTED, LOGPROBS, NAME
from providers.wire.splice import Members

# What the format calls the canonical fields.
NAMES: Mapping[str, str] = {
    "system": "instructions",
    "turns": "input",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tools": "parallel_tool_calls",
    "sampling.max_output_tokens": "max_output_tokens",
    "sampling.temperature": "temperature",
    "sampling.top_p": "top_p",
    "sampling.logprobs": "include",
    "sampling.top_logprobs": "top_logprobs",
    "reasoning": "reasoning",
    "reasoning.effort": "reasoning.effort",
    "reasoning.shows": "reasoning.summary",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "end_user": "safety_identifier",
    "cache_key": "prompt_cache_key",
    "service_tier": "service_tier",
    "metadata": "metadata",
}
NAMES_WITH_USER = {**NAMES, "end_user": "user"}
# Members that are written from canonical values, or whose form is remembered.
KNOWN = frozenset(
    {
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens",
        "temperature", "top_p", "top_logprobs", "include", "reasoning", "text", "safety_identifier", "user",
        "prompt_cache_key", "service_tier", "metadata", "stream",
    }
)  # fmt: skip
WRITTEN_APART = frozenset({"model", "input", "instructions", "tools"})
TEXT = frozenset({"format", "verbosity"})
FORMAT = frozenset({"type", "name", "description", "schema", "strict"})
KINDS = ("text", "json_object", "json_schema")
EFFORT_FIELDS = frozenset({"effort", "summary", "generate_summary"})
SUMMARIES = ("auto", "concise", "detailed")


def read_request(members: Members, facts: Facts, seals: SealBox) -> Request:
    """Return what a client asks; raises InvalidRequest naming the field that is wrong."""
    body = read_body(members)
    tools = ToolReader()
    if body.get("tools") is not None:
        tools.read(body["tools"], "tools")
    reader = ItemReader(seals, tools, is_partial=_is_partial(body))
    instructions = _instructions(body)
    if body.get("input") is not None:
        reader.read(body["input"])
    current = _with_updates(body, reader.updates)
    request = Request(
        model=facts.model,
        system=(*instructions, *reader.system),
        turns=tuple(reader.turns),
        tools=tools.tools,
        tool_choice=read_tool_choice(body.get("tool_choice"), "tool_choice"),
        parallel_tools=optional_flag(body, "parallel_tool_calls", ""),
        sampling=_sampling(body),
        reasoning=_reasoning(optional_object(current, "reasoning", "")),
        response_format=_response_format(optional_object(current, "text", "") or {}),
        verbosity=optional_text(optional_object(body, "text", "") or {}, "verbosity", "text"),
        end_user=_end_user(body),
        cache_key=optional_text(body, "prompt_cache_key", ""),
        service_tier=optional_text(body, "service_tier", ""),
        metadata=_metadata(body),
        is_stream=facts.is_stream,
        names=NAMES if body.get("safety_identifier") or not body.get("user") else NAMES_WITH_USER,
    )
    return replace(request, native=_native(body, request, reader))


def _is_partial(body: Node) -> bool:
    """Whether some of the conversation is kept elsewhere."""
    if any(body.get(name) is not None for name in KEPT_ELSEWHERE):
        return True
    given = body.get("input")
    return isinstance(given, list) and any(
        isinstance(item, dict) and item.get("type", "item_reference" if "role" not in item else "") == "item_reference"
        for item in given
    )


def _instructions(body: Node) -> tuple[Text, ...]:
    said = optional_text(body, "instructions", "")
    if said is None:
        return ()
    return (Text(text=said, at="instructions", native=Native(origin=NAME, form=Form(is_text=True))),)


def _with_updates(body: Node, updates: list[Node]) -> Node:
    """Return the settings as they stand after the updates in the input."""
    current = {name: optional_object(body, name, "") for name in ("reasoning", "text")}
    for update in updates:
        for name, value in current.items():
            if isinstance(update.get(name), dict):
                current[name] = {**(value or {}), **update[name]}
    return current


def _sampling(body: Node) -> Sampling:
    return Sampling(
        max_output_tokens=optional_count(body, "max_output_tokens", ""),
        temperature=optional_number(body, "temperature", ""),
        top_p=optional_number(body, "top_p", ""),
        logprobs=True if LOGPROBS in (optional_list(body, "include", "") or []) else None,
        top_logprobs=optional_count(body, "top_logprobs", ""),
    )


def _reasoning(node: Node | None) -> Reasoning | None:
    if node is None:
        return None
    summary = optional_word(node, "summary", "reasoning", SUMMARIES)
    older = optional_word(node, "generate_summary", "reasoning", SUMMARIES)
    return Reasoning(
        effort=optional_word(node, "effort", "reasoning", EFFORTS),  # type: ignore[arg-type]
        shows=True if summary or older else None,
        native=keep(node, EFFORT_FIELDS, REASONING, Form()),
    )


def _response_format(node: Node) -> ResponseFormat | None:
    wanted = optional_object(node, "format", "text")
    if wanted is None:
        return None
    at = "text.format"
    kind = text(wanted, "type", at)
    if kind not in KINDS:
        raise wrong(f"{at}.type", "one of " + ", ".join(KINDS))
    native = keep(wanted, FORMAT, {}, Form())
    if kind != "json_schema":
        return ResponseFormat(kind=kind, native=native)  # type: ignore[arg-type]
    return ResponseFormat(
        kind="json_schema",
        name=text(wanted, "name", at),
        description=optional_text(wanted, "description", at) or "",
        schema=as_object(wanted.get("schema"), f"{at}.schema"),
        is_strict=optional_flag(wanted, "strict", at),
        native=native,
    )


def _end_user(body: Node) -> str | None:
    return optional_text(body, "safety_identifier", "") or optional_text(body, "user", "")


def _metadata(body: Node) -> dict[str, str] | None:
    metadata = optional_object(body, "metadata", "")
    for name, value in (metadata or {}).items():
        if not isinstance(value, str):
            raise wrong(f"metadata.{name}", "a text")
    return metadata


def _native(body: Node, request: Request, reader: ItemReader) -> Native | None:
    """Return what this format alone says, and how it was said."""
    plain = settings(request)
    said = {
        name: value
        for name, value in body.items()
        if name not in WRITTEN_APART
        and (value is None or plain.get(name) != value if name in KNOWN else _is_silent(name, value))
    }
    said |= {name: None for name in ("input", "instructions", "tools") if name in body and body[name] is None}
    if body.get("tools") == []:
        said["tools"] = []
    without = tuple(name for name in (*plain, "input") if name not in body)
    spelled = BodyForm(
        spelling=Spelling(said=said, without=without),
        inserted=tuple(reader.inserted),
        is_text_input=isinstance(body.get("input"), str),
    )
    fields = (*_fields(body, request), *reader.loose, *reader.tools.loose)
    return Native(origin=NAME, fields=fields, form=spelled)


def _is_silent(name: str, value: Any) -> bool:
    return value is None or name in SEEN_TO or (name in DEFAULTS and value == DEFAULTS[name])


def _fields(body: Node, request: Request) -> tuple[NativeField, ...]:
    unknown = {k: v for k, v in body.items() if k not in KNOWN and not _is_silent(k, v)}
    others = [each for each in optional_list(body, "include", "") or [] if each not in (ENCRYPTED, LOGPROBS)]
    if others:
        unknown["include"] = others
    if body.get("user") and body.get("safety_identifier"):
        unknown["user"] = body["user"]
    kept = keep(unknown, frozenset(), BODY, Form())
    return (*(kept.fields if kept else ()), *loose_fields(body.get("text") or {}, "text", TEXT, {}))
