"""Writing a request for an upstream of this format, as API version 2023-06-01 takes it."""

from typing import Any

from providers.canonical.losses import Losses
from providers.canonical.request import Request
from providers.dialects.anthropic_messages.reasoning_writer import write_reasoning
from providers.dialects.anthropic_messages.schema import closed_schema
from providers.dialects.anthropic_messages.spelling import put_back
from providers.dialects.anthropic_messages.tool_writer import write_choice, write_tools
from providers.dialects.anthropic_messages.turn_writer import write_messages, write_system
from providers.dialects.anthropic_messages.wire import NAME, NAMES
from providers.dialects.anthropic_messages.writing import Writing
from providers.dialects.base import Destination, Written
from providers.dialects.nodes import Node
from providers.wire.json import write_json

DEFAULT_MAX_TOKENS = 32_000  # no model since Claude 4 writes fewer
_MIN_TOP_P_OF_THOUGHT = 0.95

_TIERS = {"auto": "auto", "default": "standard_only"}


def write_request(request: Request, destination: Destination, losses: Losses) -> Written:
    """Return the body for an upstream, and the way back for its tools' names."""
    writing = Writing(request, destination, losses)
    losses.native(request.native, "", NAME)
    max_tokens = _max_tokens(writing)
    body: Node = {"model": destination.model, "max_tokens": max_tokens}
    # Tools, system, messages: the order of the prompt, in which cache marks count.
    body["tools"] = write_tools(writing) or None
    body["system"] = write_system(writing)
    body["messages"] = write_messages(writing)
    body["tool_choice"] = write_choice(writing)
    writing.settle_marks()
    body |= write_reasoning(writing, max_tokens)
    body |= _sampling(writing, thinks=_thinks(body))
    _add_format(body, writing)
    _add_the_rest(body, writing)
    body = {name: value for name, value in body.items() if value is not None}
    put_back(body, request.native)
    _drop_refused(body, writing)
    return Written(write_json(body), writing.tools)


def _max_tokens(writing: Writing) -> int:
    asked, limit = writing.request.sampling.max_output_tokens, writing.destination.most_output_tokens
    path = writing.request.where("sampling.max_output_tokens")
    if asked is None:
        chosen = limit or DEFAULT_MAX_TOKENS
        writing.losses.cosmetic(path, f"the upstream must be told a number, and is told {chosen}")
        return chosen
    if limit is not None and asked > limit and not writing.is_own:
        writing.losses.degrades(path, f"the upstream's model writes {limit} tokens at most")
        return limit
    return asked


def _thinks(body: Node) -> bool:
    return body.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _sampling(writing: Writing, *, thinks: bool) -> Node:
    sampling = writing.request.sampling
    body: Node = {"stop_sequences": _stop(writing) or None}
    _lose_unknown_sampling(writing)
    drawn = {
        name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(sampling, name)) is not None
    }
    if not drawn or writing.is_own:
        return body | drawn
    why = _why_refused(writing, thinks)
    for name in [name for name in drawn if name in why]:
        writing.losses.degrades(writing.request.where(f"sampling.{name}"), why[name])
        del drawn[name]
    if drawn.get("temperature", 0) > 1:
        writing.losses.degrades(writing.request.where("sampling.temperature"), "the upstream's ends at 1")
        drawn["temperature"] = 1
    return body | drawn


def _why_refused(writing: Writing, thinks: bool) -> dict[str, str]:
    """Return which parameters the upstream would refuse, and why."""
    sampling, profile = writing.request.sampling, writing.destination.profile
    if not profile.takes_sampling:
        return dict.fromkeys(("temperature", "top_p", "top_k"), "the upstream's model does not take it")
    why = {}
    if thinks:
        alone = "the upstream's model does not take it while it thinks"
        why["top_k"] = alone
        if sampling.temperature != 1:
            why["temperature"] = alone
        if sampling.top_p is not None and sampling.top_p < _MIN_TOP_P_OF_THOUGHT:
            why["top_p"] = alone
    if not profile.takes_temperature_with_top_p and sampling.temperature is not None and "temperature" not in why:
        why["top_p"] = "the upstream's model takes it or a temperature, not both"
    return why


def _stop(writing: Writing) -> list[str]:
    request = writing.request
    stop = [sequence for sequence in request.sampling.stop if sequence.strip()]
    if len(stop) < len(request.sampling.stop):
        writing.losses.degrades(request.where("sampling.stop"), "the upstream does not stop at blanks")
    if stop and not writing.destination.profile.takes_stop:
        writing.losses.degrades(request.where("sampling.stop"), "the upstream's model does not take it")
        return []
    return stop


def _lose_unknown_sampling(writing: Writing) -> None:
    sampling, where, losses = writing.request.sampling, writing.request.where, writing.losses
    for name in ("seed", "presence_penalty", "frequency_penalty", "top_logprobs"):
        if getattr(sampling, name) is not None:
            losses.degrades(where(f"sampling.{name}"), "the upstream's format has no such field")
    if sampling.logprobs:
        losses.changes_answer(where("sampling.logprobs"), "the upstream does not tell probabilities")
    if sampling.choices is not None and sampling.choices > 1:
        losses.changes_answer(where("sampling.choices"), "the upstream gives one answer")


def _add_format(body: Node, writing: Writing) -> None:
    request = writing.request
    format = request.response_format
    if format is None or format.kind == "text":
        return
    path = request.where("response_format")
    writing.losses.native(format.native, path, NAME)
    if format.kind == "json_object":
        writing.losses.degrades(path, "the upstream is asked for JSON and not held to it")
    elif not writing.destination.profile.takes_schema:
        writing.losses.changes_answer(path, "the upstream's model does not hold its answer to a schema")
    else:
        body["output_config"] = {**body.get("output_config", {}), "format": _format(writing, path)}


def _format(writing: Writing, path: str) -> Node:
    format = writing.request.response_format
    assert format is not None  # the caller's
    for name in ("name", "description"):
        if getattr(format, name):
            writing.losses.cosmetic(f"{path}.{name}", "the upstream's schemas have none")
    schema: Any = format.schema
    if schema is not None and not writing.is_own:
        schema = closed_schema(schema, writing.path("response_format.schema", "response_format"), writing.losses)
    node: Node = {"type": "json_schema"} if schema is None else {"type": "json_schema", "schema": schema}
    return put_back(node, format.native)


def _add_the_rest(body: Node, writing: Writing) -> None:
    request, losses = writing.request, writing.losses
    if request.end_user is not None:
        body["metadata"] = {"user_id": request.end_user}
    if request.is_stream:
        body["stream"] = True
    if request.service_tier == "fast":
        body["speed"] = "fast"
    elif request.service_tier is not None:
        body["service_tier"] = _tier(request.service_tier, writing)
    if request.verbosity is not None:
        losses.degrades(request.where("verbosity"), "the upstream cannot be told how much to say")
    if request.cache_key is not None and not writing.is_own:
        losses.cosmetic(request.where("cache_key"), "the upstream caches by content")
    if request.metadata:
        losses.cosmetic(request.where("metadata"), "the upstream keeps no metadata")


def _tier(tier: str, writing: Writing) -> str | None:
    known = _TIERS.get(tier, tier if writing.is_own else None)
    if known is None:
        writing.losses.cosmetic(writing.request.where("service_tier"), f"the upstream has no tier {tier!r}")
    return known


def _drop_refused(body: Node, writing: Writing) -> None:
    """Remove what this upstream is known to refuse."""
    canonical = {mine: field for field, mine in NAMES.items()}
    for name in writing.destination.quirks.drop_fields:
        if body.pop(name, None) is not None:
            path = writing.request.where(canonical.get(name, name))
            writing.losses.degrades(path, "this upstream does not take it")
