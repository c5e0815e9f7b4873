"""Queries from the event loop: a PostgreSQL that does not answer keeps a few threads, and nobody for long."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Event

import pytest
from django.db import DatabaseError, connection

from gateway_site.infra import threads
from gateway_site.infra.threads import QueryUnanswered, run_query
from tests.environment import IDLE_TRANSACTION


@asynccontextmanager
async def stuck() -> AsyncIterator[None]:
    """All threads wait for a database that says nothing."""
    thawed, entered = Event(), []

    def wait() -> None:
        entered.append(1)
        thawed.wait(20)

    waiting = [asyncio.create_task(run_query(wait)) for _ in range(threads.THREADS)]
    while len(entered) < threads.THREADS:
        await asyncio.sleep(0.005)
    try:
        yield
    finally:
        thawed.set()
        await asyncio.gather(*waiting, return_exceptions=True)


def orm_threads() -> int:
    return sum(thread.name.startswith("orm") for thread in threading.enumerate())


async def test_it_returns_and_raises_what_the_function_does():
    assert await run_query(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        await run_query(lambda: 1 // 0)


async def test_a_query_without_an_answer_is_given_up(monkeypatch):
    async with stuck():
        monkeypatch.setattr(threads, "QUERY_SECONDS", 0.1)
        began = time.monotonic()
        with pytest.raises(QueryUnanswered):
            await run_query(lambda: 5)
        assert time.monotonic() - began < 2


async def test_queries_pile_up_neither_threads_nor_themselves(monkeypatch):
    monkeypatch.setattr(threads, "_places", threading.BoundedSemaphore(20))
    begun: list[int] = []
    async with stuck():
        monkeypatch.setattr(threads, "QUERY_SECONDS", 0.3)
        answers = await asyncio.gather(*(run_query(begun.append, 1) for _ in range(500)), return_exceptions=True)
        assert all(isinstance(answer, QueryUnanswered) for answer in answers)
        assert sum("Too many" in str(answer) for answer in answers) == 480 + threads.THREADS
        assert orm_threads() <= threads.THREADS
    assert await asked_again() == 5
    assert begun == []  # nobody waited for them any more


async def asked_again() -> int:
    """Ask until there is a place again."""
    while True:
        try:
            return await run_query(lambda: 5)
        except QueryUnanswered:
            await asyncio.sleep(0.01)


async def test_a_caller_that_goes_leaves_its_query_unbegun():
    begun: list[int] = []
    async with stuck():
        waiting = asyncio.create_task(run_query(begun.append, 1))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await run_query(lambda: 5) == 5
    assert begun == []


@pytest.mark.django_db(transaction=True)
def test_statements_and_idle_transactions_have_a_deadline():
    with connection.cursor() as cursor:
        limits = {}
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            cursor.execute(f"SHOW {name}")
            limits[name] = cursor.fetchone()[0]
        assert limits == {"statement_timeout": "15s", "idle_in_transaction_session_timeout": IDLE_TRANSACTION}
        cursor.execute("SET statement_timeout = '50ms'")
        with pytest.raises(DatabaseError, match="statement timeout"):
            cursor.execute("SELECT pg_sleep(5)")
    connection.close()
