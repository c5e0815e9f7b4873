"""Pieces of an answer that are written at once, and when they are not."""

import asyncio
from typing import Any

import pytest

from gateway_site.serving.one_write import OneWriteCycle, writer_of
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
