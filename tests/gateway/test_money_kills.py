"""Processes killed with SIGKILL under load, with budgets and limits on every request: the books are right afterwards.

After each: every request that was answered is in the ledger, none twice; nothing is held within a minute; streams that were
cut are there as lost, once; and counters, ledger and rollups say the same without being mended.
"""

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import redis

from tenants.keys import generate
from tests.environment import STATE_DIR
from tests.gateway.calls import CHAT, MESSAGES, Dialect, bearer
from tests.gateway.stack import Stack, running_stack, wait_for

CONFIGURATION = """
providers:
  - slug: sim
    adapter: openai_compatible
    base_url: ${SIMULATOR_URL}/v1
    credential: any
    allow_private_address: true
    timeouts: &timeouts {connect: 2, first_token: 20, between_tokens: 20}
    breaker: &off {enabled: false}
    cooldown: *off
  - slug: sim-anthropic
    adapter: anthropic
    base_url: ${SIMULATOR_URL}
    credential: any
    allow_private_address: true
    timeouts: *timeouts
    breaker: *off
    cooldown: *off
deployments:
  - {slug: kills-chat, provider: sim, model: sim-fast, prices: {input: "1.1", output: "2.7"}}
  - {slug: kills-messages, provider: sim-anthropic, model: sim-fast, prices: {input: "3.3", output: "15.7"}}
routes:
  - {alias: chat, retries: 0, targets: [{deployment: kills-chat}]}
  - {alias: messages-only, retries: 0, targets: [{deployment: kills-messages}]}
tenants:
  - slug: alice
    timezone: Asia/Kolkata
    limits: [{requests: 1_000_000, per: minute}, {tokens: 900_000_000, per: hour}, {concurrency: 500}]
    budgets:
      - {amount: "1000", per: month}
      - {amount: "900", per: rolling, days: 7}
      - {amount: "100", per: day, per_end_user: true}
    projects: [{slug: research, budgets: [{amount: "800", per: total}], limits: [{concurrency: 400}]}]
    api_keys:
      - name: main
        secret: "${ALICE_KEY}"
        project: research
        limits: [{concurrency: 300}]
        budgets: [{amount: "700", per: credit}, {amount: "0.000001", per: week, hard: false}]
  - slug: charlie
    budgets: [{amount: "5", per: month}]
    api_keys: [{name: main, secret: "${CHARLIE_KEY}"}]
"""
KEYS = {name: generate() for name in ("ALICE", "CHARLIE")}
CALLERS = 12
ENOUGH = 100  # whole answers, to tell whether any is missing
CALM_SECONDS = 60.0
COUNTS = 6  # of budgets after Valkey came up empty: each worker tells what it may have settled, and the ledger knows
USERS = ("dora", "emil", "")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: its stores are killed."""
    declared: Path = tmp_path_factory.mktemp("declared") / "kills.yaml"
    declared.write_text(CONFIGURATION)
    with running_stack(STATE_DIR / "kills") as stack:
        variables = {f"{name}_KEY": secret for name, secret in KEYS.items()}
        stack.manage("apply", str(declared), SIMULATOR_URL=stack.simulator_url, **variables)
        for key in KEYS.values():
            wait_for(lambda: stack.post(CHAT.path, key, CHAT.body()).status_code == 200, "the configuration")  # noqa: B023
        yield stack


@pytest.fixture(scope="module")
def valkey(stack: Stack) -> Iterator[redis.Redis]:
    stored = json.loads((stack.state_dir / "environment.json").read_text())
    with redis.Redis.from_url(stored["VALKEY_URL"], protocol=2, decode_responses=True) as client:
        yield client


# --- The load ------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Load:
    """Callers that go on whatever happens, and what became of their requests, by the ids that they were told."""

    finished: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)  # streams that began and broke off
    refused: dict[int, int] = field(default_factory=dict)  # by status

    async def call(self, stack: Stack, number: int) -> None:
        """Ask again and again, whole or streamed, in one dialect or the other."""
        dialect = (CHAT, MESSAGES)[number % 2]
        is_stream = number % 4 < 2
        text = "[[chunks=8 interval=0.05]] streamed" if is_stream else "[[chunks=3]] whole"
        headers = bearer(KEYS["ALICE"]) | ({"x-user-id": USERS[number % 3]} if USERS[number % 3] else {})
        body = dialect.body(text, max_tokens=200, stream=is_stream)
        while True:
            with suppress(httpx.HTTPError):
                async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=20, verify=False) as client:
                    while True:
                        await self._ask(client, dialect, body)
            await asyncio.sleep(0.05)

    async def _ask(self, client: httpx.AsyncClient, dialect: Dialect, body: dict[str, Any]) -> None:
        async with client.stream("POST", dialect.path, json=body) as reply:
            request_id, answer = reply.headers["x-request-id"], b""
            try:
                async for piece in reply.aiter_bytes():
                    answer += piece
            except httpx.HTTPError:
                if reply.is_success and body["stream"]:
                    self.cut.append(request_id)
                raise
            if reply.is_success and (answer.endswith(dialect.end) or not body["stream"]):
                self.finished.append(request_id)
            elif not reply.is_success:
                self.refused[reply.status_code] = self.refused.get(reply.status_code, 0) + 1
                await asyncio.sleep(0.05)


@asynccontextmanager
async def load(stack: Stack) -> AsyncIterator[Load]:
    """Callers that are stopped, in the middle of whatever they do, at the end."""
    made = Load()
    tasks = [asyncio.create_task(made.call(stack, number)) for number in range(CALLERS)]
    try:
        await asyncio.sleep(1.5)
        yield made
        await asyncio.sleep(2.0)
        async with asyncio.timeout(60):  # however slow the machine is
            while len(made.finished) <= ENOUGH:
                await asyncio.sleep(0.1)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- What is killed ------------------------------------------------------------------------------------------


def children(stack: Stack, *words: str) -> list[psutil.Process]:
    """Return the stack's processes that have these words in their command lines."""
    found = []
    for child in psutil.Process(stack.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            line = " ".join(child.cmdline())
            if all(word in line for word in words) and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def kill(processes: list[psutil.Process]) -> None:
    assert processes
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def is_ready(stack: Stack) -> bool:
    """Whether both workers have both stores."""
    if len(stack.workers()) != 2:
        return False
    replies = [httpx.get(f"{stack.url}/ready", verify=False, timeout=10) for _ in range(6)]
    return all((reply.status_code, reply.json()["status"]) == (200, "ready") for reply in replies)


# --- What came of it -----------------------------------------------------------------------------------------


def check_books(stack: Stack, valkey: redis.Redis, done: Load) -> None:
    """Fail unless all is as it must be a minute later."""
    deadline = time.monotonic() + CALM_SECONDS
    wait_for(lambda: is_ready(stack), "both workers and both stores", seconds=120)
    wait_for(lambda: not still_held(valkey), "that nothing is held", seconds=deadline - time.monotonic())
    wait_for(lambda: valkey.xlen("tollgate:usage") == 0, "an empty stream", seconds=60)
    outcomes = recorded(stack, [*done.finished, *done.cut])
    missing = [each for each in [*done.finished, *done.cut] if each not in outcomes]
    assert not missing, (len(missing), missing[:3])
    assert {outcomes[each] for each in done.finished} <= {"served"}
    twice = "SELECT request_id FROM tenants_usagerecord GROUP BY request_id HAVING count(*) > 1"
    assert stack.query(twice) == []
    assert "say the same" in stack.manage("verify_ledger").stdout
    check_charlie(stack)


def recorded(stack: Stack, request_ids: list[str]) -> dict[str, str]:
    """Return the outcomes that the ledger has of requests."""
    sql = "SELECT request_id, outcome FROM tenants_usagerecord WHERE request_id = ANY(%s::uuid[])"
    return {request_id.hex: outcome for request_id, outcome in stack.query(sql, request_ids)}


def still_held(valkey: redis.Redis) -> list[str]:
    """Return what is held although nothing runs: reservations, money, and leases that have not ended by themselves."""
    found = ["reservations"] if valkey.zcard("tollgate:reservations") else []
    found += [key for key in valkey.scan_iter("tollgate:budget:*", count=1000) if is_held(valkey, key)]
    now = valkey.time()[0] * 1000
    leases = (key for key in valkey.scan_iter("tollgate:limit:*", count=1000) if valkey.type(key) == "zset")
    return found + [key for key in leases if valkey.zcount(key, now, "+inf")]


def is_held(valkey: redis.Redis, key: str) -> bool:
    return valkey.type(key) == "hash" and int(valkey.hget(key, "held") or 0) != 0


def check_charlie(stack: Stack) -> None:
    """Whatever became of alice's, nothing of it is his."""
    told = httpx.get(f"{stack.url}/v1/usage", headers=bearer(KEYS["CHARLIE"]), verify=False, timeout=10).json()
    assert (told["tenant"], told["today"]["errors"]) == ("charlie", 0)
    records = (
        "SELECT count(*) FROM tenants_usagerecord r JOIN tenants_tenant t ON t.id = r.tenant_id WHERE slug = 'charlie'"
    )
    ((count,),) = stack.query(records)
    assert told["today"]["requests"] == count


# --- The kills -----------------------------------------------------------------------------------------------


async def test_postgres_is_killed(stack, valkey):
    async with load(stack) as done:
        kill(children(stack, "bin/postgres", "-D"))
        await asyncio.sleep(1.0)
        kill(children(stack, "bin/postgres", "-D"))
    assert len(done.finished) > ENOUGH
    assert not done.cut
    await asyncio.to_thread(check_books, stack, valkey, done)


async def test_celery_is_killed_in_the_middle_of_a_drain(stack, valkey):
    async with load(stack) as done:
        for _ in range(2):
            await asyncio.to_thread(kill_while_draining, stack)
            await asyncio.sleep(0.5)
        kill(children(stack, "celery", "--queues=tollgate"))
    assert len(done.finished) > ENOUGH
    assert not done.cut
    await asyncio.to_thread(check_books, stack, valkey, done)


def kill_while_draining(stack: Stack) -> None:
    """Let a drain wait in the middle of its transaction, and kill it there."""
    stored = json.loads((stack.state_dir / "environment.json").read_text())
    with closing(psycopg.connect(stored["DATABASE_URL"])) as blocker:
        blocker.execute("LOCK TABLE tenants_usageday IN EXCLUSIVE MODE")  # records are written by then, sums are not
        wait_for(lambda: stack.query("SELECT 1 FROM pg_locks WHERE NOT granted"), "a drain that waits", seconds=60)
        kill(children(stack, "celery", "--queues=tollgate"))


async def test_valkey_is_killed(stack, valkey):
    async with load(stack) as done:
        kill(children(stack, "valkey-server"))
        await asyncio.sleep(2.0)
        kill(children(stack, "valkey-server"))
        await asyncio.sleep(1.0)
    assert len(done.finished) > ENOUGH
    assert not done.cut
    await asyncio.to_thread(check_books, stack, valkey, done)


async def test_valkey_is_killed_and_comes_up_empty(stack, valkey):
    """What was spent is counted from the ledger, and what it had not got yet is settled once more by the workers."""
    before, counted = spent_of_months(stack), stack.log().count('"budgets_counted"')
    async with load(stack) as done:
        for folder in (stack.state_dir / "valkey").glob("appendonlydir*"):
            shutil.rmtree(folder)
        kill(children(stack, "valkey-server"))
        await asyncio.sleep(3.0)
    assert len(done.finished) > ENOUGH
    assert not done.cut
    await asyncio.to_thread(check_books, stack, valkey, done)
    assert counted < stack.log().count('"budgets_counted"') <= counted + COUNTS
    assert spent_of_months(stack) > before > 0


def spent_of_months(stack: Stack) -> Decimal:
    """Return what alice is told that she has spent of her budget of a month."""
    told = httpx.get(f"{stack.url}/v1/usage", headers=bearer(KEYS["ALICE"]), verify=False, timeout=10).json()
    return next(Decimal(each["spent"]) for each in told["budgets"] if each["period"] == "month")


async def test_a_web_worker_is_killed_in_the_middle_of_streams(stack, valkey):
    async with load(stack) as done:
        for _ in range(2):
            kill(stack.workers()[:1])
            await asyncio.to_thread(wait_for, lambda: len(stack.workers()) == 2, "its replacement")
            await asyncio.sleep(1.0)
    assert len(done.finished) > ENOUGH
    assert done.cut
    await asyncio.to_thread(check_books, stack, valkey, done)
    outcomes = recorded(stack, done.cut)
    assert set(outcomes.values()) <= {"lost", "served", "client_gone"}
    lost = "SELECT cost, output_tokens, status, error_code FROM tenants_usagerecord WHERE outcome = 'lost'"
    assert set(stack.query(lost)) == {(0, None, 500, "worker_lost")}
    assert "lost" in outcomes.values()
