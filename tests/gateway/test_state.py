"""The gateway's state as machines ask for it: whichever of two workers answers, it speaks for both."""

import httpx

from tests.gateway.conftest import Keys
from tests.gateway.console import every_worker
from tests.gateway.stack import Stack, wait_for

BODY = {"model": "chat", "messages": [{"role": "user", "content": "count me"}]}
DOCUMENTS = ("/health", "/metrics/health", "/metrics/summary", "/metrics/export")


def test_all_is_well(stack: Stack) -> None:
    def is_ok() -> dict | None:
        document = httpx.get(f"{stack.url}/health").json()
        return document if document["components"]["celery"]["state"] == "up" else None

    document = wait_for(is_ok, "Celery's heartbeat", seconds=60)
    assert document["workers"] == 2
    assert {name: part["state"] for name, part in document["components"].items() if part["state"] == "down"} == {}


def test_every_worker_tells_of_all_requests(stack: Stack, keys: Keys) -> None:
    before = httpx.get(f"{stack.url}/metrics/summary").json()["total_requests"]
    with every_worker(stack) as workers:
        for worker in workers:
            worker.post("/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {keys.alice}"})
        for worker in workers:
            wait_for(
                lambda: worker.get("/metrics/summary").json()["total_requests"] >= before + len(workers),  # noqa: B023
                "the other worker's request",
            )


def test_the_documents_name_neither_tenants_nor_keys(stack: Stack, keys: Keys) -> None:
    stack.post("/v1/chat/completions", keys.charlie, BODY)
    for path in DOCUMENTS:
        text = httpx.get(stack.url + path).text
        assert not [word for word in ("charlie", "research", "sim-credential", keys.charlie) if word in text], path
