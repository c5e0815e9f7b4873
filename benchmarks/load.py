"""The load generator: `python -m benchmarks.load closed|open|streams --url URL ...` prints one JSON object.

closed   N connections, each of which sends its next request as soon as it has the answer: saturation.
open     requests fall due at a constant rate, whatever became of the earlier ones, and latency counts from
         the moment a request was due: a server that stalls cannot hide it by keeping the generator waiting.
         With several URLs the requests go to each in turn for a slice of time, so that a drift of the machine
         meets all of them.
streams  N connections are opened, then N streams start at once and are read to their end.

It runs in a process of its own and speaks just enough HTTP/1.1 (`reader.py`) to keep a gateway worker
saturated from what a second core has left.
"""

import argparse
import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from benchmarks.calls import STREAM_MARKS, StreamMarks
from benchmarks.reader import MalformedAnswer, ResponseReader

OPEN_LOOP_CONNECTIONS = 32
TIMER_SLACK_SECONDS = 0.002  # event loop timers round to the millisecond; the rest of the wait is polled
EXCERPT_BYTES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedResult:
    """What came of a closed loop; every request sent is counted, the last ones of each connection too."""

    requests: int
    failed: int
    seconds: float
    failure: str | None = None  # the first one


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenResult:
    """What came of an open loop at one URL."""

    url: str
    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsResult:
    """What came of N streams; lost = another status, count of frames or end than a whole answer has."""

    streams: int
    lost: int
    frames: int
    seconds: float
    first_content_p50_ms: float
    first_content_p99_ms: float
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status 0 = the connection was lost before the answer's end."""

    status: int
    excerpt: bytes
    finished_at: float


class Watch:
    """Sees the body of an answer go by; this one looks away."""

    __slots__ = ()

    def feed(self, body: bytes) -> None:
        """Take the next piece."""


class StreamWatch(Watch):
    """Counts the frames of one stream, and notices its first content and its end."""

    __slots__ = ("_beginning", "_ending", "_marks", "_tail", "first_content_at", "frames")

    def __init__(self, marks: StreamMarks) -> None:
        self._marks = marks
        self._beginning = self._ending = self._tail = b""
        self.first_content_at: float | None = None
        self.frames = 0

    def feed(self, body: bytes) -> None:
        """Take the next piece; frames and marks may be cut anywhere."""
        self.frames += (self._tail + body).count(b"data: ")
        self._tail = (self._tail + body)[-5:]  # one short of the mark, so that none is counted twice
        self._ending = (self._ending + body)[-64:]
        if self.first_content_at is None:
            self._beginning += body
            if self._marks.content.search(self._beginning):
                self.first_content_at = time.monotonic()

    @property
    def is_ended(self) -> bool:
        """Whether the last thing seen is the event that ends a whole answer."""
        return self._marks.end in self._ending


class Connection(asyncio.Protocol):
    """One keep-alive connection, at most one request on it; it reconnects when the server had closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent without connecting first."""
        return self._transport is not None

    async def ask(self, request: bytes, watch: Watch) -> Answer:
        """Send a request and wait for the end of its answer."""
        transport = self._transport or await self.connect()
        self._reader, self._watch, self._excerpt = ResponseReader(), watch, b""
        self._waiter = self._loop.create_future()
        transport.write(request)
        return await self._waiter

    async def connect(self) -> asyncio.Transport:
        """Open the connection."""
        transport, _ = await self._loop.create_connection(lambda: self, *self._address)
        self._transport = transport
        return transport

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Read on; an answer that makes no sense ends the connection."""
        try:
            body = self._reader.feed(data)
        except MalformedAnswer as error:
            self._finish(status=0, excerpt=str(error).encode())
            if self._transport:
                self._transport.abort()
            return
        self._watch.feed(body)
        if not self._excerpt:
            self._excerpt = body[:EXCERPT_BYTES]
        if self._reader.complete:
            self._finish(status=self._reader.status, excerpt=self._excerpt)

    def connection_lost(self, error: Exception | None) -> None:
        """Whatever was under way is lost."""
        self._transport = None
        self._finish(status=0, excerpt=b"connection lost")

    def _finish(self, *, status: int, excerpt: bytes) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():  # whoever waited may have given up
            waiter.set_result(Answer(status=status, excerpt=excerpt, finished_at=time.monotonic()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a prebuilt request goes."""

    url: str
    host: str
    port: int
    request: bytes

    @asynccontextmanager
    async def connections(self, count: int) -> AsyncIterator[list[Connection]]:
        """Open some connections, one after the other: no server's backlog overflows."""
        connections = [Connection(self.host, self.port) for _ in range(count)]
        try:
            for connection in connections:
                await connection.connect()
            yield connections
        finally:
            for connection in connections:
                connection.close()


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts answers and keeps the first failure."""

    requests: int = 0
    failed: int = 0
    failure: str | None = None
    latencies: list[float] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        self.requests += 1
        if answer.status != 200:
            self.fail(f"{answer.status} {answer.excerpt.decode(errors='replace')}")

    def fail(self, reason: str) -> None:
        """Count a failure."""
        self.failed += 1
        self.failure = self.failure or reason


async def run_closed(endpoint: Endpoint, *, concurrency: int, seconds: float) -> ClosedResult:
    """Keep `concurrency` connections busy for a while."""
    tally = Tally()
    async with endpoint.connections(concurrency) as connections:
        started = time.monotonic()
        workers = (_keep_asking(each, endpoint.request, started + seconds, tally) for each in connections)
        await asyncio.gather(*workers)
    return ClosedResult(
        requests=tally.requests,
        failed=tally.failed,
        seconds=time.monotonic() - started,
        failure=tally.failure,
    )


async def _keep_asking(connection: Connection, request: bytes, until: float, tally: Tally) -> None:
    watch = Watch()
    while time.monotonic() < until:
        tally.add(await connection.ask(request, watch))


async def run_open(
    endpoints: Sequence[Endpoint],
    *,
    rate: float,
    seconds: float,
    slice_seconds: float,
    marks: StreamMarks | None = None,
) -> list[OpenResult]:
    """Send `rate` requests a second for `seconds` to each endpoint, taking turns every `slice_seconds`.

    With `marks` latency ends with a stream's first content, else with the answer.
    """
    per_slice = max(1, round(rate * slice_seconds))
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(Pool.open(endpoint, marks)) for endpoint in endpoints]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        started = time.monotonic()
        for number in range(round(rate * seconds) * len(pools)):
            due = started + (number + 1) / rate
            await sleep_until(due)
            tasks.create_task(pools[number // per_slice % len(pools)].ask(due))
    return [pool.result() for pool in pools]


async def sleep_until(moment: float) -> None:
    """Sleep to within microseconds of a moment of the monotonic clock."""
    await asyncio.sleep(moment - time.monotonic() - TIMER_SLACK_SECONDS)
    while time.monotonic() < moment:
        await asyncio.sleep(0)


class Pool:
    """Connections to one endpoint; a request that finds none idle waits, and its waiting counts."""

    def __init__(self, endpoint: Endpoint, connections: Sequence[Connection], marks: StreamMarks | None) -> None:
        self._endpoint = endpoint
        self._marks = marks
        self._idle: asyncio.Queue[Connection] = asyncio.Queue()
        self._tally = Tally()
        for connection in connections:
            self._idle.put_nowait(connection)

    @classmethod
    @asynccontextmanager
    async def open(cls, endpoint: Endpoint, marks: StreamMarks | None = None) -> "AsyncIterator[Pool]":
        """Connect."""
        async with endpoint.connections(OPEN_LOOP_CONNECTIONS) as connections:
            yield cls(endpoint, connections, marks)

    async def ask(self, due: float) -> None:
        """Send a request that was due at a moment."""
        connection = await self._idle.get()
        watch = Watch() if self._marks is None else StreamWatch(self._marks)
        answer = await connection.ask(self._endpoint.request, watch)
        self._idle.put_nowait(connection)
        self._tally.add(answer)
        first = watch.first_content_at if isinstance(watch, StreamWatch) else None
        self._tally.latencies.append((first or answer.finished_at) - due)

    def result(self) -> OpenResult:
        """Sum up."""
        return OpenResult(
            url=self._endpoint.url,
            requests=self._tally.requests,
            failed=self._tally.failed,
            p50_ms=percentile(self._tally.latencies, 0.50) * 1000,
            p99_ms=percentile(self._tally.latencies, 0.99) * 1000,
            failure=self._tally.failure,
        )


async def run_streams(endpoint: Endpoint, *, count: int, marks: StreamMarks, frames: int | None) -> StreamsResult:
    """Start `count` streams at once; a whole one has `frames` frames (None = any number) and its end."""
    watches = [StreamWatch(marks) for _ in range(count)]
    async with endpoint.connections(count) as connections:
        started = time.monotonic()
        answers = await asyncio.gather(
            *(each.ask(endpoint.request, watch) for each, watch in zip(connections, watches, strict=True))
        )
    tally = Tally()
    for answer, watch in zip(answers, watches, strict=True):
        tally.add(answer)
        if answer.status == 200 and not (watch.is_ended and frames in (None, watch.frames)):
            tally.fail(f"cut off after {watch.frames} frames")
    first = [watch.first_content_at - started for watch in watches if watch.first_content_at is not None]
    return StreamsResult(
        streams=count,
        lost=tally.failed,
        frames=sum(watch.frames for watch in watches),
        seconds=time.monotonic() - started,
        first_content_p50_ms=percentile(first, 0.50) * 1000,
        first_content_p99_ms=percentile(first, 0.99) * 1000,
        failure=tally.failure,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of the values do not exceed; NaN of none."""
    if not values:
        return float("nan")
    rank = -int(-share * len(values) // 1)  # rounded up
    return sorted(values)[max(rank, 1) - 1]


def build_request(*, url: str, path: str, headers: Sequence[str], body: bytes) -> Endpoint:
    """Write the request that goes to an endpoint once and for all."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{url} has no host and port")
    lines = [f"POST {path} HTTP/1.1", f"host: {parts.netloc}", *headers, f"content-length: {len(body)}"]
    head = "\r\n".join(lines) + "\r\n\r\n"
    return Endpoint(url=url, host=parts.hostname, port=parts.port, request=head.encode() + body)


def main() -> None:
    """Read the command line, make the load, print what came of it."""
    options = _parser().parse_args()
    body = options.body.read_bytes()
    endpoints = [build_request(url=url, path=options.path, headers=options.header, body=body) for url in options.url]
    results = uvloop.run(_run(options, endpoints))
    print(json.dumps([dataclasses.asdict(result) for result in results]))


async def _run(
    options: argparse.Namespace, endpoints: list[Endpoint]
) -> Sequence[ClosedResult | OpenResult | StreamsResult]:
    if options.mode == "open":
        return await run_open(
            endpoints,
            rate=options.rate,
            seconds=options.seconds,
            slice_seconds=options.slice_seconds,
            marks=STREAM_MARKS[options.path] if options.first_content else None,
        )
    [endpoint] = endpoints
    if options.mode == "closed":
        return [await run_closed(endpoint, concurrency=options.concurrency, seconds=options.seconds)]
    marks = STREAM_MARKS[options.path]
    return [await run_streams(endpoint, count=options.concurrency, marks=marks, frames=options.frames)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["closed", "open", "streams"])
    parser.add_argument("--url", action="append", required=True, help="http://host:port; several for `open`")
    parser.add_argument("--path", required=True)
    parser.add_argument("--header", action="append", default=[], help="name: value")
    parser.add_argument("--body", type=Path, required=True, help="a file")
    parser.add_argument("--concurrency", type=int, default=32, help="connections, or streams")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each URL")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second (open)")
    parser.add_argument("--slice-seconds", type=float, default=1.0, help="how long a URL's turn is (open)")
    parser.add_argument("--first-content", action="store_true", help="latency up to a stream's first content (open)")
    parser.add_argument("--frames", type=int, help="how many a whole answer has (streams)")
    return parser


if __name__ == "__main__":
    main()
