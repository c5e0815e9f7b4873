"""What a client sends next: the answer it got, as history, with every call answered."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from providers.canonical.request import Request
from providers.canonical.seals import Seal, SealBox
from providers.conformance.crossing import SEALS, read_request
from providers.conformance.recorded import Recorded
from providers.dialects.base import Dialect

type Json = dict[str, Any]


def _chat(answer: Json) -> Json:
    message = answer["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in message.get("tool_calls") or []
    ]
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}, message, *results, *_unless(results)]}


def _messages(answer: Json) -> Json:
    content = answer["content"]
    results = [
        {"type": "tool_result", "tool_use_id": each["id"], "content": "ok"} for each in content if "input" in each
    ]
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": results or "go on"},
    ]
    return {"model": "m", "max_tokens": 99, "messages": turns}


def _responses(answer: Json) -> Json:
    output = answer["output"]
    results = [
        {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": "ok"}
        for item in output
        if item["type"] in ("function_call", "custom_tool_call")
    ]
    return {"model": "m", "input": [{"role": "user", "content": "hi"}, *output, *results, *_unless(results)]}


def _gemini(answer: Json) -> Json:
    content = answer["candidates"][0]["content"]
    calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
    results = [{"functionResponse": {**_named(call), "response": {"output": "ok"}}} for call in calls]
    turns = [
        {"role": "user", "parts": [{"text": "hi"}]},
        content,
        {"role": "user", "parts": results or [{"text": "go on"}]},
    ]
    return {"contents": turns}


def _named(call: Json) -> Json:
    return {name: call[name] for name in ("id", "name") if name in call}


def _unless(results: list[Json]) -> list[Json]:
    return [] if results else [{"role": "user", "content": "go on"}]


NEXT: Mapping[str, Callable[[Json], Json]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic_messages": _messages,
    "gemini": _gemini,
}


def next_request(client: Dialect, answer: bytes, seals: SealBox = SEALS) -> Request:
    """Read what a client sends after an answer."""
    body = json.dumps(NEXT[client.name](json.loads(answer))).encode()
    history = Recorded(
        dialect=client.name, name="history", title="", features=(), model="m", request=body, stream=b"", answer=answer
    )
    return read_request(history, client, seals)


def seals_of(request: Request) -> Iterator[Seal]:
    """Return every seal of a history."""
    for turn in request.turns:
        for part in turn.parts:
            seal = getattr(part, "seal", None)
            if seal is not None:
                yield seal
