"""What it means to lose a field that only this format knows; fields that are not listed may make an answer worse."""

from collections.abc import Mapping
from typing import Any

from providers.canonical.losses import Weight, Weights

COSMETIC, DEGRADES, CHANGES_ANSWER = Weight.COSMETIC, Weight.DEGRADES, Weight.CHANGES_ANSWER

_NO_CACHE_SETTINGS = (COSMETIC, "the upstream's format has no such setting of its cache")
_KEPT_ELSEWHERE = (CHANGES_ANSWER, "what it stands for is kept by the upstream, and another cannot read it")
_SERVER_TOOL = "the upstream has no such tool of its own"

BODY: Weights = {
    "background": (CHANGES_ANSWER, "the gateway answers at once or not at all"),
    "client_metadata": (COSMETIC, "it tells of the client and not of the question"),
    "context_management": (DEGRADES, "the upstream does not shorten the conversation itself"),
    "conversation": _KEPT_ELSEWHERE,
    "image": (DEGRADES, "the upstream compresses images as it likes"),
    "include": (COSMETIC, "the upstream has nothing more to include"),
    "max_tool_calls": (DEGRADES, "the upstream does not count the calls of its own tools"),
    "previous_response_id": _KEPT_ELSEWHERE,
    "prompt": _KEPT_ELSEWHERE,
    "prompt_cache_options": _NO_CACHE_SETTINGS,
    "prompt_cache_retention": _NO_CACHE_SETTINGS,
    "stream_options": (COSMETIC, "the stream is written by the gateway"),
    "truncation": (DEGRADES, "the upstream does not shorten what is too long"),
    "user": (COSMETIC, "another field names the end user already"),
}

# Values that ask for nothing beyond what happens anyway, and fields that the gateway itself sees to: no losses.
DEFAULTS: Mapping[str, Any] = {"background": False, "stream_options": {}, "truncation": "disabled"}
SEEN_TO = frozenset({"store"})

MESSAGE: Weights = {
    "id": (COSMETIC, "the upstream's messages have no ids"),
    "status": (COSMETIC, "the upstream's messages have no status"),
    "phase": (COSMETIC, "the upstream does not tell commentary from the final answer"),
}

PART: Weights = {
    "detail": (DEGRADES, "the upstream chooses an image's resolution itself"),
    "logprobs": (COSMETIC, "the upstream takes no probabilities of earlier answers"),
}

ITEM: Weights = {
    "id": (COSMETIC, "the upstream's tool calls have one id only"),
    "status": (COSMETIC, "the upstream's tool calls have no status"),
    "caller": (DEGRADES, "the upstream does not know of programs that call tools"),
    "async": (DEGRADES, "the upstream waits for its tools"),
}

REASONING_ITEM: Weights = {
    "id": (COSMETIC, "the upstream's reasoning has no ids"),
    "status": (COSMETIC, "the upstream's reasoning has no status"),
}

REASONING: Weights = {
    "context": (DEGRADES, "the upstream decides which earlier reasoning it looks at"),
    "mode": (DEGRADES, "the upstream has no such mode of reasoning"),
}

TOOL: Weights = {
    "type": (COSMETIC, "it is given to the upstream as a function"),
    "allowed_callers": (DEGRADES, "the upstream does not know of programs that call tools"),
    "async": (DEGRADES, "the upstream waits for its tools"),
    "defer_loading": (COSMETIC, "the upstream gets all tools at once"),
    "output_schema": (COSMETIC, "the upstream is not told what a tool gives back"),
}

TOOL_CHOICE: Weights = {
    "type": (CHANGES_ANSWER, _SERVER_TOOL),
    "tools": (CHANGES_ANSWER, _SERVER_TOOL),
}

# Server tools and items that can be missing without the question being another. Codex always asks for web search.
FOREIGN_TOOLS: Weights = {
    name: (DEGRADES, "the upstream cannot search the web by itself")
    for name in ("web_search", "web_search_preview", "web_search_preview_2025_03_11", "web_search_2025_08_26")
}
FOREIGN_ITEMS: Weights = {
    "web_search_call": (DEGRADES, "the upstream is not told that the web was searched"),
}
OTHER_TOOL = (CHANGES_ANSWER, _SERVER_TOOL)
OTHER_ITEM = (CHANGES_ANSWER, "the upstream's format has no such item")
OTHER_PART = (CHANGES_ANSWER, "the upstream's format has no such part")
