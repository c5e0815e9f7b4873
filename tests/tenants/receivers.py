"""Servers on loopback that tests let the gateway tell of alerts: one takes e-mails, the other webhooks."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Mailbox(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps what it gets, or refuses all of it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MailHandler)
        self.messages: list[tuple[list[str], Message]] = []
        self.refuses = False


class MailHandler(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.say("220 mailbox")
        recipients: list[str] = []
        while line := self.rfile.readline().decode().strip():
            word = line.split(":")[0].upper()
            if word == "RCPT TO":
                recipients.append(line.partition("<")[2].partition(">")[0])
            if word == "DATA":
                self.say("354 go on")
                self.server.messages.append((recipients, message_from_bytes(self.body())))
            if word == "QUIT":
                return self.say("221 bye")
            self.say("550 no such mailbox" if self.server.refuses and word == "RCPT TO" else "250 ok")
        return None

    def body(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line)
        return b"".join(lines)

    def say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


class Receiver(ThreadingHTTPServer):
    """A tenant's web server that keeps what it is told and answers what it was given."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ReceiverHandler)
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/alerts?team=a"


class ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.calls.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        if self.server.status in {302, 307}:
            self.send_header("location", self.server.url)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing: the test says what went wrong."""


@contextmanager
def running[S: socketserver.BaseServer](server: S) -> Iterator[S]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
