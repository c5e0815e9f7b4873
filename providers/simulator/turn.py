"""What the model says: decided once per request, the same for a stream and for a whole answer.

Every piece of text, every opening of a tool call and every fragment of its arguments is one output token,
and one content-bearing frame when streamed. (A redacted thought costs tokens that nobody sees.)
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import orjson

from providers.simulator.agent import Move, play
from providers.simulator.ask import Ask, Tool, ToolKind
from providers.simulator.behaviour import MARKER, Behaviour, Finish, Thinking, Tools, UsageShape
from providers.simulator.examples import example

SENTENCE = "The simulator answers with a sentence of twelve words and then stops."
MULTIBYTE = "Zażółć gęślą jaźń — 你好 世界 🙂 naïve café."
THOUGHT = "Let me think about this first."
FRAGMENT_CHARACTERS = 8
PARALLEL_CALLS = 3  # at most; an agent declares dozens of tools
ACTIONS = {
    ToolKind.LOCAL_SHELL: {"type": "exec", "command": ["pwd"], "env": {}},
    ToolKind.SHELL: {"commands": ["pwd"]},
    ToolKind.APPLY_PATCH: {"type": "create_file", "path": "a.txt", "diff": "+a\n"},
}
HUGE = 3_000_000_000  # more than 32 bits hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    pieces: tuple[str, ...]

    @property
    def tokens(self) -> int:
        return len(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    kind: Thinking
    pieces: tuple[str, ...]

    @property
    def tokens(self) -> int:
        return len(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    id: str  # the dialect puts its prefix in front
    name: str
    fragments: tuple[str, ...]  # of its JSON, or of its free text
    kind: ToolKind = ToolKind.FUNCTION
    namespace: str = ""

    @property
    def tokens(self) -> int:
        return 1 + len(self.fragments)


type Part = Text | Thought | Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Disjoint counts; reasoning is contained in output."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    number: int
    created: int
    parts: tuple[Part, ...]
    finish: Finish
    reason: str | None  # None = the dialect's word for `finish`
    block: str | None
    tokens: int  # really said; `usage` is what is claimed
    usage: Usage | None
    usage_shape: UsageShape = UsageShape.REPORTED
    is_interleaved: bool = False

    @property
    def text(self) -> str:
        return "".join(["".join(part.pieces) for part in self.parts if isinstance(part, Text)])

    @property
    def calls(self) -> list[Call]:
        return [part for part in self.parts if isinstance(part, Call)]


def compose(ask: Ask, behaviour: Behaviour, *, number: int, created: int) -> Turn:
    """Decide what is said in answer to `ask`."""
    parts, finish = _parts(ask, behaviour, number)
    tokens = ask.choices * sum(part.tokens for part in parts)
    return Turn(
        number=number,
        created=created,
        parts=parts,
        finish=behaviour.finish or finish,
        reason=behaviour.reason,
        block=behaviour.block,
        tokens=tokens,
        usage=_usage(ask, behaviour, parts, tokens),
        usage_shape=behaviour.usage,
        is_interleaved=behaviour.tools is Tools.INTERLEAVED,
    )


def _parts(ask: Ask, behaviour: Behaviour, number: int) -> tuple[tuple[Part, ...], Finish]:
    thought: tuple[Part, ...] = ()
    if behaviour.thinking is not None:
        thought = (Thought(kind=behaviour.thinking, pieces=_known_words(THOUGHT, None)),)
    if behaviour.agent and ask.tools and ask.schema is None:
        move = play(ask)
        if isinstance(move, Move):
            return (*thought, _agent_call(move, number)), Finish.TOOL_CALLS
        return (*thought, Text(pieces=_split_words(move, None))), Finish.STOP
    if calls := _calls(ask, behaviour, number):
        return thought + _around(calls, ask, behaviour), Finish.TOOL_CALLS
    pieces = _pieces(ask, behaviour)
    if ask.max_tokens is not None and len(pieces) > ask.max_tokens:
        return (*thought, Text(pieces=pieces[: ask.max_tokens])), Finish.LENGTH
    return (*thought, Text(pieces=pieces)), Finish.STOP


def _around(calls: tuple[Call, ...], ask: Ask, behaviour: Behaviour) -> tuple[Part, ...]:
    """The calls, with text before them where the behaviour asks for some."""
    if behaviour.tools is Tools.INTERLEAVED:
        return tuple(part for call in calls for part in (Text(pieces=_pieces(ask, behaviour)), call))
    if behaviour.chunks:
        return (Text(pieces=_pieces(ask, behaviour)), *calls)
    return calls


def _pieces(ask: Ask, behaviour: Behaviour) -> tuple[str, ...]:
    if ask.schema is not None:
        return _fragments(orjson.dumps(example(ask.schema)).decode(), FRAGMENT_CHARACTERS)
    if behaviour.text == "echo":
        return _split_words(MARKER.sub("", ask.text), behaviour.chunks)
    default = MULTIBYTE if behaviour.split_utf8 else SENTENCE
    return _known_words(default if behaviour.text is None else behaviour.text, behaviour.chunks)


def _split_words(text: str, count: int | None) -> tuple[str, ...]:
    """The words with the white space before them, repeated or cut to `count`; they join to the text."""
    words = re.findall(r"\s*\S+", text.strip())
    if count is None or not words:
        return tuple(words)
    again = [" " + words[0], *words[1:]]
    return tuple((words + again * (count // len(words)))[:count])


# What is said over and over is split once; an echo is not kept.
_known_words = lru_cache(maxsize=256)(_split_words)


def _calls(ask: Ask, behaviour: Behaviour, number: int) -> tuple[Call, ...]:
    if not ask.tools or ask.is_tool_result or not (behaviour.tools or ask.must_call):
        return ()
    size = 1 if behaviour.tools is Tools.SPLIT else FRAGMENT_CHARACTERS
    is_cut = behaviour.finish is Finish.LENGTH
    called = enumerate(_called(ask, behaviour))
    return tuple(_call(tool, f"{number:06d}_{index}", size, is_cut) for index, tool in called)


def _called(ask: Ask, behaviour: Behaviour) -> list[Tool]:
    tools = list(ask.tools)
    if behaviour.call is not None:
        wanted = behaviour.call.split(",")
        tools = [tool for name in wanted for tool in ask.tools if tool.name == name] or tools
    if behaviour.tools in (Tools.PARALLEL, Tools.INTERLEAVED) and ask.parallel:
        return (tools if len(tools) > 1 else tools * 2)[:PARALLEL_CALLS]
    return tools[:1]


def _call(tool: Tool, call_id: str, size: int, is_cut: bool) -> Call:
    said = _said(tool)
    if is_cut:
        said = said[: len(said) // 2]
    fragments = _fragments(said, size)
    return Call(id=call_id, name=tool.name, fragments=fragments, kind=tool.kind, namespace=tool.namespace)


def _agent_call(move: Move, number: int) -> Call:
    return Call(
        id=f"{number:06d}_0",
        name=move.tool.name,
        fragments=_fragments(move.said, FRAGMENT_CHARACTERS),
        kind=move.tool.kind,
        namespace=move.tool.namespace,
    )


def _said(tool: Tool) -> str:
    if tool.kind is ToolKind.CUSTOM:
        return f"some input for {tool.name}"
    return orjson.dumps(ACTIONS.get(tool.kind) or example(tool.schema)).decode()


def _fragments(text: str, size: int) -> tuple[str, ...]:
    return tuple(text[start : start + size] for start in range(0, len(text), size))


def _usage(ask: Ask, behaviour: Behaviour, parts: tuple[Part, ...], tokens: int) -> Usage | None:
    read = ask.input_tokens
    match behaviour.usage:
        case UsageShape.NONE:
            return None
        case UsageShape.ZERO:
            return Usage(input=0, output=0)
        case UsageShape.NEGATIVE:
            return Usage(input=-read, output=-tokens)
        case UsageShape.HUGE:
            return Usage(input=HUGE, output=HUGE)
    thoughts = ask.choices * sum(part.tokens for part in parts if isinstance(part, Thought))
    if behaviour.usage is not UsageShape.CACHED:
        return Usage(input=read, output=tokens, reasoning=thoughts)
    hit, written = read // 2, read // 4
    return Usage(input=read - hit - written, cache_read=hit, cache_write=written, output=tokens, reasoning=thoughts)
