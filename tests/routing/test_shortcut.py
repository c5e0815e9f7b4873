"""The short way of a stream's frames: only what needs no decision goes it, and the answer is the same."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs
from uvicorn.protocols.http.flow_control import FlowControl

from providers.canonical.inbound import Facts
from providers.dialects.gemini.wire import STREAM
from providers.dialects.openai_chat.watch import ChatWatch
from providers.transport import Transport, Upstream
from providers.wire.sse import FrameSplitter
from routing.api import generate_content
from routing.exchange import Exchange
from routing.response import EventStreamResponse
from routing.shortcut import Shortcut
from tests.gateway_site.infra.own_valkey import eventually
from tests.gateway_site.serving.cycles import make_cycle
from tests.routing.planes import ASKED, Plane, chunk, handle, in_line

STREAMED = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
WORD = chunk("word ")
END = (chunk(finish="stop"), chunk(usage=(7, 3)), b"data: [DONE]\n\n")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


# --- What goes it --------------------------------------------------------------------------------------------


class Short:
    """A shortcut in the middle of an answer, and where it leads."""

    def __init__(self) -> None:
        self.watch, self.splitter = ChatWatch(Facts(model="m", size=1, is_stream=True)), FrameSplitter()
        self.watch.observe(chunk("Hello"))
        self.exchange, self.guard = Exchange("POST", "/v1/x", ()), SimpleNamespace(waiting_since=0.0)
        self.written: list[bytes] = []
        self.takes_more = True
        guard: Any = self.guard
        self.take = Shortcut(self.watch, self.splitter, self.exchange, guard, self._write).take

    def _write(self, data: bytes) -> bool:
        if self.takes_more:
            self.written.append(data)
        return self.takes_more

    @property
    def counted(self) -> tuple[int, int]:
        return self.exchange.frames, self.exchange.answer_size


@pytest.mark.parametrize("data", [WORD, WORD * 3, WORD.replace(b"word", "wörd ☃".encode())])
def test_what_is_said_in_the_middle_goes_on_at_once_and_is_counted(data: bytes):
    short = Short()
    assert short.take(data) is True
    assert (short.written, short.counted) == ([data], (data.count(b"data: "), len(data)))
    assert short.guard.waiting_since > 0  # the silence begins anew


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(WORD[:-1], id="half_a_frame"),
        pytest.param(WORD.replace(b"\n", b"\r\n"), id="other_line_ends"),
        pytest.param(b": ping\n\n", id="a_comment"),
        pytest.param(b"data: nonsense\n\n", id="no_json"),
        pytest.param(b'data: {"error": {"message": "no"}}\n\n', id="an_error"),
        pytest.param(WORD + END[0], id="a_finish_reason_behind_a_word"),
        pytest.param(END[1], id="usage"),
        pytest.param(END[2], id="the_end"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_needs_a_decision_does_not(data: bytes):
    short = Short()
    assert short.take(data) is False
    assert (short.written, short.counted, short.guard.waiting_since) == ([], (0, 0), 0.0)


def test_the_rest_of_a_frame_does_not():
    short = Short()
    short.splitter.feed(WORD[:9])
    assert short.take(WORD[9:]) is False
    assert short.splitter.feed(WORD[9:]) == WORD


def test_nothing_does_when_the_end_has_come():
    short = Short()
    short.watch.observe(b"".join(END))
    assert short.take(WORD) is False


def test_what_the_client_cannot_take_is_not_counted():
    short = Short()
    short.takes_more = False
    assert (short.take(WORD), short.counted) == (False, (0, 0))


# --- From socket to socket -----------------------------------------------------------------------------------


class Socket(asyncio.Transport):
    """A client's connection: what is written to it, as long as it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reads_until = 1 << 30  # bytes
        self.flow: FlowControl

    def write(self, data: Any) -> None:
        self.written += data
        if len(self.written) > self.reads_until:
            self.flow.pause_writing()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def read_on(self) -> None:
        self.reads_until = 1 << 30
        self.flow.resume_writing()

    @property
    def body(self) -> bytes:
        """The answer's body so far, out of its chunks."""
        rest, body = self.written.partition(b"\r\n\r\n")[2], b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body


class Caller:
    """A client of a worker as uvicorn has it, and its socket."""

    def __init__(self) -> None:
        self.socket = Socket()
        self._cycle = make_cycle(self.socket, body=json.dumps(STREAMED).encode())
        self.socket.flow = self._cycle.flow
        self.receive, self.send = self._cycle.receive, self._cycle.send

    def leave(self) -> None:
        self._cycle.disconnected = True
        self._cycle.message_event.set()


class Speaker:
    """An upstream that says what it is told to, when it is told to."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def say(self, *pieces: bytes) -> None:
        """Send pieces one by one, so that each comes by itself."""
        for piece in pieces:
            self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self._writer.drain()
            await asyncio.sleep(0.002)

    def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")

    def break_off(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def speaking(make_route: Callable[..., Any], **route: Any) -> AsyncIterator[tuple[Plane, asyncio.Queue[Speaker]]]:
    """A plane in front of a server on a socket; its answers have begun, and the queue has who goes on with them."""
    speakers: asyncio.Queue[Speaker] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]))
            writer.write(HEAD)
            speakers.put_nowait(Speaker(writer))

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(connected(reader, writer))
        serving.add_done_callback(lambda done: done.cancelled() or done.exception())  # until the other side leaves

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    plane = in_line(make_route, {"a": []}, provider={"base_url": url, "allows_private": True}, **route)
    plane.runtime.transport = Transport()
    try:
        yield plane, speakers
    finally:
        await plane.runtime.transport.aclose()
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def begin(plane: Plane, speakers: asyncio.Queue[Speaker], caller: Caller) -> tuple["asyncio.Task[None]", Speaker]:
    """Return a request that is being served, and who answers it."""
    client: Any = caller
    serving = asyncio.create_task(handle(plane, client))
    return serving, await speakers.get()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What tasks were woken for."""
    found: list[bytes] = []
    read_chunk = Upstream.read_chunk

    async def noted(upstream: Upstream) -> bytes:
        data = await read_chunk(upstream)
        found.append(data)
        return data

    monkeypatch.setattr(Upstream, "read_chunk", noted)
    return found


async def test_a_stream_goes_by_its_task_which_sees_the_beginning_and_the_end(make_route, reads: list[bytes]):
    caller = Caller()
    async with speaking(make_route) as (plane, speakers), asyncio.timeout(10):
        serving, speaker = await begin(plane, speakers, caller)
        await speaker.say(chunk("Hello"), *[WORD] * 50, *END)
        speaker.end()
        await serving
    assert caller.socket.body == b"".join([chunk("Hello"), *[WORD] * 50, *END])
    assert b"".join(reads).count(b"word ") < 10  # what comes in the moment in which the beginning leaves is read
    record = plane.record
    assert (record.outcome, record.output_tokens, plane.active) == ("served", 3, 0)


async def test_a_client_that_is_slow_gets_everything_in_its_order(make_route, reads: list[bytes]):
    caller = Caller()
    said = [chunk(f"word {number} ") for number in range(60)]
    async with speaking(make_route, between_tokens_timeout=0.2) as (plane, speakers), asyncio.timeout(10):
        serving, speaker = await begin(plane, speakers, caller)
        await speaker.say(chunk("Hello"), *said[:20])
        caller.socket.reads_until = len(caller.socket.written)
        await speaker.say(*said[20:40])
        assert b"word 25" not in caller.socket.body
        await asyncio.sleep(0.4)  # it is not the upstream that is silent
        caller.socket.read_on()
        await speaker.say(*said[40:], *END)
        await serving
    assert caller.socket.body == b"".join([chunk("Hello"), *said, *END])
    assert b"".join(reads).count(b"word ") < 40
    assert plane.record.outcome == "served"


async def test_a_client_that_leaves_is_charged_what_it_got(make_route):
    caller = Caller()
    async with speaking(make_route) as (plane, speakers), asyncio.timeout(10):
        serving, speaker = await begin(plane, speakers, caller)
        await speaker.say(chunk("Hello"), *[WORD] * 20)
        caller.leave()
        await serving
    assert (plane.record.outcome, plane.record.output_tokens, plane.active) == ("client_gone", 21, 0)


async def test_an_upstream_that_breaks_off_is_told_behind_what_it_said(make_route):
    caller = Caller()
    async with speaking(make_route) as (plane, speakers), asyncio.timeout(10):
        serving, speaker = await begin(plane, speakers, caller)
        await speaker.say(chunk("Hello"), *[WORD] * 20)
        speaker.break_off()
        await serving
    assert caller.socket.body.startswith(chunk("Hello") + WORD * 20)
    assert b"upstream_cut" in caller.socket.body
    assert (plane.record.outcome, plane.active) == ("cut", 0)


async def test_an_upstream_that_falls_silent_is_given_up(make_route):
    caller = Caller()
    async with speaking(make_route, between_tokens_timeout=0.15) as (plane, speakers), asyncio.timeout(10):
        serving, speaker = await begin(plane, speakers, caller)
        await speaker.say(chunk("Hello"), *[WORD] * 20)
        for _ in range(4):
            await asyncio.sleep(0.05)
            await speaker.say(WORD)  # each begins the silence anew
        assert not serving.done()
        await serving
    assert caller.socket.body.startswith(chunk("Hello") + WORD * 24)
    assert (plane.record.outcome, plane.record.error_code) == ("cut", "upstream_timeout")


async def test_a_tenant_that_keeps_bodies_keeps_all_of_them(make_route, reads: list[bytes]):
    caller = Caller()
    kept: list[Exchange] = []
    async with speaking(make_route) as (plane, speakers), asyncio.timeout(10):
        plane.principal = structs.replace(plane.principal, keeps_bodies="all")
        plane.runtime.bodies = SimpleNamespace(keep=kept.append)
        serving, speaker = await begin(plane, speakers, caller)
        await speaker.say(chunk("Hello"), *[WORD] * 20, *END)
        speaker.end()
        await serving
    (exchange,) = kept
    assert exchange.kept is not None
    assert exchange.kept.answer == caller.socket.body
    assert b"".join(reads).count(b"word ") == 20


@pytest.mark.parametrize(("query", "may_bypass"), [(b"", False), (b"alt=sse", True)], ids=["as_an_array", "as_events"])
async def test_what_is_written_anew_for_the_client_never_goes_it(monkeypatch, query: bytes, may_bypass: bool):
    async def said() -> AsyncGenerator[bytes]:
        yield b"data: {}\n\n"

    async def serve(*asked: object, model: str) -> EventStreamResponse:
        return EventStreamResponse(200, (), said(), may_bypass=True)

    monkeypatch.setitem(generate_content.VERBS, "streamGenerateContent", (serve, STREAM))
    request: Any = SimpleNamespace(scope={"query_string": query}, path="/")
    answer = await generate_content._dispatch(request, "m:streamGenerateContent")
    assert isinstance(answer, EventStreamResponse)
    assert answer.may_bypass is may_bypass
    await answer.body.aclose()


async def test_what_may_not_bypass_its_generator_does_not(make_route, monkeypatch, reads: list[bytes]):
    class Rewritten(EventStreamResponse):
        def __init__(self, *parts: Any, may_bypass: bool) -> None:
            super().__init__(*parts)

    monkeypatch.setattr("routing.asking.EventStreamResponse", Rewritten)
    caller = Caller()
    async with speaking(make_route) as (plane, speakers), asyncio.timeout(10):
        serving, speaker = await begin(plane, speakers, caller)
        await speaker.say(chunk("Hello"), *[WORD] * 20, *END)
        speaker.end()
        await serving
    assert b"".join(reads).count(b"word ") == 20


@pytest.mark.parametrize("at_once", [False, True])
async def test_nothing_of_it_waits_for_the_garbage_collector(make_route, at_once: bool):
    said = [chunk("Hello"), *[WORD] * 20, *END]

    def exchanges() -> int:
        return sum(isinstance(found, Exchange) for found in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = exchanges()
        async with speaking(make_route) as (plane, speakers), asyncio.timeout(10):
            for _ in range(2):
                caller = Caller()
                serving, speaker = await begin(plane, speakers, caller)
                await speaker.say(*([b"".join(said)] if at_once else said))
                speaker.end()
                await serving
                await eventually(lambda: exchanges() == before)
                assert caller.socket.body.endswith(END[-1])
                del serving
    finally:
        gc.enable()
