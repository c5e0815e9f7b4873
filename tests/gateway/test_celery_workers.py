"""The Celery workers of a whole Tollgate: what asks upstreams is a process of its own, and may hang."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil
import pytest

from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

BODY = {"model": "chat", "messages": [{"role": "user", "content": "ledger"}]}


def processes_of(stack: Stack, queue: str) -> list[psutil.Process]:
    """The worker of a queue, with its children."""
    children = psutil.Process(stack.process.pid).children()
    [worker] = [child for child in children if f"--queues={queue}" in child.cmdline()]
    return [worker, *worker.children(recursive=True)]


@contextmanager
def frozen(processes: list[psutil.Process]) -> Iterator[None]:
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("part", ["web", "worker", "upstreams", "beat"])
def test_every_part_says_that_it_works(stack: Stack, part: str) -> None:
    stack.manage("healthcheck", part, PORT=str(urlsplit(stack.url).port))


def test_usage_is_booked_while_what_asks_upstreams_hangs(stack: Stack, keys: Keys) -> None:
    with frozen(processes_of(stack, "upstreams")):
        for key in (keys.alice, keys.charlie):
            answer = stack.post("/v1/chat/completions", key, BODY)
            assert stack.record(answer.headers["x-request-id"])["outcome"]
