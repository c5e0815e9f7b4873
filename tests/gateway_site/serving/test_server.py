"""One real web process with an application of two answers, on a socket that it inherits."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]

APPLICATION = """
import asyncio, socket

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    connection = receive.__self__.transport.get_extra_info("socket")
    no_delay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    headers = [(b"X-No-Delay", str(no_delay).encode())]
    if scope["path"] == "/broken":
        headers.append((b"x-broken", b"one\\r\\nset-cookie: two"))
    if scope["path"] == "/short":
        headers.append((b"content-length", b"4"))
    if scope["path"] == "/exact":
        headers.append((b"content-length", b"3"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/stream":
        for number in range(10):
            await send({"type": "http.response.body", "body": b"%d " % number, "more_body": True})
            await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"end"})
"""

RUN = """
import sys
from gateway_site.serving import server
server.APPLICATION = "application:application"
server.serve(fd=int(sys.argv[1]))
"""


class Web:
    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.port = port

    def get(self, path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "application.py").write_text(APPLICATION)
    ready, theirs = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(listener.fileno())],
            pass_fds=(listener.fileno(), theirs),
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}", "READY_FD": str(theirs)},
        )
        os.close(theirs)
        port = listener.getsockname()[1]
    assert os.read(ready, 1) == b"1"  # it says when it serves
    os.close(ready)
    yield Web(process, port)
    process.kill()
    process.wait()


def test_small_chunks_are_not_held_back_by_the_kernel(web):
    assert web.get("/").headers["x-no-delay"] == "1"


def test_it_does_not_say_what_it_is_made_of(web):
    assert "server" not in web.get("/").headers


def test_a_stop_lets_streams_end_and_is_a_success(web):
    stream = web.get("/stream")
    assert stream.read(2) == b"0 "
    web.process.send_signal(signal.SIGTERM)
    assert stream.read() == b"1 2 3 4 5 6 7 8 9 end"
    assert web.process.wait(10) == 0


def test_a_stopping_process_accepts_nobody_new(web):
    stream = web.get("/stream")
    reader = threading.Thread(target=stream.read)
    reader.start()
    web.process.send_signal(signal.SIGTERM)
    web.process.wait(10)
    reader.join()
    with pytest.raises(ConnectionRefusedError):
        web.get("/")


def packets(port: int, request: bytes) -> list[bytes]:
    """Return what comes, read by read, until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        return list(iter(lambda: connection.recv(65536), b""))


def test_a_small_answer_leaves_in_one_packet(web):
    [answer] = packets(web.port, b"GET /exact HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close" in head
    assert body == b"end"


def test_an_answer_without_a_length_is_chunked(web):
    answer = b"".join(packets(web.port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    assert b"\r\ntransfer-encoding: chunked\r\n" in answer
    assert answer.endswith(b"\r\n\r\n3\r\nend\r\n0\r\n\r\n")


def test_a_head_request_gets_a_head(web):
    answer = b"".join(packets(web.port, b"HEAD /exact HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    assert b"\r\ncontent-length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_requests_on_one_connection_are_answered_in_turn(web):
    first = b"GET /exact HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = b"".join(packets(web.port, first * 2 + first.replace(b"Host: x", b"Host: x\r\nConnection: close")))
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.count(b"connection: close") == 1


def test_a_header_cannot_smuggle_in_another(web):
    answer = b"".join(packets(web.port, b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert b"set-cookie" not in answer


def test_an_answer_shorter_than_it_says_is_no_answer(web):
    assert packets(web.port, b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n") == []
