"""An answer is what its events add up to."""

import pytest

from providers.canonical.answer import Answer, AnswerFailed, fold
from providers.canonical.events import (
    ArgumentsDelta,
    CitationDelta,
    Event,
    MessageEnd,
    MessageStart,
    PartEnd,
    PartStart,
    Ping,
    SealDelta,
    StreamFailed,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from providers.canonical.parts import Citation, Foreign, Media, Part, Text, Thinking, ToolCall
from providers.canonical.seals import Seal
from providers.canonical.usage import Usage

START = MessageStart(id="a1", model="m")
END = MessageEnd(stop="end_turn")
SEAL = Seal(origin="p/m", payload="opaque")


def whole(part: Part, *deltas: Event, index: int = 0) -> list[Event]:
    return [PartStart(index=index, part=part), *deltas, PartEnd(index=index)]


def said(*events: Event) -> Answer:
    return fold([START, *events, END])


def test_it_joins_the_deltas_of_each_part():
    answer = said(
        *whole(Thinking(), ThinkingDelta(index=0, text="let "), ThinkingDelta(index=0, text="me")),
        *whole(Text(), TextDelta(index=1, text="a"), TextDelta(index=1, text="b"), index=1),
    )
    assert answer.parts == (Thinking(text="let me"), Text(text="ab"))
    assert (answer.id, answer.model, answer.stop) == ("a1", "m", "end_turn")


def test_it_keeps_interleaved_calls_apart():
    answer = said(
        PartStart(index=0, part=ToolCall(id="c0", name="f")),
        PartStart(index=1, part=ToolCall(id="c1", name="g")),
        ArgumentsDelta(index=1, text='{"b"'),
        ArgumentsDelta(index=0, text='{"a":1}'),
        ArgumentsDelta(index=1, text=":2}"),
        PartEnd(index=1),
        PartEnd(index=0),
    )
    assert [part.arguments for part in answer.parts if isinstance(part, ToolCall)] == ['{"a":1}', '{"b":2}']


def test_deltas_follow_what_the_part_began_with():
    assert said(*whole(Text(text="be"), TextDelta(index=0, text="gun"))).parts == (Text(text="begun"),)


def test_a_later_seal_replaces_an_earlier_one():
    earlier = Seal(origin="p/m", payload="half")
    answer = said(*whole(Thinking(), SealDelta(index=0, seal=earlier), SealDelta(index=0, seal=SEAL)))
    assert answer.parts == (Thinking(seal=SEAL),)


def test_citations_gather_at_their_text():
    first, second = Citation(url="https://a"), Citation(url="https://b")
    answer = said(*whole(Text(citations=(first,)), CitationDelta(index=0, citation=second)))
    assert answer.parts == (Text(citations=(first, second)),)


@pytest.mark.parametrize("part", [Media(kind="image", data="aGk="), Foreign(origin="gemini", what="x", value={"a": 1})])
def test_a_part_that_comes_whole_stays_as_it_is(part: Part):
    assert said(*whole(part)).parts == (part,)


def test_usage_is_cumulative_and_never_added_up():
    answer = said(
        UsageReport(usage=Usage(input=10, output=1)), Ping(), UsageReport(usage=Usage(output=7, cache_read=0))
    )
    assert answer.usage == Usage(input=10, output=7, cache_read=0)


def test_the_end_says_why():
    end = MessageEnd(stop="stop_sequence", stop_sequence="###")
    answer = fold([START, end])
    assert (answer.parts, answer.stop, answer.stop_sequence) == ((), "stop_sequence", "###")


def test_a_failure_is_no_answer():
    with pytest.raises(AnswerFailed, match="Overloaded") as caught:
        fold([START, *whole(Text(), TextDelta(index=0, text="half")), StreamFailed(message="Overloaded", code="529")])
    assert caught.value.failure.code == "529"
