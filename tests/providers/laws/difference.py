"""Where two canonical requests differ: the one a client's dialect read, and the one read from what was written for an
upstream.

Paths are the client's own (`at`, `request.where(field)`). What means the same is no difference: no parameters and an
empty object, "text" and no response format, "auto" and no tool choice, a call's id as long as its result has the same,
turn boundaries of one role. What a dialect alone knows (`native`, `Foreign`) is always lost.

`is_free` differences may be named as a loss and need not be. An insertion is what `after` says and `before` does not: it
is the trace of something that was written differently, so any loss nearby explains it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from providers.canonical.losses import Native
from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Reasoning, Request, ResponseFormat, Tool, ToolChoice
from providers.canonical.tool_names import INPUT, INPUT_SCHEMA
from providers.wire.json import read_json

type Path = tuple[str, ...]

NOTHING_BELOW: frozenset[str] = frozenset()  # it is lost as a whole, and that has to be said

# How the dialects' own fields call what the canonical one is called: a loss below a part names one of these.
WORDS: Mapping[str, frozenset[str]] = {
    "kind": frozenset({"kind", "type"}),
    "cache": frozenset({"cache", "cache_control", "prompt_cache_breakpoint"}),
    "seal": frozenset(
        {"seal", "signature", "data", "encrypted_content", "thought_signature", "thoughtSignature", "extra_content"}
    ),
    "title": frozenset({"title", "filename", "file", "displayName", "name"}),
    "citations": frozenset({"citations", "annotations", "citationMetadata", "groundingMetadata"}),
    "is_refusal": frozenset({"is_refusal", "refusal", "type"}),
    "is_error": frozenset({"is_error", "error", "response"}),
    "is_strict": frozenset({"is_strict", "strict"}),
    "name": frozenset({"name", "namespace"}),
    "namespace": frozenset({"name", "namespace"}),
    "namespace_description": frozenset({"namespace_description", "namespace", "description"}),
    "grammar": frozenset({"grammar", "format"}),
    "parameters": frozenset({"parameters", "input_schema", "parametersJsonSchema", "schema"}),
    "arguments": frozenset({"arguments", "input", "args"}),
    "media_type": frozenset({"media_type", "mimeType", "mime_type", "format"}),
    "text": frozenset({"text", "content", "thinking", "summary", "reasoning_content", "reasoning"}),
}

FAMILIES = ("reasoning", "response_format", "tool_choice")  # values whose fields stand in several of a client's fields
SAMPLING = (
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "choices",
    "logprobs",
    "top_logprobs",
)
SCALARS = ("parallel_tools", "verbosity", "end_user", "cache_key", "service_tier", "metadata")
MEANS_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "choices": (None, 1),
    "logprobs": (None, False),
    "stop": ((),),
    "metadata": (None, {}),
    "parallel_tools": (None, True),
}


def steps(path: str) -> Path:
    """Split a path: messages[2].content → messages, [2], content."""
    return tuple(re.findall(r"\[\d+\]|[^.\[\]]+|\[[^\]]*\]", path))


class Difference(NamedTuple):
    """One place at which `after` is not what `before` was."""

    paths: tuple[str, ...]  # the client's; the first is the one to show
    what: str
    words: frozenset[str] | None = None  # below a path, a loss has to name one of these; None: any will do
    is_insertion: bool = False
    is_free: bool = False

    def is_told_by(self, loss: str) -> bool:
        """Whether a loss at this path tells of the difference: at its place, above it, or at the field below it."""
        lost = steps(loss)
        return any(self._tells(lost, steps(path)) for path in self.paths)

    def is_reason_for(self, loss: str) -> bool:
        """Whether something really is lost at this path, be it that the whole around it is."""
        return self._replace(words=None).is_told_by(loss) if self.words == NOTHING_BELOW else self.is_told_by(loss)

    def _tells(self, lost: Path, path: Path) -> bool:
        if not path:
            return self.is_insertion
        if lost == path[: len(lost)]:
            return True
        if lost[: len(path)] != path:
            return False
        return self.words is None or not self.words.isdisjoint(lost[len(path) :])

    def __str__(self) -> str:
        mark = " (an insertion)" if self.is_insertion else " (may be named or not)" if self.is_free else ""
        return f"{self.paths[0] or 'the request'}: {self.what}{mark}"


def differences(before: Request, after: Request) -> list[Difference]:
    """Return everything that a client's request says and what was read back does not, and the other way round."""
    return [*_Comparison(before, after).all()]


class _Comparison:
    """Two requests, and how one's tools and calls are called in the other."""

    def __init__(self, before: Request, after: Request) -> None:
        self.before, self.after = before, after
        self.tools = pair_tools(before, after)
        self.renamed = {
            (old.namespace, old.name): (new.namespace, new.name) for old, new in self.tools if new is not None
        }
        self.calls = _calls(before), _calls(after)

    def all(self) -> Iterator[Difference]:
        yield from self.system()
        yield from self.turns()
        yield from self.tool_list()
        yield from self.tool_choice()
        yield from self.sampling()
        yield from self.scalars()
        yield from self.reasoning()
        yield from self.response_format()
        yield from natives(self.before.native, "")

    # Parts

    def system(self) -> Iterator[Difference]:
        before, after = list(self.before.system), list(self.after.system)
        format = self.before.where("response_format")  # one that an upstream lacks is asked for in the instructions
        for each in self.parts([("system", part) for part in before], [("system", part) for part in after], [""]):
            yield each._replace(paths=(*each.paths, format)) if each.is_insertion else each

    def turns(self) -> Iterator[Difference]:
        for turn in self.before.turns:
            yield from natives(turn.native, turn.at)
            if not turn.parts:
                yield Difference((turn.at,), "the turn says nothing", is_free=True)
        yield from self.parts(_spoken(self.before), _spoken(self.after), [""])

    def parts(
        self, before: list[tuple[str, Part]], after: list[tuple[str, Part]], scope: list[str]
    ) -> Iterator[Difference]:
        """Compare two lists of parts; `scope` is where something that was inserted belongs if nothing stands beside it."""
        old = [(role, self.key(part, 0)) for role, part in before]
        new = [(role, self.key(part, 1)) for role, part in after]
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if tag == "equal":
                for (_, was), (_, now) in zip(before[i1:i2], after[j1:j2], strict=True):
                    yield from self.part(was, now)
                continue
            pairs, gone, come = _pair_up(before[i1:i2], after[j1:j2])
            for was, now in pairs:
                yield from self.part(was, now)
            for _, was in gone:
                yield missing(was)
            beside = self.beside(before, i1, i2) or scope
            for role, now in come:
                yield Difference(
                    tuple(beside), f"{role} says something new: {brief(now)}", is_insertion=True, is_free=is_empty(now)
                )

    def beside(self, before: list[tuple[str, Part]], start: int, end: int) -> list[str]:
        """Return the paths near which something was inserted: the parts around it, and the whole of their turns."""
        near = [part.at for _, part in before[max(start - 1, 0) : end + 1]]
        turns = [turn for turn in self.before.turns if any(part.at in near for part in turn.parts)]
        return [*near, *(turn.at for turn in turns), *(part.at for turn in turns for part in turn.parts)]

    def key(self, part: Part, side: int) -> object:
        """Return what makes a part the same part, whatever happened to its details."""
        match part:
            case Text():
                return "text", part.text
            case Media():
                return "media", part.kind, part.data or part.url or part.file_id or part.text
            case Thinking():
                return "thinking", part.text, part.seal and part.seal.payload
            case ToolCall():
                return "call", self.name(part, side)
            case ToolResult():
                call = self.calls[side].get(part.call_id)
                return "result", self.name(call, side) if call else part.call_id
            case Foreign():
                return "foreign", part.origin, part.what, repr(part.value)

    def name(self, call: ToolCall, side: int) -> tuple[str, str]:
        named = (call.namespace, call.name)
        return self.renamed.get(named, named) if side == 0 else named

    def part(self, was: Part, now: Part) -> Iterator[Difference]:
        yield from natives(getattr(was, "native", None), was.at)
        match was, now:
            case (Text(), Text()):
                yield from grown(around(was.at), "text", was.text, now.text)
                yield from changed(was.at, "is_refusal", was.is_refusal, now.is_refusal)
                yield from self.citations(was, now)
            case (Media(), Media()):
                for field in ("kind", "data", "url", "file_id", "text", "title"):
                    yield from changed(was.at, field, getattr(was, field), getattr(now, field))
                tells_itself = was.media_type if was.url and not now.media_type else ""  # at an address it is found out
                yield from changed(was.at, "media_type", was.media_type, now.media_type, free_from=tells_itself)
            case (Thinking(), Thinking()):
                yield from changed(was.at, "text", was.text, now.text)
                yield from changed(was.at, "is_redacted", was.is_redacted, now.is_redacted)
            case (ToolCall(), ToolCall()):
                yield from self.call(was, now)
            case (ToolResult(), ToolResult()):
                yield from self.result(was, now)
        yield from gained(was.at, "cache", getattr(was, "cache", None), getattr(now, "cache", None))
        yield from changed(was.at, "seal", payload(was), payload(now))

    def citations(self, was: Text, now: Text) -> Iterator[Difference]:
        facts = ("url", "title", "quote", "start", "end")
        old = [[getattr(each, fact) for fact in facts] for each in was.citations]
        new = [[getattr(each, fact) for fact in facts] for each in now.citations]
        yield from changed(was.at, "citations", old, new)
        for citation in was.citations:
            for lost in natives(citation.native, was.at):
                yield lost._replace(paths=(was.at, *lost.paths), words=WORDS["citations"])

    def call(self, was: ToolCall, now: ToolCall) -> Iterator[Difference]:
        if was.kind != now.kind:
            yield Difference((was.at,), f"kind: {was.kind!r} became {now.kind!r}", words=WORDS["kind"])
            if _as_object(now.arguments) == {INPUT: was.arguments}:
                now = _with(now, arguments=was.arguments)
        if (was.namespace, was.name) != (now.namespace, now.name):
            is_known = self.name(was, 0) == self.name(now, 1)  # the tool itself is called so: that tells it
            what = f"name: {was.name!r} became {now.name!r}"
            yield Difference((was.at,), what, words=WORDS["name"], is_free=is_known)
        if _as_object(was.arguments) != _as_object(now.arguments):
            yield from changed(was.at, "arguments", was.arguments, now.arguments)
        if was.id != now.id:
            yield Difference((was.at,), f"id: {was.id!r} became {now.id!r}", words=frozenset({"id"}), is_free=True)

    def result(self, was: ToolResult, now: ToolResult) -> Iterator[Difference]:
        answered = [calls.get(each.call_id) for calls, each in zip(self.calls, (was, now), strict=True)]
        if all(answered) and self.ordinal(0, was) != self.ordinal(1, now):
            yield Difference((was.at,), f"it answers another call: {was.call_id!r} became {now.call_id!r}")
        if was.call_id != now.call_id:
            what = f"call id: {was.call_id!r} became {now.call_id!r}"
            words = frozenset({"id", "call_id", "tool_call_id", "tool_use_id"})
            yield Difference((was.at,), what, words=words, is_free=all(answered))
        if was.kind != now.kind:
            yield Difference((was.at,), f"kind: {was.kind!r} became {now.kind!r}", words=WORDS["kind"])
        yield from changed(was.at, "is_error", was.is_error, now.is_error)
        yield from self.parts(
            [("result", part) for part in was.parts], [("result", part) for part in now.parts], [was.at]
        )

    def ordinal(self, side: int, result: ToolResult) -> int:
        return [*self.calls[side]].index(result.call_id)

    # Tools

    def tool_list(self) -> Iterator[Difference]:
        for tool in self.before.tools:
            if isinstance(tool, Foreign):
                yield missing(tool)
        allowed = self.before.tool_choice.allowed if self.before.tool_choice else None
        for was, now in self.tools:
            if now is not None:
                yield from self.tool(was, now)
                continue
            also = (self.before.where("tool_choice"),) if allowed is not None and was.name not in allowed else ()
            yield Difference((was.at, *also), f"the tool {was.name!r} is gone", words=NOTHING_BELOW)
        known = {id(now) for _, now in self.tools}
        for tool in self.after.tools:
            if id(tool) not in known:
                yield Difference(("",), f"there is a new tool: {tool.at}", is_insertion=True)

    def tool(self, was: Tool, now: Tool) -> Iterator[Difference]:
        yield from natives(was.native, was.at)
        if (was.namespace, was.name) != (now.namespace, now.name):
            old, new = f"{was.namespace} {was.name}".strip(), f"{now.namespace} {now.name}".strip()
            yield Difference((was.at,), f"name: {old!r} became {new!r}", words=WORDS["name"])
        if was.kind != now.kind:
            yield Difference((was.at,), f"kind: {was.kind!r} became {now.kind!r}", words=WORDS["kind"])
        yield from changed(was.at, "grammar", was.grammar, now.grammar)
        if was.kind == now.kind or now.parameters != INPUT_SCHEMA:
            yield from changed(was.at, "parameters", _schema(was.parameters), _schema(now.parameters))
        yield from grown((was.at,), "description", was.description, now.description)
        if was.namespace_description not in (now.namespace_description, now.description):
            told = was.namespace_description if was.namespace_description in now.description else ...
            old, new = was.namespace_description, now.namespace_description
            yield from changed(was.at, "namespace_description", old, new, free_from=told)
        yield from changed(was.at, "is_strict", was.is_strict, now.is_strict, free_from=None, free_to={None, False})
        yield from changed(was.at, "cache", was.cache, now.cache)

    def tool_choice(self) -> Iterator[Difference]:
        was, now = self.before.tool_choice, self.after.tool_choice
        yield from self.native_of("tool_choice", was)
        was, now = was or ToolChoice(mode="auto"), now or ToolChoice(mode="auto")
        names = {name: new for (_, name), (_, new) in self.renamed.items()}
        yield from self.changed_in("tool_choice", "mode", was.mode, now.mode)
        yield from self.changed_in("tool_choice", "name", names.get(was.name, was.name), now.name)
        allowed = None if was.allowed is None else sorted(names.get(name, name) for name in was.allowed)
        yield from self.changed_in(
            "tool_choice", "allowed", allowed, None if now.allowed is None else sorted(now.allowed)
        )

    # The rest

    def sampling(self) -> Iterator[Difference]:
        for field in SAMPLING:
            was, now = getattr(self.before.sampling, field), getattr(self.after.sampling, field)
            yield from self.scalar(f"sampling.{field}", field, was, now)

    def scalars(self) -> Iterator[Difference]:
        for field in SCALARS:
            yield from self.scalar(field, field, getattr(self.before, field), getattr(self.after, field))

    def scalar(self, field: str, short: str, was: Any, now: Any) -> Iterator[Difference]:
        nothing = MEANS_NOTHING.get(short, (None,))
        if was != now and not (was in nothing and now in nothing):
            yield Difference((self.before.where(field),), f"{short}: {brief(was)} became {brief(now)}")

    def reasoning(self) -> Iterator[Difference]:
        yield from self.native_of("reasoning", self.before.reasoning)
        was, now = self.before.reasoning or Reasoning(), self.after.reasoning or Reasoning()
        for field in ("effort", "budget", "mode"):
            yield from self.changed_in("reasoning", field, getattr(was, field), getattr(now, field))
        is_free = was.shows is None or not (was.shows or now.shows)  # to be shown more than was asked for is no loss
        yield from self.changed_in("reasoning", "shows", was.shows, now.shows, is_free=is_free)

    def response_format(self) -> Iterator[Difference]:
        yield from self.native_of("response_format", self.before.response_format)
        plain = ResponseFormat(kind="text")
        was, now = self.before.response_format or plain, self.after.response_format or plain
        for field in ("kind", "description", "schema"):
            yield from self.changed_in("response_format", field, getattr(was, field), getattr(now, field))
        yield from self.changed_in("response_format", "name", was.name, now.name, is_free=not was.name)
        yield from self.changed_in(
            "response_format", "is_strict", was.is_strict, now.is_strict, is_free=not was.is_strict
        )

    def native_of(self, field: str, value: Any) -> Iterator[Difference]:
        for lost in natives(value.native if value is not None else None, self.before.where(field)):
            yield lost._replace(paths=(*lost.paths, *self.family(field)))

    def changed_in(self, family: str, field: str, was: Any, now: Any, *, is_free: bool = False) -> Iterator[Difference]:
        """Compare a field of a value that a client may have spread over several fields of its own."""
        if was != now:
            paths = (self.before.where(family), *self.family(family), self.before.where(f"{family}.{field}"))
            yield Difference(paths, f"{family}.{field}: {brief(was)} became {brief(now)}", is_free=is_free)

    def family(self, field: str) -> tuple[str, ...]:
        return tuple(path for name, path in self.before.names.items() if name == field or name.startswith(f"{field}."))


def natives(native: Native | None, at: str) -> Iterator[Difference]:
    """Return what a dialect alone knows of a value: all of it is lost."""
    for field in native.fields if native is not None else ():
        path = f"{at}.{field.name}" if at else field.name
        yield Difference((path,), f"the dialect's own {field.name!r} ({brief(field.value)}) is lost")


def missing(part: Part) -> Difference:
    is_seal = isinstance(part, Text) and not part.text and part.seal is not None  # nothing but it
    words = WORDS["seal"] if is_seal else NOTHING_BELOW
    return Difference((part.at,), f"it is gone: {brief(part)}", words=words, is_free=is_empty(part))


def is_empty(part: Part) -> bool:
    """Whether a part says nothing at all."""
    return isinstance(part, Text) and not part.text and part.seal is None and part.cache is None


def changed(
    at: str, field: str, was: Any, now: Any, *, free_from: Any = ..., free_to: Iterable[Any] | None = None
) -> Iterator[Difference]:
    """Compare a field; coming from `free_from`, or staying within `free_to`, nothing has to be said."""
    if was != now:
        is_free = was == free_from or (free_to is not None and was in free_to and now in free_to)
        words = WORDS.get(field, frozenset({field}))
        yield Difference((at,), f"{field}: {brief(was)} became {brief(now)}", words=words, is_free=is_free)


def grown(paths: tuple[str, ...], field: str, was: str, now: str) -> Iterator[Difference]:
    """Compare words; those that only got something added are an insertion."""
    if was != now and was in now:
        yield Difference(paths, f"{field}: it got something added: {brief(now)}", is_insertion=True)
    else:
        yield from changed(paths[0], field, was, now)


def gained(at: str, field: str, was: Any, now: Any) -> Iterator[Difference]:
    """Compare a field; one that there was none of is an insertion: it may stand for that of a neighbour."""
    if was is None and now is not None:
        yield Difference(around(at), f"{field}: it is new: {brief(now)}", is_insertion=True)
    else:
        yield from changed(at, field, was, now)


def around(at: str) -> tuple[str, ...]:
    """Return a part's path and those of the parts and turns that it is in."""
    return at, *(at[: match.end()] for match in re.finditer(r"\]", at) if match.end() < len(at))


def payload(part: Part) -> str | None:
    seal = getattr(part, "seal", None)
    return seal.payload if seal else None


def brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:100]} ... {text[-50:]}"


def _spoken(request: Request) -> list[tuple[str, Part]]:
    return [(turn.role, part) for turn in request.turns for part in turn.parts]


def _calls(request: Request) -> dict[str, ToolCall]:
    return {part.id: part for _, part in _spoken(request) if isinstance(part, ToolCall)}


def pair_tools(before: Request, after: Request) -> list[tuple[Tool, Tool | None]]:
    """Find each tool again: in its order where none is missing, else by its name."""
    old = [tool for tool in before.tools if isinstance(tool, Tool)]
    new = [tool for tool in after.tools if isinstance(tool, Tool)]
    if len(old) == len(new):
        return [*zip(old, new, strict=True)]
    named = {tool.name: tool for tool in new}
    return [(tool, named.get(tool.name)) for tool in old]


def _pair_up(
    before: Sequence[tuple[str, Part]], after: Sequence[tuple[str, Part]]
) -> tuple[list[tuple[Part, Part]], list[tuple[str, Part]], list[tuple[str, Part]]]:
    """Pair parts of one kind and role that are not the same: they were changed; the rest went or came."""
    pairs, come = [], list(after)
    gone = []
    for role, part in before:
        match = next((each for each in come if each[0] == role and type(each[1]) is type(part)), None)
        if match is None or (isinstance(part, Text) and not _is_akin(part.text, match[1])):
            gone.append((role, part))
        else:
            come.remove(match)
            pairs.append((part, match[1]))
    return pairs, gone, come


def _is_akin(text: str, other: Part) -> bool:
    return isinstance(other, Text) and bool(text) and (text in other.text or other.text in text)


def _as_object(arguments: str) -> Any:
    if not arguments.strip():
        return {}
    try:
        return read_json(arguments)
    except ValueError:
        return arguments


def _schema(parameters: Mapping[str, Any] | None) -> Any:
    if parameters is None:
        return {"type": "object", "properties": {}}
    if parameters.get("type") == "object" and "properties" not in parameters:
        return {**parameters, "properties": {}}
    return dict(parameters)


def _with(call: ToolCall, *, arguments: str) -> ToolCall:
    return ToolCall(
        id=call.id, name=call.name, namespace=call.namespace, kind=call.kind, arguments=arguments, at=call.at
    )
