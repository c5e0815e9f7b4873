"""An upstream that says what it is told to say, and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Upstream:
    """A server that answers requests alike, but for those that it has pages for, and remembers what it was asked."""

    def __init__(self, body: Any) -> None:
        self.answers(body)
        self.pages: dict[str, bytes] = {}  # by path and query, before the answer for everything else
        self.is_silent = False
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    def answers(self, body: Any, *, status: int = 200) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        self.asked.append((lines[0], headers))
        body = self.pages.get(lines[0].split(" ")[1], self.body)
        if self.is_silent:
            await asyncio.sleep(60)
        head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        extra = "Location: /elsewhere\r\n" if 300 <= self.status < 400 else ""
        writer.write(f"{head}{extra}\r\n".encode() + body)
        writer.close()


@asynccontextmanager
async def serving(upstream: Upstream) -> AsyncIterator[Upstream]:
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield upstream
    server.close()
