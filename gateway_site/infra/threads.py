"""The ORM from the event loop: queries run in a few threads of their own, and leave no connection behind."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connections

_executor = ThreadPoolExecutor(max_workers=4, thread_name_prefix="orm")


async def run_query[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function that uses the ORM in a thread and return what it returns."""

    def call() -> R:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.get_running_loop().run_in_executor(_executor, call)
