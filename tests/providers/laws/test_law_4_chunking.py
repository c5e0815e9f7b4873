"""Law 4: however the network cuts a stream, its events are the same; and however it ends, it ends once."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.canonical.events import Event, StreamFailed
from providers.conformance.crossing import ORIGIN, read_facts, stream_events
from providers.conformance.recorded import Recorded
from providers.dialects.base import Dialect
from providers.dialects.watch import Watch
from providers.registry import DIALECTS
from providers.wire.sse import FrameSplitter, frames
from tests.providers.laws.answers import disorder
from tests.providers.laws.exchanges import each_dialect, each_exchange

briefly = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NONSENSE = (b"null", b"[]", b"{}", b"1", b'"x"', b"{", b'{"choices":3}', b'{"type":"x"}', b'{"error":null}', b"\xff")
ODD_FRAMES = st.sampled_from(NONSENSE).map(lambda data: b"data: " + data + b"\n\n")


def events_of(recorded: Recorded, packets: Iterable[bytes]) -> list[Event]:
    splitter, reader = FrameSplitter(), DIALECTS[recorded.dialect].reader(ORIGIN)
    events = [event for packet in packets for event in reader.feed(splitter.feed(packet))]
    return [*events, *reader.feed(splitter.close()), *reader.close()]


def cut(data: bytes, positions: Iterable[int]) -> list[bytes]:
    ends = sorted({position % (len(data) + 1) for position in positions} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@each_exchange
def test_law_4_byte_by_byte_gives_the_same_events(recorded: Recorded):
    packets = [recorded.stream[i : i + 1] for i in range(len(recorded.stream))]
    assert events_of(recorded, packets) == stream_events(recorded, DIALECTS[recorded.dialect])


@each_exchange
@briefly
@given(positions=st.lists(st.integers(min_value=0, max_value=1 << 16), max_size=12))
def test_law_4_any_chunking_gives_the_same_events(recorded: Recorded, positions: list[int]):
    packets = cut(recorded.stream, positions)
    assert events_of(recorded, packets) == stream_events(recorded, DIALECTS[recorded.dialect])


@each_exchange
def test_law_4_line_ends_do_not_matter(recorded: Recorded):
    expected = stream_events(recorded, DIALECTS[recorded.dialect])
    lines = recorded.stream.replace(b"\r\n", b"\n")
    for end in (b"\n", b"\r\n", b"\r"):
        assert events_of(recorded, [lines.replace(b"\n", end)]) == expected


@each_exchange
def test_law_4_a_stream_that_is_cut_anywhere_still_ends_once(recorded: Recorded):
    whole = list(frames(recorded.stream))
    for count in range(len(whole)):
        events = events_of(recorded, whole[:count])
        assert disorder(events) is None, f"cut after {count} frames: {disorder(events)}"


@each_exchange
@briefly
@given(odd=ODD_FRAMES, data=st.data())
def test_law_4_nonsense_in_mid_stream_ends_it_once_or_is_skipped(recorded: Recorded, odd: bytes, data: st.DataObject):
    whole = list(frames(recorded.stream))
    position = data.draw(st.integers(min_value=0, max_value=len(whole)))
    events = events_of(recorded, [*whole[:position], odd, *whole[position:]])
    assert disorder(events) is None


@each_dialect
def test_law_4_a_stream_without_a_frame_fails(dialect: Dialect):
    assert isinstance(dialect.reader(ORIGIN).close()[-1], StreamFailed)


@each_exchange
@briefly
@given(ends=st.lists(st.integers(min_value=0, max_value=1 << 16), max_size=12), odd=st.none() | ODD_FRAMES)
def test_law_4_what_passes_need_not_be_seen(recorded: Recorded, ends: list[int], odd: bytes | None):
    dialect = DIALECTS[recorded.dialect]
    facts = read_facts(recorded, dialect)
    seen, spared = dialect.watch(facts), dialect.watch(facts)
    whole = list(frames(recorded.stream))
    if odd is not None:
        whole.insert(len(whole) * 2 // 3, odd)
    stops = sorted({end % (len(whole) + 1) for end in ends} | {0, len(whole)})
    for start, end in pairwise(stops):
        packet = b"".join(whole[start:end])
        assert seen.observe(packet) == (packet if spared.passes(packet) else spared.observe(packet))
    assert [getattr(seen, name) for name in Watch.__slots__] == [getattr(spared, name) for name in Watch.__slots__]
    assert seen.last() == spared.last()


@each_exchange
def test_law_4_what_passes_is_most_of_a_long_stream(recorded: Recorded):
    dialect = DIALECTS[recorded.dialect]
    watch, whole, passed = dialect.watch(read_facts(recorded, dialect)), list(frames(recorded.stream)), 0
    for frame in whole:
        if watch.passes(frame):
            passed += 1
        else:
            watch.observe(frame)
    if len(whole) > 12 and recorded.dialect != "gemini":  # whose every frame reports usage
        assert passed > len(whole) / 2
