"""Answers of every dialect around a usage report: whole, and as the streams that vendors make of it."""

import json
from collections.abc import Callable, Iterator
from typing import Any

type Json = dict[str, Any]

ANSWER = "Hello there."


def frame(body: object, name: str = "") -> bytes:
    """Return one event."""
    event = f"event: {name}\n" if name else ""
    return f"{event}data: {body if isinstance(body, str) else json.dumps(body)}\n\n".encode()


def part_way(usage: Json) -> Json:
    """Return counts as they may stand in the middle: smaller, and without the details."""
    return {name: value // 2 for name, value in usage.items() if type(value) is int}


# Chat Completions


def chat_whole(usage: Json) -> bytes:
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"id": "c1", "model": "m", "choices": [choice], "usage": usage}).encode()


def _chunk(delta: Json, finish: str | None = None, **fields: Any) -> Json:
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


_OPENING = frame(_chunk({"role": "assistant", "content": ""}))
_STOP = frame(_chunk({}, "stop"))
_DONE = frame("[DONE]")


def _chat(*between: bytes) -> bytes:
    return b"".join((_OPENING, frame(_chunk({"content": ANSWER})), *between, _DONE))


def chat_last(usage: Json) -> bytes:
    """OpenAI: in a chunk of its own."""
    return _chat(_STOP, frame({"id": "c1", "model": "m", "choices": [], "usage": usage}))


def chat_beside(usage: Json) -> bytes:
    """Beside the finish reason."""
    return _chat(frame(_chunk({}, "stop", usage=usage)))


def chat_late(usage: Json) -> bytes:
    """OpenRouter: after the finish reason, beside an empty choice."""
    return _chat(_STOP, frame(_chunk({"role": "assistant", "content": ""}, usage=usage)))


def chat_twice(usage: Json) -> bytes:
    """Beside the finish reason, and once more."""
    last = frame({"id": "c1", "model": "m", "choices": [], "usage": usage})
    return _chat(frame(_chunk({}, "stop", usage=usage)), last)


def chat_growing(usage: Json) -> bytes:
    """vLLM, xAI: with every chunk."""
    middle = frame(_chunk({"content": " Bye."}, usage=part_way(usage)))
    return _chat(middle, frame(_chunk({}, "stop", usage=usage)))


def chat_detailed_first(usage: Json) -> bytes:
    """With its details, and once more without."""
    plain = {name: value for name, value in usage.items() if not isinstance(value, dict)}
    return _chat(frame(_chunk({}, "stop", usage=usage)), frame({"id": "c1", "choices": [], "usage": plain}))


def chat_groq(usage: Json) -> bytes:
    """Groq, where nobody asked."""
    return _chat(frame(_chunk({}, "stop", x_groq={"id": "req_1", "usage": usage})))


def chat_moonshot(usage: Json) -> bytes:
    """Moonshot: in the choice."""
    chunk = _chunk({}, "stop")
    chunk["choices"][0]["usage"] = usage
    return _chat(frame(chunk))


# Messages


def messages_whole(usage: Json) -> bytes:
    content = [{"type": "text", "text": ANSWER}]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    return json.dumps({**head, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}).encode()


def _messages(start: Json, *deltas: Json) -> bytes:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": start}
    events: list[Json] = [
        {"type": "message_start", "message": head},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ANSWER}},
        {"type": "content_block_stop", "index": 0},
        *({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage} for usage in deltas),
        {"type": "message_stop"},
    ]
    return b"".join(frame(event, event["type"]) for event in events)


def _opening(usage: Json) -> Json:
    return {name: value for name, value in usage.items() if name != "iterations"} | {"output_tokens": 1}


def messages_cumulative(usage: Json) -> bytes:
    """Anthropic: all of it at the end, and what went in at the start, too."""
    return _messages(_opening(usage), usage)


def messages_split(usage: Json) -> bytes:
    """Older versions: what went in at the start, what came out at the end; the kinds of cache writes at the start only."""
    late = {"cache_creation_input_tokens", "output_tokens", "output_tokens_details", "iterations"}
    return _messages(_opening(usage), {name: value for name, value in usage.items() if name in late})


def messages_late(usage: Json) -> bytes:
    """Imitations: nothing at the start."""
    return _messages({"input_tokens": 0, "output_tokens": 0}, usage)


def messages_empty_end(usage: Json) -> bytes:
    """Imitations: the end repeats what it does not know as nothing."""
    out = {"output_tokens", "output_tokens_details", "iterations"}
    said = {name: value if name in out else 0 for name, value in usage.items() if name in out or type(value) is int}
    return _messages(_opening(usage), said)


def messages_twice(usage: Json) -> bytes:
    return _messages(_opening(usage), part_way(usage), usage)


# Responses


def responses_whole(usage: Json) -> bytes:
    return json.dumps(_response("completed", usage)).encode()


def _response(status: str, usage: Json | None, **fields: Any) -> Json:
    text = {"type": "output_text", "text": ANSWER, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    output = [] if usage is None else [item]
    return {
        "id": "resp_1",
        "object": "response",
        "model": "m",
        "status": status,
        "output": output,
        "usage": usage,
        **fields,
    }


def _responses(end: str, usage: Json) -> bytes:
    item = _response("completed", {})["output"][0]
    events = [
        {"type": "response.created", "response": _response("in_progress", None)},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {
            "type": "response.output_text.delta",
            "output_index": 0,
            "content_index": 0,
            "item_id": "msg_1",
            "delta": ANSWER,
        },
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": f"response.{end}", "response": _response(end, usage)},
    ]
    return b"".join(frame(event, str(event["type"])) for event in events)


def responses_completed(usage: Json) -> bytes:
    return _responses("completed", usage)


def responses_incomplete(usage: Json) -> bytes:
    return _responses("incomplete", usage)


# Gemini


def gemini_whole(usage: Json) -> bytes:
    return json.dumps(_gemini(ANSWER, "STOP", usage)).encode()


def _gemini(text: str, reason: str | None, usage: Json | None) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    ended = {} if reason is None else {"finishReason": reason}
    counted = {} if usage is None else {"usageMetadata": usage}
    return {"candidates": [{**candidate, **ended}], "modelVersion": "m", "responseId": "r1", **counted}


def gemini_last(usage: Json) -> bytes:
    return frame(_gemini(ANSWER, None, None)) + frame(_gemini("", "STOP", usage))


def gemini_growing(usage: Json) -> bytes:
    """Google: with every chunk, first of all the prompt."""
    prompt = {name: value for name, value in usage.items() if name.startswith("prompt")}
    first, middle = frame(_gemini("Hello", None, prompt)), frame(_gemini(" there.", None, part_way(usage)))
    return first + middle + frame(_gemini("", "STOP", usage))


WHOLE: dict[str, Callable[[Json], bytes]] = {
    "openai_chat": chat_whole,
    "anthropic_messages": messages_whole,
    "openai_responses": responses_whole,
    "gemini": gemini_whole,
}
STREAMS: dict[str, tuple[Callable[[Json], bytes], ...]] = {
    "openai_chat": (
        chat_last,
        chat_beside,
        chat_late,
        chat_twice,
        chat_growing,
        chat_detailed_first,
        chat_groq,
        chat_moonshot,
    ),
    "anthropic_messages": (messages_cumulative, messages_split, messages_late, messages_empty_end, messages_twice),
    "openai_responses": (responses_completed, responses_incomplete),
    "gemini": (gemini_last, gemini_growing),
}


def shapes() -> Iterator[tuple[str, Callable[[Json], bytes]]]:
    """Yield each dialect's name with each of its streams."""
    for name, makers in STREAMS.items():
        for make in makers:
            yield name, make
