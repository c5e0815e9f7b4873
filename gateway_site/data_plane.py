"""The lean ASGI handler of the data plane.

Django's own handler costs about 750 µs a request in thread hops, a temporary file for the body and a task; this one reads
the body into memory, resolves against the data plane's own URLs, awaits the ninja operation and sends what it returns. It
fires no request signals, so nothing behind it may touch the ORM directly.

A client that goes away is noticed by awaiting `receive()`: the handler's task is cancelled, and every `finally` below runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any

import structlog
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch
from django.urls.exceptions import Resolver404
from django.urls.resolvers import get_resolver

from gateway_site.infra.logging import AccessLog
from gateway_site.serving.answer_headers import identity_headers, stream_headers
from gateway_site.serving.departure import Departure
from gateway_site.serving.one_write import cycle_of, writer_of
from gateway_site.serving.patience import Patience
from providers.registry import DIALECTS
from routing.exchange import Exchange
from routing.flights import flights
from routing.headers import with_query_key
from routing.inbound_body import ClientGone, read_away, read_body
from routing.keeping import Kept, Overheard
from routing.observe import active_requests, observe
from routing.outbound import UpstreamRejected
from routing.request import DataPlaneRequest
from routing.response import EventStreamResponse, WholeResponse
from routing.runtime import Runtime
from tenants.errors import BodyTooLarge, BudgetExhausted, GatewayError, MethodNotAllowed, NotFound

log = structlog.get_logger("tollgate.data_plane")

type Scope = dict[str, Any]
type Receive = Callable[[], Awaitable[Any]]
type Send = Callable[[dict[str, Any]], Awaitable[None]]

URLCONF = "gateway_site.data_plane_urls"
CLIENT_CLOSED_REQUEST = 499
JSON = (b"content-type", b"application/json")
# No key; counted, but not logged.
PUBLIC_PATHS = frozenset(
    {"/health", "/healthz", "/ready", "/metrics", "/metrics/health", "/metrics/summary", "/metrics/export", "/"}
)


class DataPlaneHandler:
    """Serves one request per call, for one runtime."""

    def __init__(self, runtime: Runtime, *, access_log: AccessLog, max_body_bytes: int, body_timeout: float) -> None:
        self.runtime = runtime
        self.access_log = access_log
        self.max_body_bytes = max_body_bytes
        self.body_timeout = body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope["method"], scope["path"], scope["headers"])
        exchange.is_logged = scope["path"] not in PUBLIC_PATHS
        label: str | None = None
        active_requests.change(1)
        flights.begin(exchange)
        try:
            match = self._match(scope)
            label = match.route if match is not None else None
            await self._serve(scope, receive, send, exchange, match)
        except ClientGone:
            exchange.status, exchange.outcome = CLIENT_CLOSED_REQUEST, "client_gone"
        except asyncio.CancelledError:
            if not exchange.is_client_gone:
                raise
            _uncancel()
            exchange.status = exchange.status or CLIENT_CLOSED_REQUEST
        finally:
            active_requests.change(-1)
            flights.end(exchange)
            observe(exchange, label, self.access_log)
            if exchange.kept is not None:
                self.runtime.bodies.keep(exchange)
            exchange.let_go()

    def _match(self, scope: Scope) -> ResolverMatch | None:
        try:
            return _resolve(scope["path"])
        except Resolver404:
            return None

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, exchange: Exchange, match: ResolverMatch | None
    ) -> None:
        patience = Patience(exchange, send, self.runtime.alarms)
        try:
            response = await self._answer(scope, receive, exchange, match)
        except GatewayError as error:
            if patience.has_begun:
                await patience.fail(error)
                return
            await send_whole(error_response(error, exchange), exchange, send)
            if isinstance(error, BodyTooLarge):
                await read_away(receive)
            return
        finally:
            patience.stop()
        if isinstance(response, EventStreamResponse):
            await self._send_stream(response, exchange, receive, send, has_begun=patience.has_begun)
        elif patience.has_begun:
            await patience.end_with(response)
        else:
            await send_whole(response, exchange, send)

    async def _answer(
        self, scope: Scope, receive: Receive, exchange: Exchange, match: ResolverMatch | None
    ) -> HttpResponseBase:
        if match is None:
            raise NotFound(f"There is nothing at {scope['path']}.", code="endpoint_not_found")
        if scope["path"] not in PUBLIC_PATHS:
            # Before the body: nobody fills this worker's memory without a key.
            headers = scope["headers"]
            if exchange.dialect == "gemini":
                headers = with_query_key(headers, scope["query_string"])
            exchange.principal = await self.runtime.authenticator.authenticate(headers)
        body = b""
        if scope["method"] in {"POST", "PUT", "PATCH"}:
            body = await read_body(exchange.headers, receive, limit=self.max_body_bytes, timeout=self.body_timeout)
            if exchange.principal is not None and exchange.principal.keeps_bodies:
                exchange.kept = Kept(body, scope["headers"])
        request = DataPlaneRequest(scope, body, exchange, self.runtime)
        request.resolver_match = match
        watch = Departure(receive, exchange, self.runtime.alarms)
        try:
            response = await match.func(request, *match.args, **match.kwargs)
        except (GatewayError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("internal_error", request_id=exchange.request_id, path=exchange.path)
            raise GatewayError(
                f"The gateway failed. Tell whoever runs it this request id: {exchange.request_id}."
            ) from None
        finally:
            watch.stop()
        if response.status_code == 405 and not isinstance(response, WholeResponse):
            allowed = {"allow": response.headers.get("Allow", "")}
            raise MethodNotAllowed(f"{scope['method']} is not allowed at {scope['path']}.", headers=allowed)
        return response

    async def _send_stream(
        self, response: EventStreamResponse, exchange: Exchange, receive: Receive, send: Send, *, has_begun: bool
    ) -> None:
        body: Any = response.body if exchange.kept is None else Overheard(response.body, exchange.kept)
        try:
            # The generator is started before anything else is awaited, so that its `finally` is certain to run.
            first = await anext(body, b"")
            exchange.status = response.status_code
            watch = Departure(receive, exchange, self.runtime.alarms)
            try:
                if not has_begun:
                    await send(
                        {
                            "type": "http.response.start",
                            "status": response.status_code,
                            "headers": [*response.pairs, *stream_headers(exchange)],
                        }
                    )
                await send({"type": "http.response.body", "body": first, "more_body": True})
                if response.may_bypass and exchange.kept is None:  # else all of it has to come by here
                    exchange.write_now = writer_of(send)
                async for data in body:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                watch.stop()
        finally:
            await body.aclose()


async def send_whole(response: HttpResponseBase, exchange: Exchange, send: Send) -> None:
    """Send an answer that is there: ours, or one of Django's from the few endpoints that use them."""
    exchange.status = response.status_code
    if isinstance(response, WholeResponse):
        pairs: Sequence[tuple[bytes, bytes]] = response.pairs
    else:
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.items()]
    content: bytes = response.content  # type: ignore[attr-defined]
    if exchange.kept is not None:
        exchange.kept.add(content)
    headers = [*pairs, *identity_headers(exchange)]
    cycle = cycle_of(send)
    if cycle is not None and cycle.answer_now(response.status_code, headers, content):
        return
    headers.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else content})


def error_response(error: GatewayError, exchange: Exchange) -> WholeResponse:
    """Write an error in the caller's dialect."""
    exchange.error_code = error.code
    dialect = DIALECTS[exchange.dialect]
    own = (
        {} if isinstance(error, UpstreamRejected) else {"x-tollgate-error": error.code}
    )  # not the gateway's: no such word
    headers = {**own, **error.headers}
    pairs = [(name.encode(), value.encode("ascii", "replace")) for name, value in headers.items()]
    status = dialect.empty_budget_status if isinstance(error, BudgetExhausted) else error.status
    return WholeResponse(status, [JSON, *pairs], dialect.write_error(error, exchange.request_id))


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


@lru_cache(maxsize=1024)
def _resolve(path: str) -> ResolverMatch:
    """Resolve a path once: matches are not written to, and misses are not kept."""
    return get_resolver(URLCONF).resolve(path)


def warm_up() -> None:
    """Load the endpoints."""
    _resolve("/ready")
