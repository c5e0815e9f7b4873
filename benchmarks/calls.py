"""The requests that are sent: the same bytes to every subject. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

FILLER = 'The quick brown fox jumps over the "lazy" dog.\n'  # with escapes, as prompts have them


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request; the API key is added when it is sent."""

    path: str
    body: bytes
    key_header: str  # with the key in braces
    headers: tuple[str, ...] = ("content-type: application/json",)

    def headers_with(self, key: str) -> list[str]:
        """Return the header lines as a client with this API key sends them."""
        return [*self.headers, self.key_header.format(key=key)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMarks:
    """How the first content and the regular end of a stream look on the wire."""

    content: re.Pattern[bytes]
    end: bytes


STREAM_MARKS: Mapping[str, StreamMarks] = {
    "/v1/chat/completions": StreamMarks(content=re.compile(rb'"content": ?"[^"]'), end=b"data: [DONE]"),
    "/v1/messages": StreamMarks(content=re.compile(rb'"text_delta"'), end=b'"message_stop"'),
}


def chat(*, size: int, script: str = "", stream: bool = False) -> Call:
    """Return a chat completions request with a body of `size` bytes; `script` steers the simulator."""
    fields: dict[str, object] = {"model": "bench-chat", "max_tokens": 256}
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return Call(
        path="/v1/chat/completions",
        body=_padded(fields, size=size, script=script),
        key_header="authorization: Bearer {key}",
    )


def messages(*, size: int, script: str = "", stream: bool = False, model: str = "bench-messages") -> Call:
    """Return the same as an Anthropic messages request."""
    fields: dict[str, object] = {"model": model, "max_tokens": 256}
    if stream:
        fields |= {"stream": True}
    return Call(
        path="/v1/messages",
        body=_padded(fields, size=size, script=script),
        key_header="x-api-key: {key}",
        headers=("content-type: application/json", "anthropic-version: 2023-06-01"),
    )


def paced(*, chunks: int, interval: float, first: float) -> str:
    """Return the script of a stream: so many chunks, so many seconds apart and before the first."""
    return f"[[chunks={chunks} interval={interval:g} first={first:g}]]"


def _padded(fields: Mapping[str, object], *, size: int, script: str) -> bytes:
    room = size - len(_body(fields, script))
    if room < 0:
        raise ValueError(f"a body of {size} bytes has no room for its script")
    fillers, rest = divmod(room, len(json.dumps(FILLER)) - 2)
    return _body(fields, FILLER * fillers + "." * rest + script)


def _body(fields: Mapping[str, object], text: str) -> bytes:
    return json.dumps({**fields, "messages": [{"role": "user", "content": text}]}).encode()


def translated(*, size: int, script: str = "", stream: bool = False) -> Call:
    """Return an Anthropic messages request that the gateway translates to Chat Completions and back."""
    return messages(size=size, script=script, stream=stream, model="bench-messages-on-chat")
