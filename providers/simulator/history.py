"""A conversation in no dialect's words: who said what, and what that makes of the request."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import NamedTuple

from providers.simulator.behaviour import MARKER


class Speaker(Enum):
    USER = "user"
    MODEL = "model"
    TOOL = "tool"


class Said(NamedTuple):
    who: Speaker
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    text: str  # the last user message; one beside tool results counts only where it holds a marker
    task: str
    results: tuple[str, ...]
    is_tool_result: bool


def tell(history: Iterable[Said]) -> Story:
    """Read a conversation: what neither the user, the model nor a tool said stays out of it."""
    text, task, is_tool_result = "", "", False
    results: list[str] = []
    for is_model, group in groupby(history, lambda said: said.who is Speaker.MODEL):
        if is_model:
            is_tool_result = False
            continue
        turn = list(group)
        answers = [said.text for said in turn if said.who is Speaker.TOOL]
        asked = [said.text for said in turn if said.who is Speaker.USER]
        is_marked = bool(asked) and MARKER.search(asked[-1]) is not None
        results += answers
        if not answers:
            task, results = "\n".join(asked), []
        if not answers or is_marked:
            text = asked[-1] if asked else ""
        is_tool_result = bool(answers) and not is_marked
    return Story(text=text, task=task, results=tuple(results), is_tool_result=is_tool_result)
