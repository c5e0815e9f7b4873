"""Reads a request to generate content, and refuses what the provider refuses."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from providers.simulator.ask import Ask, Json, count_words
from providers.simulator.endpoint import json_object
from providers.simulator.gemini import proto
from providers.simulator.gemini.contents import (
    Content,
    history,
    needs_signatures,
    read_contents,
    read_instruction,
    texts,
    unsigned,
)
from providers.simulator.gemini.tools import choose, json_schema, read_tools
from providers.simulator.history import tell
from providers.simulator.requests import Request

MOST_TOKENS = 10**9
REQUEST = frozenset(
    {
        *("contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "cachedContent", "labels"),
        *("serviceTier", "store", "generationConfig", "model"),
    }
)
COUNT = frozenset({*REQUEST, "generateContentRequest"})
CONFIG = frozenset(
    {
        *("temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed"),
        *("presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs", "responseMimeType"),
        *("responseSchema", "responseJsonSchema", "responseModalities", "speechConfig", "imageConfig"),
        *("mediaResolution", "thinkingConfig", "enableEnhancedCivicAnswers", "audioTimestamp"),
    }
)
THINKING = frozenset({"includeThoughts", "thinkingBudget", "thinkingLevel"})
LEVELS = ("THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
MIME_TYPES = ("text/plain", "application/json", "text/x.enum")
NUMBERS = {
    "temperature": (0, 2),
    "topP": (0, 1),
    "topK": (1, 1000),
    "candidateCount": (1, 8),
    "maxOutputTokens": (1, MOST_TOKENS),
    "presencePenalty": (-2, 2),
    "frequencyPenalty": (-2, 2),
    "logprobs": (0, 20),
}
MOST_STOPS = 5
HIGHEST_BUDGET = 32768
OLD = re.compile(r"gemini-(1|2)")  # no thinking levels, and no JSON mode beside functions


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiAsk(Ask):
    signs_calls: bool  # calls are signed, and have ids, even where no thought was asked for


def read(request: Request) -> GeminiAsk:
    """Check a request to generate content, which is answered at once."""
    return _ask(proto.message(json_object(request), REQUEST, ""), model_of(request), stream=False)


def read_stream(request: Request) -> GeminiAsk:
    """Check a request to generate content as a stream."""
    return _ask(proto.message(json_object(request), REQUEST, ""), model_of(request), stream=True)


def read_count(request: Request) -> GeminiAsk:
    """Check a request to count tokens: of contents, or of a whole request."""
    body = proto.message(json_object(request), COUNT, "")
    if "generateContentRequest" in body:
        body = proto.message(body["generateContentRequest"], REQUEST, "generateContentRequest")
    return _ask(body, model_of(request), stream=False)


def model_of(request: Request) -> str:
    """The model that a path names."""
    name = request.path.partition("/models/")[2].rpartition(":")[0] or request.path.partition("/models/")[2]
    return unquote(name)


def _ask(body: Json, model: str, *, stream: bool) -> GeminiAsk:
    contents, seals = read_contents(body.get("contents"), model)
    instructions = read_instruction(body["systemInstruction"]) if "systemInstruction" in body else []
    declared = tuple(read_tools(body.get("tools")))
    tools, must_call = choose(body.get("toolConfig"), declared)
    config = proto.message(body.get("generationConfig") or {}, CONFIG, "generationConfig")
    _check_config(config, model)
    schema = _schema(config)
    if OLD.search(model) and schema is not None and declared:
        proto.refuse("Function calling with a response mime type: 'application/json' is unsupported")
    missing = _missing_signature(contents, model)
    story = tell(history(contents))
    return GeminiAsk(
        model=model,
        text=story.text,
        input_tokens=count_words([*instructions, *texts(contents)]),
        stream=stream,
        choices=config.get("candidateCount") or 1,
        max_tokens=config.get("maxOutputTokens"),
        tools=tools,
        must_call=must_call,
        is_tool_result=story.is_tool_result,
        task=story.task,
        results=story.results,
        schema=schema,
        seals=seals,
        unsealed=missing,
        signs_calls=needs_signatures(model),
    )


def _missing_signature(contents: list[Content], model: str) -> str:
    missing = unsigned(contents)
    if missing and needs_signatures(model):
        proto.refuse(missing)
    return missing


def _check_config(config: Json, model: str) -> None:
    where = "generationConfig"
    for name, (low, high) in NUMBERS.items():
        if name in config:
            proto.number(config[name], low, high, f"{where}.{name}")
    stops = config.get("stopSequences") or []
    proto.require(isinstance(stops, list), f"Invalid value at '{where}.stop_sequences'")
    proto.require(len(stops) <= MOST_STOPS, f"stop_sequences: at most {MOST_STOPS} are supported.")
    if "thinkingConfig" in config:
        _check_thinking(proto.message(config["thinkingConfig"], THINKING, f"{where}.thinkingConfig"), model)


def _check_thinking(thinking: Json, model: str) -> None:
    where = "generationConfig.thinkingConfig"
    if "thinkingBudget" in thinking:
        proto.number(thinking["thinkingBudget"], -1, HIGHEST_BUDGET, f"{where}.thinkingBudget")
    if "thinkingLevel" in thinking:
        proto.choice(str(thinking["thinkingLevel"]).upper(), LEVELS, f"{where}.thinkingLevel")
        proto.require(not OLD.search(model), "Thinking level is not supported for this model.")
        message = "You can only set only one of thinking budget and thinking level."
        proto.require("thinkingBudget" not in thinking, message)


def _schema(config: Json) -> Json | None:
    """The schema of an answer in JSON; None = the answer is text."""
    where = "generationConfig"
    mime_type = proto.choice(config.get("responseMimeType", "text/plain"), MIME_TYPES, f"{where}.responseMimeType")
    has_both = "responseSchema" in config and "responseJsonSchema" in config
    proto.require(not has_both, "Only one of response_schema and response_json_schema can be set.")
    given = config.get("responseJsonSchema")
    if "responseSchema" in config:
        given = json_schema(config["responseSchema"], f"{where}.responseSchema")
    if given is not None and mime_type == "text/plain":
        proto.refuse("response_schema is only supported with response_mime_type 'application/json' or 'text/x.enum'.")
    if mime_type == "text/plain":
        return None
    return given if isinstance(given, dict) else {"type": "object", "properties": {"answer": {"type": "string"}}}
