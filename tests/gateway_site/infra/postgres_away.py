"""A PostgreSQL that is not there, or does not answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from django.db import connections


@contextmanager
def postgres_at(folder: Path) -> Iterator[None]:
    """Let the database be looked for in another folder, where there may be nothing."""
    database = connections.settings["default"]
    host, database["HOST"] = database["HOST"], str(folder)
    try:
        yield
    finally:
        database["HOST"] = host


@asynccontextmanager
async def silent_postgres(folder: Path) -> AsyncIterator[None]:
    """A database that accepts connections and never says a word."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda _, writer: writers.append(writer), folder / ".s.PGSQL.5432")
    try:
        with postgres_at(folder):
            yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
