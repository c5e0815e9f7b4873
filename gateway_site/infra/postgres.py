"""Whether PostgreSQL answers: asked every few seconds in a thread of its own, so that nobody waits for the answer."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import time

import structlog
from django.db import connections

log = structlog.get_logger("tollgate.postgres")

CHECK_SECONDS = 5.0
DEADLINE_SECONDS = 1.0


class PostgresWatch:
    """Knows how PostgreSQL was at the last check; a worker has one, and calls `check` again and again."""

    def __init__(self) -> None:
        self.state = "unknown"  # up, down
        self.since = 0.0  # seconds since 1970
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="postgres-watch")
        self._asked: asyncio.Future[None] | None = None

    @property
    def is_down(self) -> bool:
        """Whether the last check failed."""
        return self.state == "down"

    async def check(self) -> None:
        """Ask; no answer in a second means down, and a question that still hangs is not asked again."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.get_running_loop().run_in_executor(self._thread, _ask)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await asyncio.shield(self._asked)
        except TimeoutError:
            self._became("down", f"no answer in {DEADLINE_SECONDS:g} s")
        except Exception as error:
            self._became("down", str(error).strip())
        else:
            self._became("up", "")

    async def aclose(self) -> None:
        """Ask no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._asked is not None:
            with suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(self._asked, DEADLINE_SECONDS)

    def _became(self, state: str, reason: str) -> None:
        if state == self.state:
            return
        was, self.state, self.since = self.state, state, time()
        if state == "down":
            log.warning("postgres_lost", reason=reason)
        elif was == "down":
            log.info("postgres_back")


def _ask() -> None:
    connection = connections["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()
