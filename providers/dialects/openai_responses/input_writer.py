"""Writing instructions and turns as items of the input."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Turn
from providers.canonical.seals import native_origin
from providers.dialects.nodes import Node
from providers.dialects.openai_responses import items
from providers.dialects.openai_responses.item_reader import plain_head
from providers.dialects.openai_responses.spelling import Form, body_form, form, put_back, respell
from providers.dialects.openai_responses.wire import NAME
from providers.dialects.openai_responses.writing import Writing

_LOOSE = re.compile(r"input\[(\d+)\]\.([^.\[]+)")
_WORDS = (Text, Media)


class InputWriter:
    """Writes the items of one request."""

    __slots__ = ("_calls", "_dropped_reasoning", "_heads", "_items", "_writing")

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self._items: list[Any] = []
        self._calls = {part.id for turn in writing.request.turns for part in turn.parts if isinstance(part, ToolCall)}
        self._dropped_reasoning = False  # in this turn: what it belonged to may not be named by an id
        self._heads = _loose_fields(writing) if writing.is_own else {}

    def write(self) -> tuple[str | None, list[Any]]:
        """Return the instructions, and the items."""
        instructions = self._system()
        for turn in self._writing.request.turns:
            self._writing.losses.native(turn.native, turn.at, NAME)
            self._dropped_reasoning = False
            self._parts(turn.parts, turn)
        for index, item in body_form(self._writing.request.native).inserted if self._writing.is_own else ():
            self._items.insert(index, item)
        return instructions, self._items

    def _system(self) -> str | None:
        """Return the instructions if they can stand apart; write what else was said before the first turn."""
        system = list(self._writing.request.system)
        if self._writing.is_own:
            apart = bool(system) and isinstance(system[0], Text) and system[0].at == "instructions"
        else:
            apart = len(system) == 1 and isinstance(system[0], Text) and system[0].cache is None
        said = system.pop(0) if apart else None
        self._parts(system, Turn(role="system"))
        if not isinstance(said, Text):
            return None
        self._lose_seal(said)
        self._writing.losses.native(said.native, said.at, NAME)
        return said.text

    def _parts(self, parts: Sequence[Part], turn: Turn) -> None:
        """Write parts: words in a row are one message."""
        words: list[Text | Media] = []
        for index, part in enumerate(parts):
            is_words = isinstance(part, _WORDS) and not form(part.native).whole
            if words and (not is_words or _opens(part)):
                self._message(words, turn.role)
                words = []
            if is_words:
                words.append(part)  # type: ignore[arg-type]
            else:
                self._item(part, parts[index + 1 :])
        if words:
            self._message(words, turn.role)

    def _item(self, part: Part, following: Sequence[Part]) -> None:
        match part:
            case Thinking():
                self._reasoning(part, following)
            case ToolCall():
                self._call(part)
            case ToolResult():
                self._result(part)
            case Foreign():
                self._foreign(part)
            case Media():  # an image that the model made
                self._items.append(form(part.native).whole)

    # Messages

    def _message(self, words: Sequence[Text | Media], role: str) -> None:
        content = [node for part in words if (node := self._content(part, role)) is not None]
        if not content:
            return
        spelled = form(words[0].native) if self._writing.is_own else Form()
        is_text = spelled.is_text and len(content) == 1 and isinstance(words[0], Text)
        item = respell(plain_head(role), spelled.head)
        item["content"] = words[0].text if is_text and isinstance(words[0], Text) else content
        loose = self._heads.get(spelled.item, {}) if spelled.item is not None else {}
        self._items.append({**item, **self._without_id(loose)})

    def _content(self, part: Text | Media, role: str) -> Node | None:
        """Return a part of a message; None for one that the upstream cannot be given."""
        writing = self._writing
        writing.losses.native(part.native, part.at, NAME)
        self._lose_seal(part)
        if isinstance(part, Media) and not self._takes(part, role):
            return None
        node = items.content_part(part, role)
        if node is None:
            writing.losses.changes_answer(part.at, f"the upstream's format has no {part.kind} here")  # type: ignore[union-attr]
            return None
        if isinstance(part, Text):
            self._note_text(part, role)
        writing.note_cache(part, is_marked="prompt_cache_breakpoint" in node)
        if not writing.takes_cache_breakpoints:
            node.pop("prompt_cache_breakpoint", None)
        return put_back(node, part.native) if writing.is_own else node

    def _takes(self, media: Media, role: str) -> bool:
        writing, profile = self._writing, self._writing.destination.profile
        if writing.is_own:
            return True
        if role == "assistant":
            writing.losses.changes_answer(media.at, f"the upstream takes no {media.kind} of the model's")
        elif media.kind == "image" and not profile.takes_images:
            writing.losses.changes_answer(media.at, "the upstream's model takes no images")
        elif media.kind == "document" and not profile.takes_documents:
            writing.losses.changes_answer(media.at, "the upstream's model takes no documents")
        elif media.file_id:
            writing.losses.changes_answer(media.at, "the file is kept by another upstream")
        else:
            if media.kind == "document" and not (media.title or media.url):
                writing.losses.cosmetic(f"{media.at}.title", "the upstream wants a file's name, and is told one")
            if media.media_type and media.url:
                writing.losses.cosmetic(f"{media.at}.media_type", "the upstream finds out itself what it is")
            if media.kind == "image" and media.title:
                writing.losses.cosmetic(f"{media.at}.title", "the upstream's images have no names")
            return True
        return False

    def _note_text(self, part: Text, role: str) -> None:
        losses = self._writing.losses
        if self._writing.is_own:
            return
        if part.is_refusal and role != "assistant":
            losses.cosmetic(f"{part.at}.refusal", "the upstream knows refusals of the model only")
        if part.citations and (role != "assistant" or not all(map(_is_exact, part.citations))):
            losses.cosmetic(f"{part.at}.citations", "the upstream's sources are addresses and places in the text only")

    # Items

    def _reasoning(self, thinking: Thinking, following: Sequence[Part]) -> None:
        writing, seal = self._writing, thinking.seal
        writing.losses.native(thinking.native, thinking.at, NAME)
        payload = self._payload(thinking)
        is_as_sent = writing.is_own and (seal is None or seal.origin == native_origin(NAME))
        why = ""
        if payload is None and not is_as_sent:
            why = "reasoning of another upstream says nothing to this one"
        elif not is_as_sent and not any(isinstance(part, Text | ToolCall) for part in following):
            why = "the upstream refuses reasoning that nothing follows"
        if why:
            writing.losses.degrades(thinking.at, why)
            self._dropped_reasoning = True
            return
        if thinking.is_redacted:
            writing.losses.cosmetic(f"{thinking.at}.is_redacted", "the upstream's reasoning is never readable")
        item = items.reasoning_item(thinking, payload)
        if writing.is_own:
            item = put_back(item, thinking.native)
        if not is_as_sent:
            item.pop("id", None)  # it is ours: the upstream knows none by it
        self._items.append(item)

    def _payload(self, thinking: Thinking) -> str | None:
        seal = thinking.seal
        return seal.payload if seal is not None and self._writing.takes_seal(seal) else None

    def _call(self, call: ToolCall) -> None:
        writing = self._writing
        writing.losses.native(call.native, call.at, NAME)
        self._lose_seal(call)
        writing.note_cache(call, is_marked=False)
        whole = form(call.native).whole
        if writing.is_own and whole is not None:
            self._items.append(whole)
            return
        item = items.call_item(call)
        item["name"] = writing.tools.wire(call.name, call.namespace)
        item["call_id"] = writing.call_id(call.id, f"{call.at}.id")
        self._items.append(self._without_id(put_back(item, call.native)) if writing.is_own else item)

    def _result(self, result: ToolResult) -> None:
        writing = self._writing
        writing.losses.native(result.native, result.at, NAME)
        writing.note_cache(result, is_marked=False)
        spelled = form(result.native)
        if writing.is_own and spelled.whole is not None:
            self._items.append(spelled.whole)
            return
        if not writing.is_own and result.call_id not in self._calls:
            writing.losses.changes_answer(result.at, "the call that it answers cannot be given to the upstream")
            return
        if result.is_error:
            writing.losses.degrades(f"{result.at}.is_error", "the upstream's format does not tell failures apart")
        item = items.result_item(result, self._output(result, spelled))
        item["call_id"] = writing.call_id(result.call_id, f"{result.at}.call_id")
        self._items.append(put_back(item, result.native) if writing.is_own else item)

    def _output(self, result: ToolResult, spelled: Form) -> Any:
        parts: list[Node] = []
        for part in result.parts:
            if isinstance(part, Foreign):
                self._writing.lose_foreign(part)
            elif (node := self._content(part, "tool")) is not None:
                parts.append(node)
        is_text = spelled.is_text if self._writing.is_own else all(set(part) == {"type", "text"} for part in parts)
        if is_text and len(parts) <= 1:
            return parts[0]["text"] if parts else ""
        return parts

    def _foreign(self, part: Foreign) -> None:
        if part.origin == NAME:
            self._items.append(part.value)
        else:
            self._writing.lose_foreign(part)

    def _lose_seal(self, part: Text | Media | ToolCall) -> None:
        if part.seal is not None:
            self._writing.losses.degrades(f"{part.at}.seal", "the state of another upstream says nothing to this one")

    def _without_id(self, item: Any) -> Node:
        """Return an item that may be known by its id only together with its reasoning."""
        return {k: v for k, v in item.items() if k != "id"} if self._dropped_reasoning else item


def _opens(part: Part) -> bool:
    """Whether a new message begins with a part."""
    return form(getattr(part, "native", None)).item is not None


def _is_exact(citation: Any) -> bool:
    return bool(citation.url) and citation.start is not None and citation.end is not None and not citation.quote


def _loose_fields(writing: Writing) -> dict[int, Node]:
    """Return the fields of messages, which stand under their whole paths, by item."""
    found: dict[int, Node] = {}
    for name, value in _fields(writing):
        match = _LOOSE.fullmatch(name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    return found


def _fields(writing: Writing) -> Iterator[tuple[str, Any]]:
    native = writing.request.native
    yield from ((field.name, field.value) for field in native.fields) if native is not None else ()
