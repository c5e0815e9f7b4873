"""Writing turns as contents: one content per speaker in a row, calls and results with their ids, seals to their origin."""

from collections.abc import Sequence
from typing import Any

from providers.canonical.losses import Losses, Native, Weight, form_of
from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Request, Tool, Turn
from providers.canonical.seals import native_origin
from providers.canonical.tool_names import INPUT, ToolNames
from providers.dialects.base import Destination
from providers.dialects.gemini import results
from providers.dialects.gemini.media import can_open, write_media
from providers.dialects.gemini.spelling import respell
from providers.dialects.gemini.wire import NAME, NO_SIGNATURE
from providers.dialects.nodes import Node
from providers.wire.json import read_json

_ROLES = {"user": "user", "assistant": "model", "system": "user"}
_OPENING: Node = {"role": "user", "parts": [{"text": " "}]}  # the first content has to be the user's
RAW = "_raw"  # holds arguments that are no object


def is_own(request: Request) -> bool:
    """Whether the client spoke this very dialect: then everything goes back as it was."""
    return request.native is not None and request.native.origin == NAME


def note(losses: Losses, weight: Weight, path: str, why: str) -> None:
    """Note a loss whose weight is a value."""
    by_weight = {
        Weight.COSMETIC: losses.cosmetic,
        Weight.DEGRADES: losses.degrades,
        Weight.CHANGES_ANSWER: losses.changes_answer,
    }
    by_weight[weight](path, why)


class ContentWriter:
    """Writes the turns of one request."""

    def __init__(self, request: Request, destination: Destination, tools: ToolNames, losses: Losses) -> None:
        self._request = request
        self._profile = destination.profile
        self._origins = {destination.origin, native_origin(NAME)}
        self._tools = tools
        self._losses = losses
        self._is_own = is_own(request)
        self._declared = {(tool.namespace, tool.name) for tool in request.tools if isinstance(tool, Tool)}
        self._calls = {part.id: part for turn in request.turns for part in turn.parts if isinstance(part, ToolCall)}
        self._beside: list[Node] = []  # files of tool results, where they cannot stand inside

    def contents(self) -> list[Node]:
        """Return the contents."""
        written = [self._turn(turn) for turn in self._request.turns]
        if not self._is_own:
            written = self._opened(_merged(content for content in written if content["parts"]))
        if self._profile.needs_signatures:
            for content in written:
                _sign(content)
        return written

    def parts(self, parts: Sequence[Part]) -> list[Node]:
        """Return the parts of one turn, or of the instructions."""
        self._beside = []
        nodes = [node for part in parts for node in self._part(part)]
        if self._beside:
            after = max(i for i, node in enumerate(nodes) if "functionResponse" in node) + 1
            nodes[after:after] = self._beside
        return nodes

    def _turn(self, turn: Turn) -> Node:
        self._losses.native(turn.native, turn.at, NAME)
        if turn.role == "system":
            self._losses.degrades(turn.at, "the upstream takes instructions at the start only: it is told as the user")
        return write_content(self.parts(turn.parts), _ROLES[turn.role], turn.native)

    def _opened(self, contents: list[Node]) -> list[Node]:
        """Let the user speak first."""
        if contents and contents[0]["role"] == "user":
            return contents
        at = self._request.turns[0].at if self._request.turns else self._request.where("turns")
        self._losses.cosmetic(at, "the upstream wants the user to speak first: a blank was put before it")
        return [_OPENING, *contents]

    def _part(self, part: Part) -> list[Node]:
        if isinstance(part, Foreign):
            return self._foreign(part)
        node = self._written(part)
        self._losses.native(part.native, part.at, NAME)
        if node is None:
            return []
        if getattr(part, "cache", None) is not None:
            where = f"{part.at}.{self._request.where('cache')}"
            self._losses.cosmetic(where, "the upstream caches by itself")
        form = form_of(part.native, NAME) or {}
        if form.get("thought") is False:
            node["thought"] = False
        return [respell(node, part.native)]

    def _written(self, part: Part) -> Node | None:
        match part:
            case Text():
                return self._text(part)
            case Thinking():
                return self._thinking(part)
            case Media():
                return self._signed(self._media(part), part)
            case ToolCall():
                return self._signed(self._call(part), part)
            case ToolResult():
                return self._result(part)
        return None

    def _foreign(self, part: Foreign) -> list[Node]:
        if part.origin == NAME:
            return [part.value]
        note(self._losses, part.weight, part.at, part.why)
        return []

    def _text(self, part: Text) -> Node | None:
        if part.citations:
            self._losses.cosmetic(f"{part.at}.citations", "the upstream takes no sources in its history")
        if part.is_refusal:
            self._losses.cosmetic(f"{part.at}.refusal", "the upstream has no mark for a refusal: it is text")
        form = form_of(part.native, NAME) or {}
        node = self._signed({} if form.get("has_no_text") else {"text": part.text}, part)
        is_empty = not part.text and len(node or {}) < 2 and not self._is_own
        return None if is_empty else node

    def _thinking(self, part: Thinking) -> Node | None:
        form = form_of(part.native, NAME) or {}
        node: Node = {"text": part.text, "thought": True}
        if form.get("has_no_text"):
            del node["text"]
        if part.seal is None:
            if part.native is not None and part.native.origin == NAME:
                return node
            self._losses.degrades(part.at, "the upstream takes back no thoughts but its own")
            return None
        if part.seal.origin not in self._origins:
            self._losses.degrades(part.at, "it was thought by another model")
            return None
        return {**node, "thoughtSignature": part.seal.payload}

    def _signed(self, node: Node | None, part: Text | Media | ToolCall) -> Node | None:
        """Add a part's signature, if it is the upstream's own."""
        if node is None:
            return None
        if part.seal is not None and part.seal.origin in self._origins:
            node["thoughtSignature"] = part.seal.payload
        elif part.seal is not None:
            self._losses.degrades(f"{part.at}.seal", "it is another model's state")
        return node

    def _media(self, part: Media) -> Node | None:
        if part.kind == "image" and not self._profile.takes_images:
            self._losses.changes_answer(part.at, "the model takes no images")
            return None
        if part.kind == "document" and not self._profile.takes_documents:
            self._losses.changes_answer(part.at, "the model takes no documents")
            return None
        if (part.url or part.file_id) and not can_open(part):
            what = "does not fetch files from the web" if part.url else "does not have this file"
            self._losses.changes_answer(part.at, f"the upstream {what}")
            return None
        if part.title and form_of(part.native, NAME) is None:
            self._losses.cosmetic(f"{part.at}.title", "the upstream takes no names of files")
        return write_media(part)

    def _call(self, part: ToolCall) -> Node:
        form = form_of(part.native, NAME) or {}
        node: Node = {} if form.get("has_no_id") else {"id": part.id}
        node["name"] = self._tools.wire(part.name, part.namespace)
        if node["name"] != part.name and (part.namespace, part.name) not in self._declared:
            self._losses.cosmetic(f"{part.at}.name", "the upstream takes other names")
        if not form.get("has_no_args"):
            node["args"] = self._arguments(part)
        return {"functionCall": node}

    def _arguments(self, part: ToolCall) -> Any:
        if part.kind == "custom":
            self._losses.cosmetic(part.at, "the upstream has no free-form tools: it is a function of one text")
            return {INPUT: part.arguments}
        arguments = read_arguments(part.arguments)
        if arguments is None:
            self._losses.degrades(f"{part.at}.arguments", "the upstream takes objects only")
            return {RAW: part.arguments}
        return arguments

    def _result(self, part: ToolResult) -> Node:
        form = form_of(part.native, NAME) or {}
        if part.kind == "custom":
            self._losses.cosmetic(part.at, "the upstream has no free-form tools: it is a function's result")
        node: Node = {} if form.get("has_no_id") else {"id": part.call_id}
        if name := form.get("name", self._name(part)):
            node["name"] = name
        texts = [inner.text for inner in part.parts if isinstance(inner, Text)]
        if not form.get("has_no_response"):
            node["response"] = self._response(texts, part, form)
        files = [file for inner in part.parts if not isinstance(inner, Text) for file in self._part(inner)]
        self._look_inside(part)
        if files and self._profile.thinking_style == "budget" and not self._is_own:
            self._losses.cosmetic(part.at, "the model takes files beside a result, not in it")
            self._beside += files
        elif files or form.get("has_no_files"):
            node["parts"] = files
        return {"functionResponse": node}

    def _look_inside(self, part: ToolResult) -> None:
        """Note what the words of a result lose."""
        kinds = [isinstance(inner, Text) for inner in part.parts]
        if kinds != sorted(kinds, reverse=True):
            self._losses.cosmetic(part.at, "files stand after the words of a result")
        for inner in part.parts:
            if isinstance(inner, Text):
                self._losses.native(inner.native, inner.at, NAME)
                if inner.citations:
                    self._losses.cosmetic(f"{inner.at}.citations", "the upstream takes no sources in its history")
                if inner.cache is not None:
                    where = f"{inner.at}.{self._request.where('cache')}"
                    self._losses.cosmetic(where, "the upstream caches by itself")

    def _response(self, texts: list[str], part: ToolResult, form: dict[str, Any]) -> Any:
        as_written = form.get("response")
        if as_written is not None and results.read_response(as_written) == (texts, part.is_error):
            return as_written
        return results.write_response(texts, is_error=part.is_error)

    def _name(self, part: ToolResult) -> str:
        call = self._calls.get(part.call_id)
        if call is not None:
            return self._tools.wire(call.name, call.namespace)
        if part.name:
            return self._tools.wire(part.name)
        return "" if self._is_own else "unknown"  # it has to have one


def read_arguments(arguments: str) -> dict[str, Any] | None:
    """Return a call's arguments as an object, empty for none at all; None for what is no object."""
    if not arguments.strip():
        return {}
    try:
        value = read_json(arguments)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def write_content(parts: list[Node], role: str, native: Native | None) -> Node:
    """Return a content, spelled as its client did."""
    form = form_of(native, NAME) or {}
    order = form.get("order")
    if order and len(order) == len(parts):
        parts = [node for _, node in sorted(zip(order, parts, strict=True), key=lambda pair: pair[0])]
    content: Node = {} if form.get("has_no_role") else {"role": form.get("role", role)}
    if not form.get("has_no_parts"):
        content["parts"] = parts[0] if form.get("is_one") and len(parts) == 1 else parts
    return respell(content, native)


def _merged(contents: Any) -> list[Node]:
    """Put what one speaker says in a row into one content: results have to follow their calls at once, all together."""
    merged: list[Node] = []
    for content in contents:
        if merged and merged[-1]["role"] == content["role"]:
            merged[-1]["parts"] += content["parts"]
        else:
            merged.append(content)
    return merged


def _sign(content: Node) -> None:
    """Mark the first call of a model's turn if it has no signature: the upstream refuses the request otherwise."""
    for node in content.get("parts", ()) if content.get("role") == "model" else ():
        if "functionCall" in node:
            node.setdefault("thoughtSignature", NO_SIGNATURE)
            return
