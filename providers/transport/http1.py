"""HTTP/1.1 to upstreams, by aiohttp."""

import asyncio
import io
from collections.abc import Sequence

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from providers.transport.connector import NO_TIMEOUT, Connector, Request
from providers.transport.packing import unpacker_for
from providers.transport.upstream import END_SECONDS, STALE_SECONDS, Upstream, UpstreamBroken

LARGE_BODY = 512 * 1024  # above this aiohttp wants a file, so that the loop is not blocked by one write
READ_BUFFER = 64 * 1024

_ending: set[asyncio.Future[None]] = set()


class Http1Upstream(Upstream):
    """An answer that has a connection to itself."""

    __slots__ = ("_response",)

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self._unpacker = unpacker_for(response.headers.get("Content-Encoding", ""))

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they came."""
        return self._response.raw_headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty when there is none."""
        return self._response.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    async def _receive(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamBroken(str(error) or type(error).__name__) from error

    def finish(self, *, is_answered: bool) -> None:
        """Let go of the connection: it is kept for the next request if the answer is over, and closed if it is not."""
        if self._response.content.is_eof():
            self._response.release()
        elif is_answered:
            # The answer's last frame has come, but not yet the end of the body, which follows at once.
            task = asyncio.ensure_future(_read_end(self._response))
            _ending.add(task)
            task.add_done_callback(_ending.discard)
        else:
            self._response.close()

    def abort(self) -> None:
        """Close the connection now; a pending read raises UpstreamBroken."""
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


class Http1Connections:
    """A pool's connections, each with one request at a time.

    aiohttp's request, connection and response are used directly: its session, which would put them together, looks for
    cookies, redirects, traces, environment and authentication with each request, for a tenth of what a request costs here.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    async def open(self, method: str, url: URL, headers: Sequence[tuple[str, str]], body: bytes) -> Upstream:
        """Send a request and return the answer with its headers; raises aiohttp's errors."""
        request = Request(
            method,
            url,
            headers=CIMultiDict(headers),
            data=body if len(body) < LARGE_BODY else io.BytesIO(body),
            loop=self._loop,
            session=self._session,
            proxy=self._connector.proxy,
        )
        try:
            return Http1Upstream(await self._send(request))
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            await self._prepare_again(request, error)
        return Http1Upstream(await self._send(request))

    async def aclose(self) -> None:
        """Close them, and the connector."""
        await self._session.close()

    async def _prepare_again(self, request: Request, error: aiohttp.ClientError) -> None:
        """Let a request be sent again if it met a kept connection that the server had closed meanwhile, else raise.

        A server closes an idle connection whenever it likes, and a request may be under way to it at that moment. It has
        then seen nothing of it, which is why only a kept connection that ends at once and without a byte counts as stale.
        """
        if request.is_on_new_connection or _has_answered(error):
            raise error
        if self._loop.time() - request.sent_at > STALE_SECONDS:
            raise error
        await request.close()  # ends the writing of the body, if that was still going on
        if getattr(request.body, "consumed", False):
            raise error
        self._connector.drop_idle(request.connection_key)

    async def _send(self, request: Request) -> aiohttp.ClientResponse:
        try:
            connection = await self._connector.connect(request, traces=[], timeout=NO_TIMEOUT)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {request.host} in time") from error
        protocol = connection.protocol
        assert protocol is not None
        protocol.set_response_params(
            timer=request._timer,
            skip_payload=request.method == hdrs.METH_HEAD,
            read_until_eof=True,
            auto_decompress=False,  # by `packing`
            read_bufsize=READ_BUFFER,
        )
        try:
            response = await request.send(connection)
            try:
                await response.start(connection)
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise
        return response


def _has_answered(error: aiohttp.ClientError) -> bool:
    """Whether the connection ended within the headers of an answer."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)


async def _read_end(response: aiohttp.ClientResponse) -> None:
    """Read what is left of a finished answer, so that its connection can be used again."""
    try:
        async with asyncio.timeout(END_SECONDS):
            while await response.content.readany():
                pass
    except (aiohttp.ClientError, OSError, TimeoutError):
        response.close()
