"""Reading an upstream's stream, which many servers write in their own way.

The end is held back after the finish reason: usage comes in a later chunk. A stream that closes after a finish reason is
whole; one that closes before it was cut. What the answer stopped for is told by what it holds: an answer with calls
stopped for them, whatever its finish reason, and one whose arguments stop in the middle never did.
"""

from collections.abc import Iterable
from typing import Any, Literal

from providers.canonical.events import Event, MessageEnd, Stop
from providers.canonical.parts import Media, Text, Thinking
from providers.dialects.openai_chat.call_parts import Call, Calls, Fragment, read_fragment
from providers.dialects.openai_chat.errors import error_code, error_text
from providers.dialects.openai_chat.parts_reader import read_part
from providers.dialects.openai_chat.reasoning import (
    Entry,
    belongs_to_text,
    continues,
    entries_of,
    entry_payload,
    entry_secret,
    entry_text,
    is_encrypted,
    merged,
    plain_text,
    split,
)
from providers.dialects.openai_chat.shapes import read_annotation
from providers.dialects.openai_chat.usage import reported_usage, usage_of
from providers.dialects.openai_chat.wire import (
    BROKEN_FINISHES,
    NO_STOP_SEQUENCES,
    REASONING_DETAILS,
    SEAL_OF_CALL,
    STOPS,
)
from providers.dialects.reader import CUT, NONSENSE, EventReader
from tenants.errors import InvalidRequest

DONE = b"[DONE]"
LEGACY_INDEX = -1  # of a function_call among the calls
CUT_CALL = "The upstream broke off in the middle of a tool call."
BROKEN = "The upstream stopped with an error of its own."

type Kind = Literal["", "thinking", "text", "refusal"]


class ChatReader(EventReader):
    """Reads a stream of Chat Completions; a whole answer is one chunk of it."""

    __slots__ = (
        "_calls",
        "_entry",
        "_finish_reason",
        "_has_detail_text",
        "_id",
        "_kind",
        "_part",
        "_refused",
        "_sequence",
    )

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self._id = ""
        self._finish_reason = ""
        self._sequence: str | None = None  # the stop sequence that was met
        self._kind: Kind = ""  # of the part that is open beside the calls
        self._part = 0
        self._entry: Entry | None = None  # of reasoning_details: it grows with the open Thinking
        self._has_detail_text = False  # the plain text of the reasoning says the same once more
        self._refused = False
        self._calls = Calls()

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
        self._read_usage(chunk)
        if self._finish_reason and not choices and not self.is_ended and reported_usage(chunk) is not None:
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
            self._open_thinking(piece.entry if piece.entry is not None else None, piece.text)
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
            self._id, model = (_text(chunk.get(name)) for name in ("id", "model"))
            self._start(id=self._id, model=model)

    def _read_usage(self, chunk: dict[str, Any]) -> None:
        usage = reported_usage(chunk)
        if usage is not None and not self.is_ended:
            self._report(usage_of(usage))

    def _read_finish(self, choice: dict[str, Any]) -> None:
        if choice.get("error"):
            self._fail(error_text(choice["error"]), error_code(choice["error"]))
            return
        reason = _text(choice.get("finish_reason"))
        if reason in BROKEN_FINISHES:
            self._fail(BROKEN, reason)
        elif reason:
            self._finish_reason = reason
            met = choice.get("stop_reason", choice.get("matched_stop"))  # vLLM, SGLang
            if isinstance(met, str) and met and met not in NO_STOP_SEQUENCES:
                self._sequence = met

    def _read_delta(self, delta: dict[str, Any]) -> None:
        self._read_reasoning(delta)
        self._read_content(delta.get("content"))
        self._read_annotations(delta.get("annotations"))
        self._say("refusal", _text(delta.get("refusal")))
        self._read_images(delta.get("images"))
        self._read_calls(delta.get("tool_calls"))
        if isinstance(delta.get("function_call"), dict):
            self._read_calls([{"index": LEGACY_INDEX, "function": delta["function_call"]}])

    # Words

    def _say(self, kind: Literal["text", "refusal"], text: str) -> None:
        if not text:
            return
        if self._kind != kind:
            self._end_current()
            self._end_complete_calls(None)
            self._kind, self._part = kind, self._open_part(Text(is_refusal=kind == "refusal"))
        self._refused = self._refused or kind == "refusal"
        self._text(self._part, text)

    def _read_content(self, content: Any) -> None:
        if isinstance(content, list):  # Mistral's
            for part in content:
                self._read_content_part(part)
        else:
            self._say("text", _text(content))

    def _read_content_part(self, part: Any) -> None:
        if not isinstance(part, dict):
            return
        if part.get("type") == "thinking":
            said = part.get("thinking")
            for each in said if isinstance(said, list) else [{"text": said}]:
                self._think(_text(each.get("text")))
        else:
            self._say("text", _text(part.get("text")))

    def _read_annotations(self, annotations: Any) -> None:
        for value in annotations if isinstance(annotations, list) else []:
            citation = read_annotation(value)
            if citation is not None and self._kind == "text":
                self._cite(self._part, citation)

    def _read_images(self, images: Any) -> None:
        """Take the images of models that answer with some, as OpenRouter passes them on."""
        for value in images if isinstance(images, list) else []:
            try:
                image = read_part(value, "")
            except InvalidRequest:
                self._refuse()
            if isinstance(image, Media):
                self._end_current()
                self._whole_part(image)

    def _end_current(self) -> None:
        """End the part of words that is open, if there is one."""
        if not self._kind:
            return
        if self._kind == "thinking" and self._entry is not None and entry_secret(self._entry):
            self._seal(self._part, entry_payload(self._entry), form=REASONING_DETAILS)
        self._end_part(self._part)
        self._kind, self._entry = "", None

    # Reasoning

    def _read_reasoning(self, delta: dict[str, Any]) -> None:
        entries = entries_of(delta)
        self._has_detail_text = self._has_detail_text or any(map(entry_text, entries))
        if not self._has_detail_text:
            self._think(plain_text(delta)[1])
        for entry in entries:
            self._read_entry(entry)

    def _think(self, text: str) -> None:
        if text:
            if self._kind != "thinking" or self._entry is not None:
                self._open_thinking(None, "")
            self._thinking(self._part, text)

    def _read_entry(self, entry: Entry) -> None:
        text = entry_text(entry)
        if self._kind == "thinking" and self._entry is not None and continues(self._entry, entry):
            self._entry = merged(self._entry, entry)
            self._thinking(self._part, text)
        elif self._kind == "thinking" and self._entry is None and belongs_to_text(entry):
            self._entry = entry
        else:
            self._open_thinking(entry, text)

    def _open_thinking(self, entry: Entry | None, text: str) -> None:
        self._end_current()
        self._end_complete_calls(None)
        is_redacted = entry is not None and is_encrypted(entry) and not text
        self._kind, self._part = "thinking", self._open_part(Thinking(is_redacted=is_redacted))
        self._entry = entry
        self._thinking(self._part, text)

    # Calls

    def _read_calls(self, values: Any) -> None:
        for value in values if isinstance(values, list) else []:
            fragment = read_fragment(value)
            if fragment is not None and fragment.says_something:
                self._feed_call(self._calls.find(fragment), fragment)

    def _feed_call(self, call: Call, fragment: Fragment) -> None:
        if call.is_ended:
            return
        self._end_current()
        self._end_complete_calls(call)
        call.take(fragment)
        if call.name and fragment.arguments:
            self._start_call(call)
        if call.part is not None:
            self._pass_on(call)

    def _start_call(self, call: Call) -> None:
        if call.part is None:
            call.part = self._open_part(call.started(self._id))

    def _pass_on(self, call: Call) -> None:
        """Send what a call that has started has waiting."""
        if call.part is not None:
            if call.signature:
                self._seal(call.part, call.signature, form=SEAL_OF_CALL)
                call.signature = ""
            self._arguments(call.part, call.waiting)
            call.arguments, call.waiting = call.arguments + call.waiting, ""

    def _end_complete_calls(self, current: Call | None) -> None:
        """End the calls that something else comes after, unless they lack something still; each keeps its place."""
        for call in self._calls.all:
            if call is not current and not call.is_ended and call.name:
                self._start_call(call)
                self._pass_on(call)
                if call.is_custom or call.is_complete:
                    self._end_call(call)

    def _end_call(self, call: Call) -> None:
        self._start_call(call)
        self._pass_on(call)
        if call.part is not None and not call.is_ended:
            if not call.arguments and not call.is_custom:
                self._arguments(call.part, "{}")
            self._end_part(call.part)
            call.is_ended = True

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
        if any(call.waiting and not call.name for call in self._calls.all):
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


REASONING_FIELDS = frozenset({REASONING_DETAILS, "reasoning_content", "reasoning"})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
