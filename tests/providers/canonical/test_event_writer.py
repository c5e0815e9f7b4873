"""Interleaved parts are put one after the other, and nothing is lost, doubled or held longer than it must be."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

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
from providers.canonical.losses import Losses
from providers.canonical.parts import Citation, Text, Thinking, ToolCall
from providers.canonical.request import Request
from providers.canonical.seals import Seal, SealBox
from providers.canonical.usage import Usage
from providers.dialects.writer import EventWriter, Reply, Sequencer
from tenants.errors import GatewayError

REPLY = Reply(
    request=Request(model="m"), model="alias", id="1", created=0, seals=SealBox([b"secret"], 1), losses=Losses()
)


def started(index: int) -> PartStart:
    return PartStart(index=index, part=ToolCall(id=f"c{index}", name="f"))


def more(index: int, text: str = "x") -> ArgumentsDelta:
    return ArgumentsDelta(index=index, text=text)


@st.composite
def interleaved(draw: Any) -> list[Event]:
    """Calls that start in order and whose deltas and ends come in any."""
    rest = [
        [
            started(index),
            *(more(index, text) for text in draw(st.lists(st.text(max_size=2), max_size=4))),
            PartEnd(index=index),
        ]
        for index in range(draw(st.integers(min_value=1, max_value=5)))
    ]
    events: list[Event] = []
    opened = 0
    while any(rest):
        choices = [i for i, part in enumerate(rest) if part and (i < opened or i == opened)]
        chosen = draw(st.sampled_from(choices))
        opened = max(opened, chosen + 1)
        events.append(rest[chosen].pop(0))
        if draw(st.integers(min_value=0, max_value=9)) == 0:
            events.append(Ping())
    return events


def in_sequence(events: list[Event]) -> list[Event]:
    sequencer = Sequencer()
    return [ready for event in events for ready in sequencer.feed(event)]


@settings(max_examples=200, deadline=None)
@given(events=interleaved())
def test_edge_7_parts_come_one_after_the_other_with_all_that_is_theirs(events: list[Event]):
    written = [event for event in in_sequence(events) if not isinstance(event, Ping)]
    expected = [event for event in events if not isinstance(event, Ping)]
    assert written == sorted(expected, key=lambda event: event.index)  # type: ignore[union-attr]


@settings(max_examples=200, deadline=None)
@given(events=interleaved())
def test_the_part_that_is_open_goes_through_live(events: list[Event]):
    sequencer, current, ended = Sequencer(), 0, set()
    for event in events:
        ready = sequencer.feed(event)
        if isinstance(event, Ping) or event.index == current:  # type: ignore[union-attr]
            assert ready[0] is event
        else:
            assert ready == []
        if isinstance(event, PartEnd):
            ended.add(event.index)
        while current in ended:
            current += 1


def test_what_belongs_to_no_part_does_not_wait():
    report = UsageReport(usage=Usage(output=1))
    assert in_sequence([started(0), started(1), report]) == [started(0), report]


def test_a_part_that_ended_while_it_waited_does_not_hold_up_the_next():
    events = [started(0), started(1), more(1), PartEnd(index=1), started(2), PartEnd(index=0), more(2)]
    assert in_sequence(events) == [
        started(0),
        PartEnd(index=0),
        started(1),
        more(1),
        PartEnd(index=1),
        started(2),
        more(2),
    ]


class ToyWriter(EventWriter):
    """Writes the names of its verbs."""

    def fail(self, error: GatewayError) -> bytes:
        return f"fail({error});".encode()

    def message_start(self, event: MessageStart) -> bytes:
        return b"message_start;"

    def part_start(self, event: PartStart) -> bytes:
        return b"part_start %d;" % event.index

    def text(self, event: TextDelta) -> bytes:
        return b"text;"

    def thinking(self, event: ThinkingDelta) -> bytes:
        return b"thinking;"

    def arguments(self, event: ArgumentsDelta) -> bytes:
        return b"arguments %d;" % event.index

    def seal(self, event: SealDelta) -> bytes:
        return b"seal;"

    def citation(self, event: CitationDelta) -> bytes:
        return b"citation;"

    def part_end(self, event: PartEnd) -> bytes:
        return b"part_end %d;" % event.index

    def ping(self) -> bytes:
        return b"ping;"

    def message_end(self, event: MessageEnd) -> bytes:
        return b"message_end;"


class InterleavingWriter(ToyWriter):
    is_sequential = False


def written(writer: EventWriter, *events: Event) -> str:
    return b"".join([writer.feed(event) for event in events]).decode()


def test_each_event_has_its_verb():
    events = [
        MessageStart(),
        PartStart(index=0, part=Thinking()),
        ThinkingDelta(index=0, text="a"),
        SealDelta(index=0, seal=Seal(origin="p/m", payload="x")),
        PartEnd(index=0),
        Ping(),
        PartStart(index=1, part=Text()),
        TextDelta(index=1, text="a"),
        CitationDelta(index=1, citation=Citation(url="https://a")),
        PartEnd(index=1),
        MessageEnd(stop="end_turn"),
    ]
    assert written(ToyWriter(REPLY), *events) == (
        "message_start;part_start 0;thinking;seal;part_end 0;ping;part_start 1;text;citation;part_end 1;message_end;"
    )


def test_usage_is_kept_for_the_end():
    writer = ToyWriter(REPLY)
    reports = [UsageReport(usage=Usage(input=3, output=1)), UsageReport(usage=Usage(output=5))]
    assert written(writer, *reports) == ""
    assert writer.usage == Usage(input=3, output=5)


def test_a_failure_is_written_as_the_upstreams():
    failure = StreamFailed(message="Overloaded")
    assert written(ToyWriter(REPLY), failure) == "fail(The upstream failed: Overloaded);"


def test_parts_interleave_only_where_the_dialect_takes_it():
    events = [started(0), started(1), more(1), more(0), PartEnd(index=0), PartEnd(index=1)]
    assert written(InterleavingWriter(REPLY), *events) == (
        "part_start 0;part_start 1;arguments 1;arguments 0;part_end 0;part_end 1;"
    )
    assert written(ToyWriter(REPLY), *events) == (
        "part_start 0;arguments 0;part_end 0;part_start 1;arguments 1;part_end 1;"
    )
