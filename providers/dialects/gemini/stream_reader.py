"""Reading an upstream's stream of generateContent.

Each event is a whole GenerateContentResponse with some more parts; texts in a row are one text, calls come whole. There
is no terminal event: the answer ends when the upstream closes the stream after a finish reason. Chunks may follow the
one that has it, so nothing ends before that. A whole answer is read as a stream of one chunk.
"""

from typing import Any, Literal

from providers.canonical.events import MessageEnd, Stop
from providers.canonical.identifiers import make_call_id
from providers.canonical.parts import Citation, Foreign, Text, Thinking, ToolCall
from providers.dialects.gemini import media
from providers.dialects.gemini.spelling import read_node
from providers.dialects.gemini.usage import merge_report, usage_of
from providers.dialects.gemini.weights import PART, PART_WEIGHTS
from providers.dialects.gemini.wire import FAILURES, NAME, STOPS
from providers.dialects.nodes import Node
from providers.dialects.reader import EventReader
from providers.wire.json import read_json, write_json
from tenants.errors import InvalidRequest

BLOCKED = "The prompt was blocked"


class GenerateContentReader(EventReader):
    """Reads a stream of generateContent."""

    __slots__ = ("_before", "_calls", "_cited", "_id", "_kind", "_part", "_reported", "_said", "_stop", "_words")

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self._id = ""
        self._calls = 0  # so far: ids are made of their number where there are none
        self._part: int | None = None  # the text or the thought that grows
        self._kind: Literal["text", "thought"] = "text"
        self._words: list[str] = []  # of the text that grows
        self._before = 0  # bytes of text before it: the format counts citations from the answer's start
        self._cited: set[tuple[object, ...]] = set()
        self._reported: Node = {}  # usage as it came, the newest of each field
        self._stop: Stop | None = None
        self._said = ""  # why, in the upstream's words

    def _read(self, name: bytes, payload: bytes) -> None:
        chunk = read_json(payload)
        for each in chunk if isinstance(chunk, list) else [chunk]:
            if not self.is_ended:
                self._chunk(each)

    def _chunk(self, chunk: Node) -> None:
        """Take one GenerateContentResponse."""
        error = chunk.get("error")
        if error:
            self._fail(*_told(error))
            return
        self._id = self._id or str(chunk.get("responseId") or "")
        self._start(id=self._id, model=str(chunk.get("modelVersion") or ""))
        candidates, feedback = chunk.get("candidates") or (), chunk.get("promptFeedback") or {}
        is_last = bool(feedback.get("blockReason")) or any(each.get("finishReason") for each in candidates)
        self._count(chunk.get("usageMetadata"), is_last=is_last)
        for candidate in candidates:
            if not candidate.get("index"):
                self._candidate(candidate)
        if feedback.get("blockReason"):
            said = feedback.get("blockReasonMessage") or f"{BLOCKED}: {feedback['blockReason']}."
            self._stop, self._said = "refusal", str(said)

    def _count(self, usage: Any, *, is_last: bool) -> None:
        if isinstance(usage, dict):
            merge_report(self._reported, usage, is_last=is_last)
            self._report(usage_of(self._reported))

    def _candidate(self, candidate: Node) -> None:
        content = candidate.get("content") or {}
        parts = content.get("parts") or ()
        for part in [parts] if isinstance(parts, dict) else parts:
            self._take_part(part)
        self._cite_sources(candidate)
        reason = str(candidate.get("finishReason") or "")
        if reason in FAILURES:
            self._fail(str(candidate.get("finishMessage") or FAILURES[reason]), reason)
        elif reason:
            self._stop = STOPS.get(reason, "end_turn")
            self._said = str(candidate.get("finishMessage") or "") if self._stop == "refusal" else ""

    # Parts

    def _take_part(self, part: Node) -> None:
        signature = part.get("thoughtSignature") or ""
        if part.get("functionCall") is not None:
            self._take_call(part["functionCall"], signature)
        elif part.get("thought") and (set(part) <= {"text", "thought", "thoughtSignature"}):
            self._grow("thought", part.get("text") or "", signature)
        elif set(part) <= {"text", "thought", "thoughtSignature"}:
            self._grow("text", part.get("text") or "", signature)
        else:
            self._take_other(part, signature)

    def _grow(self, kind: Literal["text", "thought"], words: str, signature: str) -> None:
        """Add words to the open text or thought, or begin one; of several signatures the last counts."""
        if not words and not signature:
            return
        if self._part is None or self._kind != kind:
            self._end_growing()
            self._kind = kind
            self._part = self._open_part(Thinking() if kind == "thought" else Text())
        if kind == "thought":
            self._thinking(self._part, words)
        else:
            self._text(self._part, words)
            self._words.append(words)
        self._seal(self._part, signature)

    def _end_growing(self) -> None:
        if self._part is not None:
            self._end_part(self._part)
            self._before += len("".join(self._words).encode())
            self._part, self._words = None, []

    def _take_call(self, call: Node, signature: str) -> None:
        if call.get("partialArgs") or call.get("willContinue"):
            self._refuse()  # never asked for: Vertex sends arguments in pieces where a client wants that
        self._end_growing()
        name, arguments = str(call["name"]), call.get("args") or {}
        made_id = make_call_id(self._id, self._calls, name)
        self._calls += 1
        index = self._open_part(ToolCall(id=str(call.get("id") or made_id), name=name))
        self._arguments(index, write_json(arguments).decode())
        self._seal(index, signature)
        self._end_part(index)

    def _take_other(self, part: Node, signature: str) -> None:
        """Take a file, or what only this dialect knows."""
        self._end_growing()
        reading = read_node(part, PART, PART_WEIGHTS, "")
        is_file = "inlineData" in reading.node or "fileData" in reading.node
        if not is_file or part.get("thought"):
            what = next((name for name in part if name not in {"thought", "thoughtSignature"}), "part")
            self._whole_part(Foreign(origin=NAME, what=what, value=part))
            return
        try:
            read = media.read_inline if "inlineData" in reading.node else media.read_file
            file = self._open_part(read(reading, ""))
        except InvalidRequest:
            self._refuse()
        self._seal(file, signature)
        self._end_part(file)

    # Sources

    def _cite_sources(self, candidate: Node) -> None:
        """Note sources of the text that grows; the format tells of them beside the text."""
        if self._part is None or self._kind != "text":
            return
        for source in (candidate.get("citationMetadata") or {}).get("citations") or ():
            self._cite_once(source.get("uri"), source.get("title"), source)
        grounding = candidate.get("groundingMetadata") or {}
        chunks = grounding.get("groundingChunks") or ()
        for support in grounding.get("groundingSupports") or ():
            for number in support.get("groundingChunkIndices") or ():
                chunk = chunks[number] if 0 <= number < len(chunks) else {}
                web = chunk.get("web") or chunk.get("retrievedContext") or {}
                self._cite_once(web.get("uri"), web.get("title"), support.get("segment") or {})

    def _cite_once(self, url: Any, title: Any, segment: Node) -> None:
        end = segment.get("endIndex")
        start = segment.get("startIndex", None if end is None else 0)  # zeros are left out
        source = (url, title, start, end)
        if self._part is None or source in self._cited or not (url or title):
            return
        self._cited.add(source)
        citation = Citation(url=str(url or ""), title=str(title or ""), start=self._at(start), end=self._at(end))
        self._cite(self._part, citation)

    def _at(self, offset: Any) -> int | None:
        """Turn bytes of the answer into characters of the text."""
        if not isinstance(offset, int):
            return None
        words = "".join(self._words).encode()
        return len(words[: max(0, offset - self._before)].decode(errors="ignore"))

    # The end

    def _close(self) -> None:
        if self._stop is None:
            return
        has_called = self._calls > 0 and self._stop == "end_turn"
        self._end_growing()
        self._finish(MessageEnd(stop="tool_use" if has_called else self._stop, explanation=self._said))


def _told(error: Any) -> tuple[str, str]:
    """Return what an error object says, and its code."""
    if isinstance(error, dict):
        return str(error.get("message") or "The upstream failed."), str(error.get("status") or error.get("code") or "")
    return str(error), ""
