"""The settings of a request, as this format writes them when nobody says otherwise: all but what is asked."""

from typing import Any

from providers.canonical.request import Request, Tool
from providers.dialects.nodes import Node
from providers.dialects.openai_responses import items
from providers.dialects.openai_responses.wire import LOGPROBS


def settings(request: Request) -> Node:
    """Return the members of a body for the canonical settings; those that are not asked for are missing."""
    sampling = request.sampling
    members: Node = {
        "tool_choice": choice(request),
        "parallel_tool_calls": request.parallel_tools,
        "max_output_tokens": sampling.max_output_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "include": [LOGPROBS] if sampling.logprobs else None,
        "top_logprobs": sampling.top_logprobs,
        "reasoning": items.reasoning(request.reasoning) if request.reasoning is not None else None,
        "text": text(request),
        "safety_identifier": request.end_user or None,
        "prompt_cache_key": request.cache_key,
        "service_tier": request.service_tier,
        "metadata": dict(request.metadata) if request.metadata is not None else None,
        "stream": True if request.is_stream else None,
    }
    return {name: value for name, value in members.items() if value is not None}


def choice(request: Request) -> Any:
    """Return which tools may or must be called; None when nothing is said about it."""
    if request.tool_choice is None:
        return None
    kinds = {tool.name: tool.kind for tool in request.tools if isinstance(tool, Tool)}
    return items.tool_choice(request.tool_choice, dict(kinds))


def text(request: Request) -> Node | None:
    """Return what the answer's text has to be, and how long; None when nothing is said about it."""
    wanted = request.response_format
    format = {"format": items.text_format(wanted)} if wanted is not None else {}
    verbosity = {"verbosity": request.verbosity} if request.verbosity is not None else {}
    return {**format, **verbosity} or None
