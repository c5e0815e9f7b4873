"""Whatever a dialect's reader does, its events are in order, and there is one end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.events import MessageEnd, MessageStart, PartEnd, PartStart, Ping, StreamFailed, UsageReport
from providers.canonical.parts import Foreign, Media, Text, Thinking, ToolCall
from providers.canonical.usage import Usage
from providers.dialects.reader import CUT, NONSENSE, EventReader
from tests.providers.laws.answers import disorder

TEXT = PartStart(index=0, part=Text())


class ToyReader(EventReader):
    """Does what it is told, one verb per event, sense or not."""

    def _read(self, name: bytes, payload: bytes) -> None:
        for verb in payload.decode().split(","):
            self._do(*verb.split(" "))

    def _close(self) -> None:
        self._do("close")

    def _do(self, verb: str, index: str = "0") -> None:
        match verb:
            case "start":
                self._start(id="a", model="m")
            case "open_text":
                self._open_part(Text())
            case "open_thinking":
                self._open_part(Thinking())
            case "open_call":
                self._open_part(ToolCall(id="c", name="f"))
            case "whole":
                self._whole_part(Media(kind="image", data="aGk="))
            case "foreign":
                self._whole_part(Foreign(origin="toy", what="x", value=1))
            case "arguments":
                self._arguments(int(index), "{}")
            case "nothing":
                self._arguments(int(index), "")
            case "seal":
                self._seal(int(index), "opaque")
            case "end":
                self._end_part(int(index))
            case "report":
                self._report(Usage(output=1))
            case "ping":
                self._ping()
            case "finish":
                self._finish(MessageEnd(stop="end_turn"))
            case "fail":
                self._fail("it failed")
            case "refuse":
                self._refuse()
            case "lookup":
                {}["nothing"]
            case "parse":
                self._parse(b"[]")


def frame(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


def read(*verbs: str) -> list[object]:
    reader = ToyReader("p/m")
    return [*(event for verb in verbs for event in reader.feed(frame(verb))), *reader.close()]


verbs = st.sampled_from(
    ["start", "open_call", "whole", "foreign", "report", "ping", "finish", "fail", "refuse", "lookup", "parse"]
    + [f"{verb} {index}" for verb in ("arguments", "nothing", "seal", "end") for index in range(4)]
)


@settings(max_examples=400, deadline=None)
@given(script=st.lists(st.lists(verbs, min_size=1, max_size=4).map(",".join), max_size=12))
def test_its_events_are_always_in_order(script: list[str]):
    assert disorder(read(*script)) is None


def test_a_part_starts_the_answer_if_nothing_has():
    assert read("open_text")[:2] == [MessageStart(), TEXT]


def test_usage_starts_it_too_and_a_ping_does_not():
    assert read("ping", "report")[:2] == [MessageStart(), UsageReport(usage=Usage(output=1))]
    assert read("start", "ping")[:2] == [MessageStart(id="a", model="m"), Ping()]


def test_it_starts_once():
    assert read("start", "start", "finish") == [MessageStart(id="a", model="m"), MessageEnd(stop="end_turn")]


def test_the_end_ends_parts_that_are_open():
    assert read("open_call", "open_call", "finish")[-3:] == [
        PartEnd(index=0),
        PartEnd(index=1),
        MessageEnd(stop="end_turn"),
    ]


def test_a_part_ends_once():
    assert read("open_text", "end 0", "end 0", "finish").count(PartEnd(index=0)) == 1


def test_nothing_follows_the_end_not_even_of_the_same_event():
    assert read("finish,open_text,report,ping,fail,finish", "open_text") == [
        MessageStart(),
        MessageEnd(stop="end_turn"),
    ]


def test_edge_10_a_stream_that_breaks_off_fails_and_its_parts_stay_open():
    assert read("open_text") == [MessageStart(), TEXT, StreamFailed(message=CUT)]


def test_nonsense_fails():
    for verb in ("refuse", "lookup", "parse", "arguments 0", "arguments x"):
        assert read(verb, "start") == [StreamFailed(message=NONSENSE)]


def test_nonsense_at_the_close_fails():
    class Clumsy(ToyReader):
        def _close(self) -> None:
            self._do("lookup")

    assert Clumsy("p/m").close() == [StreamFailed(message=NONSENSE)]


def test_edge_14_empty_deltas_are_none():
    assert read("open_call", "nothing 0", "finish")[1:3] == [
        PartStart(index=0, part=ToolCall(id="c", name="f")),
        PartEnd(index=0),
    ]


def test_comments_and_frames_without_data_say_nothing():
    reader = ToyReader("p/m")
    assert reader.feed(b": OPENROUTER PROCESSING\n\nevent: x\n\n\n\n") == []


def test_seals_are_the_upstreams():
    (_, _, delta, *_) = read("open_thinking", "seal 0")
    assert delta.seal.origin == "p/m"


def test_closing_twice_says_nothing_more():
    reader = ToyReader("p/m")
    assert len(reader.close()) == 1
    assert reader.close() == []
