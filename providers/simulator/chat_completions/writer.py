"""Says a turn as a chat completion: whole, or as chunks."""

from collections.abc import Iterator
from itertools import zip_longest

import orjson

from providers.simulator.ask import Ask, Json, ToolKind
from providers.simulator.behaviour import Finish, Thinking, UsageShape
from providers.simulator.frames import Frame, Kind
from providers.simulator.turn import Call, Text, Thought, Turn, Usage

SAID = {ToolKind.FUNCTION: "arguments", ToolKind.CUSTOM: "input"}  # the field of a call that streams
FINISH_REASONS = {
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.REFUSAL: "stop",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.FAILED: "error",  # as OpenRouter says it
    Finish.NONE: None,
}
DONE = Frame.data(Kind.TERMINAL, b"[DONE]")


def whole(ask: Ask, turn: Turn) -> bytes:
    """A chat completion as JSON."""
    choice = {"message": _message(turn), "logprobs": None, "finish_reason": _reason(turn)}
    body: Json = {
        "id": _id(turn),
        "object": "chat.completion",
        "created": turn.created,
        "model": ask.model,
        "choices": [{"index": index, **choice} for index in range(ask.choices)],
        "service_tier": "default",
        "system_fingerprint": "fp_sim",
    }
    if turn.usage is not None:
        body["usage"] = _usage(turn.usage)
    return orjson.dumps(body)


def frames(ask: Ask, turn: Turn) -> list[Frame]:
    """A chat completion as chunks."""
    writer = _Writer(ask, turn)
    return [
        *writer.frames({"role": "assistant", "content": "", "refusal": None}, Kind.OPENING),
        *_content(writer, turn),
        *_closing(writer, ask, turn),
        DONE,
    ]


class _Writer:
    """Chunks of one answer: the same id, time and model in each, one for every choice."""

    def __init__(self, ask: Ask, turn: Turn) -> None:
        head = {
            "id": _id(turn),
            "object": "chat.completion.chunk",
            "created": turn.created,
            "model": ask.model,
            "service_tier": "default",
            "system_fingerprint": "fp_sim",
        }
        self._head = orjson.dumps(head)[:-1] + b',"choices":'
        self._tail = b',"usage":null}' if ask.include_usage else b"}"
        self._choices = range(ask.choices)

    def frames(self, delta: Json, kind: Kind = Kind.CONTENT) -> list[Frame]:
        return self._written(delta, None, self._tail, kind)

    def finish(self, reason: str, usage: Json | None) -> list[Frame]:
        tail = self._tail if usage is None else b',"usage":' + orjson.dumps(usage) + b"}"
        return self._written({}, reason, tail, Kind.CLOSING)

    def usage(self, usage: Json) -> Frame:
        return Frame.data(Kind.CLOSING, self._head + b'[],"usage":' + orjson.dumps(usage) + b"}")

    def pieces(self, field: str, pieces: tuple[str, ...]) -> list[Frame]:
        """One chunk a piece; equal pieces share their bytes."""
        made = {piece: self.frames({field: piece}) for piece in dict.fromkeys(pieces)}
        return [frame for piece in pieces for frame in made[piece]]

    def _written(self, delta: Json, finish_reason: str | None, tail: bytes, kind: Kind) -> list[Frame]:
        rest = {"delta": delta, "logprobs": None, "finish_reason": finish_reason}
        written = [orjson.dumps([{"index": index, **rest}]) for index in self._choices]
        return [Frame.data(kind, self._head + choice + tail) for choice in written]


def _content(writer: _Writer, turn: Turn) -> list[Frame]:
    text_field = "refusal" if turn.finish is Finish.REFUSAL else "content"
    content: list[Frame] = []
    for part in turn.parts:
        match part:
            case Thought(kind=kind, pieces=pieces) if kind is not Thinking.REDACTED:
                content += writer.pieces("reasoning_content", pieces)
            case Text(pieces=pieces):
                content += writer.pieces(text_field, pieces)
    for delta in _call_deltas(turn):
        content += writer.frames({"tool_calls": [delta]})
    return content


def _call_deltas(turn: Turn) -> Iterator[Json]:
    deltas = [list(_deltas(index, call)) for index, call in enumerate(turn.calls)]
    if not turn.is_interleaved:
        yield from (delta for call in deltas for delta in call)
        return
    for row in zip_longest(*deltas):
        yield from (delta for delta in row if delta is not None)


def _deltas(index: int, call: Call) -> Iterator[Json]:
    yield {"index": index, **_call(call, said="")}
    for fragment in call.fragments:
        yield {"index": index, call.kind.value: {SAID[call.kind]: fragment}}


def _closing(writer: _Writer, ask: Ask, turn: Turn) -> Iterator[Frame]:
    usage = _usage(turn.usage) if turn.usage is not None and ask.include_usage else None
    reason = _reason(turn)
    if reason is not None:
        with_choices = turn.usage_shape in (UsageShape.TWICE, UsageShape.WITH_CHOICES)
        yield from writer.finish(reason, usage if with_choices else None)
    if usage is not None and turn.usage_shape is not UsageShape.WITH_CHOICES:
        yield writer.usage(usage)


def _reason(turn: Turn) -> str | None:
    return turn.reason or FINISH_REASONS[turn.finish]


def _message(turn: Turn) -> Json:
    text = turn.text or (None if turn.calls else "")
    is_refusal = turn.finish is Finish.REFUSAL
    message: Json = {
        "role": "assistant",
        "content": None if is_refusal else text,
        "refusal": text if is_refusal else None,
        "annotations": [],
    }
    for part in turn.parts:
        if isinstance(part, Thought) and part.kind is not Thinking.REDACTED:
            message["reasoning_content"] = "".join(part.pieces)
    if turn.calls:
        message["tool_calls"] = [_call(call, said="".join(call.fragments)) for call in turn.calls]
    return message


def _call(call: Call, *, said: str) -> Json:
    return {
        "id": f"call_sim_{call.id}",
        "type": call.kind.value,
        call.kind.value: {"name": call.name, SAID[call.kind]: said},
    }


def _id(turn: Turn) -> str:
    return f"chatcmpl-sim-{turn.number:06d}"


def _usage(usage: Usage) -> Json:
    """The prompt's count includes what was read from and written to the cache."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
