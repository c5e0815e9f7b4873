"""The ORM from the event loop: queries run in a few threads of their own, and leave no connection behind.

A PostgreSQL that does not answer keeps all of these threads busy, and nothing more: callers give up after QUERY_SECONDS,
what nobody waits for any more is not begun, and when too much waits already a query is refused at once.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

from django.db import connections

THREADS = 4
MOST_QUERIES = 2_000  # that run or wait
QUERY_SECONDS = 10.0

_executor = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="orm")
_places = BoundedSemaphore(MOST_QUERIES)


class QueryUnanswered(TimeoutError):
    """PostgreSQL did not answer in time, or too many wait for it already."""


async def run_query[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function that uses the ORM in a thread and return what it returns; raises QueryUnanswered."""
    is_wanted = True

    def call() -> R:
        if not is_wanted:
            raise QueryUnanswered
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    if not _places.acquire(blocking=False):
        raise QueryUnanswered("Too many queries wait for PostgreSQL.")
    query = _executor.submit(call)
    query.add_done_callback(lambda _: _places.release())
    # Shielded: a query that is cancelled while it waits would give its place back and still stand in the line.
    answer = asyncio.wrap_future(query)
    answer.add_done_callback(_forget_outcome)
    try:
        async with asyncio.timeout(QUERY_SECONDS):
            return await asyncio.shield(answer)
    except TimeoutError as error:
        raise QueryUnanswered(f"PostgreSQL did not answer in {QUERY_SECONDS:g} s.") from error
    finally:
        is_wanted = False


def _forget_outcome[R](answer: asyncio.Future[R]) -> None:
    if not answer.cancelled():
        answer.exception()  # a future whose caller has gone must not complain about it
