import pytest

from benchmarks.reader import MalformedAnswer, ResponseReader

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nserver: x\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n"


@pytest.mark.parametrize(("answer", "body"), [(SIZED, b"hello"), (CHUNKED, b"hello world")])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_it_reads_an_answer_however_it_is_cut(answer, body, size):
    reader = ResponseReader()
    pieces = []
    for start in range(0, len(answer), size):
        assert not reader.complete
        pieces.append(reader.feed(answer[start : start + size]))
    assert reader.complete
    assert b"".join(pieces) == body


def test_it_reads_one_answer_after_the_other():
    reader = ResponseReader()
    assert reader.feed(CHUNKED) == b"hello world"
    assert reader.status == 201
    assert reader.feed(SIZED) == b"hello"
    assert reader.status == 200


def test_an_empty_answer_is_complete_with_its_head():
    reader = ResponseReader()
    assert reader.feed(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n") == b""
    assert reader.complete


def test_trailers_are_passed_over():
    reader = ResponseReader()
    reader.feed(CHUNKED.removesuffix(b"\r\n") + b"x-checksum: 1\r\n\r\n")
    assert reader.complete


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"garbage\r\n\r\n",
        SIZED + b"surplus",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    ],
)
def test_it_refuses_what_makes_no_sense(answer):
    with pytest.raises(MalformedAnswer):
        ResponseReader().feed(answer)
