"""What is served over websockets. Loaded with the first socket, as Channels is, and not by every worker."""

from typing import Any

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import CookieMiddleware
from django.urls import re_path

from routing.consumers import LiveConsumer


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """Refuse a socket at a path where there is none."""
    await send({"type": "websocket.close", "code": 4404})


websocket_urlpatterns = [re_path(r"^ws/live/?$", LiveConsumer.as_asgi()), re_path(r"", nothing)]  # type: ignore[arg-type]
# A page of another site could open a socket with the visitor's cookies: only our own hosts may.
application = AllowedHostsOriginValidator(CookieMiddleware(URLRouter(websocket_urlpatterns)))
