"""What a request leaves behind when it is over: nothing that waits for the garbage collector."""

import gc
from typing import Any

import pytest

from routing.exchange import Exchange
from tests.routing.planes import ASKED, Client, handle, in_line, refusal, stream, whole

STREAMED = {**ASKED, "stream": True}
MESSAGES = {"adapter": "anthropic"}


def exchanges() -> list[Any]:
    """Those that are still in memory."""
    return [found for found in gc.get_objects() if isinstance(found, Exchange)]


@pytest.fixture(autouse=True)
def _no_collector() -> Any:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("body", "answers", "provider"),
    [
        pytest.param(ASKED, lambda: {"a": [whole("openai_chat")]}, {}, id="whole"),
        pytest.param(STREAMED, lambda: {"a": [stream()]}, {}, id="streamed"),
        pytest.param(ASKED, lambda: {"a": [whole("anthropic_messages")]}, MESSAGES, id="translated"),
        pytest.param(ASKED, lambda: {"a": [refusal(500)], "b": [whole("openai_chat")]}, {}, id="at_the_second"),
        pytest.param(STREAMED, lambda: {"a": [refusal(500)], "b": [stream()]}, {}, id="streamed_by_the_second"),
        pytest.param(ASKED, lambda: {"a": [refusal(400)]}, {}, id="rejected"),
    ],
)
async def test_an_answered_request_is_freed_at_once(make_route, body, answers, provider) -> None:
    plane = in_line(make_route, answers(), provider=provider)
    before = len(exchanges())
    for _ in range(3):
        plane.transport.answers = answers()
        client = Client(body)
        await handle(plane, client)
        assert client.messages
        del client
    assert len(exchanges()) == before


async def test_how_it_was_routed_is_known_until_it_is_with_the_ledger(make_route) -> None:
    plane = in_line(make_route, {"a": [refusal(500)], "b": [whole("openai_chat")]})
    await handle(plane, Client(ASKED))
    assert plane.record.trace is not None
    assert [attempt["deployment"] for attempt in plane.record.trace["attempts"]] == ["a", "b"]
