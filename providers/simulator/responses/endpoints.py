"""The paths under ``/responses``."""

from dataclasses import replace
from urllib.parse import unquote

import orjson

from providers.simulator.ask import Ask
from providers.simulator.endpoint import Endpoint
from providers.simulator.envelopes import OPENAI
from providers.simulator.frames import Frame, Kind
from providers.simulator.requests import Request
from providers.simulator.responses.kept import Kept
from providers.simulator.responses.reader import ResponsesAsk, count_reader, reader
from providers.simulator.responses.writer import error_frame, failed, failed_frame, frames, whole, whole_count
from providers.simulator.turn import Turn

ROOT = "/responses"
ENVELOPE = replace(
    OPENAI,
    error_frame_after=error_frame,
    failed_frame_after=failed_frame,
    malformed=Frame.event(
        Kind.OPENING, b"response.output_text.delta", b'{"type":"response.output_text.delta","item_id":"msg_sim'
    ),
)


class Responses:
    """The endpoints of one simulator, with what it keeps."""

    def __init__(self) -> None:
        self._kept = Kept()
        self._create = Endpoint(
            method="POST",
            envelope=ENVELOPE,
            read=reader(self._kept),
            whole=whole,
            frames=frames,
            failed=failed,
            keep=self._kept.add,
        )
        self._count = Endpoint(method="POST", envelope=ENVELOPE, read=count_reader(self._kept), whole=whole_count)
        self._get = Endpoint(method="GET", envelope=ENVELOPE, read=self._read_name, whole=self._whole_kept)
        self._delete = Endpoint(method="DELETE", envelope=ENVELOPE, read=self._read_name, whole=self._whole_deleted)

    def route(self, path: str, method: str) -> Endpoint[ResponsesAsk] | Endpoint[Ask] | None:
        """The endpoint of a path without its version; None = it is not one of these."""
        if path == ROOT:
            return self._create
        if path == f"{ROOT}/input_tokens":
            return self._count
        if path.startswith(f"{ROOT}/") and "/" not in path.removeprefix(f"{ROOT}/"):
            return self._delete if method == "DELETE" else self._get
        return None

    def clear(self) -> None:
        """Forget every response."""
        self._kept.clear()

    def _read_name(self, request: Request) -> Ask:
        name = unquote(request.path.rpartition("/")[2])
        self._kept.get(name)
        return Ask(task=name, is_volatile=True)

    def _whole_kept(self, ask: Ask, turn: Turn) -> bytes:
        return whole(*self._kept.get(ask.task))

    def _whole_deleted(self, ask: Ask, turn: Turn) -> bytes:
        self._kept.remove(ask.task)
        return orjson.dumps({"id": ask.task, "object": "response", "deleted": True})
