"""What the simulator's tests read off the wire, without a client library in between."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from google import genai
from google.genai.client import AsyncClient
from google.genai.types import HttpOptions

CHAT_HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer sk-sim"}
GEMINI_HEADERS = {"Content-Type": "application/json", "x-goog-api-key": "sim"}
MESSAGES_HEADERS = {
    "Content-Type": "application/json",
    "x-api-key": "sk-sim",
    "anthropic-version": "2023-06-01",
}


@dataclass(kw_only=True)
class Reply:
    """What came over the socket until it was closed, packet by packet."""

    packets: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    error: Exception | None = None
    is_open: bool = True

    @property
    def raw(self) -> bytes:
        return b"".join(self.packets)

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def body(self) -> bytes:
        """Without chunked framing, as far as it came."""
        return self._read_body()[0]

    @property
    def is_complete(self) -> bool:
        return self._read_body()[1]

    def json(self) -> Any:
        return orjson.loads(self.body)

    def events(self) -> list[tuple[str | None, str]]:
        """Server-sent events, comments left out."""
        return [event for block in _blocks(self.body.decode()) if (event := _event(block)) is not None]

    def chunks(self) -> list[Any]:
        """The events' JSON."""
        return [orjson.loads(data) for _, data in self.events() if data != "[DONE]"]

    def _read_body(self) -> tuple[bytes, bool]:
        rest = self.raw.partition(b"\r\n\r\n")[2]
        if "content-length" in self.headers:
            return rest, len(rest) == int(self.headers["content-length"])
        if self.headers.get("transfer-encoding") != "chunked":
            return rest, not self.is_open
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if size == b"0":
                return body, rest == b"\r\n"
            length = int(size, 16)
            body, rest = body + rest[:length], rest[length + 2 :]
        return body, False


def _blocks(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n")


def _event(block: str) -> tuple[str | None, str] | None:
    fields = dict(line.split(":", 1) for line in block.split("\n") if line and not line.startswith(":"))
    if "data" not in fields:
        return None
    name = fields.get("event")
    return (None if name is None else name.strip()), fields["data"].removeprefix(" ")


class Recorder(asyncio.Protocol):
    """Writes one request and keeps every packet as it arrives."""

    def __init__(self, request: bytes) -> None:
        self.reply = Reply()
        self.heard = asyncio.Event()
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)
        self._started = time.perf_counter()

    def data_received(self, data: bytes) -> None:
        self.reply.packets.append(data)
        self.reply.times.append(time.perf_counter() - self._started)
        self.heard.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.reply.error, self.reply.is_open = error, False
        self.heard.set()


def http_request(path: str, body: bytes, headers: dict[str, str], *, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: simulator", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def gemini_client_of(url: str, key: str = "sim") -> AsyncIterator[AsyncClient]:
    """Google's SDK, on a transport that is closed with it: the one it would choose warns of itself."""
    async with httpx.AsyncClient() as transport:
        yield genai.Client(api_key=key, http_options=HttpOptions(base_url=url, httpx_async_client=transport)).aio
