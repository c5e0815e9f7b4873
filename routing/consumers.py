"""The live view's socket: who may see what is asked when it opens, and again every few seconds.

A session's owner is found as Django's own middleware finds them, when the socket opens and ever again: signing out,
another password, a role or a suspension counts within `LOOK_AGAIN_SECONDS`.
"""

import asyncio
from contextlib import suppress
from typing import Any

import structlog
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError

from gateway_site.infra.threads import QueryUnanswered, run_query
from routing.live_audience import Audience, Seat, audience_of
from routing.live_rights import find_seat

log = structlog.get_logger("tollgate.live")

RUNTIME = "tollgate.runtime"  # in the scope
TURNED_AWAY = "tollgate.turned_away"  # in the scope: what a session lacks that may not see the console
LOOK_AGAIN_SECONDS = 5.0
NOT_ALLOWED = 4403
CHANGED = 4409  # they look with other eyes now: the page is to be loaded again
TRY_AGAIN = 1013


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """One viewer. What comes faster than it is taken is dropped, but for the newest."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seat, self.session = Seat(tenant_id=0), ""
        self._audience: Audience | None = None
        self._history = ""
        self._newest = ""
        self._has_news = asyncio.Event()
        self._work: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        """Let in whoever may see something; others are told so, and closed."""
        await self.accept()
        self.session = self.scope["cookies"].get(settings.SESSION_COOKIE_NAME, "")
        try:
            seat = await self._look()
        except (QueryUnanswered, DatabaseError):
            await self.close(TRY_AGAIN)
            return
        if seat is None:
            await self.close(NOT_ALLOWED)
            return
        audience = audience_of(self.scope[RUNTIME])
        if not audience.has_room(self.session):
            await self.close(TRY_AGAIN)
            return
        self.seat, self._audience = seat, audience
        self._history = audience.join(self)
        self._has_news.set()
        self._work = [asyncio.create_task(work) for work in (self._send_news(), self._keep_looking())]

    async def disconnect(self, code: int) -> None:
        """Leave."""
        for task in self._work:
            task.cancel()
        if self._audience is not None:
            self._audience.leave(self)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any) -> None:
        """Nothing that a viewer says matters."""

    def show(self, text: str) -> None:
        """Take the newest."""
        self._newest = text
        self._has_news.set()

    async def _look(self) -> Seat | None:
        return await run_query(find_seat, self.session, self.scope[TURNED_AWAY]) if self.session else None

    async def _keep_looking(self) -> None:
        """Close when the right is gone; while the database is away nobody can take it, and there is most to see."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            try:
                seat = await self._look()
            except (QueryUnanswered, DatabaseError) as error:
                log.debug("live_right_unknown", reason=str(error).strip())
                continue
            if seat != self.seat:
                self._work[0].cancel()  # nothing may follow the close
                await self.close(NOT_ALLOWED if seat is None else CHANGED)
                return

    async def _send_news(self) -> None:
        with suppress(OSError):  # who has gone is noticed by the socket itself
            while True:
                await self._has_news.wait()
                self._has_news.clear()
                history, self._history = self._history, ""
                newest, self._newest = self._newest, ""
                for text in (history, newest):
                    if text:
                        await self.send(text)
