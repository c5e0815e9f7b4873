"""What is written at once, of answers and pieces of them, and when it is not; and bodies that need not be waited for."""

import asyncio
from typing import Any

import pytest

from gateway_site.data_plane import send_whole
from gateway_site.serving.one_write import OneWriteCycle, writer_of
from routing.exchange import Exchange
from routing.response import WholeResponse
from tests.gateway_site.serving.cycles import make_cycle


class Wire(asyncio.Transport):
    """What was written, each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


START = {"type": "http.response.start", "status": 200, "headers": []}


def body(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def begun(wire: Wire) -> OneWriteCycle:
    """A stream whose first piece has left."""
    answer = make_cycle(wire)
    await answer.send(START)
    await answer.send(body(b"first"))
    return answer


async def test_a_piece_in_the_middle_of_a_stream_is_written_at_once(wire, begun):
    write_now = writer_of(begun.send)
    assert write_now is not None
    assert write_now(b"second, of 20 bytes.") is True
    await begun.send(body(b"", more=False))
    assert wire.writes[1:] == [b"14\r\nsecond, of 20 bytes.\r\n", b"0\r\n\r\n"]
    assert wire.writes[0].endswith(b"\r\n\r\n5\r\nfirst\r\n")


async def test_none_is_before_the_head_has_left_or_behind_the_end(wire):
    answer = make_cycle(wire)
    assert answer.write_now(b"x") is False
    await answer.send(START)
    assert answer.write_now(b"x") is False
    await answer.send(body(b"only", more=False))
    assert answer.write_now(b"x") is False
    assert len(wire.writes) == 1


async def test_none_is_for_a_client_that_is_slow(wire, begun):
    begun.flow.pause_writing()
    assert begun.write_now(b"x") is False
    begun.flow.resume_writing()
    assert begun.write_now(b"x") is True


async def test_none_is_for_a_client_that_has_left(wire, begun):
    begun.disconnected = True
    assert begun.write_now(b"x") is False


async def test_none_is_for_a_connection_that_is_being_closed(wire, begun):
    wire.is_closed = True
    assert begun.write_now(b"x") is False


async def test_none_is_where_the_answer_says_how_long_it_is(wire):
    answer = make_cycle(wire)
    await answer.send({**START, "headers": [(b"content-length", b"6")]})
    await answer.send(body(b"one"))
    assert answer.write_now(b"two") is False
    await answer.send(body(b"two", more=False))
    assert b"".join(wire.writes).endswith(b"\r\n\r\nonetwo")


async def test_servers_that_are_not_ours_write_nothing_at_once():
    async def send(message: Any) -> None:
        pass

    assert writer_of(send) is None


# --- Answers that are whole ----------------------------------------------------------------------------------

HEADERS = [(b"content-type", b"application/json"), (b"x-request-id", b"r-1")]


def framed(*headers: tuple[bytes, bytes], status: int = 200, content: bytes) -> dict[str, Any]:
    length = (b"content-length", b"%d" % len(content))
    return {"type": "http.response.start", "status": status, "headers": [*headers, length]}


@pytest.mark.parametrize("status", [200, 400, 503])
@pytest.mark.parametrize("content", [b"", b"{}", b"x" * 100_000])
async def test_a_whole_answer_is_what_its_messages_would_have_been(wire: Wire, status: int, content: bytes):
    long, ended, short = make_cycle(wire), [], make_cycle(wire)
    short.default_headers = long.default_headers = [(b"date", b"today")]
    short.on_response = lambda: ended.append("short")
    await long.send(framed(*HEADERS, status=status, content=content))
    await long.send(body(content, more=False))
    assert short.answer_now(status, HEADERS, content) is True
    assert wire.writes[1:] == wire.writes[:1]
    assert ended == ["short"]
    assert await short.receive() == {"type": "http.disconnect"}
    with pytest.raises(RuntimeError, match="not what comes next"):
        await short.send(START)


async def test_a_body_that_was_refused_unread_is_not_asked_for_any_more(wire: Wire):
    refused = make_cycle(wire)
    refused.waiting_for_100_continue = True
    assert refused.answer_now(401, HEADERS, b"{}") is True
    assert await refused.receive() == {"type": "http.disconnect"}
    assert len(wire.writes) == 1  # no "100 Continue" behind it


def slow(cycle: OneWriteCycle) -> None:
    cycle.flow.pause_writing()


def gone(cycle: OneWriteCycle) -> None:
    cycle.disconnected = True


def begun_before(cycle: OneWriteCycle) -> None:
    cycle.response_started = True


def last_of_its_connection(cycle: OneWriteCycle) -> None:
    cycle.keep_alive = False


def asks_for_the_head(cycle: OneWriteCycle) -> None:
    cycle.scope["method"] = "HEAD"


@pytest.mark.parametrize("is_so", [slow, gone, begun_before, last_of_its_connection, asks_for_the_head])
def test_others_are_left_to_send(wire: Wire, is_so: Any):
    answer = make_cycle(wire)
    is_so(answer)
    assert answer.answer_now(200, HEADERS, b"{}") is False
    assert wire.writes == []
    assert not answer.response_complete


@pytest.mark.parametrize("header", [b"connection", b"Connection", b"content-length", b"transfer-encoding"])
def test_so_are_those_that_say_themselves_how_they_end(wire: Wire, header: bytes):
    assert make_cycle(wire).answer_now(413, [*HEADERS, (header, b"close")], b"{}") is False
    assert wire.writes == []


@pytest.mark.parametrize("status", [204, 304])
def test_so_are_those_without_a_body(wire: Wire, status: int):
    assert make_cycle(wire).answer_now(status, HEADERS, b"") is False


def test_a_header_of_a_whole_answer_cannot_smuggle_in_another(wire: Wire):
    with pytest.raises(RuntimeError, match="control character"):
        make_cycle(wire).answer_now(200, [(b"x-odd", b"a\r\nx-evil: 1")], b"{}")
    assert wire.writes == []


class Untold(OneWriteCycle):
    """An answer that needs no messages."""

    async def send(self, message: Any) -> None:
        raise AssertionError("it was told by messages")


async def test_the_gateways_whole_answers_are_written_so(wire: Wire):
    cycle = make_cycle(wire)
    cycle.__class__ = Untold
    exchange = Exchange("POST", "/v1/x", ())
    await send_whole(WholeResponse(200, HEADERS[:1], b"{}"), exchange, cycle.send)
    (written,) = wire.writes
    assert written.endswith(b"\r\ncontent-length: 2\r\n\r\n{}")
    assert exchange.request_id.encode() in written
    assert exchange.status == 200


# --- Bodies that are there -----------------------------------------------------------------------------------


async def test_a_body_that_is_there_is_taken_once(wire: Wire):
    request = make_cycle(wire, body=b'{"a": 1}')
    assert request.take_body() == b'{"a": 1}'
    assert request.body == b""
    coming = asyncio.ensure_future(request.receive())  # who waits for more hears when the client leaves
    await asyncio.sleep(0.01)
    assert not coming.done()
    request.leave()
    assert await coming == {"type": "http.disconnect"}


def test_reading_goes_on_when_it_is_taken(wire: Wire):
    request = make_cycle(wire, body=b"{}")
    request.flow.pause_reading()
    request.take_body()
    assert not request.flow.read_paused


@pytest.mark.parametrize("name", ["more_body", "disconnected", "response_complete", "waiting_for_100_continue"])
def test_one_that_is_not_there_has_to_be_waited_for(wire: Wire, name: str):
    request = make_cycle(wire, body=b"{}")
    setattr(request, name, True)
    assert request.take_body() is None
    assert request.body == b"{}"
