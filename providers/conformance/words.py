"""What a path says of a field, and what that is about. Pure."""

import re
from collections.abc import Mapping

UNKNOWN = "a field that nobody knows"

_INVENTED = re.compile(r"x_|new_")
_NAMED_STEP = re.compile(r"[^.\[\]]+(?=\.|\[|$)")
_INDEX = re.compile(r"\[\d+\]")

# Fields whose names tell what they are about, in all dialects. The first row that has one counts.
_SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "unknown fields": (UNKNOWN,),
    "cache": (
        *("cache", "cache_control", "cachedContent"),
        *("prompt_cache_breakpoint", "prompt_cache_key", "prompt_cache_options"),
    ),
    "sampling": (
        *("temperature", "top_p", "topP", "top_k", "topK", "seed", "stop", "stop_sequences", "stopSequences"),
        *("frequency_penalty", "presence_penalty", "frequencyPenalty", "presencePenalty", "logit_bias"),
        *("logprobs", "top_logprobs", "responseLogprobs", "n", "candidateCount"),
    ),
    "length": ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "verbosity"),
    "thinking": (
        *("reasoning", "reasoning_effort", "reasoning_content", "reasoning_details", "effort"),
        *("thinking", "thinkingConfig", "signature", "thoughtSignature", "thought_signature", "seal"),
        "encrypted_content",
    ),
    "structured output": ("response_format", "responseSchema", "responseJsonSchema", "responseMimeType"),
    "images": ("image_url", "detail", "mediaResolution", "media_resolution"),
    "citations": ("citations", "annotations", "web_search_options"),
    "metadata": ("metadata", "user", "user_id", "safety_identifier", "labels", "client_metadata", "store"),
    "service tier": ("service_tier", "serviceTier", "speed"),
    "tool choice": ("tool_choice", "toolConfig", "functionCallingConfig", "parallel_tool_calls"),
}


def last_words(path: str) -> str:
    """Return what a path says of the field, without saying which: messages[2].content[0].name → content.name.

    A field that a recording invents stands for all that nobody knows.
    """
    words = _NAMED_STEP.findall(_INDEX.sub("", path))[-2:]
    return UNKNOWN if any(_INVENTED.match(word) for word in words) else ".".join(words)


def subject_of(what: str) -> str | None:
    """Return the feature that a field's last words tell by themselves."""
    named = (what, *what.split("."))
    return next((feature for feature, names in _SUBJECTS.items() if any(name in names for name in named)), None)
