"""Which fields have a canonical meaning (shapes), and what the others mean for an upstream that has no place for them."""

from providers.canonical.losses import Weight, Weights
from providers.dialects.gemini.spelling import LEAF, Shape

_COSMETIC, _DEGRADES, _CHANGES = Weight.COSMETIC, Weight.DEGRADES, Weight.CHANGES_ANSWER


def _leaves(*names: str) -> Shape:
    return dict.fromkeys(names, LEAF)


REQUEST: Shape = {
    **_leaves("contents", "systemInstruction", "tools", "labels", "serviceTier"),
    "toolConfig": {"functionCallingConfig": _leaves("mode", "allowedFunctionNames")},
    "generationConfig": {
        **_leaves(
            "temperature",
            "topP",
            "topK",
            "candidateCount",
            "maxOutputTokens",
            "stopSequences",
            "seed",
            "presencePenalty",
            "frequencyPenalty",
            "responseLogprobs",
            "logprobs",
            "responseMimeType",
            "responseSchema",
            "responseJsonSchema",
        ),
        "thinkingConfig": _leaves("includeThoughts", "thinkingBudget", "thinkingLevel"),
    },
}

_CONFIG = "generationConfig"
REQUEST_WEIGHTS: Weights = {
    "model": (_COSMETIC, "the model is chosen by the gateway"),
    "safetySettings": (_DEGRADES, "the upstream has no safety settings"),
    "cachedContent": (_CHANGES, "the upstream does not have what was cached at Google"),
    "continuationToken": (_CHANGES, "the upstream cannot go on with another's answer"),
    "store": (_COSMETIC, "the upstream keeps no log for its user"),
    "toolConfig.retrievalConfig": (_DEGRADES, "the upstream takes no place for its tools"),
    "toolConfig.includeServerSideToolInvocations": (_COSMETIC, "the upstream runs no tools of Google's"),
    "toolConfig.functionCallingConfig.streamFunctionCallArguments": (
        _COSMETIC,
        "arguments come as the upstream sends them",
    ),
    f"{_CONFIG}.responseModalities": (_CHANGES, "the upstream answers in words only"),
    f"{_CONFIG}.speechConfig": (_CHANGES, "the upstream does not speak"),
    f"{_CONFIG}.imageConfig": (_CHANGES, "the upstream makes no images"),
    f"{_CONFIG}.responseFormat": (_CHANGES, "the upstream has no such response format"),
    f"{_CONFIG}.translationConfig": (_CHANGES, "the upstream has no such translation"),
    f"{_CONFIG}.audioTranscriptionConfig": (_CHANGES, "the upstream does not transcribe"),
    f"{_CONFIG}.mediaResolution": (_DEGRADES, "the upstream chooses how closely it looks"),
    f"{_CONFIG}.audioTimestamp": (_DEGRADES, "the upstream has no timestamps of sounds"),
    f"{_CONFIG}.enableEnhancedCivicAnswers": (_DEGRADES, "the upstream has no such answers"),
    f"{_CONFIG}.enableAffectiveDialog": (_DEGRADES, "the upstream has no such dialogue"),
    f"{_CONFIG}.routingConfig": (_COSMETIC, "the model is chosen by the gateway"),
    f"{_CONFIG}.modelSelectionConfig": (_COSMETIC, "the model is chosen by the gateway"),
}

CONTENT: Shape = _leaves("role", "parts")

PART: Shape = {
    **_leaves("text", "thought", "thoughtSignature"),
    "inlineData": _leaves("mimeType", "data", "displayName"),
    "fileData": _leaves("mimeType", "fileUri", "displayName"),
    "functionCall": _leaves("id", "name", "args"),
    "functionResponse": _leaves("id", "name", "response", "parts"),
}
# What a part is; everything else says more of it.
PART_KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
FOREIGN_KINDS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse", "audioTranscription")

_CLIP = (_CHANGES, "the upstream takes films whole")
_CLOSENESS = (_DEGRADES, "the upstream chooses how closely it looks")
_NOTE = (_COSMETIC, "the upstream has no notes on parts")
PART_WEIGHTS: Weights = {
    "videoMetadata": _CLIP,
    "mediaResolution": _CLOSENESS,
    "mediaProcessing": _CLOSENESS,
    "partMetadata": _NOTE,
    "speechMetadata": _NOTE,
    "documentMetadata": _NOTE,
    "spreadsheetMetadata": _NOTE,
    "audioMetadata": _NOTE,
    "functionCall.partialArgs": (_CHANGES, "the upstream takes arguments whole"),
    "functionCall.willContinue": (_COSMETIC, "the upstream takes calls whole"),
    "functionResponse.willContinue": (_DEGRADES, "the upstream takes results whole"),
    "functionResponse.scheduling": (_COSMETIC, "the upstream reads a result when it comes"),
    **{kind: (_CHANGES, "the upstream's format has no such part") for kind in FOREIGN_KINDS},
}

TOOLS: Shape = _leaves("functionDeclarations")
SERVER_TOOL = "it runs at Google"

FUNCTION: Shape = _leaves("name", "description", "parameters", "parametersJsonSchema")
FUNCTION_WEIGHTS: Weights = {
    "response": (_DEGRADES, "the upstream takes no schema of a tool's result"),
    "responseJsonSchema": (_DEGRADES, "the upstream takes no schema of a tool's result"),
    "behavior": (_DEGRADES, "the upstream waits for every tool"),
}
