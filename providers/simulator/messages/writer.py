"""Says a turn as a message: whole, or as events."""

import orjson

from providers.simulator.ask import Ask, Json
from providers.simulator.behaviour import Finish, Thinking, UsageShape
from providers.simulator.envelopes import ANTHROPIC
from providers.simulator.frames import Frame, Kind
from providers.simulator.messages.turns import DIALECT
from providers.simulator.seals import mint
from providers.simulator.turn import Call, Part, Text, Thought, Turn, Usage

STOP_REASONS = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.REFUSAL: "refusal",
    Finish.CONTENT_FILTER: "refusal",
    Finish.FAILED: "end_turn",
    Finish.NONE: None,
}
REFUSAL_DETAILS = {"type": "refusal", "category": "cyber", "explanation": "The simulator was told to refuse."}


def whole(ask: Ask, turn: Turn) -> bytes:
    """A message as JSON."""
    message = _message(ask, turn)
    message["content"] = [_block(ask.model, part) for part in turn.parts if not isinstance(part, Text) or part.pieces]
    message["stop_reason"] = _stop_reason(turn)
    if message["stop_reason"] == "refusal":
        message["stop_details"] = REFUSAL_DETAILS
    if turn.usage is not None:
        message["usage"] = _usage(turn.usage)
    return orjson.dumps(message)


def whole_count(ask: Ask, turn: Turn) -> bytes:
    """The answer of ``/messages/count_tokens``."""
    return orjson.dumps({"input_tokens": ask.input_tokens})


def frames(ask: Ask, turn: Turn) -> list[Frame]:
    """A message as events."""
    message = _message(ask, turn)
    if turn.usage is not None:
        # Nothing was said yet: what the opening claims is replaced by the closing, never added to it.
        message["usage"] = _usage(turn.usage) | {"output_tokens": min(1, turn.usage.output)}
    spoken = [part for part in turn.parts if not isinstance(part, Text) or part.pieces]
    blocks = [_block_frames(ask.model, index, part) for index, part in enumerate(spoken)]
    if blocks:
        blocks[0].insert(1, ANTHROPIC.keep_alive)
    return [
        _event("message_start", Kind.OPENING, message=message),
        *(frame for block in blocks for frame in block),
        *_closing(turn),
        _event("message_stop", Kind.TERMINAL),
    ]


def _event(name: str, kind: Kind, **fields: object) -> Frame:
    return Frame.event(kind, name.encode(), orjson.dumps({"type": name, **fields}))


def _stop_reason(turn: Turn) -> str | None:
    return turn.reason or STOP_REASONS[turn.finish]


def _block_frames(model: str, index: int, part: Part) -> list[Frame]:
    start = Kind.CONTENT if isinstance(part, Call) else Kind.OPENING
    return [
        _event("content_block_start", start, index=index, content_block=_opened(model, part)),
        *_deltas(model, index, part),
        _event("content_block_stop", Kind.OPENING, index=index),
    ]


def _deltas(model: str, index: int, part: Part) -> list[Frame]:
    match part:
        case Text(pieces=pieces):
            return _piece_frames(index, "text_delta", "text", pieces)
        case Call(fragments=fragments):
            opening = _delta(index, Kind.OPENING, type="input_json_delta", partial_json="")
            return [opening, *_piece_frames(index, "input_json_delta", "partial_json", fragments)]
        case Thought(kind=Thinking.REDACTED):
            return []
    thinking = _piece_frames(index, "thinking_delta", "thinking", part.pieces)
    if part.kind is Thinking.UNSIGNED:
        return thinking
    signature = mint(DIALECT, model, "".join(part.pieces))
    seal = _delta(index, Kind.OPENING, type="signature_delta", signature=signature)
    return [*thinking, seal]


def _piece_frames(index: int, kind: str, field: str, pieces: tuple[str, ...]) -> list[Frame]:
    """One delta a piece; equal pieces share their bytes."""
    made = {piece: _delta(index, Kind.CONTENT, **{"type": kind, field: piece}) for piece in dict.fromkeys(pieces)}
    return [made[piece] for piece in pieces]


def _delta(index: int, kind: Kind, **delta: object) -> Frame:
    return _event("content_block_delta", kind, index=index, delta=delta)


def _closing(turn: Turn) -> list[Frame]:
    delta: Json = {"stop_reason": _stop_reason(turn), "stop_sequence": None}
    if delta["stop_reason"] == "refusal":
        delta["stop_details"] = REFUSAL_DETAILS
    fields: Json = {"delta": delta}
    if turn.usage is not None:
        fields["usage"] = _usage(turn.usage)
    closing = _event("message_delta", Kind.CLOSING, **fields)
    return [closing, closing] if turn.usage_shape is UsageShape.TWICE else [closing]


def _message(ask: Ask, turn: Turn) -> Json:
    return {
        "id": f"msg_sim_{turn.number:06d}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _opened(model: str, part: Part) -> Json:
    """A block as it starts: empty, except where it comes whole."""
    match part:
        case Text():
            return {"type": "text", "text": ""}
        case Call():
            return _block(model, part) | {"input": {}}
        case Thought(kind=Thinking.REDACTED):
            return _block(model, part)
    return {"type": "thinking", "thinking": "", "signature": ""}


def _block(model: str, part: Part) -> Json:
    match part:
        case Text(pieces=pieces):
            return {"type": "text", "text": "".join(pieces)}
        case Call(id=call_id, name=name):
            return {"type": "tool_use", "id": f"toolu_sim_{call_id}", "name": name, "input": _input(part)}
        case Thought(kind=Thinking.REDACTED):
            return {"type": "redacted_thinking", "data": mint(DIALECT, model)}
    thinking = "".join(part.pieces)
    seal = "" if part.kind is Thinking.UNSIGNED else mint(DIALECT, model, thinking)
    return {"type": "thinking", "thinking": thinking, "signature": seal}


def _input(call: Call) -> object:
    """The arguments as an object; those of a call that was cut off are lost in a whole answer."""
    try:
        return orjson.loads("".join(call.fragments))
    except orjson.JSONDecodeError:
        return {}


def _usage(usage: Usage) -> Json:
    """Input excludes what was read from and written to the cache."""
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "service_tier": "standard",
    }
