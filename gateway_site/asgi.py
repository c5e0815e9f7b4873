"""The ASGI application: the plane split, and the lifespan that opens and closes the runtime."""

import gc
import os
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")

import django
from django.conf import settings
from django.core.asgi import get_asgi_application

from gateway_site.serving.light_start import without_test_tools

with without_test_tools():
    django.setup(set_prefix=False)
# whitenoise opens its files synchronously; what it serves are a few small ones of the console.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

from gateway_site.data_plane import PUBLIC_PATHS, DataPlaneHandler, warm_up  # noqa: E402
from gateway_site.infra import tallies  # noqa: E402
from gateway_site.infra.logging import AccessLog  # noqa: E402
from routing.runtime import Runtime  # noqa: E402

type Scope = Any
type Receive = Callable[[], Awaitable[Any]]
type Send = Callable[[Any], Awaitable[None]]

RUNTIME = "tollgate.runtime"  # in the scope of what Django serves
SOCKET_PREFIX = "/ws/"
DATA_PLANE_PREFIXES = ("/v1/", "/v1beta/")
DATA_PLANE_PATHS = PUBLIC_PATHS - {"/"}  # where only HEAD is for the data plane

# More objects than are freed. Requests leave nothing to collect behind them, but hundreds that come at once hold so many
# (200 streams 20,000) that Python's 2,000 would look through them again and again meanwhile: at 20,000 it takes 5 to 12 ms.
COLLECT_AFTER = 50_000


class Application:
    """Sends each connection to its plane; one runtime per worker, opened on the worker's own event loop."""

    def __init__(self) -> None:
        self._control_plane = get_asgi_application()
        self._data_plane: DataPlaneHandler | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if is_data_plane(scope["path"], scope["method"]):
                await (self._data_plane or await self._open())(scope, receive, send)
            else:
                await self._control_plane(self._with_runtime(scope), receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._serve_socket(scope, receive, send)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the console's sockets; what they need is loaded with the first of them."""
        if self._data_plane is None or not scope["path"].startswith(SOCKET_PREFIX):
            await send({"type": "websocket.close", "code": 4404})
            return
        from gateway_site.sign_in.rules import turned_away
        from routing.consumers import TURNED_AWAY
        from routing.websocket_urls import application

        await application({**self._with_runtime(scope), TURNED_AWAY: turned_away}, receive, send)

    def _with_runtime(self, scope: Scope) -> Scope:
        """Let the public pages see how this worker is, once it has opened its runtime."""
        return scope if self._data_plane is None else {**scope, RUNTIME: self._data_plane.runtime}

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            handler = await self._open()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            return
        # What is there now stays for ever: the collector need not look at it again with every full collection.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await handler.runtime.aclose()
        handler.access_log.flush()
        tallies.flush()
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> DataPlaneHandler:
        """Open the runtime: with the lifespan, or with the first request where a server has none (`runserver`)."""
        runtime = Runtime(
            valkey_url=settings.VALKEY_URL,
            state_dir=settings.STATE_DIR,
            peppers=settings.TOLLGATE_KEY_PEPPERS,
            cache_size=settings.PRINCIPAL_CACHE_SIZE,
            cache_seconds=settings.PRINCIPAL_CACHE_SECONDS,
            seal_secrets=settings.TOLLGATE_SECRETS_KEYS,
            expected_workers=settings.WORKERS,
        )
        warm_up()  # what requests need is loaded now and not by the first of them
        await runtime.open()
        self._data_plane = DataPlaneHandler(
            runtime,
            access_log=AccessLog(settings.LOG_FORMAT),
            max_body_bytes=settings.MAX_BODY_BYTES,
            body_timeout=settings.BODY_TIMEOUT,
        )
        return self._data_plane


def is_data_plane(path: str, method: str) -> bool:
    """Whether a request is for the data plane; HEAD / is what Claude Code asks first."""
    return path.startswith(DATA_PLANE_PREFIXES) or path in DATA_PLANE_PATHS or (path == "/" and method == "HEAD")


application = Application()
