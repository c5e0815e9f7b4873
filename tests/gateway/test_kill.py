"""Workers killed with SIGKILL under load: whoever got a whole answer is in the ledger, once."""

import asyncio
import os
import signal

import httpx

from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack, wait_for

WHOLE = {"model": "chat", "messages": [{"role": "user", "content": "[[chunks=3]] whole"}]}
STREAM = {
    "model": "chat",
    "stream": True,
    "messages": [{"role": "user", "content": "[[chunks=5 interval=0.01]] streamed"}],
}


async def test_it_loses_no_record_of_a_finished_request_when_workers_are_killed(stack: Stack, keys: Keys) -> None:
    finished: list[str] = []
    load = [asyncio.create_task(_keep_asking(stack, keys.alice, body, finished)) for body in [WHOLE, STREAM] * 8]
    for _ in range(3):
        await asyncio.sleep(1.0)
        victim = (await asyncio.to_thread(stack.workers))[0]
        os.kill(victim.pid, signal.SIGKILL)
        await asyncio.to_thread(wait_for, lambda: len(stack.workers()) == 2, "the worker's replacement")
    async with asyncio.timeout(60):  # however slow the machine is
        while len(finished) <= 200:
            await asyncio.sleep(0.1)
    for task in load:
        task.cancel()
    await asyncio.gather(*load, return_exceptions=True)

    missing = await asyncio.to_thread(_wait_until_recorded, stack, finished)
    assert not missing
    assert _recorded_twice(stack, finished) == 0


async def _keep_asking(stack: Stack, key: str, body: dict[str, object], finished: list[str]) -> None:
    headers = {"authorization": f"Bearer {key}"}
    while True:
        try:
            async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=10) as client:
                while True:
                    reply = await client.post("/v1/chat/completions", json=body)
                    is_whole = reply.content.endswith(b"data: [DONE]\n\n") if "stream" in body else reply.is_success
                    if reply.is_success and is_whole:
                        finished.append(reply.headers["x-request-id"])
        except httpx.HTTPError:
            await asyncio.sleep(0.05)


def _wait_until_recorded(stack: Stack, request_ids: list[str]) -> set[str]:
    missing = set(request_ids)

    def look() -> bool:
        rows = stack.query(
            "SELECT request_id FROM tenants_usagerecord WHERE request_id = ANY(%s::uuid[]) AND outcome = 'served'",
            list(missing),
        )
        missing.difference_update(row[0].hex for row in rows)
        return not missing

    try:
        wait_for(look, "all usage records", seconds=60)
    except AssertionError:
        return missing
    return missing


def _recorded_twice(stack: Stack, request_ids: list[str]) -> int:
    rows = stack.query(
        "SELECT request_id FROM tenants_usagerecord WHERE request_id = ANY(%s::uuid[]) "
        "GROUP BY request_id HAVING count(*) > 1",
        request_ids,
    )
    return len(rows)
