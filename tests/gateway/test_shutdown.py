"""Web processes that are told to stop: what is open ends well or is settled, and nothing is missing from the ledger.

A second node runs the web processes alone on the stores of the shared stack, which drains what the node leaves behind.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from tests.gateway.calls import CHAT, MESSAGES, Dialect, bearer, head
from tests.gateway.conftest import Keys
from tests.gateway.console import every_worker
from tests.gateway.stack import ROOT, Stack, dying_with_us, environment, free_port, wait_for

SHUTDOWN_SECONDS = 20
SHORT = "[[chunks=25 interval=0.2]]"  # 5 s: ends in time
LONG = "[[chunks=300 interval=0.2]]"  # a minute: does not
WHOLE = "[[first=4]]"
# Its answers may take longer than a shutdown: those of the other routes end after 20 s.
ROUTE = """
routes:
  - {alias: unhurried, retries: 0, total_timeout: 60, targets: [{deployment: sim-chat}, {deployment: sim-messages}]}
"""
ENDS = {CHAT.name: b"data: [DONE]", MESSAGES.name: b"message_stop"}


@pytest.fixture(scope="module", autouse=True)
def _unhurried(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("unhurried") / "route.yaml"
    path.write_text(ROUTE)
    stack.manage("apply", str(path))


@contextmanager
def web_node(stack: Stack, directory: Path, *, workers: int) -> Iterator[Stack]:
    """Run web processes alone, on the stores of a stack that runs already."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    stores = json.loads((stack.state_dir / "environment.json").read_text())
    variables = {
        **environment(directory),
        **stores,
        "PORT": str(port),
        "WORKERS": str(workers),
        "SHUTDOWN_TIMEOUT": str(SHUTDOWN_SECONDS),
    }
    with (directory / "up.log").open("wb") as log:
        process = subprocess.Popen(
            dying_with_us(sys.executable, "manage.py", "up", "--web-only"),
            cwd=ROOT,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    node = Stack(directory, port, urlsplit(stack.simulator_url).port or 0, process)
    try:
        wait_for(lambda: _is_ready(node, workers), "the second node", seconds=120)
        with every_worker(node):
            time.sleep(0.5)  # its supervisor looks at that, too, before it takes orders
        yield node
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=30)


def _is_ready(node: Stack, workers: int) -> bool:
    assert node.process.poll() is None, node.log()
    with suppress(httpx.HTTPError):
        return len(node.workers()) == workers and httpx.get(f"{node.url}/ready", verify=False).status_code == 200
    return False


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request on a connection of its own, as far as it has come."""

    dialect: Dialect
    text: str
    is_stream: bool = True
    received: bytearray = field(default_factory=bytearray)

    async def run(self, url: str, key: str) -> None:
        """Ask, and read until the gateway closes."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            body = json.dumps(self.dialect.body(self.text, model="unhurried", stream=self.is_stream)).encode()
            lines = [f"{name}: {value}" for name, value in bearer(key).items()]
            writer.write(head(self.dialect.path, *lines, "Connection: close", f"Content-Length: {len(body)}") + body)
            while data := await reader.read(65536):
                self.received += data
        finally:
            writer.close()

    @property
    def has_begun(self) -> bool:
        """Whether an answer has begun, so far as the client can see."""
        return b"\r\n\r\n" in self.received or not self.is_stream

    @property
    def request_id(self) -> str:
        """The id that the gateway gave it."""
        start = self.received.index(b"x-request-id: ") + len(b"x-request-id: ")
        return self.received[start : start + 32].decode()

    @property
    def is_whole(self) -> bool:
        """Whether it has ended as a good answer does."""
        if not self.received.startswith(b"HTTP/1.1 200"):
            return False
        if not self.is_stream:
            return b"twelve words" in self.received
        return ENDS[self.dialect.name] in self.received[-200:] and self.received.endswith(b"0\r\n\r\n")


async def open_all(stack: Stack, key: str, exchanges: Sequence[Exchange]) -> list[asyncio.Task[None]]:
    """Begin all of them and wait until their answers have begun."""
    tasks = [asyncio.create_task(each.run(stack.url, key)) for each in exchanges]
    deadline = time.monotonic() + 20
    while not all(each.has_begun for each in exchanges):
        assert time.monotonic() < deadline, Counter(each.has_begun for each in exchanges)
        await asyncio.sleep(0.02)
    return tasks


def refuses(node: Stack) -> bool:
    """Whether nobody listens at a node's port."""
    parts = urlsplit(node.url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=3).close()
    except ConnectionRefusedError:
        return True
    return False


def records(stack: Stack, exchanges: Sequence[Exchange]) -> dict[str, dict[str, Any]]:
    """Return their ledger rows by id, as soon as all are there."""
    ids = [each.request_id for each in exchanges]
    sql = "SELECT to_jsonb(r) FROM tenants_usagerecord r WHERE request_id = ANY(%s::uuid[])"

    def look() -> list[tuple[Any, ...]] | None:
        rows = stack.query(sql, ids)
        return rows if len(rows) >= len(ids) else None

    rows = wait_for(look, f"{len(ids)} usage records", seconds=60)
    assert len(rows) == len(ids), "some are there twice"
    return {row["request_id"].replace("-", ""): row for (row,) in rows}


async def test_sigterm_ends_five_hundred_streams_well_or_settles_them(stack: Stack, keys: Keys, tmp_path: Path) -> None:
    short = [Exchange(dialect=dialect, text=SHORT) for dialect in (CHAT, MESSAGES) for _ in range(225)]
    long = [Exchange(dialect=dialect, text=LONG) for dialect in (CHAT, MESSAGES) for _ in range(25)]
    whole = [Exchange(dialect=dialect, text=WHOLE, is_stream=False) for dialect in (CHAT, MESSAGES) for _ in range(10)]
    everybody = [*short, *long, *whole]
    with web_node(stack, tmp_path / "node", workers=2) as node:
        tasks = await open_all(node, keys.alice, everybody)
        os.kill(node.process.pid, signal.SIGTERM)
        began = time.monotonic()
        await asyncio.to_thread(wait_for, lambda: refuses(node), "that it takes no connections any more", seconds=15)
        await asyncio.gather(*tasks, return_exceptions=True)
        status = await asyncio.to_thread(node.process.wait, SHUTDOWN_SECONDS + 10)
        took = time.monotonic() - began
        log = node.log()
    assert status == 0, log[-3000:]
    assert took < SHUTDOWN_SECONDS + 9, f"{took:.1f} s"
    assert "is killed" not in log
    torn = [bytes(each.received[-200:]) for each in [*short, *whole] if not each.is_whole]
    assert not torn, (len(torn), torn[:3], log[-2000:])
    assert not any(ENDS[each.dialect.name] in each.received for each in long), "a clean end of half an answer"

    rows = await asyncio.to_thread(records, stack, everybody)
    outcomes = Counter(rows[each.request_id]["outcome"] for each in [*short, *whole])
    assert outcomes == {"served": 470}
    assert Counter(rows[each.request_id]["output_tokens"] for each in short) == {25: 450}
    cut = [rows[each.request_id] for each in long]
    assert Counter((row["outcome"], row["cost_status"]) for row in cut) == {("shutdown", "estimated"): 50}
    assert all(row["output_tokens"] > 0 and row["cost"] > 0 for row in cut)


async def test_sighup_replaces_the_workers_and_nobody_notices(stack: Stack, keys: Keys, tmp_path: Path) -> None:
    streams = [Exchange(dialect=dialect, text=SHORT) for dialect in (CHAT, MESSAGES) for _ in range(50)]
    asked: list[Exchange] = []
    with web_node(stack, tmp_path / "node", workers=2) as node:
        before = {worker.pid for worker in node.workers()}
        tasks = await open_all(node, keys.alice, streams)
        load = [asyncio.create_task(_keep_asking(node, keys.alice, asked)) for _ in range(8)]
        load.append(asyncio.create_task(_keep_asking_with_the_sdk(node, keys.alice)))
        await asyncio.sleep(0.5)
        os.kill(node.process.pid, signal.SIGHUP)
        replaced = lambda: len(pids := {w.pid for w in node.workers()}) == 2 and not pids & before  # noqa: E731
        await asyncio.to_thread(wait_for, replaced, "two new workers", seconds=120)
        async with asyncio.timeout(60):  # however slow the machine is
            while len(asked) <= 100:
                await asyncio.sleep(0.1)
        for task in load:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
        await asyncio.gather(*tasks)
        os.kill(node.process.pid, signal.SIGTERM)
        assert await asyncio.to_thread(node.process.wait, SHUTDOWN_SECONDS + 10) == 0
    assert [each.is_whole for each in streams] == [True] * 100
    torn = [bytes(each.received[:300]) for each in asked if not each.is_whole]
    assert not torn, (len(torn), len(asked), torn[:3])
    rows = await asyncio.to_thread(records, stack, streams)
    assert {row["outcome"] for row in rows.values()} == {"served"}


async def _keep_asking(node: Stack, key: str, asked: list[Exchange]) -> None:
    """Ask again and again, each time on a new connection."""
    while True:
        exchange = Exchange(dialect=CHAT, text="hi", is_stream=False)
        with suppress(ConnectionError):  # then it is not whole
            await exchange.run(node.url, key)
        asked.append(exchange)


async def _keep_asking_with_the_sdk(node: Stack, key: str) -> None:
    """Ask again and again on connections that are kept, as programs do."""
    async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", api_key=key, max_retries=2) as sdk:
        while True:
            await sdk.chat.completions.create(model="both", messages=[{"role": "user", "content": "hi"}])
