"""What a worker serves from, as tests open it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from django.conf import settings

from routing.runtime import Runtime


@asynccontextmanager
async def runtime_at(state_dir: Path, url: str | None = None, *, worker: str | None = None) -> AsyncIterator[Runtime]:
    """One that believes what it knows for ten minutes; with a name of its own: here all workers have one process id."""
    runtime = Runtime(
        valkey_url=url or settings.VALKEY_URL,
        state_dir=state_dir,
        peppers=settings.TOLLGATE_KEY_PEPPERS,
        cache_size=1_000,
        cache_seconds=600,
        seal_secrets=settings.TOLLGATE_SECRETS_KEYS,
    )
    runtime.worker = worker or runtime.worker
    await runtime.open()
    try:
        yield runtime
    finally:
        await runtime.aclose()
