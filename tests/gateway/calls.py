"""Calls in each dialect: what is sent, how answers and errors are read, and sockets where a client would be too polite."""

import json
import re
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

JSON = {"content-type": "application/json"}
NUMBERED = re.compile(rb'(chatcmpl-sim-|msg_sim_|call_sim_|toolu_sim_|req_sim_)\d+|(?<="created":)\d+')


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error, read in its dialect's shape; a wrong shape fails here."""

    type: str
    message: str
    code: str | None = None  # OpenAI's only
    param: str | None = None  # OpenAI's only


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One of the formats that callers speak."""

    name: str
    path: str
    alias: str  # served in this format
    other_alias: str  # served in the other one only
    upstream_headers: tuple[tuple[str, str], ...]
    end: bytes  # how a whole stream ends

    def body(self, text: str = "one two", **fields: Any) -> dict[str, Any]:
        """Return a small request; fields replace and add."""
        limit = {"max_tokens": 4096} if self is MESSAGES else {}
        return {"model": self.alias, **limit, "messages": [{"role": "user", "content": text}], **fields}

    def stream(self, text: str = "one two", **fields: Any) -> dict[str, Any]:
        """Return the same, streamed."""
        return self.body(text, **{"stream": True, **fields})

    def refusal(self, body: bytes) -> Refusal:
        """Read an error's body."""
        answer = json.loads(body)
        if self is MESSAGES:
            assert set(answer) == {"type", "error", "request_id"}
            assert answer["type"] == "error"
            assert set(answer["error"]) == {"type", "message"}
            return Refusal(**answer["error"])
        assert set(answer) == {"error"}
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        return Refusal(**answer["error"])

    def error_in(self, stream: bytes) -> dict[str, Any]:
        """Return what the last event of a broken stream says; fails unless it is an error of this format."""
        last = events(stream)[-1]
        assert last.name == ("error" if self is MESSAGES else ""), stream[-500:]
        data = json.loads(last.data)
        if self is MESSAGES:
            assert data["type"] == "error"
        return dict(data["error"])


CHAT = Dialect(
    name="openai_chat",
    path="/v1/chat/completions",
    alias="chat",
    other_alias="messages-only",
    upstream_headers=(("authorization", "Bearer any"),),
    end=b"data: [DONE]\n\n",
)
MESSAGES = Dialect(
    name="anthropic_messages",
    path="/v1/messages",
    alias="messages-only",
    other_alias="chat",
    upstream_headers=(("x-api-key", "any"), ("anthropic-version", "2023-06-01")),
    end=b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
BOTH = (CHAT, MESSAGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A server-sent event."""

    name: str
    data: str


def events(stream: bytes) -> list[Event]:
    """Read a stream as a browser would; comments are no events."""
    lines = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    found = []
    for frame in lines.split("\n\n"):
        fields = [line.partition(":") for line in frame.split("\n") if line and not line.startswith(":")]
        values = {name: value.removeprefix(" ") for name, _, value in fields}
        if "data" in values:
            found.append(Event(name=values.get("event", ""), data=values["data"]))
    return found


def mark() -> str:
    """Return a word that no other request holds."""
    return f"mark-{uuid.uuid4().hex}"


def bearer(key: str) -> dict[str, str]:
    """Return the headers of a JSON request with this key."""
    return {**JSON, "authorization": f"Bearer {key}"}


def anonymous(answer: bytes) -> bytes:
    """Return an answer of the simulator's without what differs from one answer to the next."""
    return NUMBERED.sub(rb"\1", answer)


def ask_upstream(url: str, dialect: Dialect, body: dict[str, Any]) -> httpx.Response:
    """Ask the simulator itself, as the gateway would."""
    headers = {**JSON, **dict(dialect.upstream_headers)}
    content = {**body, "model": "sim-fast"}
    return httpx.post(url + dialect.path, json=content, headers=headers, timeout=30, verify=False)


class Wire:
    """A connection on which everything can be said, also half of it."""

    def __init__(self, url: str, *, receive_buffer: int | None = None) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "", parts.port or 80)
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(self.address)
        self._rest = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def request(self, path: str, body: bytes, *lines: str, method: str = "POST") -> None:
        """Send a whole request with these header lines."""
        self.send(head(path, *lines, f"Content-Length: {len(body)}", method=method) + body)

    def read(self) -> bytes:
        """Return what has come, waiting for it; nothing at the end."""
        rest, self._rest = self._rest, b""
        return rest or self.socket.recv(65536)

    def read_until(self, end: bytes) -> bytes:
        """Return everything up to the first such bytes, which are included."""
        data = b""
        while end not in data:
            piece = self.read()
            assert piece, f"closed before {end!r}: {data[-300:]!r}"
            data += piece
        position = data.index(end) + len(end)
        self._rest = data[position:]
        return data[:position]

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Return the status and the headers of the next answer."""
        first, *lines = self.read_until(b"\r\n\r\n").decode("latin-1").strip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value for name, _, value in pairs}

    def read_answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return the next answer: status, headers and body."""
        status, headers = self.read_head()
        if "content-length" not in headers:
            return status, headers, b"".join(self.chunks())
        body = b""
        while len(body) < int(headers["content-length"]):
            piece = self.read()
            assert piece, "closed in the middle of the body"
            body += piece
        return status, headers, body

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks of a chunked body."""
        while size := int(self.read_until(b"\r\n"), 16):
            yield self._exactly(size + 2)[:-2]
        self.read_until(b"\r\n")

    def is_closed(self) -> bool:
        """Whether the other side closes, before our own time-out, without another byte."""
        try:
            return self.read() == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.read()
            assert piece, "closed in the middle of a chunk"
            data += piece
        self._rest = data[size:]
        return data[:size]


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    """Return the head of a request; header lines may hold any bytes that Latin-1 has."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode("latin-1")
