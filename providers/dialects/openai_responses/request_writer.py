"""Writing a request for an upstream of this format."""

from providers.canonical.identifiers import fit
from providers.canonical.losses import Losses, fields_of
from providers.canonical.parts import Thinking
from providers.canonical.request import Effort, Reasoning, Request
from providers.dialects.base import Destination, Written
from providers.dialects.nodes import Node
from providers.dialects.openai_responses.input_writer import InputWriter
from providers.dialects.openai_responses.settings import settings
from providers.dialects.openai_responses.spelling import body_form, respell
from providers.dialects.openai_responses.tool_writer import write_choice, write_tools
from providers.dialects.openai_responses.wire import (
    ENCRYPTED,
    END_USER,
    LEAST_OUTPUT_TOKENS,
    NAME,
    SERVICE_TIERS,
)
from providers.dialects.openai_responses.writing import Writing
from providers.profiles import nearest_effort
from providers.wire.json import write_json

NO_FIELD = "the upstream's format has no such field"
# From how many tokens of thought on an effort is meant.
EFFORT_OF_BUDGET: tuple[tuple[int, Effort], ...] = ((10_000, "high"), (5_000, "medium"), (2_000, "low"), (0, "minimal"))


def write_request(request: Request, destination: Destination, losses: Losses) -> Written:
    """Return the body for an upstream, and the way back for its tools' names."""
    writing = Writing(request, destination, losses)
    losses.native(request.native, "", NAME)
    instructions, given = InputWriter(writing).write()
    tools = write_tools(writing)
    body: Node = {"model": destination.model, "input": given}
    if instructions is not None:
        body["instructions"] = instructions
    if tools:
        body["tools"] = tools
    if writing.is_own:
        body = _as_spelled({**body, **settings(request)}, writing)
    else:
        body |= _settings(writing, has_tools=bool(tools))
        _drop_refused(body, writing)
    return Written(write_json(body), writing.tools)


def _as_spelled(body: Node, writing: Writing) -> Node:
    """Write what the client's own format said, as it said it."""
    request = writing.request
    spelled = body_form(request.native)
    choice = write_choice(writing, has_tools=True)
    if choice is not None:
        body["tool_choice"] = choice
    fields = {k: v for k, v in fields_of(request.native, NAME).items() if "." not in k and "[" not in k}
    if spelled.is_text_input and len(body["input"]) == 1:
        body["input"] = body["input"][0]["content"]
    body = respell({**fields, **body}, spelled.spelling)
    body["model"] = writing.destination.model
    return body


def _settings(writing: Writing, *, has_tools: bool) -> Node:
    """Write what another format said: what this one lacks is noted."""
    request = writing.request
    body = settings(request)
    body["store"] = False
    body["tool_choice"] = write_choice(writing, has_tools=has_tools)
    body["reasoning"] = _reasoning(writing)
    body["include"] = [ENCRYPTED] if _wants_seals(writing) else None
    body["top_logprobs"] = None
    _limit(body, writing)
    _sampling(body, writing)
    _format(body, writing)
    _labels(body, writing)
    return {name: value for name, value in body.items() if value is not None}


def _wants_seals(writing: Writing) -> bool:
    """Whether reasoning will have to come back: it is asked for, or some is there already."""
    request, wanted = writing.request, writing.request.reasoning
    if not writing.destination.profile.efforts:
        return False  # a model that does not reason refuses the question
    return (wanted is not None and wanted.effort != "none") or any(
        isinstance(part, Thinking) and part.seal is not None for turn in request.turns for part in turn.parts
    )


def _limit(body: Node, writing: Writing) -> None:
    limit = body.get("max_output_tokens")
    where = writing.request.where("sampling.max_output_tokens")
    if limit is not None and limit < LEAST_OUTPUT_TOKENS:
        writing.losses.cosmetic(where, f"the upstream's least is {LEAST_OUTPUT_TOKENS}")
        body["max_output_tokens"] = LEAST_OUTPUT_TOKENS
    most = writing.destination.most_output_tokens
    if limit is not None and most is not None and limit > most:
        writing.losses.degrades(where, f"the upstream's model writes {most} tokens at most")
        body["max_output_tokens"] = most


def _sampling(body: Node, writing: Writing) -> None:
    sampling, losses, where = writing.request.sampling, writing.losses, writing.request.where
    if not writing.destination.profile.takes_sampling:
        for name in ("temperature", "top_p"):
            if body.pop(name, None) is not None:
                losses.degrades(where(f"sampling.{name}"), "the upstream's model does not take it")
    for name in ("top_k", "seed", "presence_penalty", "frequency_penalty", "top_logprobs"):
        if getattr(sampling, name) is not None:
            losses.degrades(where(f"sampling.{name}"), NO_FIELD)
    if sampling.stop:
        losses.degrades(where("sampling.stop"), "the upstream's format has no stop sequences")
    if sampling.logprobs:
        losses.changes_answer(where("sampling.logprobs"), "the gateway cannot carry probabilities")
    if sampling.choices is not None and sampling.choices > 1:
        losses.changes_answer(where("sampling.choices"), "the upstream gives one answer")


def _reasoning(writing: Writing) -> Node | None:
    wanted = writing.request.reasoning
    if wanted is None:
        return None
    losses, where = writing.losses, writing.request.where
    losses.native(wanted.native, where("reasoning"), NAME)
    if not writing.destination.profile.efforts:
        if wanted.effort != "none":
            losses.degrades(where("reasoning"), "the upstream's model does not reason")
        return None
    meant = _effort(wanted, writing)
    effort = nearest_effort(meant, writing.destination.profile) if meant is not None else None
    if meant is not None and effort != meant and meant == wanted.effort:
        losses.degrades(where("reasoning.effort"), f"the upstream's model knows {effort or 'no efforts'} instead")
    summary = {"summary": "auto"} if wanted.shows and effort != "none" else {}
    if wanted.shows and effort == "none":
        losses.cosmetic(where("reasoning.shows"), "there is no reasoning to show")
    return {**({"effort": effort} if effort else {}), **summary} or None


def _effort(wanted: Reasoning, writing: Writing) -> Effort | None:
    """Return how hard the model is to think, from whichever way it was said."""
    losses, where = writing.losses, writing.request.where
    if wanted.budget is not None:
        losses.cosmetic(where("reasoning.budget"), "the upstream knows efforts and no number of tokens")
    if wanted.mode is not None:
        losses.cosmetic(where("reasoning.mode"), "the upstream decides itself when it thinks")
    if wanted.effort is not None:
        return wanted.effort
    if wanted.mode == "between_tools":
        return "none"
    if wanted.budget is not None:
        return next(effort for least, effort in EFFORT_OF_BUDGET if wanted.budget >= least)
    return None


def _format(body: Node, writing: Writing) -> None:
    wanted, where = writing.request.response_format, writing.request.where("response_format")
    if wanted is None:
        return
    writing.losses.native(wanted.native, where, NAME)
    if wanted.kind != "text" and not writing.destination.profile.takes_schema:
        writing.losses.changes_answer(where, "the upstream's model cannot be held to a form of answer")
        body["text"] = {k: v for k, v in body["text"].items() if k != "format"} or None


def _labels(body: Node, writing: Writing) -> None:
    request, losses = writing.request, writing.losses
    if request.end_user:
        body["safety_identifier"] = fit(request.end_user, END_USER)
        if body["safety_identifier"] != request.end_user:
            losses.cosmetic(request.where("end_user"), "the upstream's names of end users are shorter")
    if request.service_tier is not None and request.service_tier not in SERVICE_TIERS:
        losses.cosmetic(request.where("service_tier"), "the upstream has no such tier")
        body["service_tier"] = None
    if request.cache_key is not None and not writing.takes_cache_marks:
        losses.cosmetic(request.where("cache_key"), "the upstream's cache has no keys")
        body["prompt_cache_key"] = None


CANONICAL = {
    "parallel_tool_calls": "parallel_tools",
    "max_output_tokens": "sampling.max_output_tokens",
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "text": "response_format",
    "safety_identifier": "end_user",
    "prompt_cache_key": "cache_key",
}
UNASKED = frozenset({"store", "include", "stream"})


def _drop_refused(body: Node, writing: Writing) -> None:
    """Leave out what this upstream refuses."""
    for name in writing.destination.quirks.drop_fields:
        if body.pop(name, None) is not None and name not in UNASKED:
            writing.losses.degrades(writing.request.where(CANONICAL.get(name, name)), "the upstream refuses it")
