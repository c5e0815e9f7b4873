"""What is changed in the console reaches every worker within a second.

`python -m benchmarks.propagation` measures the same more often.
"""

import httpx
import pytest

from benchmarks import propagation
from tests.gateway.conftest import Keys
from tests.gateway.console import every_worker
from tests.gateway.stack import Stack

CHANGES = 10
SECONDS = 1.0


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return propagation.configure(stack)


def test_a_changed_route_is_served_by_all_workers_within_a_second(stack: Stack, key: str) -> None:
    seconds = propagation.route_changes(stack, key, CHANGES)
    assert len(seconds) == CHANGES
    assert max(seconds) < SECONDS, seconds


def test_a_revoked_key_is_refused_by_all_workers_within_a_second(stack: Stack, key: str) -> None:
    seconds = propagation.revocations(stack, CHANGES)
    assert len(seconds) == CHANGES
    assert max(seconds) < SECONDS, seconds


def test_charlie_is_served_the_route_by_no_worker(stack: Stack, keys: Keys, key: str) -> None:
    with every_worker(stack) as workers:
        assert [_status(worker, keys.charlie) for worker in workers] == [404] * len(workers)


def _status(worker: httpx.Client, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return worker.post("/v1/chat/completions", json=propagation.BODY, headers=headers).status_code
