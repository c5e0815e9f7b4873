import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.calls import STREAM_MARKS
from benchmarks.load import (
    Endpoint,
    StreamWatch,
    build_request,
    percentile,
    run_closed,
    run_open,
    run_streams,
)

MARKS = STREAM_MARKS["/v1/chat/completions"]
OPENING = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
CONTENT = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
STREAM = OPENING + CONTENT * 3 + b"data: [DONE]\n\n"


@asynccontextmanager
async def upstream(*answers: bytes, delay: float = 0.0) -> AsyncIterator[Endpoint]:
    """Serve the answers in turn, over and over; an empty one closes the connection."""
    turns = iter(answers * 10_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with_body = b"\r\n\r\n{}"
        while (await reader.read(1000)).endswith(with_body) and (answer := next(turns)):
            await asyncio.sleep(delay)
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield build_request(url=url, path="/v1/chat/completions", headers=["a: b"], body=b"{}")


def whole(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def test_a_percentile_is_a_value_that_was_measured():
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.50) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert percentile([], 0.5) != percentile([], 0.5)  # NaN


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
def test_frames_are_counted_however_the_stream_is_cut(size):
    watch = StreamWatch(MARKS)
    for start in range(0, len(STREAM), size):
        watch.feed(STREAM[start : start + size])
    assert watch.frames == 5
    assert watch.is_ended
    assert watch.first_content_at is not None


def test_an_opening_without_text_is_no_first_content():
    watch = StreamWatch(MARKS)
    watch.feed(OPENING)
    assert watch.first_content_at is None
    assert not watch.is_ended


async def test_a_closed_loop_counts_every_request():
    async with upstream(whole(b"{}"), delay=0.001) as endpoint:
        result = await run_closed(endpoint, concurrency=4, seconds=1.0)
    assert result.requests > 4
    assert result.failed == 0


async def test_refusals_and_lost_connections_are_failures_and_the_next_request_reconnects():
    async with upstream(whole(b"slow down", 429), b"", whole(b"{}"), delay=0.001) as endpoint:
        result = await run_closed(endpoint, concurrency=1, seconds=1.0)
    assert result.failure == "429 slow down"
    assert 0 < result.failed < result.requests


async def test_an_open_loop_keeps_its_rate_while_answers_are_late():
    async with upstream(whole(b"{}"), delay=0.5) as slow, upstream(whole(b"{}")) as fast:
        results = await run_open([slow, fast], rate=100, seconds=0.2, slice_seconds=0.1)
    assert [result.requests for result in results] == [20, 20]
    assert results[0].p50_ms >= 500 > results[1].p50_ms


async def test_an_open_loop_counts_the_time_that_a_request_waited_for_a_connection():
    async with upstream(whole(b"{}"), delay=1.0) as endpoint:
        [result] = await run_open([endpoint], rate=1000, seconds=0.05, slice_seconds=1)
    assert result.requests == 50
    assert result.p50_ms < 1_600 < result.p99_ms  # 32 connections: the other 18 wait for a second turn


async def test_whole_streams_are_told_from_those_cut_off():
    cut = STREAM.removesuffix(b"data: [DONE]\n\n")
    async with upstream(whole(STREAM), whole(cut), whole(STREAM)) as endpoint:
        result = await run_streams(endpoint, count=3, marks=MARKS, frames=5)
    assert result.lost == 1
    assert result.failure == "cut off after 4 frames"
    assert result.frames == 14


async def test_a_stream_with_its_end_but_not_all_its_frames_is_lost():
    async with upstream(whole(STREAM)) as endpoint:
        result = await run_streams(endpoint, count=2, marks=MARKS, frames=6)
    assert result.lost == 2
