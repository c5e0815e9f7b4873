"""What the deltas of a stream say, as events: words, reasoning, calls."""

from typing import Any, Literal

from providers.canonical.parts import Media, Text, Thinking
from providers.dialects.openai_chat.call_parts import Call, Calls, Fragment, read_fragment
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
)
from providers.dialects.openai_chat.shapes import read_annotation
from providers.dialects.openai_chat.wire import REASONING_DETAILS, SEAL_OF_CALL
from providers.dialects.reader import EventReader
from tenants.errors import InvalidRequest

LEGACY_INDEX = -1  # of a function_call among the calls

type Kind = Literal["", "thinking", "text", "refusal"]


class DeltaReader(EventReader):
    """Turns deltas into parts: one of words or reasoning at a time, and as many calls as there are."""

    __slots__ = ("_calls", "_entry", "_has_detail_text", "_id", "_kind", "_part", "_refused")

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self._id = ""  # of the answer
        self._kind: Kind = ""  # of the part that is open beside the calls
        self._part = 0
        self._entry: Entry | None = None  # of reasoning_details: it grows with the open Thinking
        self._has_detail_text = False  # the plain text of the reasoning says the same once more
        self._refused = False
        self._calls = Calls()

    def _read_delta(self, delta: dict[str, Any]) -> None:
        self._read_reasoning(delta)
        self._read_content(delta.get("content"))
        self._read_annotations(delta.get("annotations"))
        self._say("refusal", text_of(delta.get("refusal")))
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
            self._say("text", text_of(content))

    def _read_content_part(self, part: Any) -> None:
        if not isinstance(part, dict):
            return
        if part.get("type") == "thinking":
            said = part.get("thinking")
            for each in said if isinstance(said, list) else [{"text": said}]:
                self._think(text_of(each.get("text")))
        else:
            self._say("text", text_of(part.get("text")))

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


def text_of(value: Any) -> str:
    """Return a text; empty for what is none."""
    return value if isinstance(value, str) else ""
