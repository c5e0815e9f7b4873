"""Watching a stream that is passed through.

The format has no terminal event: a stream is whole when the last chunks said why they ended and the upstream closed it.
Chunks may follow the one with the finish reason, so that one is held back until the next comes, or the end.
"""

from typing import Any

from providers.canonical.inbound import Facts
from providers.dialects.gemini.usage import merge_report, usage_of
from providers.dialects.watch import NOT_JSON, StreamWatch
from providers.wire.json import read_json
from providers.wire.sse import frame_event, frames


class GenerateContentWatch(StreamWatch):
    """Watches a stream of generateContent."""

    __slots__ = ("_has_finish_reason", "_reported")

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._has_finish_reason = False
        self._reported: dict[str, Any] = {}  # usage as it came, the newest of each field

    def observe(self, data: bytes) -> bytes:
        """Look at whole frames; return those that are to be passed on now."""
        passed = []
        for frame in frames(data):
            if self.is_finished or self.error is not None:
                break
            _, event = frame_event(frame)
            if not event:
                passed.append(frame)
                continue
            before, self._held = self._held, b""  # it was not the last one
            is_passed = self._passes_data(event, frame)
            if self.error is None:
                passed.append(before)
            if is_passed:
                passed.append(frame)
        return b"".join(passed)

    @staticmethod
    def _is_plain(data: bytes) -> bool:
        return False  # every chunk has a usage report

    def _passes_data(self, data: bytes, frame: bytes) -> bool:
        chunk = _read_chunk(data)
        if chunk is None:
            self.error = NOT_JSON
            return False
        if chunk.get("error"):
            self.error = error_text(chunk["error"])
            return False
        is_last = self._look_at(chunk)
        self._count(chunk.get("usageMetadata"), is_last=is_last)
        if is_last:
            self._held = frame
        return not is_last

    def _look_at(self, chunk: dict[str, Any]) -> bool:
        """Note what a chunk says; return whether it may be the last."""
        candidates = chunk.get("candidates")
        reasons = [
            candidate.get("finishReason")
            for candidate in (candidates if isinstance(candidates, list) else [])
            if isinstance(candidate, dict)
        ]
        feedback = chunk.get("promptFeedback")
        is_blocked = isinstance(feedback, dict) and bool(feedback.get("blockReason"))
        is_last = any(reasons) or is_blocked
        self._has_finish_reason = self._has_finish_reason or is_last
        self.has_content = self.has_content or is_last or _has_parts(candidates)
        return is_last

    def _count(self, usage: Any, *, is_last: bool) -> None:
        if isinstance(usage, dict):
            merge_report(self._reported, usage, is_last=is_last)
            self.usage = usage_of(self._reported)

    def _ends_whole(self) -> bool:
        if self._has_finish_reason:
            self._finish(self._held)
            self.is_usage_final = self.usage.is_complete
        return self._has_finish_reason


def _read_chunk(data: bytes) -> dict[str, Any] | None:
    """Return a chunk's object, unwrapped where it stands alone in a list."""
    try:
        chunk = read_json(data)
    except ValueError:
        return None
    if isinstance(chunk, list) and len(chunk) == 1:
        chunk = chunk[0]
    return chunk if isinstance(chunk, dict) else None


def _has_parts(candidates: Any) -> bool:
    """Whether a reader would see something: a part that is more than empty text."""
    if not isinstance(candidates, list):
        return False
    for candidate in candidates:
        content = candidate.get("content") if isinstance(candidate, dict) else None
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and any(value for name, value in part.items() if name != "thought"):
                return True
    return False


def error_text(error: Any) -> str:
    """Return what an error object says."""
    if isinstance(error, dict):
        return str(error.get("message") or error.get("status") or "The upstream failed.")
    return str(error)
