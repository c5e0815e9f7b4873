"""Reading an upstream's stream, and its whole answers, which are read as the items of a stream that come at once.

What an item holds comes up to four times: in deltas, in a `.done` of the text or the arguments, in the item's own `.done`
and in the final response. Any of these may be missing; each only adds what was not said before.
"""

from collections.abc import Sequence
from typing import Any

from providers.canonical.events import Event, MessageEnd, Stop
from providers.canonical.identifiers import make_call_id
from providers.canonical.losses import Native
from providers.canonical.parts import Foreign, Media, Text, Thinking, ToolCall
from providers.dialects.nodes import Node
from providers.dialects.openai_responses.errors import error_text
from providers.dialects.openai_responses.open_items import Item, Opened, name_of, rest_of
from providers.dialects.openai_responses.part_reader import SEPARATOR, read_citation, reasoning_text, split_data_url
from providers.dialects.openai_responses.spelling import Form, keep
from providers.dialects.openai_responses.usage import report_of
from providers.dialects.openai_responses.weights import FOREIGN_ITEMS, MESSAGE, OTHER_ITEM
from providers.dialects.openai_responses.wire import NAME
from providers.dialects.reader import MAKES_NO_SENSE, NONSENSE, EventReader

NO_ANSWER = "The upstream's answer is none."
UNFINISHED = "The upstream answered before it had finished."
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
MESSAGE_FIELDS = frozenset({"type", "role", "content", "id", "status"})
STOPS: dict[str, Stop] = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}


class ResponsesReader(EventReader):
    """Reads a stream of Responses."""

    __slots__ = ("_has_call", "_has_refusal", "_items")

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self._items: dict[int, Item] = {}  # by output_index
        self._has_call = False
        self._has_refusal = False

    def read_body(self, body: bytes) -> list[Event]:
        """Return the events of a whole answer."""
        try:
            response = self._parse(body)
            if response.get("error") and "output" not in response:
                self._fail(error_text(response["error"]), _code(response["error"]))
            elif isinstance(response.get("output"), list):
                self._conclude(response)
            else:
                self._fail(NO_ANSWER)
        except MAKES_NO_SENSE:
            self._fail(NONSENSE)
        return self._take()

    def _read(self, name: bytes, payload: bytes) -> None:
        if payload.strip() == b"[DONE]":
            return
        event = self._parse(payload)
        kind = str(event.get("type") or name.decode() or ("error" if event.get("error") else ""))
        match kind.removeprefix("response."):
            case "created" | "in_progress" | "queued":
                self._begin(event["response"])
            case "output_item.added":
                self._added(event["output_index"], event.get("item"))
            case "output_item.done":
                self._done(event["output_index"], event["item"])
            case "completed" | "incomplete" | "failed":
                self._conclude(event["response"])
            case "error":
                self._fail(error_text(event.get("error") or event), _code(event.get("error") or event))
            case rest:
                self._piece(rest, event)

    def _piece(self, kind: str, event: Node) -> None:
        """Take a piece of an item."""
        match kind:
            case "output_text.delta" | "refusal.delta":
                self._say(self._words(event, is_refusal=kind.startswith("refusal")), event["delta"])
            case "output_text.done":
                self._say_rest(self._words(event), event["text"])
            case "refusal.done":
                self._say_rest(self._words(event, is_refusal=True), event["refusal"])
            case "output_text.annotation.added":
                self._annotate(self._words(event), [event.get("annotation")])
            case "content_part.added" | "content_part.done":
                self._content(event)
            case "function_call_arguments.delta" | "custom_tool_call_input.delta":
                if call := self._call(event):
                    self._argue(call, event["delta"])
            case "function_call_arguments.done" | "custom_tool_call_input.done":
                if call := self._call(event):
                    self._argue_rest(call, event["arguments" if kind.startswith("function") else "input"])
            case "reasoning_summary_text.delta" | "reasoning_text.delta":
                self._think(event, event["delta"])
            case "reasoning_summary_text.done" | "reasoning_text.done" | "reasoning_summary_part.added":
                pass  # the item's own end says it all once more
            case _:
                self._ping()  # a server tool at work, a sign of life, or something new

    # The answer

    def _begin(self, response: Node) -> None:
        self._start(id=str(response.get("id") or ""), model=str(response.get("model") or ""))

    def _conclude(self, response: Node) -> None:
        """End the answer: with what the final response says that was not said before."""
        self._begin(response)
        status = response.get("status")
        if status not in ("failed", "cancelled"):
            for index, item in enumerate(response.get("output") or []):
                self._done(self._place(index, item), item)
        usage = report_of(response)
        if usage is not None:
            self._report(usage)
        match status:
            case "completed" | None:
                self._finish(MessageEnd(stop=self._stop()))
            case "incomplete":
                reason = (response.get("incomplete_details") or {}).get("reason")
                self._finish(MessageEnd(stop=STOPS.get(str(reason), "end_turn")))
            case "in_progress" | "queued":
                self._fail(UNFINISHED)
            case _:
                self._fail(error_text(response.get("error")), _code(response.get("error")))

    def _place(self, index: int, item: Node) -> int:
        """Return the place of an item of the final output: some leave items out of it, so ids come first."""
        for place, each in self._items.items():
            if item.get("id") is not None and each.node.get("id") == item["id"]:
                return place
        known = self._items.get(index)
        is_same = known is None or known.node.get("type") == item.get("type")
        return index if is_same else max(self._items) + 1

    def _stop(self) -> Stop:
        if self._has_call:
            return "tool_use"
        return "refusal" if self._has_refusal else "end_turn"

    # Items

    def _added(self, place: int, node: Any) -> None:
        if not isinstance(node, dict) or place in self._items:
            return
        self._items[place] = item = Item(node=node, parts={})
        if node.get("type") in CALLS and node.get("name"):
            self._argue(self._open_call(item), str(node.get(CALLS[node["type"]]) or ""))

    def _done(self, place: int, node: Node) -> None:
        """Take a whole item: say what was not said of it, and end its parts."""
        if place not in self._items:
            self._items[place] = Item(node=node, parts={})
        item = self._items[place]
        if item.is_done:
            return
        item.is_done = True
        match node.get("type"):
            case "message":
                for index, content in enumerate(node.get("content") or []):
                    self._whole_content(item, index, content)
            case "function_call" | "custom_tool_call" as kind:
                opened = item.parts.get(0) or self._open_call(item.as_whole(node))
                self._argue_rest(opened, str(node.get(CALLS[kind]) or ""))
            case "reasoning":
                self._whole_reasoning(item, node)
            case "image_generation_call" if isinstance(node.get("result"), str):
                media_type, data = split_data_url(node["result"])
                media_type = media_type or f"image/{node.get('output_format') or 'png'}"
                native = Native(origin=NAME, form=Form(whole=node))
                self._alone(Media(kind="image", media_type=media_type, data=data or node["result"], native=native))
            case _:
                kind = name_of(node, "type") or self._refuse()
                weight, why = FOREIGN_ITEMS.get(kind, OTHER_ITEM)
                self._alone(Foreign(origin=NAME, what=kind, value=node, weight=weight, why=why))
        for opened in item.parts.values():
            self._end_part(opened.index)

    def _alone(self, part: Media | Foreign) -> None:
        self._end_words()
        self._whole_part(part)

    def _item(self, event: Node) -> Item:
        """Return the item that an event is of; one that was not announced is known by what is said of it."""
        place = event.get("output_index", 0)
        if place not in self._items:
            self._items[place] = Item(node={"id": event.get("item_id")}, parts={})
        return self._items[place]

    def _end_words(self) -> None:
        """End text and reasoning before something else begins, whether or not the upstream did."""
        for item in self._items.values():
            for opened in item.parts.values():
                if opened.index in self._open and item.node.get("type") not in CALLS:
                    self._end_part(opened.index)

    # Words

    def _words(self, event: Node, *, is_refusal: bool = False) -> Opened:
        return self._open_words(self._item(event), event.get("content_index", 0), is_refusal=is_refusal)

    def _open_words(self, item: Item, index: int, *, is_refusal: bool) -> Opened:
        if index not in item.parts:
            self._end_words()
            self._has_refusal = self._has_refusal or is_refusal
            native = keep(item.node, MESSAGE_FIELDS, MESSAGE, Form()) if item.node.get("type") == "message" else None
            item.parts[index] = Opened(index=self._open_part(Text(is_refusal=is_refusal, native=native)))
        return item.parts[index]

    def _content(self, event: Node) -> None:
        part = event.get("part")
        if isinstance(part, dict) and part.get("type") in ("output_text", "refusal"):
            self._whole_content(self._item(event), event.get("content_index", 0), part)

    def _whole_content(self, item: Item, index: int, part: Node) -> None:
        """Take a part of a message as far as it goes: empty when it begins, whole when it ends."""
        is_refusal = part.get("type") == "refusal"
        opened = self._open_words(item, index, is_refusal=is_refusal)
        self._say_rest(opened, str(part.get("refusal" if is_refusal else "text") or ""))
        annotations = part.get("annotations")
        if isinstance(annotations, list):
            self._annotate(opened, annotations[opened.citations :])

    def _say(self, opened: Opened, text: str) -> None:
        opened.said += text
        self._text(opened.index, text)

    def _say_rest(self, opened: Opened, whole: str) -> None:
        rest = rest_of(opened.said, whole)
        if rest:
            self._say(opened, rest)

    def _annotate(self, opened: Opened, annotations: list[Any]) -> None:
        for annotation in annotations:
            if isinstance(annotation, dict):
                opened.citations += 1
                self._cite(opened.index, read_citation(annotation))

    # Calls

    def _call(self, event: Node) -> Opened | None:
        """Return the call that an event is of; None for one whose name is not known yet: its end will say it all."""
        item = self._items.get(event.get("output_index", 0))
        return item.parts.get(0) if item is not None else None

    def _open_call(self, item: Item) -> Opened:
        node = item.node
        self._end_words()
        self._has_call = True
        name = name_of(node, "name")
        call = ToolCall(
            id=name_of(node, "call_id") or name_of(node, "id") or make_call_id("", len(self._items), name),
            name=name or self._refuse(),
            kind="custom" if node["type"] == "custom_tool_call" else "function",
            namespace=name_of(node, "namespace"),
        )
        item.parts[0] = Opened(index=self._open_part(call))
        return item.parts[0]

    def _argue(self, opened: Opened, text: str) -> None:
        opened.said += text
        self._arguments(opened.index, text)

    def _argue_rest(self, opened: Opened, whole: str) -> None:
        rest = rest_of(opened.said, whole)
        if rest:
            self._argue(opened, rest)

    # Reasoning

    def _think(self, event: Node, text: str) -> None:
        opened = self._open_reasoning(self._item(event))
        piece: int = event["summary_index"] if "summary_index" in event else event.get("content_index", 0)
        if opened.said and piece != opened.piece:
            text = SEPARATOR + text
        opened.piece = piece
        self._ponder(opened, text)

    def _ponder(self, opened: Opened, text: str) -> None:
        opened.said += text
        self._thinking(opened.index, text)

    def _open_reasoning(self, item: Item) -> Opened:
        if 0 not in item.parts:
            self._end_words()
            item.parts[0] = Opened(index=self._open_part(Thinking()))
        return item.parts[0]

    def _whole_reasoning(self, item: Item, node: Node) -> None:
        text, seal = reasoning_text(node), node.get("encrypted_content")
        if not (text or seal or item.parts):
            return
        opened = self._open_reasoning(item)
        rest = rest_of(opened.said, text)
        if rest:
            self._ponder(opened, rest)
        if isinstance(seal, str):
            self._seal(opened.index, seal)


def _code(error: Any) -> str:
    return str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""


def read_answer(body: bytes, origin: str) -> Sequence[Event]:
    """Return the events of a whole answer; what is none ends in StreamFailed."""
    return ResponsesReader(origin).read_body(body)
