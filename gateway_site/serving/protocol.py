"""uvicorn's HTTP protocol, whose requests wait at the entrance and whose answers leave in few writes."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway_site.serving.entrance import Entrance
from gateway_site.serving.one_write import OneWriteCycle
from routing.observe import active_connections


class Protocol(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *arguments: Any, entrance: Entrance, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.entrance = entrance
        self.outside = b""  # of a request that waits at the entrance
        self.answering: OneWriteCycle | None = None  # whose request has begun; others may stand behind it

    def connection_made(self, transport: Any) -> None:
        """One more client."""
        super().connection_made(transport)
        active_connections.change(1)

    def connection_lost(self, exc: Exception | None) -> None:
        """One less; the request that is being answered is told, of which uvicorn tells only when none stands behind it."""
        active_connections.change(-1)
        self.outside = b""
        if self.answering is not None:
            self.answering.leave()
            self.answering = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a request, or what comes next of it, unless it has to wait at the entrance."""
        if self.outside:
            self.outside += data
            self.flow.pause_reading()  # the rest waits where it is
        elif self.is_between_requests and not self.entrance.enter(self._begin):
            self.outside = data
            self._unset_keepalive_if_required()
        else:
            super().data_received(data)

    @property
    def is_between_requests(self) -> bool:
        """Whether what comes now begins a request."""
        return self.cycle is None or self.cycle.response_complete

    def _begin(self) -> bool:
        data, self.outside = self.outside, b""
        if not data:
            return False
        self.flow.resume_reading()
        super().data_received(data)
        return True

    def shutdown(self) -> None:
        """Close when what has been asked is answered."""
        self._begin()
        super().shutdown()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to another protocol, which does not tell us of its end."""
        super().handle_websocket_upgrade()
        active_connections.change(-1)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Let a request begin; uvicorn has no setting for the class of its cycles, whose task starts later."""
        cycle.__class__ = OneWriteCycle
        self.answering = cycle
        super()._start_asgi_task(cycle, app)
