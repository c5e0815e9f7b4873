"""Valkey, twice: lean connections for the workers, and redis-py for commands and Celery tasks.

`HotValkey` keeps one connection per worker. A command leaves at once when no other waits for its reply; those of a busy
worker leave a turn of the event loop at a time, one system call for many requests. Nothing waits for ever: every command
has the connection's deadline, and a connection that stays silent is given up with all that waits on it.

redis-py is loaded only where `connect` is called: its command tables take 22 MB, which no worker should carry.
"""

import asyncio
import hashlib
import os
import socket
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis
import structlog

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger("tollgate.valkey")

type Reply = Any  # bytes, int, None, or a list of them


_pack: Callable[[tuple[bytes | str | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]


class StoreUnavailable(Exception):
    """Valkey cannot be reached, or did not answer in time."""


class ScriptFailed(Exception):
    """Valkey refused a command; a defect of ours."""


def is_forgotten(error: ScriptFailed) -> bool:
    """Whether Valkey does not know a script, so that nothing was done."""
    return str(error).startswith("NOSCRIPT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where Valkey listens, from redis://[user:password@]host:port/db, rediss://… or unix://[…]/path?db=0."""

    host: str = ""
    port: int = 6379
    path: str = ""
    database: int = 0
    username: str = ""
    password: str = ""
    is_tls: bool = False

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a URL; raises ValueError for schemes that are none of Valkey's."""
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        login: Any = {"username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
        if parts.scheme == "unix":
            return cls(path=unquote(parts.path), database=int(options.get("db", ["0"])[0]), **login)
        if parts.scheme not in {"redis", "rediss"}:
            raise ValueError(f"VALKEY_URL must start with redis://, rediss:// or unix://, not {parts.scheme}://")
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 6379,
            database=int(parts.path.strip("/") or 0),
            is_tls=parts.scheme == "rediss",
            **login,
        )

    def greetings(self) -> Iterator[tuple[bytes | str | int, ...]]:
        """Yield the commands that a new connection begins with."""
        if self.password:
            yield ("AUTH", self.username or "default", self.password)
        if self.database:
            yield ("SELECT", self.database)

    def ssl(self) -> SSLContext | None:
        """Return the context for a TLS connection, None for a plain one."""
        return create_default_context() if self.is_tls else None


class Script:
    """A Lua script, called by its digest, so that workers of two versions can share one Valkey."""

    __slots__ = ("digest", "name", "source")

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.source = path.read_bytes()
        self.digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()


DEADLINE_SECONDS = 0.5  # what a request may wait for Valkey, once: then the connection is given up
MOST_AT_ONCE = (
    16  # commands in a packet: when hundreds come at once, Valkey works on the first while we read the others
)
CONNECT_SECONDS = 1.0  # for a new connection; nobody but a worker's start waits for it


class HotValkey:
    """One pipelined connection that reconnects by itself; `call` and `run` never wait longer than `deadline` seconds."""

    def __init__(self, url: str, *, scripts: Iterable[Script] = (), deadline: float = DEADLINE_SECONDS) -> None:
        self._address = Address.parse(url)
        self._scripts = tuple(scripts)
        self._deadline = deadline
        self._protocol: _Protocol | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._away = asyncio.Event()
        self._away.set()
        self.on_lost: Callable[[], None] | None = None  # called when the connection is lost, or given up

    @property
    def is_connected(self) -> bool:
        """Whether commands can be sent now."""
        return self._protocol is not None

    @property
    def is_quiet(self) -> bool:
        """Whether nothing that has left waits for its reply: then a command leaves at once."""
        return self._protocol is None or self._protocol.is_quiet

    @property
    def is_flushed(self) -> bool:
        """Whether all that was sent has left this process: Valkey gets it, if the process is killed now."""
        return self._protocol is not None and self._protocol.is_flushed

    @property
    def is_plain(self) -> bool:
        """Whether it is connected without TLS, where the kernel has what was written."""
        return self._protocol is not None and self._protocol.is_plain

    async def open(self) -> None:
        """Connect once, waiting for it at most CONNECT_SECONDS, and keep connecting in the background from then on."""
        try:
            await self._connect()
        except StoreUnavailable as error:
            log.error("valkey_lost", reason=str(error))
        self._keeper = asyncio.create_task(self._keep_connected(), name="valkey-keeper")

    async def aclose(self) -> None:
        """Stop reconnecting, wait for the replies to what was sent, and close."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        with suppress(StoreUnavailable, ScriptFailed):
            await self.call(b"PING")  # replies come in order: this one comes last
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.close()

    def call(self, *command: bytes | str | int, has_more: bool = False) -> asyncio.Future[Reply]:
        """Send one command; the future brings the reply, or StoreUnavailable, or ScriptFailed.

        One that has more behind it leaves with the next of this turn of the event loop.
        """
        if self._protocol is None:
            raise StoreUnavailable("Valkey is not connected.")
        return self._protocol.send(_pack(command), has_more=has_more)

    def flush(self) -> None:
        """Let what was sent leave now, and not at the end of this turn of the event loop."""
        if self._protocol is not None:
            self._protocol.flush()

    async def run(
        self,
        script: Script,
        keys: tuple[bytes | str, ...],
        *arguments: bytes | str | int,
        meanwhile: Callable[[], object] | None = None,
    ) -> Reply:
        """Run a script; one that Valkey has forgotten (a restart, SCRIPT FLUSH) is loaded again.

        `meanwhile` is called while Valkey works on it. To read the reply at once where it has come by then, past the event
        loop, was tried: it came in 7 of 10 requests, and the answers came 0.1 ms later.
        """
        try:
            reply = self.call(b"EVALSHA", script.digest, len(keys), *keys, *arguments)
            if meanwhile is not None:
                meanwhile()
            return await reply
        except ScriptFailed as error:
            if not is_forgotten(error):
                raise
        await self.call(b"SCRIPT", b"LOAD", script.source)
        return await self.call(b"EVALSHA", script.digest, len(keys), *keys, *arguments)

    async def _keep_connected(self) -> None:
        pause = 0.1
        while True:
            await self._away.wait()
            try:
                await self._connect()
                log.info("valkey_connected")
                pause = 0.1
            except StoreUnavailable:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(max(self._deadline, CONNECT_SECONDS)):
                self._protocol = await self._greet(await self._open_socket())
        except (OSError, TimeoutError, ScriptFailed, StoreUnavailable) as error:
            raise StoreUnavailable(f"Valkey cannot be reached: {error or type(error).__name__}.") from error
        self._away.clear()

    async def _greet(self, protocol: "_Protocol") -> "_Protocol":
        """Say what a connection begins with; one that fails at it is closed, or each try would leave one behind."""
        try:
            for command in self._greetings():
                await protocol.send(_pack(command))
            if not protocol.is_open:
                raise StoreUnavailable("Valkey closed the connection")
        except BaseException:
            protocol.close()
            raise
        return protocol

    async def _open_socket(self) -> "_Protocol":
        loop, address = asyncio.get_running_loop(), self._address

        def factory() -> _Protocol:
            return _Protocol(self._deadline, self._connection_lost)

        if address.path:
            return (await loop.create_unix_connection(factory, address.path))[1]
        return (await loop.create_connection(factory, address.host, address.port, ssl=address.ssl()))[1]

    def _greetings(self) -> Iterator[tuple[bytes | str | int, ...]]:
        yield from self._address.greetings()
        for script in self._scripts:
            yield ("SCRIPT", "LOAD", script.source)

    def _connection_lost(self, protocol: "_Protocol", reason: str) -> None:
        if self._protocol is protocol:  # not one that was given up before
            self._protocol = None
            self._away.set()
            log.warning("valkey_lost", reason=reason)
            if self.on_lost is not None:
                self.on_lost()


def _write_now(descriptor: int, data: bytes) -> int:
    """Return how many bytes the kernel took; none when it cannot, and the event loop finds out why."""
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0


class _Protocol(asyncio.Protocol):
    """Writes commands a turn at a time and hands out replies in order."""

    def __init__(self, deadline: float, on_lost: Callable[["_Protocol", str], None]) -> None:
        self._deadline = deadline
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._outgoing: list[bytes] = []
        self._is_flush_due = False  # at the end of this turn of the loop
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._transport: asyncio.Transport | None = None
        self._socket = -1  # to write to past the event loop; -1: TLS, which has to be asked
        self._watch: asyncio.TimerHandle | None = None
        self._progressed_at = 0.0  # the last reply, or the command that ended an idle time
        self._reason = "closed by Valkey"

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None

    @property
    def is_plain(self) -> bool:
        """Whether the kernel has what was written: TLS keeps some to itself."""
        return self._socket >= 0

    @property
    def is_quiet(self) -> bool:
        """Whether nothing that has left waits for its reply."""
        return len(self._waiting) == len(self._outgoing)

    @property
    def is_flushed(self) -> bool:
        """Whether the kernel has all that was sent; with TLS nobody can say."""
        return self.is_plain and not (self._outgoing or self._transport.get_write_buffer_size())  # type: ignore[union-attr]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        if transport.get_extra_info("ssl_object") is None:
            self._socket = transport.get_extra_info("socket").fileno()

    def send(self, packed: bytes, *, has_more: bool = False) -> asyncio.Future[Reply]:
        """Send a command: at once, or at the end of this turn of the loop where others are under way."""
        if self._transport is None:
            raise StoreUnavailable("Valkey closed the connection.")
        is_quiet = self.is_quiet
        self._outgoing.append(packed)
        if len(self._outgoing) >= MOST_AT_ONCE or (is_quiet and not has_more):
            self.flush()
        elif not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush_due)
        if not self._waiting:
            self._progressed_at = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._deadline, self._check_progress)
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append(future)
        return future

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        self._progressed_at = self._loop.time()
        reply = self._reader.gets()
        while reply is not False:
            future = self._waiting.popleft()
            if not future.done():
                if isinstance(reply, hiredis.ReplyError):
                    future.set_exception(ScriptFailed(str(reply)))
                else:
                    future.set_result(reply)
            reply = self._reader.gets()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport, self._socket = None, -1
        if self._watch is not None:
            self._watch.cancel()
        reason = str(error) if error else self._reason
        for future in self._waiting:
            if not future.done():
                future.set_exception(StoreUnavailable(f"Valkey was lost: {reason}."))
                future.exception()  # a future whose caller has gone must not complain about it
        self._waiting.clear()
        self._on_lost(self, reason)

    def close(self) -> None:
        """Close at once."""
        self._reason = "closed"
        if self._transport is not None:
            self._transport.abort()

    def _flush_due(self) -> None:
        self._is_flush_due = False
        self.flush()

    def flush(self) -> None:
        """Write what waits for the end of this turn of the loop."""
        if self._transport is not None and self._outgoing:
            self._write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _write(self, data: bytes) -> None:
        """Give the kernel what it takes now, and the event loop the rest: it alone would wait for the end of its turn."""
        assert self._transport is not None
        if self._socket >= 0 and not self._transport.get_write_buffer_size():
            data = data[_write_now(self._socket, data) :]
        if data:
            self._transport.write(data)

    def _check_progress(self) -> None:
        """One timer for all commands: no answer in a whole deadline while some wait means that nobody is there."""
        self._watch = None
        if not self._waiting:
            return
        seconds_left = self._progressed_at + self._deadline - self._loop.time()
        if seconds_left > 0:
            self._watch = self._loop.call_later(seconds_left, self._check_progress)
        else:
            self._reason = f"no answer in {self._deadline} s"
            self.close()


PING_SECONDS = 10.0


async def subscribe(
    url: str, *channels: str, ping_seconds: float = PING_SECONDS
) -> AsyncGenerator[tuple[str, str] | None]:
    """Yield None once subscribed, then (channel, message) for ever; raises StoreUnavailable when the connection is lost.

    A connection that has been quiet for `ping_seconds` is pinged, so that one that died without a word is noticed.
    """
    address = Address.parse(url)
    try:
        async with asyncio.timeout(2.0):
            if address.path:
                reader, writer = await asyncio.open_unix_connection(address.path)
            else:
                reader, writer = await asyncio.open_connection(address.host, address.port, ssl=address.ssl())
    except (OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Valkey cannot be reached: {error or type(error).__name__}.") from error
    try:
        for command in (*address.greetings(), ("SUBSCRIBE", *channels)):
            writer.write(_pack(command))
        async for reply in _replies(reader, writer, ping_seconds):
            if isinstance(reply, hiredis.ReplyError):
                raise StoreUnavailable(f"Valkey refused a subscription: {reply}")
            if isinstance(reply, list) and reply[0] == b"message":
                yield reply[1].decode(), reply[2].decode()
            elif isinstance(reply, list) and reply[0] == b"subscribe" and reply[2] == len(channels):
                yield None
    finally:
        writer.transport.abort()


async def _replies(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ping_seconds: float
) -> AsyncGenerator[Reply]:
    parser = hiredis.Reader()
    is_pinged = False
    while True:
        try:
            async with asyncio.timeout(ping_seconds):
                data = await reader.read(65536)
        except TimeoutError:
            if is_pinged:
                raise StoreUnavailable("Valkey does not answer a ping.") from None
            writer.write(_pack(("PING",)))
            is_pinged = True
            continue
        except OSError as error:
            raise StoreUnavailable(f"Valkey was lost: {error}.") from error
        if not data:
            raise StoreUnavailable("Valkey closed the connection.")
        is_pinged = False
        parser.feed(data)
        while (reply := parser.gets()) is not False:
            yield reply


@contextmanager
def connect(url: str) -> "Iterator[Redis]":
    """Open redis-py's blocking client, for commands and Celery tasks; its errors come as StoreUnavailable."""
    import redis

    client = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=2, protocol=2)
    try:
        yield client
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreUnavailable(f"Valkey cannot be reached: {error}") from error
    finally:
        client.close()


class ThreadValkey:
    """A blocking connection for a worker's threads, which must not load redis-py; what fails raises StoreUnavailable."""

    def __init__(self, url: str, *, seconds: float = 10.0) -> None:
        address = Address.parse(url)
        self._reader = hiredis.Reader()
        try:
            if address.path:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.settimeout(seconds)
                self._socket.connect(address.path)
            else:
                self._socket = socket.create_connection((address.host, address.port), timeout=seconds)
                context = address.ssl()
                if context is not None:
                    self._socket = context.wrap_socket(self._socket, server_hostname=address.host)
        except OSError as error:
            raise StoreUnavailable(f"Valkey cannot be reached: {error}.") from error
        for command in address.greetings():
            self.execute_command(*command)

    def execute_command(self, *command: bytes | str | int) -> Reply:
        """Send one command and return its reply; raises ScriptFailed when Valkey refuses it."""
        try:
            self._socket.sendall(_pack(command))
            while (reply := self._reader.gets()) is False:
                data = self._socket.recv(65536)
                if not data:
                    raise StoreUnavailable("Valkey closed the connection.")
                self._reader.feed(data)
        except OSError as error:
            raise StoreUnavailable(f"Valkey was lost: {error}.") from error
        if isinstance(reply, hiredis.ReplyError):
            raise ScriptFailed(str(reply))
        return reply

    def xrange(self, name: bytes, min: bytes = b"-", count: int = 1000) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Return entries of a stream as redis-py does."""
        entries = self.execute_command("XRANGE", name, min, "+", "COUNT", count)
        return [(entry, dict(zip(fields[::2], fields[1::2], strict=True))) for entry, fields in entries]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
