"""What was asked, as it was received."""

import base64
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

KEPT_REQUESTS = 256
KEPT_BYTES = 64 * 1024 * 1024


class Outcome(StrEnum):
    OPEN = "open"
    FINISHED = "finished"
    DISCONNECTED = "disconnected"  # the client closed before the answer was finished
    CUT = "cut"  # the simulator closed, as the behaviour said


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One request, byte for byte; only its outcome changes."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    http_version: str = "1.1"
    keep_alive: bool = True
    path: str = field(init=False)
    query: str = field(init=False)
    outcome: Outcome = field(default=Outcome.OPEN, init=False)

    def __post_init__(self) -> None:
        self.path, _, self.query = self.target.decode("latin-1").partition("?")

    def header(self, name: bytes) -> bytes:
        """The first header of that lower-case name, b"" where there is none."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return b""

    def json(self) -> Any:
        return orjson.loads(self.body)

    def render(self) -> dict[str, object]:
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "body": base64.b64encode(self.body).decode(),
            "outcome": self.outcome,
        }


class RequestLog(deque[Request]):
    """The last requests, newest last; older ones are forgotten, sooner where bodies are large."""

    def __init__(self, *, largest_bytes: int = KEPT_BYTES) -> None:
        super().__init__()
        self._largest = largest_bytes
        self._size = 0

    def append(self, request: Request) -> None:
        super().append(request)
        self._size += len(request.body)
        while len(self) > KEPT_REQUESTS or (self._size > self._largest and len(self) > 1):
            self._size -= len(self.popleft().body)

    def clear(self) -> None:
        super().clear()
        self._size = 0
