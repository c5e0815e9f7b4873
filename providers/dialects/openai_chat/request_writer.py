"""Writing a request for an upstream that speaks this format."""

import hashlib
from typing import Any

from providers.canonical.losses import UNKNOWN_FIELD, Losses
from providers.canonical.request import EFFORTS, Effort, Reasoning, Request, ResponseFormat
from providers.dialects.base import Destination, Written
from providers.dialects.nodes import Node
from providers.dialects.openai_chat.forms import BodyForm, add_kept, form
from providers.dialects.openai_chat.messages_writer import write_messages
from providers.dialects.openai_chat.strict import satisfies_strict
from providers.dialects.openai_chat.tools_writer import write_tools
from providers.dialects.openai_chat.weights import BODY
from providers.dialects.openai_chat.wire import MAX_END_USER, MAX_STOPS, NAMES, SERVICE_TIERS
from providers.dialects.openai_chat.writing import Writing
from providers.profiles import nearest_effort
from providers.wire.json import write_json

_LEVELS: tuple[tuple[int, Effort], ...] = ((5_000, "low"), (10_000, "medium"))  # tokens of a budget, up to
_CANONICAL = {name: field for field, name in NAMES.items()} | {
    "max_tokens": "sampling.max_output_tokens",
    "user": "end_user",
}


def write_request(request: Request, to: Destination, losses: Losses) -> Written:
    """Return the body for an upstream; what it cannot say is noted."""
    writing = Writing(request, to, losses)
    body: Node = {"model": to.model, "messages": write_messages(writing)}
    body |= write_tools(writing)
    body |= _sampling(writing)
    body |= _max_tokens(writing)
    body |= _choices(writing)
    body |= _reasoning(writing)
    body |= _response_format(writing)
    body |= _labels(writing)
    body |= _stream(writing)
    _add_own(body, writing)
    _drop(body, writing)
    return Written(write_json(body), writing.tools)


def _add_own(body: Node, writing: Writing) -> None:
    """Write back what only this format knows; the fields of messages are in the messages already."""
    native = writing.request.native
    writing.lose_native(native, "")
    added: Node = {}
    add_kept(added, native)
    for name, value in added.items():
        if "[" not in name:
            body.setdefault(name, value)


def _drop(body: Node, writing: Writing) -> None:
    """Take out what this upstream refuses."""
    for name in writing.to.quirks.drop_fields:
        if name in body and body.pop(name) is not None:
            weight, _ = BODY.get(name, UNKNOWN_FIELD)
            path = writing.request.where(_CANONICAL.get(name, name))
            writing.lose(path, weight, "the upstream refuses this field")


# Sampling


def _sampling(writing: Writing) -> Node:
    sampling, profile = writing.request.sampling, writing.to.profile
    body: Node = {}
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(sampling, name)
        if value is None:
            continue
        if not profile.takes_sampling:
            _lose_sampling(name, "this model takes no sampling parameters", writing)
        elif name == "top_k" and not (writing.is_own or writing.to.quirks.takes_top_k):
            _lose_sampling(name, "the upstream has no top_k", writing)
        else:
            body[name] = value
    for name in ("seed", "presence_penalty", "frequency_penalty"):
        if getattr(sampling, name) is not None:
            body[name] = getattr(sampling, name)
    return body | _stop(writing)


def _lose_sampling(name: str, why: str, writing: Writing) -> None:
    writing.losses.degrades(writing.request.where(f"sampling.{name}"), why)


def _stop(writing: Writing) -> Node:
    stop = writing.request.sampling.stop
    if not stop:
        return {}
    if not writing.to.profile.takes_stop:
        _lose_sampling("stop", "this model takes no stop sequences", writing)
        return {}
    if form(writing.request.native, BodyForm).has_text_stop:
        return {"stop": stop[0]}
    if len(stop) > MAX_STOPS and not writing.is_own:
        _lose_sampling("stop", f"the upstream takes no more than {MAX_STOPS} stop sequences", writing)
        stop = stop[:MAX_STOPS]
    return {"stop": list(stop)}


def _max_tokens(writing: Writing) -> Node:
    wanted = writing.request.sampling.max_output_tokens
    if wanted is None:
        return {}
    to = writing.to
    count = min(wanted, to.most_output_tokens or wanted)
    if count != wanted:
        _lose_sampling("max_output_tokens", f"this model writes at most {count} tokens", writing)
    spelled = form(writing.request.native, BodyForm).max_tokens_field
    return {to.quirks.max_tokens_field or spelled or to.profile.max_tokens_field: count}


def _choices(writing: Writing) -> Node:
    """Write how many answers are wanted, and how likely their words are: one answer is all that is brought back."""
    body: Node = {}
    for field, name, harmless, why in (
        ("choices", "n", 1, "only one answer can be translated"),
        ("logprobs", "logprobs", False, "probabilities cannot be translated"),
        ("top_logprobs", "top_logprobs", 0, "probabilities cannot be translated"),
    ):
        value = getattr(writing.request.sampling, field)
        if value is not None and (value == harmless or writing.is_own):
            body[name] = value
        if value is not None and value != harmless:
            writing.losses.changes_answer(writing.request.where(f"sampling.{field}"), why)
    return body


# Reasoning


def _reasoning(writing: Writing) -> Node:
    reasoning, where, losses = writing.request.reasoning, writing.request.where, writing.losses
    if reasoning is None:
        return {}
    writing.lose_native(reasoning.native, where("reasoning"))
    if reasoning.budget is not None:
        losses.cosmetic(where("reasoning.budget"), "the upstream has levels of effort, not budgets")
    if reasoning.mode is not None:
        losses.cosmetic(where("reasoning.mode"), "the upstream has levels of effort, not modes")
    if reasoning.shows:
        losses.cosmetic(where("reasoning.shows"), "the upstream decides itself what it shows of its reasoning")
    wanted = _effort(reasoning)
    return {} if wanted is None else _fitted_effort(wanted, writing)


def _effort(reasoning: Reasoning) -> Effort | None:
    """Return the effort that comes closest to what is wanted; None where that is what the model does by itself."""
    if reasoning.effort is not None:
        return reasoning.effort
    if reasoning.budget is not None:
        return next((effort for limit, effort in _LEVELS if reasoning.budget < limit), "high")
    return "none" if reasoning.mode == "between_tools" else None


def _fitted_effort(wanted: Effort, writing: Writing) -> Node:
    fitted = nearest_effort(wanted, writing.to.profile)
    if fitted != wanted:
        is_less = fitted is None or EFFORTS.index(fitted) < EFFORTS.index(wanted)
        why = "this model does not reason" if fitted is None else f"this model's closest effort is {fitted}"
        note = writing.losses.degrades if is_less and wanted != "none" else writing.losses.cosmetic
        note(writing.request.where("reasoning.effort"), why)
    return {} if fitted is None else {"reasoning_effort": fitted}


# The answer's form


def _response_format(writing: Writing) -> Node:
    wanted = writing.request.response_format
    if wanted is None:
        return {}
    where = writing.request.where("response_format")
    writing.lose_native(wanted.native, where)
    if wanted.kind == "json_schema" and not writing.to.profile.takes_schema:
        writing.losses.changes_answer(where, "this model's answers cannot be held to a schema")
        return {}
    node: Node = {"type": wanted.kind}
    if wanted.kind == "json_schema":
        node["json_schema"] = _schema(wanted, writing)
    add_kept(node, wanted.native, inner="json_schema")
    return {"response_format": node}


def _schema(wanted: ResponseFormat, writing: Writing) -> Node:
    held: Node = {}
    name = wanted.name or ("" if writing.is_own else "output")
    for field, value in (("name", name), ("description", wanted.description), ("schema", wanted.schema)):
        if value or (field == "schema" and value is not None):
            held[field] = value
    strict = wanted.is_strict if writing.is_own else _is_strict(wanted, writing)
    return held if strict is None else {**held, "strict": strict}


def _is_strict(wanted: ResponseFormat, writing: Writing) -> bool | None:
    """Whether the upstream is to enforce the schema: yes wherever it can, unless the client says no."""
    if wanted.is_strict is False or satisfies_strict(wanted.schema):
        return wanted.is_strict is not False
    if wanted.is_strict:
        path = writing.request.where("response_format.is_strict")
        path = path if path != "is_strict" else writing.request.where("response_format")
        writing.losses.degrades(path, "the upstream enforces only schemas whose objects are closed and whole")
    return False


# Labels


def _labels(writing: Writing) -> Node:
    request = writing.request
    body: Node = {}
    if request.verbosity is not None:
        body["verbosity"] = request.verbosity
    if request.metadata is not None:
        body["metadata"] = dict(request.metadata)
    return body | _end_user(writing) | _cache_key(writing) | _service_tier(writing)


def _end_user(writing: Writing) -> Node:
    request = writing.request
    if request.end_user is None:
        return {}
    spelled = form(request.native, BodyForm).end_user_field
    name = request.end_user
    if len(name) > MAX_END_USER and not writing.is_own:
        name = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        writing.losses.cosmetic(
            request.where("end_user"), f"it is longer than {MAX_END_USER} characters: its hash is sent"
        )
    return {spelled or "safety_identifier": name}


def _cache_key(writing: Writing) -> Node:
    request = writing.request
    if request.cache_key is None:
        return {}
    if not writing.to.quirks.takes_cache_marks:
        writing.losses.cosmetic(request.where("cache_key"), "the upstream cannot be told what to cache under")
        return {}
    return {"prompt_cache_key": request.cache_key}


def _service_tier(writing: Writing) -> Node:
    request = writing.request
    if request.service_tier is None:
        return {}
    if request.service_tier not in SERVICE_TIERS and not writing.is_own:
        writing.losses.cosmetic(request.where("service_tier"), "the upstream has no such tier")
        return {}
    return {"service_tier": request.service_tier}


# The stream


def _stream(writing: Writing) -> Node:
    """Ask for a stream, and for its usage, which a client that did not ask for it is not shown."""
    request = writing.request
    options: dict[str, Any] = dict(form(request.native, BodyForm).stream_options or {})
    body: Node = {"stream": True} if request.is_stream else {}
    if request.is_stream and writing.to.quirks.accepts_stream_options:
        options["include_usage"] = True
    if options:
        body["stream_options"] = options
    return body
