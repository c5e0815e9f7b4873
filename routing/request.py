"""The data plane's request: Django's type for ninja's sake, with the body in memory and META built only when asked for."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.utils.functional import cached_property

from routing.exchange import Exchange
from tenants.principal import Principal

if TYPE_CHECKING:
    from routing.runtime import Runtime


class DataPlaneRequest(HttpRequest):
    """What the endpoints get; `header_pairs` are the raw headers, names in lower case."""

    def __init__(self, scope: dict[str, Any], body: bytes, exchange: Exchange, runtime: "Runtime") -> None:
        # HttpRequest.__init__ is left out on purpose: it builds what nobody on this path reads.
        self.scope = scope
        self.method = scope["method"]
        self.path = self.path_info = scope["path"]
        self.resolver_match = None
        self.exchange = exchange
        self.runtime = runtime
        self.header_pairs: Sequence[tuple[bytes, bytes]] = scope["headers"]
        self._body = body
        self._read_started = True

    @property
    def principal(self) -> Principal:
        """Whoever calls; the handler has seen to it."""
        assert self.exchange.principal is not None
        return self.exchange.principal

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self._body

    @cached_property
    def META(self) -> dict[str, Any]:  # type: ignore[override]
        """Django's dictionary of headers, for code that asks for it."""
        return ASGIRequest(self.scope, BytesIO(self._body)).META

    @cached_property
    def GET(self) -> Any:  # type: ignore[override]
        """The query, for code that asks for it."""
        return ASGIRequest(self.scope, BytesIO(b"")).GET
