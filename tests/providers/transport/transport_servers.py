"""Servers on local sockets that count: HTTP/1.1, HTTP/2, a proxy; and certificates of an authority of our own."""

import asyncio
import datetime
import ipaddress
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from yarl import URL

# --- Certificates ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate and its key, as PEM."""

    pem: str
    key: str


class Authority:
    """Who vouches for servers and clients."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.pem = self._certify(self._name, self._key.public_key(), is_authority=True)

    def issue(self, name: str) -> Certificate:
        """Return a certificate for this name and for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Certificate(pem=self._certify(subject, key.public_key()), key=private.decode())

    def _certify(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool = False) -> str:
        now = datetime.datetime.now(datetime.UTC)
        hosts = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(hosts, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM).decode()


def server_tls(
    certificate: Certificate, folder: Path, *, protocols: list[str], client_authority: str = ""
) -> ssl.SSLContext:
    """Return how a server speaks TLS; with an authority for clients, it wants their certificates."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    file = folder / "server.pem"
    file.write_text(certificate.pem + certificate.key)
    context.load_cert_chain(file)
    context.set_alpn_protocols(protocols)
    if client_authority:
        context.load_verify_locations(cadata=client_authority)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_mode = ssl.CERT_REQUIRED
    return context


# --- HTTP/1.1 ----------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Http1Server:
    """Answers by the path: /ok at once; /held when told to; /cut in the middle; /gone never, it closes; /packed."""

    port: int = 0
    scheme: str = "http"
    connections: int = 0
    open_connections: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)  # method, target
    bodies: list[bytes] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    closes_quietly_at: set[int] = field(default_factory=set)  # numbers of requests that it reads and closes upon
    peer_names: list[str] = field(default_factory=list)
    packed: tuple[str, bytes] = ("", b"")  # what /packed answers: its Content-Encoding and itself

    def url(self, path: str, host: str = "127.0.0.1") -> URL:
        """Where a path is."""
        return URL(f"{self.scheme}://{host}:{self.port}{path}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.open_connections += 1
        self.writers.append(writer)
        certificate = writer.get_extra_info("peercert")
        if certificate:
            self.peer_names.append(certificate["subject"][0][0][1])
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open_connections -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("PRI * HTTP/2.0"):
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return False
        method, target, _ = head.split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((method, target))
        self.bodies.append(body)
        if target.endswith("/gone") or len(self.requests) in self.closes_quietly_at:
            return False
        if target.endswith("/held"):
            await self.go_on.wait()
        if target.endswith("/cut"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            return False
        answer = b'{"read":%d}' % len(body)
        if target.endswith("/packed"):
            encoding, answer = self.packed
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\n" % encoding.encode())
            writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer))
            await writer.drain()
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer))
        await writer.drain()
        return True

    def close_idle(self) -> None:
        """Close all connections, as a server does that has waited long enough."""
        for writer in self.writers:
            writer.close()
        self.writers.clear()


@asynccontextmanager
async def http1_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[Http1Server]:
    """Serve HTTP/1.1 on a local port."""
    server = Http1Server(scheme="https" if tls else "http")
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        server.go_on.set()
        listening.close()
        server.close_idle()
        await asyncio.sleep(0)


# --- A proxy -----------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Proxy:
    """Tunnels (CONNECT) and passes on; counts both, and may want a password."""

    port: int = 0
    password: str = ""
    status: str = ""  # refuses tunnels with it
    is_tls: bool = False
    tunnels: list[str] = field(default_factory=list)
    passed_on: list[str] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, password: str = "") -> str:
        """How a pool names it."""
        scheme = "https" if self.is_tls else "http"
        return f"{scheme}://{f'alice:{password}@' if password else ''}127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, rest = head.decode().split(" ", 2)
            expected = f"proxy-authorization: basic {b64encode(f'alice:{self.password}'.encode()).decode()}".lower()
            if self.password and expected not in rest.lower():
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            elif method == "CONNECT" and self.status:
                writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: 0\r\n\r\n".encode())
            elif method == "CONNECT":
                self.tunnels.append(target)
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                await self._join(reader, writer, int(target.rpartition(":")[2]), b"")
            else:
                self.passed_on.append(target)
                await self._join(reader, writer, URL(target).port or 80, head)
        writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, first: bytes) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        inner_writer.write(first)
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def proxy_server(
    *, password: str = "", status: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    """Run a proxy on a local port."""
    proxy = Proxy(password=password, status=status, is_tls=tls is not None)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
        await asyncio.sleep(0.01)


# --- HTTP/2 ------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Http2Server:
    """Answers by the path: /ok; /large; /held when told to; /begun, without an end; /silent never; /early; /packed."""

    port: int = 0
    scheme: str = "https"
    max_streams: int = 100
    goes_away_after: int = 0  # answers of a connection
    connections: list["_Http2Peer"] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    bodies: list[int] = field(default_factory=list)
    resets: int = 0
    refusals: int = 0  # left
    large: int = 2_000_000
    packed: tuple[str, bytes] = ("", b"")  # what /packed answers: its Content-Encoding and itself
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str) -> URL:
        """Where a path is."""
        return URL(f"{self.scheme}://127.0.0.1:{self.port}{path}")

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return sum(not peer.transport.is_closing() for peer in self.connections)


class _Http2Peer(asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self, server: Http2Server) -> None:
        self.server = server
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.received: dict[int, int] = {}
        self.paths: dict[int, str] = {}
        self.answered = 0
        self.is_deaf = False  # reads no more
        self.unsent: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections.append(self)
        self.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: self.server.max_streams})
        self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self.is_deaf:
            return
        try:
            events = self.h2.receive_data(data)
        except ProtocolError:
            self.transport.close()
            return
        for event in events:
            self._take(event)
        for stream_id in list(self.unsent):
            self._send(stream_id)
        self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=stream_id, headers=headers):
                self.server.requests.append(dict(headers))
                self.paths[stream_id] = dict(headers)[":path"]
                self.received[stream_id] = 0
                if self.paths[stream_id] == "/early":
                    self._answer(stream_id, b"too long", status="413")
            case DataReceived(stream_id=stream_id, flow_controlled_length=length):
                self.received[stream_id] += length
                self.h2.acknowledge_received_data(length, stream_id)
            case StreamEnded(stream_id=stream_id):
                self.server.bodies.append(self.received[stream_id])
                self._asked(stream_id)
            case StreamReset():
                self.server.resets += 1

    def _asked(self, stream_id: int) -> None:
        path = self.paths[stream_id]
        if self.server.refusals:
            self.server.refusals -= 1
            self.h2.reset_stream(stream_id, 0x7)
        elif path == "/lost":
            self.transport.abort()
        elif path == "/held":
            task = asyncio.ensure_future(self._answer_later(stream_id))
            task.add_done_callback(lambda _: None)
        elif path == "/begun":
            self.h2.send_headers(stream_id, [(":status", "200"), ("content-type", "text/event-stream")])
            self.h2.send_data(stream_id, b"data: 1\n\n")
        elif path == "/large":
            self._answer(stream_id, bytes(self.server.large))
        elif path == "/packed":
            encoding, body = self.server.packed
            self._answer(stream_id, body, packing=[("content-encoding", encoding)])
        elif path != "/silent":
            self._answer(stream_id, b'{"read":%d}' % self.received[stream_id])

    async def _answer_later(self, stream_id: int) -> None:
        await self.server.go_on.wait()
        with suppress(ProtocolError):
            self._answer(stream_id, b"at last")
        self._flush()

    def _answer(
        self, stream_id: int, body: bytes, *, status: str = "200", packing: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.answered += 1
        head = [(":status", status), ("content-type", "Application/JSON; charset=utf-8"), *packing]
        self.h2.send_headers(stream_id, head, end_stream=not body)
        if not body:
            return
        self.unsent[stream_id] = body
        self._send(stream_id)
        if self.answered == self.server.goes_away_after:
            self.say_goodbye(stream_id)

    def say_goodbye(self, last_stream_id: int) -> None:
        """Take no further streams; h2 itself would drop those that go on."""
        self._flush()
        self.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + last_stream_id.to_bytes(4) + b"\0\0\0\0")

    def _send(self, stream_id: int) -> None:
        body = self.unsent.pop(stream_id)
        while body:
            try:
                room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)
            except ProtocolError:
                return
            if room <= 0:
                self.unsent[stream_id] = body
                return
            self.h2.send_data(stream_id, body[:room], end_stream=len(body) <= room)
            body = body[room:]

    def _flush(self) -> None:
        self.transport.write(self.h2.data_to_send())


@asynccontextmanager
async def http2_server(tls: ssl.SSLContext | None, **behaviour: int) -> AsyncIterator[Http2Server]:
    """Serve HTTP/2 on a local port."""
    server = Http2Server(scheme="https" if tls else "http", **behaviour)  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: _Http2Peer(server), "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        server.go_on.set()
        listening.close()
        for peer in server.connections:
            peer.transport.abort()
        await asyncio.sleep(0.01)
