"""What is dear to make and often asked for: made by one however many ask, in a thread of its own, and kept for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

FRESH_SECONDS = 1.0

_executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="documents")


class Kept[T]:
    """A value that is made anew when it is asked for and older than a second."""

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self._value: T
        self._stale_at = 0.0
        self._making: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the value; those who ask while it is made wait for the same one."""
        if monotonic() < self._stale_at:
            return self._value
        if self._making is None:
            self._making = asyncio.create_task(self._made())
        return await asyncio.shield(self._making)

    async def _made(self) -> T:
        try:
            self._value = await self._make()
            self._stale_at = monotonic() + FRESH_SECONDS
            return self._value
        finally:
            self._making = None


async def in_thread[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run what would hold up the event loop, one after the other; nothing of the loop's may be touched there."""
    return await asyncio.wrap_future(_executor.submit(function, *args, **kwargs))
