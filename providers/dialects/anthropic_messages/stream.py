"""Watching a stream that is passed through, and reading usage.

Anthropic's counts are disjoint already; those of `message_delta` are cumulative and replace those of `message_start`.
"""

from typing import Any

from providers.canonical.inbound import Facts
from providers.canonical.usage import NOTHING_REPORTED, Usage, count
from providers.dialects.fields import read_object, read_usage_member
from providers.wire.sse import frame_event, frames, holds_objects


class MessagesWatch:
    """Most chunks are only searched for two words; JSON is parsed for the first content, usage, errors and the end."""

    __slots__ = (
        "_has_stop_reason",
        "_held",
        "_reported",
        "error",
        "has_content",
        "is_finished",
        "is_usage_final",
        "usage",
    )

    def __init__(self, facts: Facts) -> None:
        self.usage = NOTHING_REPORTED
        self.is_usage_final = False
        self.has_content = False
        self.is_finished = False
        self.error: str | None = None
        self._held = b""
        self._has_stop_reason = False
        self._reported: dict[str, Any] = {}  # usage as it came, the newest of each field

    def observe(self, data: bytes) -> bytes:
        """Look at whole frames; return those that are to be passed on now."""
        if self.has_content and not self._held and _is_plain(data):
            return data
        return b"".join([frame for frame in frames(data) if self._passes(frame)])

    def end(self) -> None:
        """Take an end without message_stop for a whole answer only if a stop reason had come."""
        if self._has_stop_reason and self.error is None:
            self.is_finished = True
            self._held = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        elif self.error is None:
            self.error = "It ended in the middle of its answer."

    def last(self) -> bytes:
        """Return the terminal frame, which was held back."""
        return self._held

    def _passes(self, frame: bytes) -> bool:
        if self.is_finished or self.error is not None:
            return False  # nothing may follow the end
        if self.has_content and _is_plain(frame):
            return True
        _, data = frame_event(frame)
        if not data:
            return True
        event = read_object(data)
        if event is None:
            self.error = "The upstream sent something that is not JSON."
            return False
        return self._passes_event(event, frame)

    def _passes_event(self, event: dict[str, Any], frame: bytes) -> bool:
        match event.get("type"):
            case "error":
                self.error = error_text(event.get("error"))
                return False
            case "message_stop":
                self.is_finished = True
                self._held = frame
                return False
            case "message_start":
                message = event.get("message")
                self._count(message.get("usage") if isinstance(message, dict) else None)
            case "message_delta":
                self.has_content = True
                self.is_usage_final = self._count(event.get("usage")) or self.is_usage_final
                delta = event.get("delta")
                if isinstance(delta, dict) and delta.get("stop_reason"):
                    self._has_stop_reason = True
            case "content_block_start":
                block = event.get("content_block")
                self.has_content = self.has_content or _is_content(block)
            case "content_block_delta":
                self.has_content = True
        return True

    def _count(self, usage: Any) -> bool:
        """Take a report; return whether it says how much came out.

        `message_delta` repeats the sum of the cache writes without their kinds, which `message_start` told.
        """
        if not isinstance(usage, dict):
            return False
        self._reported |= {name: value for name, value in usage.items() if isinstance(value, int | float | dict)}
        self.usage = usage_of(self._reported)
        return count(usage.get("output_tokens")) is not None


def _is_plain(data: bytes) -> bool:
    """Whether frames hold JSON and none of the words that need a closer look. (`in` takes three times as long as `find`.)"""
    return data.find(b'"message_') < 0 and data.find(b'"error"') < 0 and holds_objects(data)


def _is_content(block: Any) -> bool:
    """Whether a block says something as it opens; text and thinking open empty."""
    return isinstance(block, dict) and (block.get("type") not in {"text", "thinking"} or bool(block.get("text")))


def error_text(error: Any) -> str:
    """Return what an error object says."""
    if isinstance(error, dict):
        return str(error.get("message") or error.get("type") or "The upstream failed.")
    return str(error or "The upstream failed.")


def read_usage(body: bytes) -> Usage:
    """Read a whole answer's usage; nothing where there is none."""
    usage = read_usage_member(body)
    return usage_of(usage) if usage is not None else NOTHING_REPORTED


def usage_of(usage: dict[str, Any]) -> Usage:
    """Read the counts; a cache write without its kind is one of five minutes, Anthropic's default."""
    written = count(usage.get("cache_creation_input_tokens"))
    kinds = usage.get("cache_creation")
    hour = count(kinds.get("ephemeral_1h_input_tokens")) if isinstance(kinds, dict) else None
    minutes = count(kinds.get("ephemeral_5m_input_tokens")) if isinstance(kinds, dict) else None
    if written is not None:
        minutes = max(minutes or 0, written - (hour or 0))
    output = count(usage.get("output_tokens"))
    details = usage.get("output_tokens_details")
    reasoning = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    return Usage(
        input=count(usage.get("input_tokens")),
        cache_read=count(usage.get("cache_read_input_tokens")),
        cache_write_5m=minutes,
        cache_write_1h=hour,
        output=output,
        reasoning=reasoning if output is None or reasoning is None else min(reasoning, output),
    )
