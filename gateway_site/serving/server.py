"""One web process: uvicorn in the foreground, on a socket that it is given or binds itself."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from gateway_site.env import envint, envlist
from gateway_site.serving.entrance import Entrance
from gateway_site.serving.protocol import Protocol

LAST_REQUESTS_SECONDS = 0.25  # for the requests of connections that were accepted in the moment of the stop
MOST_SAID_BYTES = 16 * 1024  # by whoever opens a websocket: nothing of it is needed
APPLICATION = "gateway_site.asgi:application"


class WebServer(uvicorn.Server):
    """uvicorn's server, which says when it serves, and for which a stop that was asked for is a success."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        report_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody any more, then answer what is asked already; uvicorn alone hangs up on who was just accepted."""
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        await asyncio.sleep(LAST_REQUESTS_SECONDS)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # As uvicorn's, but without raising the signal again in the end: a graceful stop exits 0.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield


def report_ready() -> None:
    """Write to the file descriptor that the supervisor opened for it, if there is one."""
    fd = os.environ.pop("READY_FD", None)
    if fd is not None:
        os.write(int(fd), b"1")
        os.close(int(fd))


def serve(*, fd: int | None = None, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve until SIGTERM or SIGINT, then finish open streams up to SHUTDOWN_TIMEOUT seconds."""
    server = WebServer(config(host=host, port=port))
    # Not uvicorn's own `fd`: it takes the socket for a unix one, and accepted connections lack TCP_NODELAY.
    server.run(sockets=None if fd is None else [socket.socket(fileno=fd)])
    if not server.started:
        raise SystemExit(1)


def websocket_protocol(**settings: Any) -> asyncio.Protocol:
    """Make the protocol of a websocket; wsproto, 2 MB of it, is loaded with the first one."""
    from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

    return WSProtocol(**settings)


def config(*, host: str, port: int) -> uvicorn.Config:
    proxies = envlist("TRUSTED_PROXIES")  # whose X-Forwarded-For and X-Forwarded-Proto are believed
    return uvicorn.Config(
        APPLICATION,
        host=host,
        port=port,
        loop="uvloop",
        http=partial(Protocol, entrance=Entrance()),  # type: ignore[arg-type]
        ws=websocket_protocol,  # type: ignore[arg-type]
        ws_max_size=MOST_SAID_BYTES,
        ws_per_message_deflate=False,  # it would take 300 KB for each socket, and time of the event loop
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        timeout_keep_alive=75,  # longer than the usual load balancer's 60 s, so that it closes first
        timeout_graceful_shutdown=envint("SHUTDOWN_TIMEOUT", 30, minimum=0),
        backlog=2048,
    )
