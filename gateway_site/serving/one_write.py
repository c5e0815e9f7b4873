"""uvicorn's answers, which leave in as few writes as they can, and with less work per header.

uvicorn writes an answer's head and its body one after the other, which with TCP_NODELAY are two system calls and two
packets, and checks each header with two regular expressions. Here the head waits for the first bytes of the body, as
ASGI says a server may, and all headers are checked at once: 36 searches and one write less for an answer of 18 headers.

A request whose body is there, and an answer that is whole, need none of ASGI's messages (`take_body`, `answer_now`).
"""

from collections.abc import Callable, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

FRAMING = frozenset(
    # As ASGI has them, and as Django spells them: lowering every name costs more than looking for both.
    [b"content-length", b"transfer-encoding", b"connection", b"Content-Length", b"Transfer-Encoding", b"Connection"]
)
CONTROLS = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])  # what no header's value holds: all but the tab
BODILESS = frozenset({204, 304})


class OneWriteCycle(RequestResponseCycle):
    """One request and its answer."""

    head: bytes = b""  # what waits for the first bytes of the body

    def take_body(self) -> bytes | None:
        """Return the request's body without waiting; None while it is not whole, or when nobody waits for an answer."""
        if self.more_body or self.disconnected or self.response_complete or self.waiting_for_100_continue:
            return None
        body, self.body = bytes(self.body), bytearray()
        self.message_event.clear()
        self.flow.resume_reading()
        return body

    async def send(self, message: Any) -> None:
        """Take the next piece of the answer; raises RuntimeError for one that is out of order or malformed."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self.head = self._head(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._write(message.get("body", b""), is_last=not message.get("more_body", False))
        else:
            raise RuntimeError(f"ASGI message {kind!r} is not what comes next in this answer.")

    def write_now(self, body: bytes) -> bool:
        """Write the next piece of a streamed answer at once; False when it cannot: the client is slow, or gone."""
        if (
            self.flow.write_paused
            or self.disconnected
            or self.transport.is_closing()
            or self.head
            or not self.chunked_encoding
            or self.response_complete
        ):
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return True

    def answer_now(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Write a whole answer, which says how long it is; False when `send` has to: the client is slow, or gone, or wants
        no body, or the connection ends with it. Raises RuntimeError for a header that is malformed.
        """
        if (
            self.flow.write_paused
            or self.disconnected
            or self.response_started
            or not self.keep_alive
            or self.scope["method"] == "HEAD"
            or status in BODILESS
            or not FRAMING.isdisjoint(dict(headers))
        ):
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        lines = [*map(b": ".join, self.default_headers), *map(b": ".join, headers), b"content-length: %d" % len(body)]
        self.transport.write(b"%b%b" % (_head_of(status, lines), body))
        self._complete()
        return True

    def leave(self) -> None:
        """Note that the client has left, unless it has all of its answer."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()

    def _head(self, status: int, headers: Any) -> bytes:
        """Return the status line and the headers, with those that say how the body is framed."""
        pairs = [*self.default_headers, *headers]
        says_close = False
        for name, value in () if FRAMING.isdisjoint(dict(pairs)) else pairs:
            if name in FRAMING:
                self._note_framing(name.lower(), value)
                says_close = says_close or (not self.keep_alive and name.lower() == b"connection")
        lines = list(map(b": ".join, pairs))
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in BODILESS:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked")
        if not self.keep_alive and not says_close:
            lines.append(b"connection: close")
        return _head_of(status, lines)

    def _note_framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length, self.chunked_encoding = int(value), False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length, self.chunked_encoding = 0, True
        elif name == b"connection" and b"close" in value.lower():
            self.keep_alive = False

    def _write(self, body: bytes, *, is_last: bool) -> None:
        data, self.head = self.head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            if body:
                data += b"%x\r\n%b\r\n" % (len(body), body)
            if is_last:
                data += b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            data += body
        if self.expected_content_length < 0 or (is_last and self.expected_content_length):
            raise RuntimeError("The answer's body is not as long as its Content-Length says.")
        if data:
            self.transport.write(data)
        if is_last:
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _head_of(status: int, lines: list[bytes]) -> bytes:
    text = b"\r\n".join(lines)
    if len(text) - len(text.translate(None, CONTROLS)) != 2 * max(0, len(lines) - 1):
        raise RuntimeError("A header of the answer holds a control character.")
    return b"%b%b\r\n\r\n" % (STATUS_LINE[status], text)


def cycle_of(method: Any) -> OneWriteCycle | None:
    """Return the request whose `send` or `receive` this is; None where the server is not ours."""
    cycle = getattr(method, "__self__", None)
    return cycle if isinstance(cycle, OneWriteCycle) else None


def writer_of(send: Any) -> Callable[[bytes], bool] | None:
    """Return what writes a piece of an answer without waiting; None where the server is not ours."""
    cycle = cycle_of(send)
    return cycle.write_now if cycle is not None else None
