"""How much to think: levels for Gemini 3 and later, budgets before. Pure.

https://ai.google.dev/gemini-api/docs/thinking
"""

from typing import Any

from providers.canonical.losses import Losses, form_of
from providers.canonical.request import Effort, Reasoning, Request
from providers.dialects.gemini.wire import NAME
from providers.profiles import Profile, nearest_effort

LEVELS: tuple[Effort, ...] = ("minimal", "low", "medium", "high", "xhigh")
BUDGETS: dict[Effort, int] = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576}
AS_IT_LIKES = -1


def write_thinking(request: Request, reasoning: Reasoning, profile: Profile, losses: Losses) -> dict[str, Any]:
    """Return the thinkingConfig; empty when there is nothing to say."""
    as_written = form_of(reasoning.native, NAME)
    if as_written is not None:
        return dict(as_written)
    losses.native(reasoning.native, request.where("reasoning"), NAME)
    writer = _Thinking(request, reasoning, losses)
    config = {} if reasoning.shows is None else {"includeThoughts": reasoning.shows}
    if not profile.efforts:
        writer.give_up()
        return {}
    return (writer.budget(profile) if profile.thinking_style == "budget" else writer.level(profile)) | config


class _Thinking:
    """One wish to think, and what of it is lost."""

    def __init__(self, request: Request, reasoning: Reasoning, losses: Losses) -> None:
        self._request = request
        self._reasoning = reasoning
        self._losses = losses

    def level(self, profile: Profile) -> dict[str, Any]:
        """Say it as a level."""
        reasoning = self._reasoning
        effort = reasoning.effort
        if reasoning.mode is not None and effort is None and reasoning.budget is None:
            self._cosmetic("mode", "the model thinks as much as it likes by itself")
            return {}
        if reasoning.mode is not None:
            self._cosmetic("mode", "the upstream has no such mode of thinking")
        if reasoning.budget is not None:
            self._cosmetic("budget", "the upstream takes levels of thinking, not tokens")
            effort = effort or _effort_of(reasoning.budget)
        if effort is None:
            return {}
        known = tuple(level for level in LEVELS if level in profile.efforts) or LEVELS
        level = nearest_effort(effort, Profile(efforts=known))
        if level != reasoning.effort and reasoning.effort is not None:
            self._cosmetic("effort", f"the nearest level is {level}")
        return {"thinkingLevel": str(level).upper()}

    def budget(self, profile: Profile) -> dict[str, Any]:
        """Say it as a budget of tokens."""
        reasoning = self._reasoning
        least, most = profile.thinking_tokens
        if reasoning.budget is not None:
            if reasoning.effort is not None:
                self._cosmetic("effort", "the upstream takes tokens, not levels of thinking")
            if reasoning.mode is not None:
                self._cosmetic("mode", "the upstream has no such mode of thinking")
            if not least <= reasoning.budget <= most:
                self._cosmetic("budget", f"the model takes from {least} to {most} tokens")
            return {"thinkingBudget": max(least, min(reasoning.budget, most))}
        if reasoning.effort is None:
            return {"thinkingBudget": AS_IT_LIKES} if reasoning.mode is not None else {}
        if reasoning.mode is not None:
            self._cosmetic("mode", "the upstream has no such mode of thinking")
        budget = max(least, BUDGETS.get(reasoning.effort, BUDGETS["high"]))
        if reasoning.effort != "none" or budget:
            self._cosmetic("effort", "the upstream takes tokens, not levels of thinking")
        return {"thinkingBudget": budget}

    def give_up(self) -> None:
        """Note that the model does not think at all."""
        if self._reasoning.effort != "none":
            self._losses.degrades(self._request.where("reasoning"), "the model does not reason")

    def _cosmetic(self, field: str, why: str) -> None:
        names = self._request.names
        self._losses.cosmetic(names.get(f"reasoning.{field}", self._request.where("reasoning")), why)


_UP_TO: tuple[tuple[int, Effort], ...] = ((2_000, "minimal"), (5_000, "low"), (10_000, "medium"))


def _effort_of(budget: int) -> Effort:
    return next((effort for limit, effort in _UP_TO if budget < limit), "high")
