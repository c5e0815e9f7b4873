"""Writing how much a model is to think.

Newer models decide for themselves (`adaptive`) and are given an effort; older ones (`enabled`) get a number of tokens,
which is less than all they may write.
"""

import msgspec

from providers.canonical.parts import Thinking, ToolCall, ToolResult
from providers.canonical.request import Effort, Reasoning
from providers.canonical.seals import native_origin
from providers.dialects.anthropic_messages.wire import NAME
from providers.dialects.anthropic_messages.writing import Writing
from providers.dialects.nodes import Node
from providers.profiles import nearest_effort

_EFFORTS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")
_BUDGETS: dict[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 24576,
    "max": 32768,
}
_MIN_BUDGET = 1024
_DISPLAYS = {True: "summarized", False: "omitted"}


def write_reasoning(writing: Writing, max_tokens: int) -> Node:
    """Return the members `thinking` and `output_config.effort`; none when nothing was asked for."""
    reasoning = writing.request.reasoning
    if reasoning is None:
        return {}
    if writing.is_own:
        return _as_said(reasoning)
    writing.losses.native(reasoning.native, writing.request.where("reasoning"), NAME)
    if reasoning.effort == "none" or reasoning.budget == 0:
        return _off(writing)
    if reasoning.effort is None and reasoning.budget is None and not reasoning.shows:
        return {}
    return _on(reasoning, writing, max_tokens)


def _as_said(reasoning: Reasoning) -> Node:
    thinking: Node = {}
    if reasoning.effort == "none" or reasoning.mode is not None:
        thinking["type"] = reasoning.mode or "disabled"
    if reasoning.budget is not None:
        thinking["budget_tokens"] = reasoning.budget
    if reasoning.shows is not None:
        thinking["display"] = _DISPLAYS[reasoning.shows]
    effort = reasoning.effort if reasoning.effort != "none" else None
    return _members(thinking, effort)


def _members(thinking: Node, effort: str | None) -> Node:
    members: Node = {"thinking": thinking} if thinking else {}
    return members | {"output_config": {"effort": effort}} if effort else members


def _off(writing: Writing) -> Node:
    types, path = writing.destination.profile.thinking, writing.request.where("reasoning")
    if "disabled" in types:
        return {"thinking": {"type": "disabled"}}
    if "between_tools" in types:
        writing.losses.degrades(path, "the upstream's model always thinks between calls of tools")
        return {"thinking": {"type": "between_tools"}}
    if not types:
        return {}
    writing.losses.degrades(path, "the upstream's model always thinks")
    return _members({"type": "adaptive"}, _nearest("low", writing))


def _on(reasoning: Reasoning, writing: Writing, max_tokens: int) -> Node:
    types = writing.destination.profile.thinking
    has_budget_only = reasoning.budget is not None and reasoning.effort is None
    if "enabled" in types and (has_budget_only or "adaptive" not in types):
        return _enabled(reasoning, writing, max_tokens)
    if "adaptive" in types:
        return _adaptive(reasoning, writing)
    writing.losses.degrades(writing.request.where("reasoning"), "the upstream's model does not think")
    return {}


def _adaptive(reasoning: Reasoning, writing: Writing) -> Node:
    wanted, effort = reasoning.effort, None
    if reasoning.budget is not None:
        path = writing.path("reasoning.budget", "reasoning")
        writing.losses.cosmetic(path, "the upstream is told an effort and not a number of tokens")
        wanted = wanted or effort_of(reasoning.budget)
    if wanted is not None:
        effort = _nearest(wanted, writing)
        if effort is None:
            writing.losses.degrades(writing.request.where("reasoning"), "the upstream's model is told no effort")
        elif effort != wanted and reasoning.effort is not None:
            writing.losses.cosmetic(
                writing.request.where("reasoning"), f"the nearest that the upstream knows is {effort}"
            )
    # Nothing of what the model thinks is shown where nobody says so: newer models omit it.
    shows = reasoning.shows is not False
    return _members({"type": "adaptive", "display": _DISPLAYS[shows]}, effort)


def _nearest(wanted: Effort, writing: Writing) -> Effort | None:
    profile = writing.destination.profile
    known = tuple(effort for effort in profile.efforts if effort in _EFFORTS)
    return nearest_effort(wanted, msgspec.structs.replace(profile, efforts=known))


def effort_of(budget: int) -> Effort:
    """Return the effort that a number of tokens stands for."""
    if budget < 2_000:
        return "minimal"
    if budget < 5_000:
        return "low"
    return "medium" if budget < 10_000 else "high"


def _enabled(reasoning: Reasoning, writing: Writing, max_tokens: int) -> Node:
    path, choice = writing.request.where("reasoning"), writing.request.tool_choice
    if max_tokens <= _MIN_BUDGET:
        writing.losses.degrades(path, "too few tokens are allowed for the upstream's model to think")
        return {}
    if choice is not None and choice.mode in ("required", "named"):
        writing.losses.degrades(path, "the upstream's model does not think when it is made to call a tool")
        return {}
    if _is_in_loop_without_thinking(writing):
        writing.losses.degrades(path, "the calls of tools so far come without this model's reasoning")
        return {}
    thinking: Node = {"type": "enabled", "budget_tokens": _budget(reasoning, writing, max_tokens)}
    if reasoning.shows is not None:
        thinking["display"] = _DISPLAYS[reasoning.shows]
    return {"thinking": thinking}


def _budget(reasoning: Reasoning, writing: Writing, max_tokens: int) -> int:
    """Return the tokens for thinking: some of `max_tokens`, not all, and no fewer than the upstream takes."""
    wanted = reasoning.budget or _BUDGETS[reasoning.effort or "medium"]
    if reasoning.budget is None:
        path = writing.request.where("reasoning")
        writing.losses.cosmetic(path, "the upstream is told a number of tokens and not an effort")
    budget = max(_MIN_BUDGET, min(wanted, max_tokens - 1))
    if reasoning.budget is not None and budget != wanted:
        path = writing.path("reasoning.budget", "reasoning")
        writing.losses.cosmetic(path, f"the upstream takes from {_MIN_BUDGET} to {max_tokens - 1} tokens")
    return budget


def _is_in_loop_without_thinking(writing: Writing) -> bool:
    """Whether the turn that the results at the end answer does not begin with this upstream's reasoning: it is refused."""
    turns = writing.request.turns
    if not turns or not any(isinstance(part, ToolResult) for part in turns[-1].parts):
        return False
    asked = next((turn for turn in reversed(turns) if turn.role == "assistant"), None)
    if asked is None or not any(isinstance(part, ToolCall) for part in asked.parts):
        return False
    origins = (writing.destination.origin, native_origin(NAME))
    return not any(isinstance(part, Thinking) and part.seal and part.seal.origin in origins for part in asked.parts)
