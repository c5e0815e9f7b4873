"""The floor: the least that a proxy in Python does. Raw ASGI and aiohttp under uvicorn; no keys, no limits.

`python -m benchmarks.floor --port PORT --upstream URL`
"""

import argparse
from typing import Any

import aiohttp
import uvicorn

FORWARDED = (b"content-type", b"authorization", b"x-api-key", b"anthropic-version")


class Floor:
    """An ASGI application that posts what it gets to the same path upstream and returns what comes back."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name in FORWARDED}
        url, body = self._upstream + scope["path"], await whole_body(receive)
        async with self._session.post(url, data=body, headers=headers) as answer:
            is_stream = answer.content_type == "text/event-stream"
            kept = ("content-type",) if is_stream else ("content-type", "content-length")
            returned = [(name.encode(), answer.headers.get(name, "").encode()) for name in kept]
            await send({"type": "http.response.start", "status": answer.status, "headers": returned})
            if not is_stream:
                await send({"type": "http.response.body", "body": await answer.read()})
                return
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def whole_body(receive: Any) -> bytes:
    """Read the request's body."""
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    uvicorn.run(
        Floor(options.upstream),
        port=options.port,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
    )


if __name__ == "__main__":
    main()
