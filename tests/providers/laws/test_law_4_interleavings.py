"""Law 4, the other way: however calls interleave, a client of any dialect is told the same answer."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.answer import fold
from providers.canonical.events import (
    ArgumentsDelta,
    Event,
    MessageEnd,
    MessageStart,
    PartEnd,
    PartStart,
    Ping,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from providers.canonical.losses import Losses
from providers.canonical.parts import Text, Thinking, ToolCall
from providers.canonical.request import Request, Tool
from providers.canonical.usage import Usage
from providers.conformance.crossing import ORIGIN, reply_to
from providers.dialects.base import Dialect
from providers.wire.json import write_json
from tests.providers.laws.answers import compact, disorder
from tests.providers.laws.exchanges import each_dialect

TOOLS = ("get_weather", "get_time", "search")
REQUEST = Request(model="m", tools=tuple(Tool(name=name) for name in TOOLS))
words = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6)
arguments = st.dictionaries(words, st.none() | st.integers(min_value=0, max_value=9) | words, max_size=3)


def pieces(draw: Any, text: str) -> list[str]:
    """Cut a text somewhere, or nowhere."""
    middle = draw(st.integers(min_value=0, max_value=len(text)))
    return [piece for piece in (text[:middle], text[middle:]) if piece]


@st.composite
def answers(draw: Any) -> list[Event]:
    """Thoughts, words, and calls whose deltas and ends come in any order."""
    events: list[Event] = [MessageStart(id="up-1", model="up")]
    index = 0
    for part, delta in ((Thinking(), ThinkingDelta), (Text(), TextDelta)):
        if draw(st.booleans()):
            said = pieces(draw, draw(words.filter(str.strip)))
            events += [PartStart(index=index, part=part), *(delta(index=index, text=text) for text in said)]
            events.append(PartEnd(index=index))
            index += 1
    events += draw(interleaved_calls(index))
    return [*events, UsageReport(usage=Usage(input=7, output=9)), MessageEnd(stop="tool_use")]


@st.composite
def interleaved_calls(draw: Any, first: int) -> list[Event]:
    calls: list[list[Event]] = []
    for index in range(first, first + draw(st.integers(min_value=1, max_value=4))):
        part = ToolCall(id=f"call_{index}", name=draw(st.sampled_from(TOOLS)))
        deltas = pieces(draw, write_json(draw(arguments)).decode())
        calls.append([PartStart(index=index, part=part), *(ArgumentsDelta(index=index, text=text) for text in deltas)])
        calls[-1].append(PartEnd(index=index))
    events: list[Event] = []
    opened = 0
    while any(calls):
        chosen = draw(st.sampled_from([i for i, call in enumerate(calls) if call and i <= opened]))
        opened = max(opened, chosen + 1)
        events.append(calls[chosen].pop(0))
        if draw(st.booleans()):
            events.append(Ping())
    return events


def told(events: list[Event]) -> tuple[str, list[tuple[str, str]]]:
    """What a program makes of an answer: the words and the calls."""
    parts = fold(events).parts
    text = "".join(part.text for part in parts if isinstance(part, Text))
    return text, [(part.name, compact(part.arguments)) for part in parts if isinstance(part, ToolCall)]


@each_dialect
@settings(max_examples=30, deadline=None)
@given(events=answers())
def test_law_4_interleaved_calls_reach_every_client(dialect: Dialect, events: list[Event]):
    writer, reader = dialect.writer(reply_to(REQUEST, Losses())), dialect.reader(ORIGIN)
    assert disorder(events) is None
    heard = [said for event in events for said in reader.feed(writer.feed(event))] + reader.close()
    assert disorder(heard) is None
    assert told(heard) == told(events)
    assert fold(heard).stop == "tool_use"


@each_dialect
@settings(max_examples=30, deadline=None)
@given(events=answers())
def test_law_4_a_whole_answer_tells_them_too(dialect: Dialect, events: list[Event]):
    body = dialect.write_answer(fold(events), reply_to(REQUEST, Losses(), is_stream=False))
    assert told([*dialect.read_answer(body, ORIGIN)]) == told(events)
