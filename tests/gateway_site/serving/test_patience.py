"""Signs of life for clients whose stream does not begin."""

import asyncio
import json
from typing import Any

import pytest

from gateway_site.infra.alarms import Alarms
from gateway_site.serving.patience import Patience
from providers.canonical.inbound import Facts, Operation
from providers.dialects.anthropic_messages.wire import CHAT as MESSAGES
from providers.dialects.gemini.wire import CHAT as GEMINI
from providers.dialects.openai_chat.wire import CHAT
from routing.exchange import Exchange
from routing.response import WholeResponse
from tenants.errors import UpstreamTimeout
from tests.gateway_site.infra.own_valkey import eventually

SOON = 0.05


class Client:
    """What would be sent to it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


def waiting(operation: Operation = CHAT, *, is_stream: bool = True) -> tuple[Client, Patience]:
    exchange = Exchange("POST", "/v1/x", ())
    exchange.operation = operation
    exchange.facts = Facts(model="m", size=1, is_stream=is_stream)
    client = Client()
    return client, Patience(exchange, client.send, Alarms(), seconds=SOON)


@pytest.mark.parametrize(("operation", "ping"), [(CHAT, b": ping\n\n"), (MESSAGES, b"event: ping\n")])
async def test_a_stream_that_is_late_begins_with_pings(operation, ping):
    client, patience = waiting(operation)
    await eventually(lambda: client.body.count(ping) >= 2)
    patience.stop()
    assert patience.has_begun
    head, *_ = client.messages
    assert (head["type"], head["status"]) == ("http.response.start", 200)
    assert (b"content-type", b"text/event-stream; charset=utf-8") in head["headers"]


async def test_one_that_is_in_time_does_not():
    client, patience = waiting()
    patience.stop()
    await asyncio.sleep(SOON * 2)
    assert (client.messages, patience.has_begun) == ([], False)


@pytest.mark.parametrize(("operation", "is_stream"), [(CHAT, False), (GEMINI, True)])
async def test_whole_answers_and_formats_without_a_ping_wait(operation, is_stream):
    client, patience = waiting(operation, is_stream=is_stream)
    await asyncio.sleep(SOON * 3)
    patience.stop()
    assert client.messages == []


async def test_an_error_after_that_is_an_event_of_the_stream():
    client, patience = waiting(MESSAGES)
    await asyncio.sleep(SOON * 1.5)
    patience.stop()
    await patience.fail(UpstreamTimeout("The upstream did not answer in time."))
    assert b"event: error\n" in client.body
    assert b"did not answer in time" in client.body
    assert client.messages[-1]["more_body"] is False


async def test_an_upstreams_own_error_is_told_so_too():
    client, patience = waiting()
    await asyncio.sleep(SOON * 1.5)
    patience.stop()
    await patience.end_with(WholeResponse(400, [], b'{"error": {"message": "Too long.", "code": "x"}}'))
    assert b'"message": "Too long."' in client.body
    assert b"[DONE]" not in client.body


async def test_an_answer_that_came_whole_ends_it():
    client, patience = waiting()
    await asyncio.sleep(SOON * 1.5)
    patience.stop()
    await patience.end_with(WholeResponse(200, [], b"data: {}\n\ndata: [DONE]\n\n"))
    assert client.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("operation", "code"), [(CHAT, "x"), (MESSAGES, "invalid_request_error")], ids=["openai", "anthropic"]
)
async def test_an_upstreams_own_400_keeps_its_code(operation, code):
    client, patience = waiting(operation)
    await asyncio.sleep(SOON * 1.5)
    patience.stop()
    error = {"message": "Too long.", "type": "invalid_request_error", "code": "x"}
    content = json.dumps({"type": "error", "error": error}).encode()
    await patience.end_with(WholeResponse(400, [], content))
    frame = client.body.rpartition(b"data: ")[2]
    told = json.loads(frame)["error"]
    assert (told["message"], told.get("code", told["type"])) == ("Too long.", code)


async def test_a_question_that_takes_long_to_come_is_waited_for_and_then_pinged():
    exchange = Exchange("POST", "/v1/x", ())
    client = Client()
    patience = Patience(exchange, client.send, Alarms(), seconds=SOON)
    await asyncio.sleep(SOON * 2.5)
    assert client.messages == []
    exchange.operation, exchange.facts = CHAT, Facts(model="m", size=1, is_stream=True)
    await asyncio.sleep(SOON * 1.5)
    patience.stop()
    assert (patience.has_begun, client.body.startswith(b": ping")) == (True, True)


async def test_one_that_is_stopped_before_its_head_was_sent_has_not_begun():
    class Full(Client):
        """Its connection takes nothing more."""

        async def send(self, message: dict[str, Any]) -> None:
            await asyncio.sleep(60)

    exchange = Exchange("POST", "/v1/x", ())
    exchange.operation, exchange.facts = CHAT, Facts(model="m", size=1, is_stream=True)
    client = Full()
    patience = Patience(exchange, client.send, Alarms(), seconds=0.01)
    await asyncio.sleep(0.03)
    patience.stop()
    await asyncio.sleep(0)
    assert (patience.has_begun, exchange.status, client.messages) == (False, 0, [])


async def test_a_shutdown_in_the_moment_of_the_answer_is_not_swallowed():
    _, patience = waiting()

    async def serve() -> None:
        await asyncio.sleep(SOON * 1.5)
        asyncio.get_running_loop().call_soon(serving.cancel)
        patience.stop()
        await asyncio.sleep(60)

    serving = asyncio.create_task(serve())
    with pytest.raises(asyncio.CancelledError):
        await serving
