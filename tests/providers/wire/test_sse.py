"""Frames come out whole, and byte for byte, however the network cut them."""

import random
from itertools import pairwise

import pytest

from providers.wire.sse import FrameSplitter, count_events, frame_event, frames, holds_objects

LINES = ": hello", "event: a", 'data: {"text":"é🙂\u2028\u2029\x0b\x0c"}', "data:second", "", "data: [DONE]", ""


def stream(end: str) -> bytes:
    return "".join(line + end for line in LINES).encode()


def feed_all(packets: list[bytes]) -> tuple[list[bytes], bytes]:
    """Return the frames in the order in which they came, and what was left."""
    splitter, found = FrameSplitter(), []
    for packet in packets:
        found += frames(splitter.feed(packet))
    return found, splitter.rest


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_it_finds_frames_byte_by_byte(end: str):
    data = stream(end)
    found, rest = feed_all([data[i : i + 1] for i in range(len(data))])
    assert [frame_event(frame) for frame in found] == [
        (b"a", '{"text":"é🙂\u2028\u2029\x0b\x0c"}\nsecond'.encode()),
        (b"", b"[DONE]"),
    ]
    assert (b"".join(found), rest) == (data, b"")


def test_with_cr_alone_the_last_frame_waits_for_a_line_feed_that_may_follow():
    data = stream("\r")
    found, rest = feed_all([data[i : i + 1] for i in range(len(data))])
    assert [frame_event(frame)[1] for frame in [*found, rest]][-2:] == [
        '{"text":"é🙂\u2028\u2029\x0b\x0c"}\nsecond'.encode(),
        b"[DONE]",
    ]
    assert b"".join(found) + rest == data


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_any_two_cuts_give_the_same_frames(end: str):
    data = stream(end)
    whole = feed_all([data])
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1, 7):
            assert feed_all(cut(data, [first, second])) == whole


def events(found: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Return what the frames say; where line ends are mixed, empty ones may be grouped in one way or the other."""
    return [event for event in map(frame_event, found) if event != (b"", b"")]


@pytest.mark.parametrize("seed", range(20))
def test_line_ends_may_be_mixed_and_cut_anywhere(seed: int):
    rng = random.Random(seed)
    lines = rng.choices(["data: é", ":", "event: a", "x", "", ""], k=60)
    data = "".join(line + rng.choice(["\n", "\r\n", "\r"]) for line in lines).encode()
    whole, rest = feed_all([data])
    assert b"".join(whole) + rest == data
    for _ in range(20):
        found, left = feed_all(cut(data, rng.choices(range(len(data)), k=rng.randrange(12))))
        assert b"".join(found) + left == data
        assert (events(found), left) == (events(whole), rest)


def test_a_crlf_that_is_cut_between_packets_ends_one_line():
    found, rest = feed_all([b"data: a\r", b"\ndata: b\r\n\r", b"\n"])
    assert (found, rest) == ([b"data: a\r\ndata: b\r\n\r\n"], b"")


@pytest.mark.parametrize("data", [b"data: a\n\ndata: b\n\n", b"data: a\r\n\r\ndata: b\r\n\r\n"])
def test_packets_of_whole_frames_pass_at_once(data: bytes):
    assert FrameSplitter().feed(data) == data


def test_what_has_no_empty_line_at_the_end_stays_as_rest():
    splitter = FrameSplitter()
    assert splitter.feed(b"data: a\n\ndata: b\n") == b"data: a\n\n"
    assert splitter.rest == b"data: b\n"


def test_a_frame_is_never_given_out_in_part():
    splitter = FrameSplitter()
    assert splitter.feed(b"data: " + b"x" * 100_000) == b""
    assert splitter.feed(b"\n") == b""
    assert len(splitter.feed(b"\n")) == 100_008
    assert splitter.rest == b""


@pytest.mark.parametrize(
    ("frame", "event", "data"),
    [
        (b"data: a\n\n", b"", b"a"),
        (b"data:a\n\n", b"", b"a"),
        (b"data:  a\n\n", b"", b" a"),
        (b"data: a\ndata: b\n\n", b"", b"a\nb"),
        (b"event:ping\ndata: {}\n\n", b"ping", b"{}"),
        (b"event: ping \r\ndata: {}\r\n\r\n", b"ping", b"{}"),
        (b"event: ping\rdata: {}\r\r", b"ping", b"{}"),
        (b"data: {}\nevent: late\n\n", b"late", b"{}"),
        (b": comment\n\n", b"", b""),
        (b":data: no\n\n", b"", b""),
        (b"event: alone\n\n", b"alone", b""),
        (b"id: 1\nretry: 5\ndatabase: x\n\n", b"", b""),
        (b"data: \n\n", b"", b""),
        (b"\n", b"", b""),
        ("data: a\u2028b\n\n".encode(), b"", "a\u2028b".encode()),
    ],
)
def test_it_reads_a_frame(frame: bytes, event: bytes, data: bytes):
    assert frame_event(frame) == (event, data)


@pytest.mark.parametrize(
    ("data", "is_plain"),
    [
        (b"data: {}\n\n", True),
        (b'event: x\ndata: {"a":"data: b"}\n\ndata: {"a":1} \n\n', True),
        (b": ping\n\ndata: {}\n\n", True),
        (b"data: {\n\n", False),
        (b'data: {}\n\ndata: {"a":\n\n', False),
        (b"data: {}{}\n\n", False),
        (b"data: [1]\n\n", False),
        (b"data: [DONE]\n\n", False),
        (b"data: {}", False),
        pytest.param(b'data: {"a":' + b"[" * 200_000 + b"\n\n", False, id="nested too deeply"),
    ],
)
def test_it_tells_frames_of_objects_from_others(data: bytes, is_plain: bool):
    assert holds_objects(data) is is_plain


@pytest.mark.parametrize("data", [b"data:{}\n\n", b"data: {}\ndata: {}\n\n", b"data: {}\r\n\r\n", b"data: {}\r\r"])
def test_other_spellings_take_the_closer_look(data: bytes):
    assert not holds_objects(data)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_it_counts_events_whatever_their_line_ends(end: str):
    assert count_events(f": note{end}{end}event: a{end}data: {{}}{end}{end}data:{{}}{end}{end}".encode()) == 2
