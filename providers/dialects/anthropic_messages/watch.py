"""Watching a stream that is passed through.

The counts of `message_delta` are cumulative and replace those of `message_start`.
"""

from typing import Any

from providers.canonical.inbound import Facts
from providers.canonical.usage import count
from providers.dialects.anthropic_messages.usage import merge_report, opening_report, usage_of
from providers.dialects.watch import StreamWatch
from providers.wire.sse import holds_objects


class MessagesWatch(StreamWatch):
    """Watches a stream of Messages."""

    __slots__ = ("_has_counts", "_has_stop_reason", "_reported")

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._has_counts = False  # of what came out
        self._has_stop_reason = False
        self._reported: dict[str, Any] = {}  # usage as it came, the newest of each field

    @staticmethod
    def _is_plain(data: bytes) -> bool:
        # `find` and not `in`, which takes three times as long: it tries the word as a number first.
        return data.find(b'"message_') < 0 and data.find(b'"error"') < 0 and holds_objects(data)

    def _ends_whole(self) -> bool:
        if self._has_stop_reason:
            self._finish(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        return self._has_stop_reason

    def _passes_data(self, data: bytes, frame: bytes) -> bool:
        event = self._read(data)
        if event is None:
            return False
        match event.get("type"):
            case "error":
                self.error = error_text(event.get("error"))
                return False
            case "message_stop":
                self._finish(frame)
                return False
            case "message_start":
                message = event.get("message")
                self._count(opening_report(message) if isinstance(message, dict) else None)
            case "message_delta":
                self.has_content = True
                delta = event.get("delta")
                if isinstance(delta, dict) and delta.get("stop_reason"):
                    self._has_stop_reason = True
                self._has_counts = self._count(event.get("usage")) or self._has_counts
                self.is_usage_final = self._has_stop_reason and self._has_counts and self.usage.is_complete
            case "content_block_start":
                self.has_content = self.has_content or _is_content(event.get("content_block"))
            case "content_block_delta":
                self.has_content = True
        return True

    def _finish(self, terminal: bytes) -> None:
        super()._finish(terminal)
        self.is_usage_final = self._has_counts and self.usage.is_complete

    def _count(self, usage: Any) -> bool:
        """Take a report; return whether it says how much came out."""
        if not isinstance(usage, dict):
            return False
        merge_report(self._reported, usage)
        self.usage = usage_of(self._reported)
        return count(usage.get("output_tokens")) is not None


def _is_content(block: Any) -> bool:
    """Whether a block says something as it opens; text and thinking open empty."""
    return isinstance(block, dict) and (block.get("type") not in {"text", "thinking"} or bool(block.get("text")))


def error_text(error: Any) -> str:
    """Return what an error object says."""
    if isinstance(error, dict):
        return str(error.get("message") or error.get("type") or "The upstream failed.")
    return str(error or "The upstream failed.")
