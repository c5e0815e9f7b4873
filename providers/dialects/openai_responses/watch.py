"""Watching a stream that is passed through."""

from providers.canonical.inbound import Facts
from providers.dialects.openai_responses.errors import error_text
from providers.dialects.openai_responses.usage import report_of
from providers.dialects.openai_responses.wire import KNOWN_CODES
from providers.dialects.watch import StreamWatch
from providers.wire.sse import holds_objects

ENDS = frozenset({"response.completed", "response.incomplete"})


class ResponsesWatch(StreamWatch):
    """Watches a stream of Responses."""

    __slots__ = ()

    def __init__(self, facts: Facts) -> None:
        super().__init__()

    @staticmethod
    def _is_plain(data: bytes) -> bool:
        # `find` and not `in`, which takes three times as long: it tries the word as a number first.
        return (
            data.find(b'"response.completed"') < 0
            and data.find(b'"response.incomplete"') < 0
            and data.find(b'"response.failed"') < 0
            and data.find(b'"error"') < 0
            and holds_objects(data)
        )

    def _ends_whole(self) -> bool:
        return False

    def _passes_data(self, data: bytes, frame: bytes) -> bool:
        if data.strip() == b"[DONE]":  # of imitations; nothing has to follow the terminal event
            return False
        event = self._read(data)
        if event is None:
            return False
        kind = event.get("type")
        if kind == "error":
            self._fail(event.get("error") or event)
            return False
        response = event.get("response")
        if (kind in ENDS or kind == "response.failed") and isinstance(response, dict):
            # The counts of an answer that was cut off or failed are as good as any.
            self.usage = report_of(response) or self.usage
            self.is_usage_final = self.usage.is_complete
        if kind in ENDS:
            self.has_content = True
            self._finish(frame)
            return False
        if kind == "response.failed":
            self._fail(response.get("error") if isinstance(response, dict) else None)
            return False
        self.has_content = self.has_content or is_content(kind)
        return True

    def _fail(self, error: object) -> None:
        self.error = error_text(error)
        code = error.get("code") if isinstance(error, dict) else None
        self.error_code = code if isinstance(code, str) and code in KNOWN_CODES else ""


def is_content(kind: object) -> bool:
    """Whether an event of this type shows a reader something."""
    return isinstance(kind, str) and (kind.endswith(".delta") or kind == "response.output_item.done")
