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

REPOSITORY = Path(__file__).resolve().parents[2]

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
    headers = [(b"x-no-delay", str(no_delay).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/stream":
        for number in range(10):
            await send({"type": "http.response.body", "body": b"%d " % number, "more_body": True})
            await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"end"})
"""

RUN = """
import sys
from gateway_site import server
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
