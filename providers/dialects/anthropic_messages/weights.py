"""What it means to lose a field that only this format knows. Members of nested objects are named with a dot."""

from providers.canonical.losses import Weight, Weights
from providers.canonical.parts import Foreign
from providers.dialects.anthropic_messages.wire import NAME

_COSMETIC, _DEGRADES, _CHANGES = Weight.COSMETIC, Weight.DEGRADES, Weight.CHANGES_ANSWER

WEIGHTS: Weights = {
    # Of the request.
    "billing_policy": (_COSMETIC, "the upstream bills in its own way"),
    "cache_control": (_COSMETIC, "the upstream does not place cache marks by itself"),
    "compaction": (_CHANGES, "the upstream cannot compact a conversation"),
    "container": (_DEGRADES, "the upstream has no containers"),
    "context_management": (_DEGRADES, "the upstream does not manage the context"),
    "diagnostics": (_COSMETIC, "the upstream has no such diagnostics"),
    "fallback_credit_token": (_COSMETIC, "the upstream has no fallback credit"),
    "fallbacks": (_DEGRADES, "the upstream does not fall back by itself"),
    "inference_geo": (_DEGRADES, "the upstream cannot be told where to compute"),
    "mcp_servers": (_CHANGES, "the upstream cannot call MCP servers"),
    "output_config.effort": (_DEGRADES, "the upstream is told no such effort"),
    "output_config.task_budget": (_DEGRADES, "the upstream has no budget for tasks"),
    "service_tier": (_COSMETIC, "the upstream has one choice of speed"),
    "thinking.display": (_COSMETIC, "the upstream shows its reasoning in its own way"),
    "thinking.block_binding": (_COSMETIC, "the upstream does not bind reasoning to its conversation"),
    "thread": (_CHANGES, "the upstream keeps no threads"),
    # Of turns and parts.
    "cache_control.scope": (_COSMETIC, "the upstream's cache has no scopes"),
    "caller": (_COSMETIC, "the upstream does not tell who called a tool"),
    "citations": (_DEGRADES, "the upstream does not cite documents"),
    "context": (_DEGRADES, "the upstream's documents have no context"),
    "toolset_name": (_COSMETIC, "the upstream has no toolsets"),
    "transformations": (_DEGRADES, "the upstream cannot be told how to fit an image"),
    # Of tools.
    "allowed_callers": (_DEGRADES, "the upstream's tools are called by the model only"),
    "defer_loading": (_COSMETIC, "the upstream loads all tools at once"),
    "eager_input_streaming": (_COSMETIC, "the upstream streams arguments in its own way"),
    "input_examples": (_DEGRADES, "the upstream's tools have no examples"),
}

_SERVER_CALLS = frozenset({"server_tool_use", "mcp_tool_use"})
_NOTES = frozenset({"fallback", "mcp_tool_listing"})


def foreign_block(block: dict[str, object], what: str, at: str) -> Foreign:
    """Return a block that only this format knows.

    What a server's tool was asked and what it answered are dropped both, and the text that was made of it stays; any
    other block is something that the model was to read.
    """
    if what in _SERVER_CALLS or what in _NOTES or (what.endswith("_tool_result") and what != "tool_result"):
        why = "the upstream does not know this server's tools"
        return Foreign(origin=NAME, what=what, value=block, weight=_DEGRADES, why=why, at=at)
    return Foreign(origin=NAME, what=what, value=block, at=at)


def is_attribution(block: dict[str, object]) -> bool:
    """Whether a system block is Claude Code's note of itself: new for each request, it would spoil any other cache."""
    text = block.get("text")
    return isinstance(text, str) and text.startswith("x-anthropic-billing-header")


def attribution(block: dict[str, object], at: str) -> Foreign:
    """Return a client's note of itself, which is nothing for the model to read."""
    why = "it is a note for the vendor's own accounting"
    return Foreign(origin=NAME, what="attribution", value=block, weight=_COSMETIC, why=why, at=at)


def foreign_tool(tool: dict[str, object], what: str, at: str) -> Foreign:
    """Return a tool that the vendor runs, or whose schema only the vendor's models know."""
    return Foreign(origin=NAME, what=what, value=tool, weight=_CHANGES, why="the upstream has no such tool", at=at)
