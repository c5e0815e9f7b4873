"""Reading a client's request into canonical values; raises InvalidRequest naming the field that is wrong."""

from collections.abc import Mapping
from typing import Any

from providers.canonical.inbound import Facts
from providers.canonical.losses import Native
from providers.canonical.parts import Foreign, Text
from providers.canonical.request import EFFORTS, Effort, Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice
from providers.canonical.seals import SealBox
from providers.dialects.anthropic_messages.block_reader import MARK, BlockReader, read_cache, read_text
from providers.dialects.anthropic_messages.facts import who_asks
from providers.dialects.anthropic_messages.spelling import PLAIN, keep
from providers.dialects.anthropic_messages.weights import attribution, foreign_block, foreign_tool, is_attribution
from providers.dialects.anthropic_messages.wire import NAME, NAMES
from providers.dialects.nodes import (
    Node,
    as_list,
    as_object,
    name_text,
    optional_count,
    optional_flag,
    optional_list,
    optional_number,
    optional_object,
    optional_text,
    read_body,
    text,
    wrong,
)
from providers.wire.splice import Members

_SAMPLING = {"max_tokens", "stop_sequences", "temperature", "top_p", "top_k"}
_THINKING = {"thinking.type", "thinking.budget_tokens", "thinking.display"}
_CONFIG = {"output_config.effort", "output_config.format", "metadata.user_id", "stream", "service_tier", "speed"}
_KNOWN = frozenset({"model", "messages", "system", "tools", "tool_choice"} | _SAMPLING | _THINKING | _CONFIG)
_TOOL = frozenset({"type", "name", "description", "input_schema", "strict"}) | MARK
_CHOICE = frozenset({"type", "name", "disable_parallel_tool_use"})
_FORMAT = frozenset({"type", "schema"})

_CHOICES: Mapping[str, Any] = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}
_TIERS = {"standard_only": "default"}
_MODES = ("enabled", "adaptive", "between_tools")
_DISPLAYS = {"summarized": True, "omitted": False}
_SHOWS = {**_DISPLAYS, "updates": True}  # beta: thoughts come as short notes of what is going on


def read_request(members: Members, facts: Facts, seals: SealBox) -> Request:
    """Read a request."""
    body = read_body(members)
    blocks = BlockReader(seals)
    messages = enumerate(as_list(body.get("messages"), "messages"))
    reasoning, format, said = _reasoning(body), _response_format(body), _said(body)
    if reasoning is not None and reasoning.mode is None and body.get("thinking"):
        said["thinking.type"] = body["thinking"].get("type")
    who, session = who_asks(body.get("metadata"))  # a session may stand in a header as well, and that is not translated
    if session:
        said["metadata.user_id"] = body["metadata"]["user_id"]
    known = _KNOWN - _not_understood(body, reasoning, format)
    native = keep(body, known, said=said) or Native(origin=NAME, form=PLAIN)
    return Request(
        model=facts.model,
        system=_system(body),
        turns=tuple(blocks.read_turn(message, f"messages[{i}]") for i, message in messages),
        tools=tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(optional_list(body, "tools", "") or [])),
        tool_choice=_tool_choice(body),
        parallel_tools=_parallel_tools(body),
        sampling=_sampling(body),
        reasoning=reasoning,
        response_format=format,
        end_user=(who or None) if session else _end_user(body),
        cache_key=session or None,
        service_tier=_service_tier(body),
        is_stream=facts.is_stream,
        names=NAMES,
        native=native,
    )


def _said(body: Node) -> Node:
    """Return what stands there without saying anything: it is written back as it was."""
    return {
        name: body[name]
        for name, silence in (("stream", False), ("stop_sequences", []), ("tools", []), ("speed", "standard"))
        if name in body and body[name] == silence
    } | ({"system": body["system"]} if body.get("system") in ("", []) else {})


def _not_understood(body: Node, reasoning: Reasoning | None, format: ResponseFormat | None) -> frozenset[str]:
    """Return what has a canonical place, but not with this value: it is kept as this format's own."""
    names = set()
    thinking, config = body.get("thinking") or {}, body.get("output_config") or {}
    if thinking.get("type") not in _MODES:
        names |= {"thinking.budget_tokens", "thinking.display"}
        if thinking.get("type") != "disabled":
            names.add("thinking.type")
    elif thinking.get("display") not in _DISPLAYS:
        names.add("thinking.display")
    if config.get("effort") != (reasoning.effort if reasoning else None):
        names.add("output_config.effort")
    if format is None:
        names.add("output_config.format")
    if body.get("speed") == "fast":
        names.add("service_tier")
    elif body.get("speed") is not None:
        names.add("speed")
    return frozenset(names)


def _system(body: Node) -> tuple[Text | Foreign, ...]:
    system = body.get("system")
    if not system:
        return ()
    if isinstance(system, str):
        return (Text(text=system, at="system", native=keep({}, frozenset(), is_text=True)),)
    return tuple(
        _system_block(as_object(block, f"system[{i}]"), f"system[{i}]")
        for i, block in enumerate(as_list(system, "system"))
    )


def _system_block(block: Node, at: str) -> Text | Foreign:
    what = text(block, "type", at)
    if is_attribution(block):
        return attribution(block, at)
    return read_text(block, at) if what == "text" else foreign_block(block, what, at)


def _tool(value: Any, at: str) -> Tool | Foreign:
    tool = as_object(value, at)
    what = optional_text(tool, "type", at)
    if what not in (None, "custom"):
        return foreign_tool(tool, what, at)
    said = {
        name: tool[name] for name, silence in (("type", "custom"), ("description", "")) if tool.get(name) == silence
    }
    return Tool(
        name=name_text(tool, "name", at),
        description=optional_text(tool, "description", at) or "",
        parameters=optional_object(tool, "input_schema", at),
        is_strict=optional_flag(tool, "strict", at),
        cache=read_cache(tool, at),
        at=at,
        native=keep(tool, _TOOL, said=said),
    )


def _tool_choice(body: Node) -> ToolChoice | None:
    choice = optional_object(body, "tool_choice", "")
    if choice is None:
        return None
    mode = _CHOICES.get(text(choice, "type", "tool_choice"))
    if mode is None:
        raise wrong("tool_choice.type", "one of " + ", ".join(_CHOICES))
    name = name_text(choice, "name", "tool_choice") if mode == "named" else ""
    return ToolChoice(mode=mode, name=name, native=keep(choice, _CHOICE))


def _parallel_tools(body: Node) -> bool | None:
    choice = optional_object(body, "tool_choice", "") or {}
    is_disabled = optional_flag(choice, "disable_parallel_tool_use", "tool_choice")
    return None if is_disabled is None else not is_disabled


def _sampling(body: Node) -> Sampling:
    stop = optional_list(body, "stop_sequences", "") or []
    for i, sequence in enumerate(stop):
        if not isinstance(sequence, str):
            raise wrong(f"stop_sequences[{i}]", "a text")
    return Sampling(
        max_output_tokens=optional_count(body, "max_tokens", ""),
        temperature=optional_number(body, "temperature", ""),
        top_p=optional_number(body, "top_p", ""),
        top_k=optional_count(body, "top_k", ""),
        stop=tuple(stop),
    )


def _reasoning(body: Node) -> Reasoning | None:
    thinking = optional_object(body, "thinking", "") or {}
    kind = optional_text(thinking, "type", "thinking")
    if kind not in _MODES:
        effort: Effort | None = "none" if kind == "disabled" else _effort(body)
        return None if effort is None else Reasoning(effort=effort)
    effort, budget = _effort(body), optional_count(thinking, "budget_tokens", "thinking")
    mode: Any = None if _goes_without_saying(kind, effort, budget) else kind
    display = optional_text(thinking, "display", "thinking") or ""
    return Reasoning(effort=effort, mode=mode, budget=budget, shows=_SHOWS.get(display))


def _goes_without_saying(kind: str, effort: Effort | None, budget: int | None) -> bool:
    """Whether a type of thinking is what an effort, or a number of tokens, means anywhere else."""
    return (kind == "adaptive" and effort is not None) or (kind == "enabled" and budget is not None)


def _effort(body: Node) -> Effort | None:
    config = optional_object(body, "output_config", "") or {}
    effort = optional_text(config, "effort", "output_config")
    return next((known for known in EFFORTS if known == effort and known not in ("none", "minimal")), None)


def _response_format(body: Node) -> ResponseFormat | None:
    config = optional_object(body, "output_config", "") or {}
    format = optional_object(config, "format", "output_config")
    if format is None or optional_text(format, "type", "output_config.format") != "json_schema":
        return None
    schema = optional_object(format, "schema", "output_config.format")
    native = keep(format, _FORMAT)
    return ResponseFormat(kind="json_schema", schema=schema, is_strict=True, native=native)


def _end_user(body: Node) -> str | None:
    metadata = optional_object(body, "metadata", "") or {}
    return optional_text(metadata, "user_id", "metadata")


def _service_tier(body: Node) -> str | None:
    if optional_text(body, "speed", "") == "fast":
        return "fast"
    tier = optional_text(body, "service_tier", "")
    return None if tier is None else _TIERS.get(tier, tier)
