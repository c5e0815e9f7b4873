"""Says a turn as content: whole, as server-sent events, or as one long JSON array."""

from itertools import pairwise

import orjson

from providers.simulator.ask import Json
from providers.simulator.behaviour import Finish, Thinking
from providers.simulator.frames import Frame, Kind
from providers.simulator.gemini.contents import DIALECT, place
from providers.simulator.gemini.reader import GeminiAsk
from providers.simulator.seals import mint
from providers.simulator.turn import Call, Part, Text, Thought, Turn, Usage

FINISH_REASONS = {
    Finish.STOP: "STOP",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.TOOL_CALLS: "STOP",
    Finish.REFUSAL: "SAFETY",
    Finish.CONTENT_FILTER: "PROHIBITED_CONTENT",
    Finish.FAILED: "OTHER",
    Finish.NONE: None,
}
# Nothing was said that could be shown.
EMPTY_REASONS = {
    *("MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"),
    *("MISSING_THOUGHT_SIGNATURE", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "NO_IMAGE"),
}


def whole(ask: GeminiAsk, turn: Turn) -> bytes:
    """The whole answer."""
    if turn.block is not None:
        return _blocked(ask, turn)
    parts = _parts(ask, turn)
    reason = _reason(turn)
    candidate: Json = {"content": {"parts": parts, "role": "model"}} if parts else {"content": {}}
    candidate |= _ending(reason)
    candidates = [{**candidate, "index": index} for index in range(ask.choices)]
    return orjson.dumps({"candidates": candidates, **_frame(ask, turn), **_closing_usage(turn)})


def whole_count(ask: GeminiAsk, turn: Turn) -> bytes:
    """The answer of ``:countTokens``."""
    return orjson.dumps({"totalTokens": ask.input_tokens, "promptTokensDetails": _details(ask.input_tokens)})


def frames(ask: GeminiAsk, turn: Turn) -> list[Frame]:
    """The answer as events; the last one carries the finish reason."""
    return [Frame.data(kind, chunk) for kind, chunk in _chunks(ask, turn)]


def array_frames(ask: GeminiAsk, turn: Turn) -> list[Frame]:
    """The answer as one JSON array, an element at a time."""
    chunks = _chunks(ask, turn)
    opened = [Frame(chunks[0][0], b"[" + chunks[0][1])]
    return [
        *opened,
        *(Frame(kind, b",\n" + chunk) for _, (kind, chunk) in pairwise(chunks)),
        Frame(Kind.TERMINAL, b"]"),
    ]


def _chunks(ask: GeminiAsk, turn: Turn) -> list[tuple[Kind, bytes]]:
    if turn.block is not None:
        return [(Kind.TERMINAL, _blocked(ask, turn))]
    tail = orjson.dumps({**_opening_usage(turn), **_frame(ask, turn)})[1:]
    made: dict[bytes, bytes] = {}
    chunks = []
    for part in _streamed(ask, turn):
        said = orjson.dumps(part)
        chunk = made.get(said)
        if chunk is None:
            content = b'{"content":{"parts":[%b],"role":"model"},"index":%%d}' % said.replace(b"%", b"%%")
            candidates = b",".join([content % index for index in range(ask.choices)])
            chunk = made[said] = b'{"candidates":[%b],%b' % (candidates, tail)
        chunks.append((Kind.CONTENT, chunk))
    return [*chunks, (Kind.TERMINAL, _last_chunk(ask, turn))]


def _last_chunk(ask: GeminiAsk, turn: Turn) -> bytes:
    reason = _reason(turn)
    signature = _text_signature(ask, turn)
    last = {"text": ""} | ({"thoughtSignature": signature} if signature else {})
    candidate: Json = {"content": {"parts": [last], "role": "model"}} if _parts(ask, turn) else {"content": {}}
    candidate |= _ending(reason)
    candidates = [{**candidate, "index": index} for index in range(ask.choices)]
    return orjson.dumps({"candidates": candidates, **_closing_usage(turn), **_frame(ask, turn)})


def _frame(ask: GeminiAsk, turn: Turn) -> Json:
    return {"modelVersion": ask.model, "responseId": f"sim-{turn.number:06d}"}


def _reason(turn: Turn) -> str | None:
    return turn.reason or FINISH_REASONS[turn.finish]


def _ending(reason: str | None) -> Json:
    if reason is None:
        return {}
    message = {"finishMessage": f"The simulator was told to finish with {reason}."} if reason in EMPTY_REASONS else {}
    return {"finishReason": reason, **message}


def _parts(ask: GeminiAsk, turn: Turn) -> list[Json]:
    """The parts of a whole answer; the signature of a text is on its last part."""
    if _reason(turn) in EMPTY_REASONS:
        return []
    parts = [part for said in turn.parts if (part := _part(ask, turn, said, _joined(said))) is not None]
    signature = _text_signature(ask, turn)
    if signature and parts:
        parts[-1]["thoughtSignature"] = signature
    return parts


def _streamed(ask: GeminiAsk, turn: Turn) -> list[Json]:
    if _reason(turn) in EMPTY_REASONS:
        return []
    parts: list[Json] = []
    for said in turn.parts:
        pieces = [_joined(said)] if isinstance(said, Call) else said.pieces
        parts += [part for piece in pieces if (part := _part(ask, turn, said, piece)) is not None]
    return parts


def _joined(part: Part) -> str:
    return "".join(part.fragments if isinstance(part, Call) else part.pieces)


def _part(ask: GeminiAsk, turn: Turn, said: Part, text: str) -> Json | None:
    """A part; None = it cannot be shown."""
    match said:
        case Text():
            return {"text": text} if text else None
        case Thought(kind=kind):
            return None if kind is Thinking.REDACTED else {"text": text, "thought": True}
    try:
        arguments = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None  # cut off: the provider drops it
    called: Json = {"name": said.name, "args": arguments}
    if ask.signs_calls:
        called = {"id": f"sim{said.id}", **called}
    part: Json = {"functionCall": called}
    if said is turn.calls[0] and _signs(ask, turn):
        part["thoughtSignature"] = mint(DIALECT, ask.model, place(said.name), number=turn.number)
    return part


def _signs(ask: GeminiAsk, turn: Turn) -> bool:
    thoughts = [part.kind for part in turn.parts if isinstance(part, Thought)]
    return ask.signs_calls or any(kind is not Thinking.UNSIGNED for kind in thoughts)


def _text_signature(ask: GeminiAsk, turn: Turn) -> str:
    """The signature of an answer that ends with text; "" = it has none."""
    is_text = not turn.calls and any(isinstance(part, Text) for part in turn.parts)
    return mint(DIALECT, ask.model, place(), number=turn.number) if is_text and _signs(ask, turn) else ""


def _blocked(ask: GeminiAsk, turn: Turn) -> bytes:
    """A prompt that was not answered: 200, and no candidates."""
    feedback = {"promptFeedback": {"blockReason": turn.block}}
    return orjson.dumps({**feedback, **_opening_usage(turn), **_frame(ask, turn)})


def _opening_usage(turn: Turn) -> Json:
    """What a chunk says of usage before the end; what the last one says replaces it."""
    if turn.usage is None:
        return {}
    read = _prompt_tokens(turn.usage)
    return {"usageMetadata": {"promptTokenCount": read, "totalTokenCount": read}}


def _closing_usage(turn: Turn) -> Json:
    """The prompt's count includes what was read from the cache; that of the candidates excludes thoughts."""
    usage = turn.usage
    if usage is None:
        return {}
    read = _prompt_tokens(usage)
    counts: Json = {
        "promptTokenCount": read,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": read + usage.output,
        "promptTokensDetails": _details(read),
    }
    if usage.cache_read:
        counts["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        counts["thoughtsTokenCount"] = usage.reasoning
    return {"usageMetadata": counts}


def _prompt_tokens(usage: Usage) -> int:
    return usage.input + usage.cache_read + usage.cache_write


def _details(tokens: int) -> list[Json]:
    return [{"modality": "TEXT", "tokenCount": tokens}]
