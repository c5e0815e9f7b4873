"""Watching a stream that is passed through."""

from typing import Any

from providers.canonical.inbound import Facts
from providers.dialects.openai_chat.errors import error_text
from providers.dialects.openai_chat.usage import take_chunk, usage_of
from providers.dialects.watch import StreamWatch
from providers.wire.sse import holds_objects


class ChatWatch(StreamWatch):
    """Watches a stream of Chat Completions."""

    __slots__ = ("_has_finish_reason", "_is_withholding_usage", "_reported")

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._has_finish_reason = False
        self._is_withholding_usage = not facts.wants_usage
        self._reported: dict[str, Any] = {}  # usage as it came, the newest of each field

    @staticmethod
    def _is_plain(data: bytes) -> bool:
        # `find` and not `in`, which takes three times as long: it tries the word as a number first.
        return (
            data.find(b"[DONE]") < 0
            and data.find(b'"error"') < 0
            and data.find(b'"finish_reason":"') < 0
            and data.find(b'"finish_reason": "') < 0
            and data.count(b'"usage"') == data.count(b'"usage":null')
            and holds_objects(data)
        )

    def _ends_whole(self) -> bool:
        if self._has_finish_reason:
            self._finish(b"data: [DONE]\n\n")
        return self._has_finish_reason

    def _finish(self, terminal: bytes) -> None:
        super()._finish(terminal)
        self.is_usage_final = self.usage.is_complete

    def _passes_data(self, data: bytes, frame: bytes) -> bool:
        if data.strip() == b"[DONE]":
            self._finish(frame)
            return False
        chunk = self._read(data)
        if chunk is None:
            return False
        if chunk.get("error"):
            self.error = error_text(chunk["error"])
            return False
        choices = chunk.get("choices")
        self._look_at(choices if isinstance(choices, list) else [])
        if not take_chunk(self._reported, chunk):
            return True
        self.usage = usage_of(self._reported)
        if self._has_finish_reason or not choices:  # some count along with every chunk
            self.is_usage_final = self.usage.is_complete
        return bool(choices) or not self._is_withholding_usage

    def _look_at(self, choices: list[Any]) -> None:
        for choice in choices:
            if isinstance(choice, dict):
                self._has_finish_reason = self._has_finish_reason or bool(choice.get("finish_reason"))
                self.has_content = self.has_content or self._has_finish_reason or _is_content(choice)


def _is_content(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
