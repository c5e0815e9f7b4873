"""Says a turn as a response: whole, or as the events that lead up to it.

The pieces that are the same in every response are bytes already; only what differs is encoded.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from providers.simulator.ask import Json, ToolKind
from providers.simulator.behaviour import Finish, Thinking
from providers.simulator.envelopes import ApiError, Usual
from providers.simulator.frames import Frame, Kind
from providers.simulator.responses.items import DIALECT, SEAL_PREFIX
from providers.simulator.seals import mint
from providers.simulator.turn import Call, Part, Text, Thought, Turn, Usage

if TYPE_CHECKING:
    from providers.simulator.responses.reader import ResponsesAsk

INCOMPLETE_REASONS = {Finish.LENGTH: "max_output_tokens", Finish.CONTENT_FILTER: "content_filter"}
PREFIXES = {
    ToolKind.FUNCTION: "fc",
    ToolKind.CUSTOM: "ctc",
    ToolKind.LOCAL_SHELL: "lsh",
    ToolKind.SHELL: "sh",
    ToolKind.APPLY_PATCH: "apc",
}
SHOWN_AT_FIRST = 24  # characters of encrypted content: as an item is added, it is not whole yet
FAILURE = {"code": "server_error", "message": "The server had an error while processing your request."}


def response_id(turn: Turn) -> str:
    """The id of the response that says a turn."""
    return f"resp_sim_{turn.number:06d}"


def said_items(ask: "ResponsesAsk", turn: Turn) -> list[Json]:
    """The output of a response."""
    return [_item(ask, turn, index, part) for index, part in enumerate(_spoken(turn))]


def whole(ask: "ResponsesAsk", turn: Turn) -> bytes:
    """A response as JSON."""
    return _response(ask, turn, _status(turn), said_items(ask, turn))


def whole_count(ask: "ResponsesAsk", turn: Turn) -> bytes:
    """The answer of ``/responses/input_tokens``."""
    return orjson.dumps({"object": "response.input_tokens", "input_tokens": ask.input_tokens})


def frames(ask: "ResponsesAsk", turn: Turn) -> list[Frame]:
    """A response as events."""
    events = _Events()
    opened = b'"response":' + _response(ask, turn, "in_progress", None)
    events.add(Kind.OPENING, b"response.created", opened)
    events.add(Kind.OPENING, b"response.in_progress", opened)
    items = []
    for index, part in enumerate(_spoken(turn)):
        item = _item(ask, turn, index, part)
        _say_item(events, index, part, item)
        items.append(item)
    status = _status(turn)
    closed = b'"response":' + _response(ask, turn, status, items)
    events.add(Kind.TERMINAL, b"response." + (status or "completed").encode(), closed)
    return events.frames


def failed(body: bytes, error: ApiError, usual: Usual) -> bytes:
    """A response that came to nothing, as JSON; `body` is the response as it would have been or as it began."""
    said = {"code": error.code or usual.code or "server_error", "message": error.message or usual.message}
    return orjson.dumps({**orjson.loads(body), "status": "failed", "error": said, "output": [], "usage": None})


def failed_frame(before: list[Frame], error: ApiError, usual: Usual) -> Frame:
    """The event of a stream that came to nothing after some frames."""
    data = before[0].lines.partition(b"\ndata: ")[2]
    response = orjson.dumps(orjson.loads(data)["response"])
    events = _Events(before)
    events.add(Kind.CLOSING, b"response.failed", b'"response":' + failed(response, error, usual))
    return events.frames[-1]


def error_frame(before: list[Frame], error: ApiError, usual: Usual) -> Frame:
    """The event of an error after some frames."""
    code = error.code or usual.code or usual.type
    said = {"code": code, "message": error.message or usual.message, "param": error.param}
    events = _Events(before)
    events.add(Kind.CLOSING, b"error", orjson.dumps(said)[1:-1])
    return events.frames[-1]


class _Events:
    """Events with their running number."""

    def __init__(self, before: list[Frame] | None = None) -> None:
        self.frames: list[Frame] = list(before or ())

    def add(self, kind: Kind, name: bytes, fields: bytes) -> None:
        number = len(self.frames)
        data = b'{"type":"%b",%b,"sequence_number":%d}' % (name, fields, number)
        self.frames.append(Frame.event(kind, name, data))

    def pieces(self, name: bytes, at: bytes, pieces: tuple[str, ...], rest: bytes = b"") -> None:
        opened = b'event: %b\ndata: {"type":"%b",%b,"delta":' % (name, name, at)
        closed = rest + b',"sequence_number":'
        number = len(self.frames)
        for position, piece in enumerate(_encoded(pieces)):
            lines = b"%b%b%b%d}\n\n" % (opened, piece, closed, number + position)
            self.frames.append(Frame(Kind.CONTENT, lines))


@lru_cache(maxsize=256)
def _encoded(pieces: tuple[str, ...]) -> tuple[bytes, ...]:
    """What is said over and over is encoded once."""
    return tuple(orjson.dumps(piece) for piece in pieces)


def _spoken(turn: Turn) -> list[Part]:
    return [part for part in turn.parts if not isinstance(part, Text) or part.pieces]


def _status(turn: Turn) -> str | None:
    if turn.finish is Finish.NONE:
        return None
    if turn.finish is Finish.FAILED:
        return "failed"
    return "incomplete" if turn.reason or turn.finish in INCOMPLETE_REASONS else "completed"


def _response(ask: "ResponsesAsk", turn: Turn, status: str | None, items: list[Json] | None) -> bytes:
    """The response; without items, as it begins."""
    is_over = items is not None
    reason = turn.reason or INCOMPLETE_REASONS.get(turn.finish)
    usage = _usage(turn.usage) if is_over and turn.usage is not None else None
    return b'{"id":"%b","object":"response","created_at":%d,"completed_at":%b,"status":%b,"error":%b,%b,%b}' % (
        response_id(turn).encode(),
        turn.created,
        b"%d" % turn.created if status == "completed" else b"null",
        orjson.dumps(status),
        orjson.dumps(FAILURE if status == "failed" else None),
        orjson.dumps(
            {
                "incomplete_details": {"reason": reason} if status == "incomplete" else None,
                "output": items or [],
                "usage": usage,
            }
        )[1:-1],
        ask.echo,
    )


def _usage(usage: Usage) -> Json:
    """Input includes what was read from and written to the cache."""
    read = usage.input + usage.cache_read + usage.cache_write
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": read + usage.output,
    }


def _item(ask: "ResponsesAsk", turn: Turn, index: int, part: Part) -> Json:
    """A whole item of the output."""
    name = f"sim_{turn.number:06d}_{index}"
    match part:
        case Text(pieces=pieces):
            return {
                "id": f"msg_{name}",
                "type": "message",
                "status": "incomplete" if turn.finish in INCOMPLETE_REASONS else "completed",
                "role": "assistant",
                "phase": "commentary" if turn.calls else "final_answer",
                "content": [_content(turn, "".join(pieces))],
            }
        case Thought():
            return _reasoning(ask.model, f"rs_{name}", turn.number, part)
    item_id = f"{PREFIXES[part.kind]}_{name}"
    status = "incomplete" if turn.finish in INCOMPLETE_REASONS else "completed"
    return {"id": item_id, **_call(part, "".join(part.fragments)), "status": status}


def _content(turn: Turn, text: str) -> Json:
    if turn.finish is Finish.REFUSAL:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _reasoning(model: str, item_id: str, number: int, thought: Thought) -> Json:
    shown = thought.kind is not Thinking.REDACTED
    is_sealed = thought.kind is not Thinking.UNSIGNED
    return {
        "id": item_id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "".join(thought.pieces)}] if shown else [],
        "encrypted_content": SEAL_PREFIX + mint(DIALECT, model, number=number) if is_sealed else None,
    }


def _call(call: Call, said: str) -> Json:
    head: Json = {"type": f"{call.kind.value}_call", "call_id": f"call_sim_{call.id}"}
    match call.kind:
        case ToolKind.FUNCTION:
            head |= {"name": call.name, "arguments": said}
        case ToolKind.CUSTOM:
            head |= {"type": "custom_tool_call", "name": call.name, "input": said}
        case ToolKind.APPLY_PATCH:
            head["operation"] = orjson.loads(said)
        case _:
            head["action"] = orjson.loads(said)
    if call.namespace:
        head["namespace"] = call.namespace
    return head


def _say_item(events: _Events, index: int, part: Part, item: Json) -> None:
    output = b'"output_index":%d' % index
    kind = Kind.CONTENT if isinstance(part, Call) else Kind.OPENING
    events.add(kind, b"response.output_item.added", output + b',"item":' + orjson.dumps(_begun(item)))
    at = b'"item_id":"%b",%b' % (item["id"].encode(), output)
    match part:
        case Text():
            _say_text(events, at, part, item["content"][0])
        case Thought():
            _say_summary(events, at, part, item["summary"])
        case Call():
            _say_call(events, at, part, item)
    events.add(Kind.OPENING, b"response.output_item.done", output + b',"item":' + orjson.dumps(item))


def _begun(item: Json) -> Json:
    """An item before anything of it was said."""
    match item["type"]:
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case "reasoning":
            sealed = item["encrypted_content"]
            return {**item, "summary": [], "encrypted_content": sealed and sealed[:SHOWN_AT_FIRST]}
        case "function_call":
            return {**item, "status": "in_progress", "arguments": ""}
        case "custom_tool_call":
            return {**item, "status": "in_progress", "input": ""}
    return {**item, "status": "in_progress"}


def _say_text(events: _Events, at: bytes, text: Text, content: Json) -> None:
    at += b',"content_index":0'
    field = "refusal" if content["type"] == "refusal" else "text"
    name, rest = (b"refusal", b"") if field == "refusal" else (b"output_text", b',"logprobs":[]')
    empty = orjson.dumps({**content, field: ""})
    events.add(Kind.OPENING, b"response.content_part.added", at + b',"part":' + empty)
    events.pieces(b"response.%b.delta" % name, at, text.pieces, rest)
    said = b'%b,"%b":%b%b' % (at, field.encode(), orjson.dumps(content[field]), rest)
    events.add(Kind.OPENING, b"response.%b.done" % name, said)
    events.add(Kind.OPENING, b"response.content_part.done", at + b',"part":' + orjson.dumps(content))


def _say_summary(events: _Events, at: bytes, thought: Thought, summary: list[Json]) -> None:
    if not summary:
        return
    at += b',"summary_index":0'
    part = orjson.dumps(summary[0])
    empty = b',"part":{"type":"summary_text","text":""}'
    events.add(Kind.OPENING, b"response.reasoning_summary_part.added", at + empty)
    events.pieces(b"response.reasoning_summary_text.delta", at, thought.pieces)
    said = at + b',"text":' + orjson.dumps(summary[0]["text"])
    events.add(Kind.OPENING, b"response.reasoning_summary_text.done", said)
    events.add(Kind.OPENING, b"response.reasoning_summary_part.done", at + b',"part":' + part)


def _say_call(events: _Events, at: bytes, call: Call, item: Json) -> None:
    """Functions and free text stream; the actions of the vendor's tools come whole."""
    if call.kind is ToolKind.FUNCTION:
        events.pieces(b"response.function_call_arguments.delta", at, call.fragments)
        said = orjson.dumps({"name": call.name, "arguments": item["arguments"]})[1:-1]
        events.add(Kind.OPENING, b"response.function_call_arguments.done", at + b"," + said)
    elif call.kind is ToolKind.CUSTOM:
        events.pieces(b"response.custom_tool_call_input.delta", at, call.fragments)
        said = orjson.dumps({"input": item["input"]})[1:-1]
        events.add(Kind.OPENING, b"response.custom_tool_call_input.done", at + b"," + said)
