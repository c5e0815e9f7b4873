"""Reading an upstream's stream, which many servers write in their own way.

The end is held back after the finish reason: usage comes in a later chunk. A stream that closes after a finish reason is
whole; one that closes before it was cut. What the answer stopped for is told by what it holds: an answer with calls
stopped for them, whatever its finish reason, and one whose arguments stop in the middle never did.
"""

from collections.abc import Iterable
from typing import Any

from providers.canonical.events import Event, MessageEnd, Stop
from providers.dialects.openai_chat.call_parts import Call
from providers.dialects.openai_chat.delta_reader import DeltaReader, text_of
from providers.dialects.openai_chat.errors import error_code, error_text
from providers.dialects.openai_chat.reasoning import split
from providers.dialects.openai_chat.usage import take_chunk, usage_of
from providers.dialects.openai_chat.wire import (
    BROKEN_FINISHES,
    NO_STOP_SEQUENCES,
    REASONING_DETAILS,
    REASONING_TEXTS,
    STOPS,
)
from providers.dialects.reader import CUT, NONSENSE

DONE = b"[DONE]"
CUT_CALL = "The upstream broke off in the middle of a tool call."
BROKEN = "The upstream stopped with an error of its own."

REASONING_FIELDS = frozenset({REASONING_DETAILS, *REASONING_TEXTS})


class ChatReader(DeltaReader):
    """Reads a stream of Chat Completions; a whole answer is one chunk of it."""

    __slots__ = ("_finish_reason", "_reported", "_sequence")

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self._finish_reason = ""
        self._reported: dict[str, Any] = {}  # usage as it came, the newest of each field
        self._sequence: str | None = None  # the stop sequence that was met

    def read_whole(self, body: bytes) -> list[Event]:
        """Return the events of a whole answer."""
        try:
            self._read_answer(self._parse(body))
        except (LookupError, TypeError, ValueError, AttributeError):  # as in `feed`
            self._fail(NONSENSE)
        return self._take()

    def _read(self, name: bytes, payload: bytes) -> None:
        if payload.strip() == DONE:
            self._end()
        else:
            self._read_chunk(self._parse(payload))

    def _close(self) -> None:
        if self._finish_reason:
            self._end()

    # Chunks

    def _read_chunk(self, chunk: dict[str, Any]) -> None:
        if chunk.get("error"):
            self._fail(error_text(chunk["error"]), error_code(chunk["error"]))
            return
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and not choice.get("index") and not self.is_ended:
                self._begin(chunk)
                delta = choice.get("delta")
                self._read_delta(delta if isinstance(delta, dict) else {})
                self._read_finish(choice)
        is_counted = self._read_usage(chunk)
        if self._finish_reason and not choices and not self.is_ended and is_counted:
            self._end()

    def _read_answer(self, answer: dict[str, Any]) -> None:
        choices = answer.get("choices")
        if answer.get("error") or not isinstance(choices, list) or not choices:
            error = answer.get("error") or NONSENSE
            self._fail(error_text(error), error_code(error))
            return
        self._begin(answer)
        message = choices[0]["message"]
        for piece in split(message):
            self._open_thinking(piece.entry, piece.text)
            self._end_current()
        said = {name: value for name, value in message.items() if name not in REASONING_FIELDS}
        calls = said.get("tool_calls")
        said["tool_calls"] = [{**call, "index": i} for i, call in enumerate(calls if isinstance(calls, list) else [])]
        self._read_delta(said)
        self._read_finish(choices[0])
        self._read_usage(answer)
        if not self.is_ended:
            self._end()

    def _begin(self, chunk: dict[str, Any]) -> None:
        if not self.is_started:
            self._id, model = (text_of(chunk.get(name)) for name in ("id", "model"))
            self._start(id=self._id, model=model)

    def _read_usage(self, chunk: dict[str, Any]) -> bool:
        """Take a report; return whether it says how much came out."""
        if not take_chunk(self._reported, chunk) or self.is_ended:
            return False
        usage = usage_of(self._reported)
        self._report(usage)
        return usage.output is not None

    def _read_finish(self, choice: dict[str, Any]) -> None:
        if choice.get("error"):
            self._fail(error_text(choice["error"]), error_code(choice["error"]))
            return
        reason = text_of(choice.get("finish_reason"))
        if reason in BROKEN_FINISHES:
            self._fail(BROKEN, reason)
        elif reason:
            self._finish_reason = reason
            met = choice.get("stop_reason", choice.get("matched_stop"))  # vLLM, SGLang
            if isinstance(met, str) and met and met not in NO_STOP_SEQUENCES:
                self._sequence = met

    # The end

    def _end(self) -> None:
        """End the answer, whose end has been announced."""
        if not self._finish_reason and not self._has_content():
            self._fail(CUT)
            return
        stop = STOPS.get(self._finish_reason, "end_turn")
        if stop == "end_turn" and any(call.is_cut for call in self._calls.all):
            self._fail(CUT_CALL)
            return
        if stop == "end_turn" and any(call.waiting and not call.name for call in self._calls.all):
            self._fail(NONSENSE)
            return
        self._end_current()
        self._end_calls(call for call in self._calls.all if call.name)
        self._finish(MessageEnd(stop=self._stop(stop), stop_sequence=self._met(stop)))

    def _has_content(self) -> bool:
        return self._next > 0 or any(call.name for call in self._calls.all)

    def _end_calls(self, calls: Iterable[Call]) -> None:
        for call in calls:
            if not call.is_cut:
                self._end_call(call)
            elif call.part is None:
                self._start_call(call)
                self._pass_on(call)

    def _stop(self, announced: Stop) -> Stop:
        if announced != "end_turn":
            return announced
        if any(call.name for call in self._calls.all):
            return "tool_use"
        if self._refused:
            return "refusal"
        return "stop_sequence" if self._sequence is not None else "end_turn"

    def _met(self, announced: Stop) -> str | None:
        return self._sequence if self._stop(announced) == "stop_sequence" else None
