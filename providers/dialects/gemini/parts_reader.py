"""Reading contents: turns and their parts, with what was thought sealed, and results matched to the calls they answer."""

from typing import Any, Literal

import msgspec

from providers.canonical.identifiers import make_call_id
from providers.canonical.losses import Native, NativeField, Weight
from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Turn
from providers.canonical.seals import Seal, SealBox, native_origin
from providers.dialects.gemini import media, results
from providers.dialects.gemini.spelling import Reading, read_node
from providers.dialects.gemini.weights import CONTENT, PART, PART_KINDS, PART_WEIGHTS
from providers.dialects.gemini.wire import NAME, NO_SIGNATURES
from providers.dialects.nodes import (
    Node,
    as_list,
    as_object,
    name_text,
    optional_flag,
    optional_object,
    optional_text,
    text,
    wrong,
)
from providers.wire.json import write_json

_ROLES: dict[str, Literal["user", "assistant"]] = {"user": "user", "function": "user", "model": "assistant"}
_ABOUT = frozenset({"thought", "thoughtSignature", "thought_signature"})  # says something of a part and is none


def listed(value: Any, at: str) -> tuple[list[tuple[Any, str]], bool]:
    """Return a list's items with their paths, and whether it was one item in the place of a list, as Google takes it."""
    if isinstance(value, dict):
        return [(value, at)], True
    return [(item, f"{at}[{i}]") for i, item in enumerate(as_list(value, at))], False


class ContentReader:
    """Reads the contents of one request, in order."""

    def __init__(self, seals: SealBox) -> None:
        self._seals = seals
        self._unanswered: list[ToolCall] = []

    def turn(self, raw: Any, at: str) -> Turn:
        """Read one content."""
        reading = read_node(as_object(raw, at), CONTENT, {}, at)
        role = optional_text(reading.node, "role", at)
        if (role or "user") not in _ROLES:
            raise wrong(reading.path("role"), "user or model")
        parts, form = self.parts(reading)
        order = sorted(range(len(parts)), key=lambda i: not isinstance(parts[i], ToolResult))
        return Turn(
            role=_ROLES[role or "user"],
            parts=tuple(parts[i] for i in order),
            at=at,
            native=reading.native(
                **form,
                role=role if role not in {None, "user", "model"} else None,
                has_no_role=True if role is None else None,
                order=order if order != sorted(order) else None,  # tool results come first
            ),
        )

    def parts(self, reading: Reading) -> tuple[list[Part], dict[str, Any]]:
        """Read the parts of a content, and how they were listed."""
        if "parts" not in reading.node:
            return [], {"has_no_parts": True}
        items, is_one = listed(reading.node["parts"], reading.path("parts"))
        parts = [self._part(raw, at, reading.at, i) for i, (raw, at) in enumerate(items)]
        return parts, {"is_one": True if is_one else None}

    def _part(self, raw: Any, at: str, turn_at: str, ordinal: int) -> Part:
        reading = self._without_stopgap(read_node(as_object(raw, at), PART, PART_WEIGHTS, at))
        kinds = [kind for kind in PART_KINDS if kind in reading.node]
        if len(kinds) > 1:
            raise wrong(at, f"one thing, not {' and '.join(kinds)}")
        is_thought = optional_flag(reading.node, "thought", at)
        if (not kinds and set(raw) - _ABOUT) or not raw:
            return _foreign(raw, at)
        if is_thought and kinds not in ([], ["text"]):
            return _foreign(raw, at, weight=Weight.DEGRADES, why="the upstream does not take another's thoughts")
        return self._known(reading, kinds[0] if kinds else "", is_thought, make_call_id(turn_at, ordinal, ""))

    def _known(self, reading: Reading, kind: str, is_thought: bool | None, made_id: str) -> Part:
        at, seal = reading.at, self._seal(reading)
        form = {"thought": False if is_thought is False else None}
        match kind:
            case "functionCall":
                return self._call(reading, seal, made_id, form)
            case "functionResponse":
                return self._result(reading, made_id, form)
            case "inlineData":
                return msgspec.structs.replace(media.read_inline(reading, at, **form), seal=seal)
            case "fileData":
                return msgspec.structs.replace(media.read_file(reading, at, **form), seal=seal)
        words = text(reading.node, "text", at) if kind else ""
        native = reading.native(**form, is_own=True, has_no_text=None if kind else True)
        if is_thought:
            return Thinking(text=words, seal=seal, at=at, native=native)
        return Text(text=words, seal=seal, at=at, native=native)

    def _without_stopgap(self, reading: Reading) -> Reading:
        """Keep what stands in the place of a signature and is none as it is."""
        signature = reading.node.get("thoughtSignature")
        if signature is None or (signature and signature not in NO_SIGNATURES):
            return reading
        field = NativeField(
            name=reading.spelled("thoughtSignature"),
            value=reading.node.pop("thoughtSignature"),
            weight=Weight.COSMETIC,
            why="it stands for no signature",
        )
        return reading._replace(fields=(*reading.fields, field))

    def _seal(self, reading: Reading) -> Seal | None:
        signature = optional_text(reading.node, "thoughtSignature", reading.at)
        return self._seals.open(signature, NAME) if signature else None

    def _call(self, reading: Reading, seal: Seal | None, made_id: str, form: dict[str, Any]) -> ToolCall:
        at = reading.path("functionCall")
        node = as_object(reading.node["functionCall"], at)
        given = optional_text(node, "id", at)
        arguments = optional_object(node, "args", at)
        call = ToolCall(
            id=given or made_id,
            name=name_text(node, "name", at),
            arguments="{}" if arguments is None else write_json(arguments).decode(),
            seal=seal,
            at=reading.at,
            native=reading.native(
                **form, has_no_id=None if given else True, has_no_args=True if arguments is None else None
            ),
        )
        self._unanswered.append(call)
        return call

    def _result(self, reading: Reading, made_id: str, form: dict[str, Any]) -> ToolResult:
        at = reading.path("functionResponse")
        node = as_object(reading.node["functionResponse"], at)
        given, name = optional_text(node, "id", at), optional_text(node, "name", at) or ""
        response = optional_object(node, "response", at)
        texts, is_error = results.read_response(response or {})
        call = self._answered(given, name)
        is_spelled_otherwise = response != results.write_response(texts, is_error=is_error)
        where = reading.path("functionResponse.response")
        return ToolResult(
            call_id=given or (call.id if call else made_id),
            name=call.name if call else name,
            parts=(*(Text(text=each, at=where) for each in texts), *self._files(node, reading)),
            is_error=is_error,
            at=reading.at,
            native=reading.native(
                **form,
                has_no_id=None if given else True,
                name=name if call is not None and name != call.name else None,
                response=response if is_spelled_otherwise else None,
                has_no_response=True if response is None else None,
                has_no_files=True if node.get("parts") == [] else None,
            ),
        )

    def _answered(self, given: str | None, name: str) -> ToolCall | None:
        """Return the call that a result is for: by its id, else the first of its name that has no result yet."""
        for call in self._unanswered:
            if call.id == given if given else call.name == name:
                self._unanswered.remove(call)
                return call
        return None

    def _files(self, node: Node, reading: Reading) -> list[Media | Foreign]:
        files: list[Media | Foreign] = []
        at = reading.path("functionResponse.parts")
        for i, raw in enumerate(as_list(node.get("parts", []), at)):
            inner = read_node(as_object(raw, f"{at}[{i}]"), PART, PART_WEIGHTS, f"{at}[{i}]")
            if "inlineData" in inner.node:
                files.append(media.read_inline(inner, inner.at))
            elif "fileData" in inner.node:
                files.append(media.read_file(inner, inner.at))
            else:
                files.append(_foreign(raw, inner.at))
        return files


def _foreign(raw: Node, at: str, **said: Any) -> Foreign:
    what = next((name for name in raw if name not in _ABOUT), "part")
    return Foreign(origin=NAME, what=what, value=raw, at=at, **said)


def join_thoughts(turns: list[Turn]) -> list[Turn]:
    """Put thoughts together again that the stream writer sent piece by piece, the seal of the whole in the last piece.

    google-genai keeps every chunk as a content of its own. What another vendor's model thought has to come back as it
    was; thoughts of Gemini itself, and of all whose seal is not ours, stay as they are.
    """
    kept: list[list[Part]] = [list(turn.parts) for turn in turns]
    pieces: list[tuple[int, Thinking]] = []
    for number, turn in enumerate(turns):
        if turn.role != "assistant":
            pieces = []
            continue
        for part in turn.parts:
            if not isinstance(part, Thinking):
                pieces = []
            elif part.seal is None:
                pieces.append((number, part))
            else:
                if pieces and part.seal.origin != native_origin(NAME):
                    _join(kept, pieces, number, part)
                pieces = []
    return [
        turn if len(parts) == len(turn.parts) and parts == list(turn.parts) else _with(turn, parts)
        for turn, parts in zip(turns, kept, strict=True)
        if parts or not turn.parts
    ]


def _join(kept: list[list[Part]], pieces: list[tuple[int, Thinking]], number: int, last: Thinking) -> None:
    whole = "".join(piece.text for _, piece in pieces) + last.text
    kept[number][_place_of(kept[number], last)] = msgspec.structs.replace(last, text=whole)
    for holder, piece in pieces:
        del kept[holder][_place_of(kept[holder], piece)]


def _place_of(parts: list[Part], part: Part) -> int:
    return next(i for i, each in enumerate(parts) if each is part)


def _with(turn: Turn, parts: list[Part]) -> Turn:
    native = turn.native
    if native is not None and native.form:
        form = {name: value for name, value in native.form.items() if name != "order"}
        native = Native(origin=native.origin, fields=native.fields, form=form or None)
    return msgspec.structs.replace(turn, parts=tuple(parts), native=native)
