"""Names and shapes of the format."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from providers.canonical.events import Stop
from providers.canonical.identifiers import Rule
from providers.canonical.inbound import Operation

NAME = "gemini"

CHAT = Operation(name="chat", dialect=NAME, kind="chat", path="/models/{model}:generateContent")
STREAM = Operation(
    name="stream_chat", dialect=NAME, kind="chat", path="/models/{model}:streamGenerateContent", query="alt=sse"
)
COUNT_TOKENS = Operation(
    name="count_tokens", dialect=NAME, kind="chat", path="/models/{model}:countTokens", is_free=True
)

OPERATIONS = {operation.name: operation for operation in (CHAT, STREAM, COUNT_TOKENS)}

TOOL_NAME = Rule(allowed=r"a-zA-Z0-9_.:\-", max_length=128, starts_with="a-zA-Z_")
MAX_STOPS = 5

# How the format calls what is canonical, where the last word of the canonical name is not its name already.
NAMES: Mapping[str, str] = {
    "system": "systemInstruction",
    "turns": "contents",
    "sampling.max_output_tokens": "generationConfig.maxOutputTokens",
    "sampling.temperature": "generationConfig.temperature",
    "sampling.top_p": "generationConfig.topP",
    "sampling.top_k": "generationConfig.topK",
    "sampling.stop": "generationConfig.stopSequences",
    "sampling.seed": "generationConfig.seed",
    "sampling.presence_penalty": "generationConfig.presencePenalty",
    "sampling.frequency_penalty": "generationConfig.frequencyPenalty",
    "sampling.choices": "generationConfig.candidateCount",
    "sampling.logprobs": "generationConfig.responseLogprobs",
    "sampling.top_logprobs": "generationConfig.logprobs",
    "reasoning": "generationConfig.thinkingConfig",
    "reasoning.effort": "generationConfig.thinkingConfig.thinkingLevel",
    "reasoning.budget": "generationConfig.thinkingConfig.thinkingBudget",
    "reasoning.mode": "generationConfig.thinkingConfig.thinkingBudget",
    "reasoning.shows": "generationConfig.thinkingConfig.includeThoughts",
    "response_format": "generationConfig.responseMimeType",
    "response_format.schema": "generationConfig.responseJsonSchema",
    "tool_choice": "toolConfig.functionCallingConfig",
    "tool_choice.mode": "toolConfig.functionCallingConfig.mode",
    "tool_choice.name": "toolConfig.functionCallingConfig.allowedFunctionNames",
    "tool_choice.allowed": "toolConfig.functionCallingConfig.allowedFunctionNames",
    "service_tier": "serviceTier",
    "metadata": "labels",
}
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
TIERS: Mapping[str, str] = {"standard": "default"}  # theirs → canonical, where they differ

# What may stand where a thought signature is wanted and there is none: the upstream then does not check it.
# https://ai.google.dev/gemini-api/docs/thought-signatures
NO_SIGNATURE = "skip_thought_signature_validator"
NO_SIGNATURES = frozenset({NO_SIGNATURE, "context_engineering_is_the_way_to_go"})

# There is no reason for tool calls: an answer with calls ends with STOP.
STOPS: Mapping[str, Stop] = {
    "STOP": "end_turn",
    "MAX_TOKENS": "max_tokens",
    "CONTINUATION": "pause",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "IMAGE_OTHER",
        ),
        "refusal",
    ),
}
FINISH_REASONS: Mapping[Stop, str] = {
    "end_turn": "STOP",
    "max_tokens": "MAX_TOKENS",
    "stop_sequence": "STOP",
    "tool_use": "STOP",
    "refusal": "SAFETY",
    "pause": "STOP",
    "context_exceeded": "MAX_TOKENS",
}
MALFORMED_CALL = "MALFORMED_FUNCTION_CALL"
FAILURES: Mapping[str, str] = {  # the model broke down: there is no answer to be used
    MALFORMED_CALL: "The model made a tool call that cannot be read.",
    "MALFORMED_RESPONSE": "The model made an answer that cannot be read.",
    "UNEXPECTED_TOOL_CALL": "The model called a tool that it was not given.",
    "TOO_MANY_TOOL_CALLS": "The model called too many tools.",
    "MISSING_THOUGHT_SIGNATURE": "A tool call of the history has no thought signature.",
}


def frame(data: bytes) -> bytes:
    """Return one event: google-genai reads lines that begin with "data: ", space included, and takes no others."""
    return b"data: " + data + b"\r\n\r\n"


def is_label(name: str, value: str) -> bool:
    """Whether a client's word about a request may be a label: Google's are short and in lower case."""
    return bool(name) and _LABEL.fullmatch(name) is not None and _LABEL.fullmatch(value) is not None


def token_count(total: int) -> dict[str, Any]:
    """Return the answer to countTokens."""
    return {"totalTokens": total}


def model(name: str) -> dict[str, Any]:
    """Return one entry of the list of models."""
    return {
        "name": f"models/{name}",
        "version": "1",
        "displayName": name,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """Return the list of models, whole: a gateway's aliases fit one page."""
    return {"models": [model(name) for name in names]}
